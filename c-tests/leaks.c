/* Leaves nothing behind when it ends, but sockets that are open. For valgrind and LeakSanitizer. */
#include "harness.h"
#include <pthread.h>

static void *thread(void *port)
{
    int c = to_peer(B, *(int *)port);
    CHECK(send(c, "x", 1, 0) == 1);
    return NULL;
}

int main(void)
{
    own_network();
    int s, c, port;
    char b[4];
    server_and_client(&s, &c);
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    CHECK(getsockname(s, SA(from), &len) == 0);
    port = ntohs(from.sin6_port);
    for (int i = 0; i < 3; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, NULL, thread, &port) == 0 && pthread_join(t, NULL) == 0);
        CHECK(recv(s, b, 4, 0) == 1);
        int d = dup(c);
        CHECK(d > 0 && close(c) == 0);
        c = d;
        echo(s, c);
    }
    CHECK(fclose(fdopen(c, "w")) == 0);
    printf("ok leaks\n");
    return 0;
}

/* Threads and a child that open sockets, send and close. For AddressSanitizer and ThreadSanitizer. */
#include "harness.h"
#include <pthread.h>

static int port;

static void *thread(void *unused)
{
    for (int i = 0; i < 20; i++) {
        int s, c;
        server_and_client(&s, &c);
        int d = to_peer(A, port);
        CHECK(send(d, "x", 1, 0) == 1);
        close(s);
        close(c);
        close(d);
    }
    return unused;
}

int main(void)
{
    own_network();
    int s = bound("::", &port);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, thread, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        thread(NULL);
        _exit(0);
    }
    ended_well(child);
    close(s);
    printf("ok sanitized\n");
    return 0;
}

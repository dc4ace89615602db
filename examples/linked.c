/*
 * A program that brings the shim along: linked with libshim6, its socket calls are shim6_* ones. Its session outlives the
 * failure of a path, and it prints which locators carry it.
 *
 *   cc -O2 -Iinclude -o linked examples/linked.c -Ltarget/release -lshim6 -Wl,-rpath,$PWD/target/release
 *   sudo ./linked 5005                # on one host: sends everything back
 *   sudo ./linked ADDRESS 5005        # on another, with an address of the first
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim6.h"

static int fail(const char *what)
{
    fprintf(stderr, "linked: %s: %s\n", what, shim6_strerror(errno));
    return 1;
}

static void print_pair(int fd)
{
    static const int names[] = { SHIM_LOC_LOCAL_PREF, SHIM_LOC_PEER_PREF };
    for (int i = 0; i < 2; i++) {
        struct shim_locator locator;
        socklen_t len = sizeof locator;
        char text[INET6_ADDRSTRLEN];
        if (shim6_getsockopt(fd, SOL_SHIM, names[i], &locator, &len) != 0) {
            printf("  %s", errno == ENOENT ? "no context" : shim6_strerror(errno));
            return;
        }
        printf("%s%s", i == 0 ? "  " : " -> ", inet_ntop(AF_INET6, locator.lc_addr, text, sizeof text));
    }
}

static int serve(int fd)
{
    char data[2048];
    struct sockaddr_in6 peer;
    socklen_t len = sizeof peer;
    ssize_t n;
    while ((n = shim6_recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&peer, &len)) >= 0) {
        shim6_sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&peer, len);
        len = sizeof peer;
    }
    return fail("receive");
}

int main(int argc, char **argv)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
    /* Before the first socket: a context at the first datagram, and a path is dead after two silent seconds. */
    if (shim6_configure("trigger.bytes=0;reap.send_timeout=2s") != 0)
        return fail("settings");
    int fd = shim6_socket(AF_INET6, SOCK_DGRAM, 0);
    if (fd < 0)
        return fail("socket");
    if (argc == 2) {
        address.sin6_port = htons((unsigned short)atoi(argv[1]));
        if (shim6_bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
            return fail("bind");
        return serve(fd);
    }
    if (argc < 3 || inet_pton(AF_INET6, argv[1], &address.sin6_addr) != 1) {
        fprintf(stderr, "usage: %s PORT | ADDRESS PORT [MILLISECONDS]\nlibshim6 %s\n", argv[0], shim6_version());
        return 2;
    }
    address.sin6_port = htons((unsigned short)atoi(argv[2]));
    if (shim6_connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return fail("connect");
    int pause = argc > 3 ? atoi(argv[3]) : 1000;
    for (int number = 1;; number++) {
        char data[64];
        int size = snprintf(data, sizeof data, "%d", number);
        if (shim6_send(fd, data, (size_t)size, 0) < 0)
            fail("send");
        /* The descriptor is the kernel's: poll, select and epoll are the usual ones. */
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        int answered = poll(&ready, 1, 1000) == 1 && shim6_recv(fd, data, sizeof data, 0) > 0;
        printf("%s %d", answered ? "echo of" : "no answer to", number);
        print_pair(fd);
        printf("\n");
        fflush(stdout);
        usleep((unsigned)pause * 1000);
    }
}

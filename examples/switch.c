/*
 * Talks over UDP, prints by which locators, and moves to others while it talks. The socket calls are the usual ones; the
 * preload library answers the options at level SOL_SHIM.
 *
 *   cc -O2 -Iinclude -o switch examples/switch.c
 *   sudo shim6 run --trigger now -- ./switch 5005               # on one host: sends everything back
 *   sudo shim6 run --trigger now -- ./switch ADDRESS 5005       # on another, with an address of the first
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "shim6.h"

static const char *text(const unsigned char *address)
{
    static char texts[4][INET6_ADDRSTRLEN];
    static unsigned next;
    next = (next + 1) % 4;
    return inet_ntop(AF_INET6, address, texts[next], sizeof texts[next]);
}

/* The locators of one side of the context: how many, or -1. */
static int list(int fd, int name, struct shim_locator locators[SHIM_MAX_LOCATORS])
{
    socklen_t len = SHIM_MAX_LOCATORS * sizeof *locators;
    if (getsockopt(fd, SOL_SHIM, name, locators, &len) != 0)
        return -1;
    return (int)(len / sizeof *locators);
}

static void print_pair(int fd)
{
    struct shim_locator local, peer;
    socklen_t local_len = sizeof local, peer_len = sizeof peer;
    if (getsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_PREF, &local, &local_len) == 0 &&
        getsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_PREF, &peer, &peer_len) == 0)
        printf("  %s -> %s", text(local.lc_addr), text(peer.lc_addr));
    else
        printf("  no context");
}

/* Send everything from the n-th local locator to the n-th of the peer's. */
static void move_to(int fd, int n)
{
    struct shim_locator locals[SHIM_MAX_LOCATORS], peers[SHIM_MAX_LOCATORS];
    int have_locals = list(fd, SHIM_LOCLIST_LOCAL, locals), have_peers = list(fd, SHIM_LOCLIST_PEER, peers);
    if (have_locals < 2 || have_peers < 2)
        return;
    struct shim_locator *local = &locals[n % have_locals], *peer = &peers[n % have_peers];
    /* The peer's locator may wait for a test that the first attempt starts. */
    if (setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, peer, sizeof *peer) != 0 ||
        setsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_SEND, local, sizeof *local) != 0)
        printf("not yet to %s: %s\n", text(peer->lc_addr),
               errno == EINVALIDLOCATOR ? "not tested yet" : strerror(errno));
    else
        printf("moved to %s -> %s\n", text(local->lc_addr), text(peer->lc_addr));
}

static int serve(int fd)
{
    char data[2048];
    struct sockaddr_in6 peer;
    socklen_t len = sizeof peer;
    ssize_t n;
    while ((n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&peer, &len)) >= 0) {
        sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&peer, len);
        len = sizeof peer;
    }
    perror("switch");
    return 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    if (argc == 2) {
        address.sin6_port = htons((unsigned short)atoi(argv[1]));
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
            return perror("switch"), 1;
        return serve(fd);
    }
    if (argc < 3 || inet_pton(AF_INET6, argv[1], &address.sin6_addr) != 1) {
        fprintf(stderr, "usage: %s PORT | ADDRESS PORT [MILLISECONDS]\n", argv[0]);
        return 2;
    }
    address.sin6_port = htons((unsigned short)atoi(argv[2]));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return perror("switch"), 1;
    int pause = argc > 3 ? atoi(argv[3]) : 1000;
    struct timeval second = { .tv_sec = 1 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    for (int number = 1;; number++) {
        char data[64];
        int size = snprintf(data, sizeof data, "%d", number);
        if (send(fd, data, (size_t)size, 0) < 0)
            perror("send");
        ssize_t n = recv(fd, data, sizeof data - 1, 0);
        data[n > 0 ? n : 0] = '\0';
        printf("%s %d", n > 0 ? "echo of" : "no answer to", number);
        print_pair(fd);
        printf("\n");
        /* A step every fifth datagram, through all pairs of equal number. */
        if (number % 5 == 0)
            move_to(fd, number / 5);
        fflush(stdout);
        usleep((unsigned)pause * 1000);
    }
}

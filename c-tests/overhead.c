/*
 * What a call costs, in nanoseconds: run it alone and under the preload library and compare. The best of many rounds, so
 * that other work on the machine counts little.
 */
#include "harness.h"
#include <sys/syscall.h>
#include <time.h>

enum { CALLS = 200, ROUNDS = 1500 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define MEASURE(name, statement) \
    do { \
        double best = 1e18; \
        for (int round = 0; round < ROUNDS; round++) { \
            double start = now(); \
            for (int i = 0; i < CALLS; i++) \
                statement; \
            double took = (now() - start) / CALLS; \
            best = took < best ? took : best; \
        } \
        printf("%-44s %8.1f\n", name, best); \
    } while (0)

int main(void)
{
    char b[64] = "";
    int port, port2, null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY);
    own_network();
    MEASURE("read of 1 octet from /dev/zero", CHECK(read(zero, b, 1) == 1));
    MEASURE("read of 1 octet, raw system call", CHECK(syscall(SYS_read, zero, b, 1) == 1));
    MEASURE("write of 1 octet to /dev/null", CHECK(write(null, b, 1) == 1));
    MEASURE("close of no descriptor", CHECK(close(-1) == -1));
    int s = bound(B, &port), c = bound(A, &port2);
    struct sockaddr_in6 to = address(B, port), back = address(A, port2), from;
    CHECK(connect(c, SA(to), sizeof to) == 0 && connect(s, SA(back), sizeof back) == 0);
    MEASURE("connected: send and recv, 64 octets", CHECK(send(c, b, 64, 0) == 64 && recv(s, b, 64, 0) == 64));
    MEASURE("connected: recv, EAGAIN", CHECK(recv(s, b, 64, MSG_DONTWAIT) == -1));
    int u = bound("::", &port);
    int v = bound(A, &port2);
    struct sockaddr_in6 there = address(B, port);
    socklen_t len = sizeof from;
    MEASURE("unconnected: sendto and recvfrom, 64 octets",
            CHECK(sendto(v, b, 64, 0, SA(there), sizeof there) == 64 && recvfrom(u, b, 64, 0, SA(from), &len) == 64));
    MEASURE("unconnected: recvfrom, EAGAIN", CHECK(recvfrom(u, b, 64, MSG_DONTWAIT, SA(from), &len) == -1));
    int w = bound(B, &port);
    there = address(B, port);
    MEASURE("unconnected, bound: sendto and recvfrom",
            CHECK(sendto(v, b, 64, 0, SA(there), sizeof there) == 64 && recvfrom(w, b, 64, 0, SA(from), &len) == 64));
    int l = bound("::1", &port);
    struct sockaddr_in6 self = address("::1", port);
    CHECK(connect(l, SA(self), sizeof self) == 0);
    MEASURE("::1: send and recv, 64 octets", CHECK(send(l, b, 64, 0) == 64 && recv(l, b, 64, 0) == 64));
    MEASURE("read of 1 octet from /dev/zero, later", CHECK(read(zero, b, 1) == 1));
    MEASURE("socket and close", CHECK(close(socket(AF_INET6, SOCK_DGRAM, 0)) == 0));
    return 0;
}

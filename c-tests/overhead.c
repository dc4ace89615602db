/*
 * What a call costs, in nanoseconds: run it alone and under the preload library and compare. The best of many rounds, so
 * that other work on the machine counts little.
 */
#include "harness.h"
#include <sys/syscall.h>
#include <time.h>

enum { CALLS = 200, ROUNDS = 1500, BATCH = 32, ROOM = 64 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define MEASURE(name, ...) \
    do { \
        double best = 1e18; \
        for (int round = 0; round < ROUNDS; round++) { \
            double start = now(); \
            for (int i = 0; i < CALLS; i++) \
                __VA_ARGS__; \
            double took = (now() - start) / CALLS; \
            best = took < best ? took : best; \
        } \
        printf("%-44s %8.1f\n", name, best); \
    } while (0)

/* Messages for a batch, all with the same data; each with room for a name of its own, or one that they share. */
static struct mmsghdr *messages(int n, struct iovec *v, struct sockaddr_in6 *names, int step)
{
    struct mmsghdr *all = calloc(n, sizeof *all);
    CHECK(all != NULL);
    for (int i = 0; i < n; i++)
        all[i].msg_hdr = (struct msghdr){
            .msg_name = names + i * step, .msg_namelen = sizeof *names, .msg_iov = v, .msg_iovlen = 1 };
    return all;
}

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
    struct sockaddr_in6 names[ROOM];
    struct iovec data = { .iov_base = b, .iov_len = sizeof b };
    struct mmsghdr *out = messages(BATCH, &data, &there, 0), *in = messages(ROOM, &data, names, 1);
    double each = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        CHECK(sendmmsg(v, out, BATCH, 0) == BATCH && recvmmsg(u, in, ROOM, MSG_DONTWAIT, NULL) == BATCH);
        double took = (now() - start) / BATCH;
        each = took < each ? took : each;
    }
    printf("%-44s %8.1f\n", "unconnected: 32 by sendmmsg, recvmmsg, each", each);
    int on = 1;
    char control[256];
    struct msghdr question = out[0].msg_hdr, answer = { .msg_name = &from, .msg_iov = &data, .msg_iovlen = 1 };
    CHECK(setsockopt(u, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    MEASURE("unconnected: sendmsg, recvmsg and its PKTINFO", {
        answer.msg_namelen = sizeof from;
        answer.msg_control = control;
        answer.msg_controllen = sizeof control;
        CHECK(sendmsg(v, &question, 0) == 64 && recvmsg(u, &answer, 0) == 64);
    });
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

/* Every hooked call behaves on shim sockets as the kernel alone makes it behave. */
#include "harness.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static void connected_pair(const char *local, const char *peer, int *a, int *b)
{
    int pa, pb;
    *a = bound(local, &pa);
    *b = bound(peer, &pb);
    struct sockaddr_in6 to = address(peer, pb);
    CHECK(connect(*a, SA(to), sizeof to) == 0);
    to = address(local, pa);
    CHECK(connect(*b, SA(to), sizeof to) == 0);
}

static void exchange(const char *local, const char *peer)
{
    int a, b;
    char buf[64], more[64];
    connected_pair(local, peer, &a, &b);
    CHECK(send(a, "one", 3, 0) == 3);
    CHECK(recv(b, buf, sizeof buf, 0) == 3 && memcmp(buf, "one", 3) == 0);
    CHECK(write(b, "four", 4) == 4);
    CHECK(read(a, buf, sizeof buf) == 4 && memcmp(buf, "four", 4) == 0);
    struct iovec v[2] = { { .iov_base = (char[]){ "ab" }, .iov_len = 2 }, { .iov_base = (char[]){ "cde" }, .iov_len = 3 } };
    CHECK(writev(a, v, 2) == 5);
    struct iovec w[2] = { { .iov_base = buf, .iov_len = 1 }, { .iov_base = more, .iov_len = 10 } };
    CHECK(readv(b, w, 2) == 5 && buf[0] == 'a' && memcmp(more, "bcde", 4) == 0);
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
    CHECK(sendmsg(a, &m, 0) == 5);
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    CHECK(recvfrom(b, buf, sizeof buf, 0, SA(from), &len) == 5 && len == sizeof from);
    same_address(&from, local, 0);
    /* A name that does not fit is cut off, and its whole length told. */
    CHECK(sendto(a, "x", 1, 0, NULL, 0) == 1);
    char small[4];
    memset(small, 'z', sizeof small);
    len = 3;
    CHECK(recvfrom(b, buf, sizeof buf, 0, (struct sockaddr *)small, &len) == 1);
    CHECK(len == sizeof from && small[0] == AF_INET6 && small[3] == 'z');
    /* Truncation. */
    CHECK(send(a, "truncate", 8, 0) == 8);
    CHECK(recv(b, buf, 2, MSG_TRUNC) == 8);
    CHECK(send(a, "truncate", 8, 0) == 8);
    m = (struct msghdr){ .msg_iov = &(struct iovec){ .iov_base = buf, .iov_len = 2 }, .msg_iovlen = 1 };
    CHECK(recvmsg(b, &m, 0) == 2 && m.msg_flags == MSG_TRUNC);
    /* A peek leaves it there. */
    CHECK(send(a, "peek", 4, 0) == 4);
    CHECK(recv(b, buf, sizeof buf, MSG_PEEK) == 4);
    CHECK(recv(b, buf, sizeof buf, 0) == 4);
    /* Empty datagrams. */
    CHECK(send(a, "", 0, 0) == 0);
    CHECK(recv(b, buf, sizeof buf, 0) == 0);
    CHECK(write(a, "", 0) == 0);
    CHECK(read(b, buf, 0) == 0);
    CHECK(read(b, buf, sizeof buf) == 0);
    v[0].iov_len = v[1].iov_len = 0;
    CHECK(writev(a, v, 2) == 0);
    FAILS(recv(b, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
    /* Too long. */
    static char large[65528];
    FAILS(send(a, large, sizeof large, 0), EMSGSIZE);
    /* Errors of arguments. */
    FAILS(recv(b, NULL, 8, MSG_DONTWAIT), EAGAIN);
    FAILS(recvfrom(b, buf, 8, MSG_DONTWAIT | MSG_OOB, NULL, NULL), EAGAIN);
    close(a);
    FAILS(send(a, "x", 1, 0), EBADF);
    FAILS(recv(a, buf, 1, 0), EBADF);
}

static void connected_loopback(void)
{
    exchange("::1", "::1");
}

static void connected_servable(void)
{
    exchange(A, B);
}

static void connected_mapped(void)
{
    exchange("::ffff:127.0.0.1", "::ffff:127.0.0.1");
}

static void batches(const char *server)
{
    int port, i;
    int s = bound(server, &port);
    int c = to_peer(strcmp(server, "::") == 0 ? B : server, port);
    char data[4] = "abcd", in[6][8];
    struct iovec out[4], v[6];
    struct mmsghdr m[6];
    struct sockaddr_in6 from[6];
    memset(m, 0, sizeof m);
    for (i = 0; i < 4; i++) {
        out[i] = (struct iovec){ .iov_base = data, .iov_len = (size_t)i };
        m[i].msg_hdr.msg_iov = &out[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK(sendmmsg(c, m, 4, 0) == 4);
    for (i = 0; i < 4; i++)
        CHECK(m[i].msg_len == (unsigned)i);
    memset(m, 0, sizeof m);
    for (i = 0; i < 6; i++) {
        v[i] = (struct iovec){ .iov_base = in[i], .iov_len = 2 };
        m[i].msg_hdr.msg_iov = &v[i];
        m[i].msg_hdr.msg_iovlen = 1;
        m[i].msg_hdr.msg_name = &from[i];
        m[i].msg_hdr.msg_namelen = sizeof from[i];
    }
    CHECK(recvmmsg(s, m, 6, MSG_WAITFORONE, NULL) == 4);
    struct sockaddr_in6 self;
    socklen_t len = sizeof self;
    CHECK(getsockname(c, SA(self), &len) == 0);
    for (i = 0; i < 4; i++) {
        CHECK(m[i].msg_len == (unsigned)(i < 2 ? i : 2));
        CHECK(m[i].msg_hdr.msg_flags == (i == 3 ? MSG_TRUNC : 0));
        CHECK(m[i].msg_hdr.msg_namelen == sizeof self);
        CHECK(memcmp(&from[i], &self, sizeof self) == 0);
        CHECK(m[i].msg_hdr.msg_controllen == 0);
    }
    FAILS(recvmmsg(s, m, 6, MSG_DONTWAIT, NULL), EAGAIN);
    /* Answers by sendmmsg with names. */
    for (i = 0; i < 3; i++) {
        out[i] = (struct iovec){ .iov_base = data, .iov_len = 4 };
        m[i].msg_hdr = (struct msghdr){ .msg_name = &self, .msg_namelen = sizeof self, .msg_iov = &out[i], .msg_iovlen = 1 };
    }
    CHECK(sendmmsg(s, m, 3, 0) == 3);
    for (i = 0; i < 3; i++)
        CHECK(recv(c, in[0], 8, 0) == 4);
}

static void batches_loopback(void)
{
    batches("::1");
}

static void batches_bound(void)
{
    batches(B);
}

static void batches_wildcard(void)
{
    batches("::");
}

/* The control buffer of the application is as if we asked for nothing. */
static void ancillary_data(void)
{
    int port = 4711, on = 1, off = 0, value = -1;
    int s = udp();
    /* A port that was not left to the kernel: it outlives the connect below. */
    struct sockaddr_in6 from = address("::", port);
    CHECK(bind(s, SA(from), sizeof from) == 0);
    int c = to_peer(B, port);
    char buf[8];
    union {
        char octets[128];
        struct cmsghdr align;
    } u;
    struct iovec v = { .iov_base = buf, .iov_len = sizeof buf };
    socklen_t len = sizeof value;
    CHECK(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &value, &len) == 0 && value == 0 && len == 4);
    value = -1;
    len = 1;
    CHECK(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &value, &len) == 0 && len == 1);
    for (int round = 0; round < 5; round++) {
        CHECK(send(c, "data", 4, 0) == 4);
        struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1,
                            .msg_control = u.octets, .msg_controllen = sizeof u.octets, .msg_flags = -1 };
        if (round == 4)
            m.msg_controllen = 20;
        CHECK(recvmsg(s, &m, 0) == 4);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        if (round == 0) {
            CHECK(m.msg_flags == 0 && m.msg_controllen == 0 && h == NULL);
            CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on) == 0);
        } else if (round == 1) {
            CHECK(m.msg_controllen == CMSG_SPACE(4) && h->cmsg_type == IPV6_HOPLIMIT && h->cmsg_len == CMSG_LEN(4));
            CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
            len = sizeof value;
            CHECK(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &value, &len) == 0 && value == 1);
        } else if (round == 2) {
            CHECK(m.msg_controllen == CMSG_SPACE(4) + CMSG_SPACE(sizeof(struct in6_pktinfo)));
            int seen = 0;
            for (; h != NULL; h = CMSG_NXTHDR(&m, h)) {
                if (h->cmsg_type == IPV6_PKTINFO) {
                    struct in6_pktinfo info;
                    struct sockaddr_in6 b = address(B, 0);
                    memcpy(&info, CMSG_DATA(h), sizeof info);
                    CHECK(memcmp(&info.ipi6_addr, &b.sin6_addr, 16) == 0);
                    seen++;
                }
            }
            CHECK(seen == 1);
            CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &off, sizeof off) == 0);
        } else if (round == 3) {
            CHECK(m.msg_controllen == CMSG_SPACE(4) && h->cmsg_type == IPV6_HOPLIMIT && m.msg_flags == 0);
        } else {
            /* Room for the message, not for its padding. */
            CHECK(m.msg_controllen == 20 && m.msg_flags == 0);
        }
    }
    /* Without room: MSG_CTRUNC for what the application asked for. */
    CHECK(send(c, "data", 4, 0) == 4);
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    CHECK(recvmsg(s, &m, 0) == 4 && m.msg_flags == MSG_CTRUNC && m.msg_controllen == 0);
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &off, sizeof off) == 0);
    CHECK(send(c, "data", 4, 0) == 4);
    m = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1 };
    CHECK(recvmsg(s, &m, 0) == 4 && m.msg_flags == 0);
    /* The form of RFC 2292 alone. */
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_2292PKTINFO, &on, sizeof on) == 0);
    CHECK(send(c, "data", 4, 0) == 4);
    m = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    CHECK(recvmsg(s, &m, 0) == 4);
    CHECK(m.msg_controllen == CMSG_SPACE(sizeof(struct in6_pktinfo)));
    CHECK(CMSG_FIRSTHDR(&m)->cmsg_type == IPV6_2292PKTINFO);
    /* After a connect and its undoing. */
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_2292PKTINFO, &off, sizeof off) == 0);
    struct sockaddr_in6 self;
    len = sizeof self;
    CHECK(getsockname(c, SA(self), &len) == 0);
    for (int round = 0; round < 2; round++) {
        struct sockaddr_in6 unspec = { .sin6_family = AF_UNSPEC };
        CHECK(connect(s, round == 0 ? SA(self) : SA(unspec), sizeof self) == 0);
        CHECK(send(c, "data", 4, 0) == 4);
        m = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
        CHECK(recvmsg(s, &m, 0) == 4 && m.msg_controllen == 0 && m.msg_flags == 0);
        len = sizeof value;
        CHECK(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &value, &len) == 0 && value == 0);
    }
}

/* A wildcard server without any special calls. */
static void unconnected(void)
{
    int port;
    int s = bound("::", &port);
    char buf[16];
    const char *targets[] = { A, B, "::1", "::ffff:127.0.0.1" };
    for (unsigned i = 0; i < 4; i++) {
        int c = to_peer(targets[i], port);
        struct sockaddr_in6 self, from;
        socklen_t len = sizeof self;
        CHECK(getsockname(c, SA(self), &len) == 0);
        CHECK(send(c, "ping", 4, 0) == 4);
        len = sizeof from;
        CHECK(recvfrom(s, buf, sizeof buf, MSG_PEEK, SA(from), &len) == 4);
        CHECK(recvfrom(s, buf, 2, MSG_TRUNC, SA(from), &len) == 4);
        CHECK(memcmp(&from, &self, sizeof self) == 0);
        CHECK(sendto(s, "pong!", 5, 0, SA(from), len) == 5);
        CHECK(recv(c, buf, sizeof buf, 0) == 5);
        CHECK(send(c, "ping", 4, 0) == 4);
        CHECK(read(s, buf, 0) == 0);
        CHECK(read(s, buf, sizeof buf) == 4);
        CHECK(send(c, "ping", 4, 0) == 4);
        struct iovec v[2] = { { .iov_base = buf, .iov_len = 1 }, { .iov_base = buf + 1, .iov_len = 10 } };
        CHECK(readv(s, v, 2) == 4 && memcmp(buf, "ping", 4) == 0);
        CHECK(send(c, "ping", 4, 0) == 4);
        CHECK(recv(s, buf, sizeof buf, 0) == 4);
        CHECK(send(c, "ping", 4, 0) == 4);
        CHECK(recvfrom(s, buf, sizeof buf, 0, NULL, NULL) == 4);
        close(c);
    }
    FAILS(recv(s, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
    FAILS(send(s, "x", 1, 0), EDESTADDRREQ);
    FAILS(write(s, "x", 1), EDESTADDRREQ);
    struct sockaddr_in6 to = address(B, 9);
    FAILS(sendto(s, "x", 1, 0, SA(to), 8), EINVAL);
    struct timeval tv = { .tv_usec = 20000 };
    CHECK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
    FAILS(recv(s, buf, sizeof buf, 0), EAGAIN);
    FAILS(recvfrom(s, buf, sizeof buf, 0, SA(to), NULL), EAGAIN);
}

/* The first datagram of a socket that was never bound. */
static void unbound_sender(void)
{
    int port;
    int s = bound(B, &port);
    int c = udp();
    struct sockaddr_in6 to = address(B, port), from, self;
    char buf[8];
    socklen_t len = sizeof self;
    CHECK(getsockname(c, SA(self), &len) == 0 && self.sin6_port == 0);
    CHECK(sendto(c, "hi", 2, 0, SA(to), sizeof to) == 2);
    len = sizeof from;
    CHECK(recvfrom(s, buf, sizeof buf, 0, SA(from), &len) == 2);
    len = sizeof self;
    CHECK(getsockname(c, SA(self), &len) == 0);
    CHECK(self.sin6_port != 0 && self.sin6_port == from.sin6_port);
    CHECK(IN6_IS_ADDR_UNSPECIFIED(&self.sin6_addr));
    CHECK(sendto(s, "ho", 2, 0, SA(from), len) == 2);
    CHECK(recv(c, buf, sizeof buf, 0) == 2);
}

static void names(void)
{
    int port;
    int s = bound(B, &port);
    int c = to_peer(B, port);
    struct sockaddr_in6 self, peer, from;
    socklen_t len = sizeof peer;
    char buf[8];
    CHECK(getpeername(c, SA(peer), &len) == 0 && len == sizeof peer);
    same_address(&peer, B, port);
    len = sizeof self;
    CHECK(getsockname(c, SA(self), &len) == 0 && self.sin6_port != 0);
    CHECK(send(c, "x", 1, 0) == 1);
    len = sizeof from;
    CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 1);
    CHECK(memcmp(&from, &self, sizeof self) == 0);
    len = 2;
    CHECK(getsockname(c, SA(self), &len) == 0 && len == sizeof self);
    len = (socklen_t)-1;
    FAILS(getsockname(c, SA(self), &len), EINVAL);
    FAILS(getpeername(s, SA(self), &len), ENOTCONN);
    /* Binding or connecting again is the kernel's affair. */
    peer = address(A, 0);
    FAILS(bind(c, SA(peer), sizeof peer), EINVAL);
    FAILS(bind(s, SA(peer), sizeof peer), EINVAL);
    FAILS(connect(c, SA(peer), 4), EINVAL);
    int other;
    int t = bound(A, &other);
    peer = address(A, other);
    CHECK(connect(c, SA(peer), sizeof peer) == 0);
    CHECK(send(c, "y", 1, 0) == 1);
    CHECK(recv(t, buf, 8, 0) == 1 && buf[0] == 'y');
    struct sockaddr unspec = { .sa_family = AF_UNSPEC };
    CHECK(connect(c, &unspec, sizeof unspec) == 0);
    FAILS(getpeername(c, SA(self), &len), ENOTCONN);
    FAILS(send(c, "z", 1, 0), EDESTADDRREQ);
    CHECK(sendto(c, "z", 1, 0, SA(peer), sizeof peer) == 1);
    CHECK(recv(t, buf, 8, 0) == 1 && buf[0] == 'z');
    peer = address("::1", other);
    CHECK(connect(c, SA(peer), sizeof peer) == 0);
    len = sizeof self;
    CHECK(getsockname(c, SA(self), &len) == 0);
    same_address(&self, "::1", 0);
}

/* A closed port of this very host: ECONNREFUSED goes up. */
static void refused(void)
{
    int port;
    int s = bound(B, &port);
    close(s);
    int c = to_peer(B, port);
    char b;
    CHECK(send(c, "x", 1, 0) == 1);
    struct pollfd p = { .fd = c, .events = POLLIN };
    CHECK(poll(&p, 1, 1000) == 1 && (p.revents & POLLERR) != 0);
    FAILS(recv(c, &b, 1, MSG_DONTWAIT), ECONNREFUSED);
    CHECK(send(c, "x", 1, 0) == 1);
    CHECK(poll(&p, 1, 1000) == 1);
    int e = 0;
    socklen_t len = sizeof e;
    CHECK(getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &len) == 0 && e == ECONNREFUSED);
    FAILS(recv(c, &b, 1, MSG_DONTWAIT), EAGAIN);
}

static void no_route(void)
{
    struct sockaddr_in6 to = address("2001:db8:ffff::1", 9);
    int c = udp();
    FAILS(connect(c, SA(to), sizeof to), ENETUNREACH);
    FAILS(sendto(c, "x", 1, 0, SA(to), sizeof to), ENETUNREACH);
    int port;
    int s = bound("::", &port);
    FAILS(sendto(s, "x", 1, 0, SA(to), sizeof to), ENETUNREACH);
}

static void shutdowns(void)
{
    int a, b;
    char buf[4];
    connected_pair(A, B, &a, &b);
    CHECK(shutdown(a, SHUT_WR) == 0);
    FAILS(send(a, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(send(b, "x", 1, 0) == 1);
    CHECK(recv(a, buf, 4, 0) == 1);
    CHECK(shutdown(a, SHUT_RD) == 0);
    CHECK(recv(a, buf, 4, 0) == 0);
    int u = udp();
    FAILS(shutdown(u, SHUT_RDWR), ENOTCONN);
}

/* A successful call leaves errno alone. */
static void errno_is_kept(void)
{
    int port;
    int s = bound("::", &port);
    errno = 4444;
    int c = to_peer(B, port);
    CHECK(errno == 4444);
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    char buf[8];
    CHECK(send(c, "x", 1, 0) == 1 && errno == 4444);
    CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 1 && errno == 4444);
    CHECK(sendto(s, "x", 1, 0, SA(from), len) == 1 && errno == 4444);
    CHECK(recv(c, buf, 8, 0) == 1 && errno == 4444);
    int d = dup(c);
    CHECK(d >= 0 && close(d) == 0 && close(c) == 0 && close(s) == 0 && errno == 4444);
}

/* Nothing but IPv6 UDP is touched. */
static void other_sockets(void)
{
    int sv[2];
    char buf[8];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    CHECK(write(sv[0], "abc", 3) == 3 && read(sv[1], buf, 8) == 3);
    CHECK(send(sv[0], "abc", 3, 0) == 3 && recv(sv[1], buf, 8, 0) == 3);
    CHECK(close(sv[0]) == 0 && read(sv[1], buf, 8) == 0);
    int l = socket(AF_INET6, SOCK_STREAM, 0), c = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = address(B, 0);
    socklen_t len = sizeof a;
    CHECK(bind(l, SA(a), sizeof a) == 0 && listen(l, 1) == 0);
    CHECK(getsockname(l, SA(a), &len) == 0);
    CHECK(connect(c, SA(a), sizeof a) == 0);
    int s = accept(l, NULL, NULL);
    CHECK(s >= 0 && send(c, "tcp", 3, 0) == 3 && recv(s, buf, 8, 0) == 3);
    int pipes[2];
    CHECK(pipe(pipes) == 0 && write(pipes[1], "p", 1) == 1 && read(pipes[0], buf, 1) == 1);
    FAILS(recv(pipes[0], buf, 1, 0), ENOTSOCK);
    FAILS(read(-1, buf, 1), EBADF);
    FAILS(close(-1), EBADF);
    FAILS(close(1 << 28), EBADF);
    FAILS(send(1 << 28, buf, 1, 0), EBADF);
    FAILS(connect(-1, SA(a), sizeof a), EBADF);
    FAILS(connect(pipes[0], SA(a), sizeof a), ENOTSOCK);
    FAILS(bind(pipes[0], SA(a), sizeof a), ENOTSOCK);
    FAILS(socket(AF_INET6, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
}

MAIN(TEST(connected_loopback), TEST(connected_servable), TEST(connected_mapped), TEST(batches_loopback),
     TEST(batches_bound), TEST(batches_wildcard), TEST(ancillary_data), TEST(unconnected), TEST(unbound_sender),
     TEST(names), TEST(refused), TEST(no_route), TEST(shutdowns), TEST(errno_is_kept), TEST(other_sockets))

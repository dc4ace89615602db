/* What a program can do with a datagram socket besides sending and receiving: the same with and without the shim. */
#include "harness.h"
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Bound to A and B, and connected to each other. */
static void pair(int *a, int *b)
{
    int pa, pb;
    *a = bound(A, &pa);
    *b = bound(B, &pb);
    struct sockaddr_in6 to = address(B, pb);
    CHECK(connect(*a, SA(to), sizeof to) == 0);
    to = address(A, pa);
    CHECK(connect(*b, SA(to), sizeof to) == 0);
}

static void send_descriptor(int over, int fd)
{
    union {
        char octets[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    struct iovec v = { .iov_base = "d", .iov_len = 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    memset(&u, 0, sizeof u);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    CHECK(sendmsg(over, &m, 0) == 1);
}

static int receive_descriptor(int over)
{
    union {
        char octets[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    char b;
    int fd = -1;
    struct iovec v = { .iov_base = &b, .iov_len = 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    CHECK(recvmsg(over, &m, MSG_CMSG_CLOEXEC) == 1);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    CHECK(h != NULL && h->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(h), sizeof fd);
    return fd;
}

/* A duplicate by SCM_RIGHTS, in this process and in another one; the number may have been a socket before. */
static void passed_descriptors(void)
{
    int s, c, sv[2];
    server_and_client(&s, &c);
    echo(s, c);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    send_descriptor(sv[0], c);
    int d = receive_descriptor(sv[1]);
    CHECK(d >= 0 && (fcntl(d, F_GETFD) & FD_CLOEXEC) != 0);
    echo(s, d);
    CHECK(close(c) == 0);
    echo(s, d);
    /* Now the number of a closed shim socket comes back as another one. */
    send_descriptor(sv[0], s);
    int e = receive_descriptor(sv[1]);
    CHECK(e == c);
    echo(e, d);
    CHECK(close(s) == 0);
    echo(e, d);
    pid_t pid = fork();
    if (pid == 0) {
        close(e);
        int f = receive_descriptor(sv[1]);
        echo(f, d);
        _exit(0);
    }
    send_descriptor(sv[0], e);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    /* A pipe takes the number of a socket. */
    int p[2];
    CHECK(pipe(p) == 0);
    CHECK(dup2(p[0], 300) == 300 && dup2(d, 301) == 301);
    send_descriptor(sv[0], 300);
    CHECK(close(d) == 0);
    int g = receive_descriptor(sv[1]);
    CHECK(g == d && write(p[1], "xyz", 3) == 3);
    char buf[8];
    CHECK(read(g, buf, 8) == 3);
    FAILS(send(g, "x", 1, 0), ENOTSOCK);
}

/* Streams over a datagram socket. */
static void streams(void)
{
    int a, b;
    char buf[64];
    pair(&a, &b);
    FILE *out = fdopen(dup(a), "w"), *in = fdopen(dup(b), "r");
    CHECK(out != NULL && in != NULL);
    setvbuf(out, NULL, _IOLBF, 0);
    CHECK(fprintf(out, "line %d\n", 1) == 7);
    CHECK(fgets(buf, sizeof buf, in) != NULL && strcmp(buf, "line 1\n") == 0);
    CHECK(dprintf(a, "dprintf %d", 2) == 9);
    CHECK(recv(b, buf, sizeof buf, 0) == 9);
    CHECK(fclose(out) == 0 && fclose(in) == 0);
    CHECK(send(a, "x", 1, 0) == 1 && recv(b, buf, sizeof buf, 0) == 1);
}

static void ioctls(void)
{
    int s, c, n = -1, on = 1;
    char buf[16];
    server_and_client(&s, &c);
    CHECK(ioctl(s, FIONREAD, &n) == 0 && n == 0);
    CHECK(send(c, "four", 4, 0) == 4 && send(c, "sixsix", 6, 0) == 6);
    CHECK(ioctl(s, FIONREAD, &n) == 0 && n == 4);
    CHECK(recv(s, buf, sizeof buf, 0) == 4);
    CHECK(ioctl(s, FIONREAD, &n) == 0 && n == 6);
    CHECK(recv(s, buf, sizeof buf, 0) == 6);
    CHECK(ioctl(s, FIONBIO, &on) == 0);
    FAILS(recv(s, buf, sizeof buf, 0), EAGAIN);
    CHECK((fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
    on = 0;
    CHECK(ioctl(s, FIONBIO, &on) == 0 && (fcntl(s, F_GETFL) & O_NONBLOCK) == 0);
    CHECK(ioctl(c, TIOCOUTQ, &n) == 0 && n == 0);
    CHECK(fcntl(c, F_SETFL, O_NONBLOCK) == 0);
    FAILS(recv(c, buf, sizeof buf, 0), EAGAIN);
    FAILS(read(c, buf, sizeof buf), EAGAIN);
    struct stat st;
    CHECK(fstat(c, &st) == 0 && S_ISSOCK(st.st_mode));
    CHECK(fcntl(c, F_SETOWN, getpid()) == 0 && fcntl(c, F_GETOWN) == getpid());
    FAILS(lseek(c, 0, SEEK_CUR), ESPIPE);
}

/* Calls for connections. */
static void no_streams(void)
{
    int s, c;
    server_and_client(&s, &c);
    FAILS(listen(s, 5), EOPNOTSUPP);
    FAILS(accept(s, NULL, NULL), EOPNOTSUPP);
    FAILS(accept4(s, NULL, NULL, SOCK_CLOEXEC), EOPNOTSUPP);
    echo(s, c);
}

static void file_to_socket(void)
{
    int a, b, p[2];
    char buf[64];
    off_t offset = 0;
    pair(&a, &b);
    FILE *f = tmpfile();
    CHECK(f != NULL && fwrite("0123456789", 1, 10, f) == 10 && fflush(f) == 0);
    CHECK(sendfile(a, fileno(f), &offset, 10) == 10 && offset == 10);
    CHECK(recv(b, buf, sizeof buf, 0) == 10 && memcmp(buf, "0123456789", 10) == 0);
    CHECK(pipe(p) == 0 && write(p[1], "spliced", 7) == 7);
    CHECK(splice(p[0], NULL, a, NULL, 7, 0) == 7);
    CHECK(recv(b, buf, sizeof buf, 0) == 7 && memcmp(buf, "spliced", 7) == 0);
    struct iovec v = { .iov_base = "pv", .iov_len = 2 };
    FAILS(pwritev(a, &v, 1, 0), ESPIPE);
    FAILS(pwrite(a, "x", 1, 0), ESPIPE);
    FAILS(pread(a, buf, 1, 0), ESPIPE);
    CHECK(pwritev2(a, &v, 1, -1, 0) == 2);
    v = (struct iovec){ .iov_base = buf, .iov_len = sizeof buf };
    CHECK(preadv2(b, &v, 1, -1, 0) == 2);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void timeouts(void)
{
    int s, c;
    char b[4];
    server_and_client(&s, &c);
    struct timeval t = { .tv_usec = 100000 };
    for (int i = 0; i < 2; i++) {
        int fd = i == 0 ? s : c;
        CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
        double start = now();
        FAILS(recv(fd, b, 4, 0), EAGAIN);
        double took = now() - start;
        CHECK(took > 0.09 && took < 1);
        start = now();
        FAILS(recvfrom(fd, b, 4, MSG_WAITALL, NULL, NULL), EAGAIN);
        took = now() - start;
        CHECK(took > 0.09 && took < 1);
    }
    struct iovec v = { .iov_base = b, .iov_len = 4 };
    struct mmsghdr m[2] = { { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } }, { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } } };
    struct timespec ts = { .tv_nsec = 50000000 };
    FAILS(recvmmsg(s, m, 2, 0, &ts), EAGAIN);
    /* The timeout of recvmmsg is looked at after a datagram only. */
    CHECK(send(c, "x", 1, 0) == 1);
    ts = (struct timespec){ .tv_nsec = 1 };
    CHECK(recvmmsg(s, m, 2, 0, &ts) == 1);
    ts = (struct timespec){ .tv_nsec = -1 };
    FAILS(recvmmsg(s, m, 2, 0, &ts), EINVAL);
}

static void flags_of_receiving(void)
{
    int s, c;
    char buf[32];
    server_and_client(&s, &c);
    for (int i = 0; i < 2; i++) {
        CHECK(send(c, "abcdef", 6, 0) == 6);
        CHECK(recv(s, buf, 3, MSG_PEEK) == 3);
        CHECK(recv(s, buf, 3, MSG_PEEK | MSG_TRUNC) == 6);
        CHECK(recv(s, buf, 0, MSG_PEEK | MSG_TRUNC) == 6);
        CHECK(recv(s, NULL, 0, MSG_PEEK | MSG_TRUNC) == 6);
        /* A datagram is all that MSG_WAITALL waits for. */
        CHECK(recv(s, buf, sizeof buf, MSG_WAITALL) == 6);
        FAILS(recv(s, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
        FAILS(recv(s, buf, sizeof buf, MSG_DONTWAIT | MSG_ERRQUEUE), EAGAIN);
        struct sockaddr_in6 self;
        socklen_t len = sizeof self;
        CHECK(getsockname(c, SA(self), &len) == 0);
        if (i == 0)
            CHECK(connect(s, SA(self), len) == 0);
    }
    CHECK(send(c, "abc", 3, MSG_CONFIRM | MSG_NOSIGNAL | MSG_DONTWAIT) == 3);
    CHECK(recv(s, buf, 0, 0) == 0);
    FAILS(recv(s, buf, 1, MSG_DONTWAIT), EAGAIN);
    int offset = 0;
    CHECK(setsockopt(s, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
    CHECK(send(c, "abcdef", 6, 0) == 6);
    CHECK(recv(s, buf, 2, MSG_PEEK) == 2 && memcmp(buf, "ab", 2) == 0);
    CHECK(recv(s, buf, 2, MSG_PEEK) == 2 && memcmp(buf, "cd", 2) == 0);
    CHECK(recv(s, buf, sizeof buf, 0) == 6);
}

/* MSG_MORE and UDP_CORK gather what is sent into one datagram. */
static void corked(void)
{
    int s, c, on = 1, off = 0;
    char buf[32];
    server_and_client(&s, &c);
    CHECK(send(c, "one", 3, MSG_MORE) == 3);
    CHECK(send(c, "two", 3, MSG_MORE) == 3);
    FAILS(recv(s, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
    CHECK(send(c, "end", 3, 0) == 3);
    CHECK(recv(s, buf, sizeof buf, 0) == 9 && memcmp(buf, "onetwoend", 9) == 0);
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_CORK, &on, sizeof on) == 0);
    CHECK(write(c, "ab", 2) == 2 && write(c, "cd", 2) == 2);
    FAILS(recv(s, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_CORK, &off, sizeof off) == 0);
    CHECK(recv(s, buf, sizeof buf, 0) == 4);
}

static void zero_copy(void)
{
    int s, c, on = 1;
    static char data[8000], in[9000];
    server_and_client(&s, &c);
    CHECK(setsockopt(c, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
    CHECK(send(c, data, sizeof data, MSG_ZEROCOPY) == sizeof data);
    CHECK(recv(s, in, sizeof in, 0) == sizeof data);
    union {
        char octets[200];
        struct cmsghdr align;
    } u;
    struct msghdr m = { .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    struct pollfd p = { .fd = c };
    CHECK(poll(&p, 1, 2000) == 1 && (p.revents & POLLERR) != 0);
    CHECK(recvmsg(c, &m, MSG_ERRQUEUE) == 0 && (m.msg_flags & MSG_ERRQUEUE) != 0);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    CHECK(h != NULL && h->cmsg_level == SOL_IPV6 && h->cmsg_type == IPV6_RECVERR);
    struct sock_extended_err e;
    memcpy(&e, CMSG_DATA(h), sizeof e);
    CHECK(e.ee_origin == SO_EE_ORIGIN_ZEROCOPY && e.ee_info == 0 && e.ee_data == 0);
}

/* A train of datagrams in one call, and out again in one. */
static void segments(void)
{
    int s, c, size = 100, on = 1, i;
    char data[450], buf[1000];
    server_and_client(&s, &c);
    for (i = 0; i < (int)sizeof data; i++)
        data[i] = (char)(i / 100);
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) == 0);
    CHECK(send(c, data, sizeof data, 0) == sizeof data);
    for (i = 0; i < 5; i++)
        CHECK(recv(s, buf, sizeof buf, 0) == (i < 4 ? 100 : 50) && buf[0] == i);
    size = 0;
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) == 0);
    CHECK(send(c, data, sizeof data, 0) == sizeof data && recv(s, buf, sizeof buf, 0) == sizeof data);
    union {
        char octets[CMSG_SPACE(2)];
        struct cmsghdr align;
    } u;
    struct iovec v = { .iov_base = data, .iov_len = sizeof data };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    memset(&u, 0, sizeof u);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = IPPROTO_UDP;
    h->cmsg_type = UDP_SEGMENT;
    h->cmsg_len = CMSG_LEN(2);
    memcpy(CMSG_DATA(h), &(uint16_t){ 200 }, 2);
    CHECK(sendmsg(c, &m, 0) == sizeof data);
    CHECK(recv(s, buf, sizeof buf, 0) == 200 && recv(s, buf, sizeof buf, 0) == 200 && recv(s, buf, sizeof buf, 0) == 50);
    CHECK(setsockopt(s, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0);
    CHECK(sendmsg(c, &m, 0) == sizeof data);
    union {
        char octets[200];
        struct cmsghdr align;
    } w;
    v = (struct iovec){ .iov_base = buf, .iov_len = sizeof buf };
    m = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1, .msg_control = w.octets, .msg_controllen = sizeof w.octets };
    CHECK(recvmsg(s, &m, 0) == sizeof data);
    h = CMSG_FIRSTHDR(&m);
    CHECK(h != NULL && h->cmsg_level == IPPROTO_UDP && h->cmsg_type == UDP_GRO && CMSG_NXTHDR(&m, h) == NULL);
    memcpy(&size, CMSG_DATA(h), sizeof size);
    CHECK(size == 200);
}

static void name_is(int fd, int peer, const char *text, int port)
{
    struct sockaddr_in6 a;
    socklen_t len = sizeof a;
    CHECK((peer ? getpeername(fd, SA(a), &len) : getsockname(fd, SA(a), &len)) == 0);
    same_address(&a, text, port);
}

static void connecting_again(void)
{
    int p1, p2, p3;
    int s1 = bound(A, &p1), s2 = bound(B, &p2), s3 = bound("::1", &p3);
    char buf[8];
    int c = udp();
    struct sockaddr_in6 to, unspec = { .sin6_family = AF_UNSPEC };
    for (int round = 0; round < 3; round++) {
        to = address(A, p1);
        CHECK(connect(c, SA(to), sizeof to) == 0);
        name_is(c, 1, A, p1);
        CHECK(send(c, "a", 1, 0) == 1 && recv(s1, buf, 8, 0) == 1);
        to = address(B, p2);
        CHECK(connect(c, SA(to), sizeof to) == 0);
        name_is(c, 1, B, p2);
        CHECK(send(c, "b", 1, 0) == 1 && recv(s2, buf, 8, 0) == 1);
        to = address("::1", p3);
        CHECK(connect(c, SA(to), sizeof to) == 0);
        CHECK(send(c, "c", 1, 0) == 1 && recv(s3, buf, 8, 0) == 1);
        CHECK(connect(c, SA(unspec), sizeof(sa_family_t)) == 0);
        struct sockaddr_in6 name;
        socklen_t len = sizeof name;
        FAILS(getpeername(c, SA(name), &len), ENOTCONN);
        FAILS(send(c, "x", 1, 0), EDESTADDRREQ);
        CHECK(getsockname(c, SA(name), &len) == 0);
        same_address(&name, "::", 0);
        to = address(A, p1);
        CHECK(sendto(c, "a", 1, 0, SA(to), sizeof to) == 1 && recv(s1, buf, 8, 0) == 1);
    }
    struct sockaddr_in six = { .sin_family = AF_INET };
    FAILS(connect(c, SA(to), 10), EINVAL);
    FAILS(connect(c, SA(to), 1), EINVAL);
    FAILS(connect(c, NULL, sizeof to), EFAULT);
    to.sin6_family = 77;
    FAILS(connect(c, SA(to), sizeof to), EAFNOSUPPORT);
    six.sin_port = htons(9);
    six.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(c, SA(six), sizeof six) == 0);
    name_is(c, 1, "::ffff:127.0.0.1", 9);
}

/* A socket that a program dissolves before it is used again must get the port of its own choice. */
static void port_zero_after_disconnect(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    struct sockaddr_in6 a, b, unspec = { .sin6_family = AF_UNSPEC };
    socklen_t len = sizeof a;
    CHECK(getsockname(c, SA(a), &len) == 0 && a.sin6_port != 0);
    CHECK(connect(c, SA(unspec), sizeof unspec) == 0);
    /* The kernel takes back the port that it chose itself. */
    CHECK(getsockname(c, SA(b), &len) == 0);
    CHECK(b.sin6_port == 0);
    (void)s;
}

static void dual_stack(void)
{
    int off = 0, on = 1, port, v = -1;
    char buf[8];
    socklen_t len = sizeof v;
    int s = udp();
    CHECK(getsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len) == 0);
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0);
    struct sockaddr_in6 any = address("::", 0), from;
    CHECK(bind(s, SA(any), sizeof any) == 0);
    len = sizeof any;
    CHECK(getsockname(s, SA(any), &len) == 0);
    port = ntohs(any.sin6_port);
    int c = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    CHECK(connect(c, SA(to), sizeof to) == 0 && send(c, "four", 4, 0) == 4);
    len = sizeof from;
    CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 4 && len == sizeof from);
    CHECK(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
    CHECK(sendto(s, "back", 4, 0, SA(from), len) == 4 && recv(c, buf, 8, 0) == 4);
    int six = to_peer(A, port);
    echo(s, six);
    /* IPV6_PKTINFO of an IPv4 datagram, asked for by the program. */
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    CHECK(send(c, "four", 4, 0) == 4);
    union {
        char octets[200];
        struct cmsghdr align;
    } u;
    struct iovec iov = { .iov_base = buf, .iov_len = 8 };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    CHECK(recvmsg(s, &m, 0) == 4);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    CHECK(h != NULL && h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO);
    /* IP_PKTINFO too, on this very socket. */
    CHECK(setsockopt(s, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0);
    CHECK(send(c, "four", 4, 0) == 4);
    m.msg_controllen = sizeof u.octets;
    CHECK(recvmsg(s, &m, 0) == 4);
    int seen = 0;
    for (h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h))
        seen += h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO;
    CHECK(seen == 1);
    /* Only IPv6. */
    int only = udp();
    CHECK(setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
    struct sockaddr_in6 mapped = address("::ffff:127.0.0.1", port);
    FAILS(connect(only, SA(mapped), sizeof mapped), ENETUNREACH);
    FAILS(sendto(only, "x", 1, 0, SA(mapped), sizeof mapped), ENETUNREACH);
}

static void plain_ipv4(void)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } }, from;
    socklen_t len = sizeof a;
    char buf[8];
    CHECK(bind(s, SA(a), sizeof a) == 0 && getsockname(s, SA(a), &len) == 0);
    CHECK(sendto(c, "four", 4, 0, SA(a), sizeof a) == 4);
    CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 4);
    CHECK(connect(s, SA(from), sizeof from) == 0 && send(s, "x", 1, 0) == 1 && recv(c, buf, 8, 0) == 1);
    int v = -1;
    len = sizeof v;
    FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &v, &len), EOPNOTSUPP);
    FAILS(sendto(c, "x", 1, 0, SA(a), 4), EINVAL);
}

/* Each datagram goes to one socket of the group, the same one for a sender. */
static void reuseport_group(void)
{
    int on = 1, s[4];
    struct sockaddr_in6 a = address("::", 6001);
    for (int i = 0; i < 4; i++) {
        s[i] = udp();
        CHECK(setsockopt(s[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
        CHECK(bind(s[i], SA(a), sizeof a) == 0);
    }
    int other = udp();
    FAILS(bind(other, SA(a), sizeof a), EADDRINUSE);
    for (int i = 0; i < 40; i++) {
        int c = to_peer(i % 2 ? A : B, 6001), by = -1;
        char buf[8];
        for (int round = 0; round < 3; round++) {
            CHECK(send(c, "x", 1, 0) == 1);
            int got = 0;
            for (int k = 0; k < 4; k++) {
                struct sockaddr_in6 from;
                socklen_t len = sizeof from;
                if (recvfrom(s[k], buf, 8, MSG_DONTWAIT, SA(from), &len) == 1) {
                    CHECK(by == -1 || by == k);
                    by = k;
                    got++;
                    CHECK(sendto(s[k], "y", 1, 0, SA(from), len) == 1);
                }
            }
            CHECK(got == 1);
            CHECK(recv(c, buf, 8, 0) == 1);
        }
        close(c);
    }
}

static void bound_to_device(void)
{
    int s, port;
    char name[IFNAMSIZ] = "", buf[8];
    socklen_t len = sizeof name;
    s = bound("::", &port);
    int c = udp();
    CHECK(setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
    struct sockaddr_in6 to = address("::1", port), from;
    CHECK(connect(c, SA(to), sizeof to) == 0);
    echo(s, c);
    /* A neighbour that nobody has. */
    int d = udp();
    CHECK(setsockopt(d, SOL_SOCKET, SO_BINDTODEVICE, "d0", 3) == 0);
    struct sockaddr_in6 near = address("2001:db8:1::99", port);
    CHECK(connect(d, SA(near), sizeof near) == 0 && send(d, "x", 1, 0) == 1);
    int e = udp();
    CHECK(setsockopt(e, SOL_SOCKET, SO_BINDTODEVICE, "d1", 3) == 0);
    FAILS(connect(e, SA(near), sizeof near), ENETUNREACH);
    FAILS(sendto(e, "x", 1, 0, SA(near), sizeof near), ENETUNREACH);
    CHECK(getsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 && strcmp(name, "lo") == 0);
    FAILS(setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "nonexistent", 11), ENODEV);
    /* A server on a device hears what comes in there only. */
    CHECK(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "d1", 3) == 0);
    CHECK(send(c, "x", 1, 0) == 1);
    len = sizeof from;
    FAILS(recvfrom(s, buf, 8, MSG_DONTWAIT, SA(from), &len), EAGAIN);
}

/* Source and interface by ancillary data and by sticky option. */
static void packet_info(void)
{
    int port;
    int s = bound("::", &port);
    int c = udp();
    char buf[8];
    struct sockaddr_in6 to = address(B, port), from, a = address(A, 0), b = address(B, 0), other = address("2001:db8:9::9", 0);
    union {
        char octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
        struct cmsghdr align;
    } u;
    struct iovec v = { .iov_base = "info", .iov_len = 4 };
    struct msghdr m = { .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &v, .msg_iovlen = 1,
                        .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    memset(&u, 0, sizeof u);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = IPPROTO_IPV6;
    h->cmsg_type = IPV6_PKTINFO;
    h->cmsg_len = CMSG_LEN(sizeof(struct in6_pktinfo));
    struct in6_pktinfo info = { .ipi6_addr = a.sin6_addr };
    for (int i = 0; i < 4; i++) {
        info.ipi6_addr = i % 2 == 0 ? a.sin6_addr : b.sin6_addr;
        memcpy(CMSG_DATA(h), &info, sizeof info);
        CHECK(sendmsg(c, &m, 0) == 4);
        socklen_t len = sizeof from;
        CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 4);
        CHECK(memcmp(&from.sin6_addr, &info.ipi6_addr, 16) == 0);
        CHECK(sendto(s, "back", 4, 0, SA(from), len) == 4);
        CHECK(recvfrom(c, buf, 8, 0, SA(from), &len) == 4);
        CHECK(from.sin6_port == htons((uint16_t)port));
    }
    info.ipi6_addr = other.sin6_addr;
    memcpy(CMSG_DATA(h), &info, sizeof info);
    FAILS(sendmsg(c, &m, 0), EINVAL);
    info = (struct in6_pktinfo){ .ipi6_ifindex = 12345 };
    memcpy(CMSG_DATA(h), &info, sizeof info);
    FAILS(sendmsg(c, &m, 0), ENODEV);
    h->cmsg_len = 4;
    FAILS(sendmsg(c, &m, 0), EINVAL);
    h->cmsg_len = CMSG_LEN(3);
    FAILS(sendmsg(c, &m, 0), EINVAL);
    info = (struct in6_pktinfo){ .ipi6_addr = a.sin6_addr };
    CHECK(setsockopt(c, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info) == 0);
    socklen_t len = sizeof from;
    CHECK(sendto(c, "x", 1, 0, SA(to), sizeof to) == 1 && recvfrom(s, buf, 8, 0, SA(from), &len) == 1);
    CHECK(sendto(s, "y", 1, 0, SA(from), len) == 1 && recv(c, buf, 8, 0) == 1);
}

/* Errors with their cause, in the queue for them. */
static void extended_errors(void)
{
    int port, on = 1;
    int s = bound(B, &port);
    close(s);
    for (int i = 0; i < 2; i++) {
        int c = udp();
        CHECK(setsockopt(c, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on) == 0);
        struct sockaddr_in6 to = address(B, port), name;
        if (i == 0) {
            CHECK(connect(c, SA(to), sizeof to) == 0);
            CHECK(send(c, "data", 4, 0) == 4);
        } else {
            struct sockaddr_in6 any = address("::", 0);
            CHECK(bind(c, SA(any), sizeof any) == 0);
            CHECK(sendto(c, "data", 4, 0, SA(to), sizeof to) == 4);
        }
        struct pollfd p = { .fd = c };
        CHECK(poll(&p, 1, 2000) == 1 && (p.revents & POLLERR) != 0);
        union {
            char octets[400];
            struct cmsghdr align;
        } u;
        char buf[16];
        struct iovec v = { .iov_base = buf, .iov_len = sizeof buf };
        struct msghdr m = { .msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &v, .msg_iovlen = 1,
                            .msg_control = u.octets, .msg_controllen = sizeof u.octets };
        CHECK(recvmsg(c, &m, MSG_ERRQUEUE) == 4 && memcmp(buf, "data", 4) == 0);
        CHECK((m.msg_flags & MSG_ERRQUEUE) != 0 && m.msg_namelen == sizeof name);
        same_address(&name, B, port);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        CHECK(h != NULL && h->cmsg_level == SOL_IPV6 && h->cmsg_type == IPV6_RECVERR);
        struct sock_extended_err e;
        memcpy(&e, CMSG_DATA(h), sizeof e);
        CHECK(e.ee_errno == ECONNREFUSED && e.ee_origin == SO_EE_ORIGIN_ICMP6 && e.ee_type == 1 && e.ee_code == 4);
        CHECK(CMSG_NXTHDR(&m, h) == NULL);
        FAILS(recv(c, buf, 8, MSG_DONTWAIT), i == 0 ? EAGAIN : EAGAIN);
    }
}

static void multicast(void)
{
    int port, one = 1;
    char buf[8];
    int s = bound("::", &port);
    struct sockaddr_in6 group = address("ff05::5533", port), from;
    struct ipv6_mreq r = { .ipv6mr_multiaddr = group.sin6_addr, .ipv6mr_interface = if_nametoindex("d0") };
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &r, sizeof r) == 0);
    int c = udp();
    unsigned index = if_nametoindex("d0");
    CHECK(setsockopt(c, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0);
    CHECK(setsockopt(c, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &one, sizeof one) == 0);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            CHECK(connect(c, SA(group), sizeof group) == 0);
        CHECK((i == 2 ? send(c, "group", 5, 0) : sendto(c, "group", 5, 0, SA(group), sizeof group)) == 5);
        socklen_t len = sizeof from;
        CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 5);
        if (i < 2) {
            CHECK(sendto(s, "back", 4, 0, SA(from), len) == 4);
            CHECK(recv(c, buf, 8, 0) == 4);
        }
    }
    CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &r, sizeof r) == 0);
    /* A socket that is bound to the group. */
    int g = udp();
    group = address("ff05::5533", 6002);
    CHECK(bind(g, SA(group), sizeof group) == 0);
    CHECK(setsockopt(g, IPPROTO_IPV6, IPV6_JOIN_GROUP, &r, sizeof r) == 0);
    int d = udp();
    CHECK(setsockopt(d, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0);
    CHECK(sendto(d, "x", 1, 0, SA(group), sizeof group) == 1 && recv(g, buf, 8, 0) == 1);
}

static void link_local(void)
{
    int port;
    char buf[8];
    int s = bound("::", &port);
    /* The address of d0, from its number. */
    FILE *f = popen("PATH=$PATH:/usr/sbin:/sbin;"
                    "while ip -6 addr show dev d0 scope link tentative | grep -q .; do sleep 0.1; done;"
                    "ip -o -6 addr show dev d0 scope link | grep -o 'fe80[^/]*'", "r");
    char text[64] = "";
    CHECK(f != NULL && fscanf(f, "%63s", text) == 1 && pclose(f) == 0);
    struct sockaddr_in6 to = address(text, port), from;
    int c = udp();
    FAILS(connect(c, SA(to), sizeof to), EINVAL);
    to.sin6_scope_id = if_nametoindex("d0");
    CHECK(connect(c, SA(to), sizeof to) == 0);
    CHECK(send(c, "x", 1, 0) == 1);
    socklen_t len = sizeof from;
    CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 1 && from.sin6_scope_id == to.sin6_scope_id);
    CHECK(sendto(s, "y", 1, 0, SA(from), len) == 1 && recv(c, buf, 8, 0) == 1);
}

static void readiness(void)
{
    int s, c, d;
    char buf[8];
    server_and_client(&s, &c);
    int e = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.fd = s }, got[4];
    CHECK(epoll_ctl(e, EPOLL_CTL_ADD, s, &ev) == 0);
    ev = (struct epoll_event){ .events = EPOLLIN, .data.fd = c };
    CHECK(epoll_ctl(e, EPOLL_CTL_ADD, c, &ev) == 0);
    CHECK(epoll_wait(e, got, 4, 0) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK(send(c, "x", 1, 0) == 1);
        CHECK(epoll_wait(e, got, 4, 1000) == 1 && got[0].data.fd == s);
        CHECK(epoll_wait(e, got, 4, 0) == 0);
        struct sockaddr_in6 from;
        socklen_t len = sizeof from;
        CHECK(recvfrom(s, buf, 8, 0, SA(from), &len) == 1 && sendto(s, "y", 1, 0, SA(from), len) == 1);
        CHECK(epoll_wait(e, got, 4, 1000) == 1 && got[0].data.fd == c);
        fd_set set;
        FD_ZERO(&set);
        FD_SET(c, &set);
        struct timeval t = { .tv_sec = 1 };
        CHECK(select(c + 1, &set, NULL, NULL, &t) == 1 && FD_ISSET(c, &set));
        CHECK(recv(c, buf, 8, 0) == 1);
        struct pollfd p = { .fd = c, .events = POLLIN | POLLOUT };
        CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLOUT);
    }
    d = dup(c);
    FAILS(epoll_ctl(e, EPOLL_CTL_ADD, c, &ev), EEXIST);
    CHECK(epoll_ctl(e, EPOLL_CTL_ADD, d, &ev) == 0);
    close(d);
    CHECK(epoll_ctl(e, EPOLL_CTL_DEL, c, NULL) == 0);
    FAILS(epoll_ctl(e, EPOLL_CTL_DEL, c, NULL), ENOENT);
}

static volatile sig_atomic_t polled;
static void on_io(int number)
{
    (void)number;
    polled++;
}

/* SIGIO for a socket that has something. */
static void signal_driven(void)
{
    int s, c;
    server_and_client(&s, &c);
    struct sigaction action = { .sa_handler = on_io };
    CHECK(sigaction(SIGIO, &action, NULL) == 0);
    CHECK(fcntl(s, F_SETOWN, getpid()) == 0 && fcntl(s, F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
    echo(s, c);
    for (int i = 0; i < 100 && polled == 0; i++)
        usleep(10000);
    CHECK(polled > 0);
}

static void nothing(int number)
{
    (void)number;
}

static void *interrupt(void *thread)
{
    for (int i = 0; i < 3; i++) {
        usleep(50000);
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
    }
    return NULL;
}

static void *interrupt_and_send(void *fd)
{
    for (int i = 0; i < 3; i++) {
        usleep(30000);
        kill(getpid(), SIGUSR2);
    }
    usleep(30000);
    CHECK(send(*(int *)fd, "x", 1, 0) == 1);
    return NULL;
}

/* EINTR without SA_RESTART, and none with it. */
static void interrupted(void)
{
    int s, c;
    char buf[8];
    pthread_t self = pthread_self(), t;
    server_and_client(&s, &c);
    struct sigaction action = { .sa_handler = nothing };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pthread_create(&t, NULL, interrupt, &self) == 0);
    FAILS(recv(s, buf, 8, 0), EINTR);
    FAILS(read(c, buf, 8), EINTR);
    struct iovec v = { .iov_base = buf, .iov_len = 8 };
    struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };
    FAILS(recvmmsg(s, &m, 1, 0, NULL), EINTR);
    CHECK(pthread_join(t, NULL) == 0);
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    CHECK(pthread_create(&t, NULL, interrupt_and_send, &c) == 0);
    CHECK(recv(s, buf, 8, 0) == 1);
    CHECK(pthread_join(t, NULL) == 0);
    CHECK(pthread_create(&t, NULL, interrupt_and_send, &c) == 0);
    CHECK(recvmsg(s, &m.msg_hdr, 0) == 1);
    CHECK(pthread_join(t, NULL) == 0);
    /* With a timeout on the socket there is no restart, as signal(7) has it. */
    struct timeval tv = { .tv_sec = 5 };
    CHECK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
    CHECK(pthread_create(&t, NULL, interrupt_and_send, &c) == 0);
    FAILS(recv(s, buf, 8, 0), EINTR);
    FAILS(recv(s, buf, 8, 0), EINTR);
    FAILS(recv(s, buf, 8, 0), EINTR);
    CHECK(recv(s, buf, 8, 0) == 1);
    CHECK(pthread_join(t, NULL) == 0);
}

/* Addresses that cannot be read or written. */
static void bad_pointers(void)
{
    int s, c;
    char buf[8];
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    server_and_client(&s, &c);
    /* Unknown to the compiler, which would complain. */
    void *volatile bad = (void *)8;
    void *volatile none = NULL;
    volatile int negative = -1, too_many = 2000;
    FAILS(send(c, bad, 100, 0), EFAULT);
    FAILS(sendto(s, "x", 1, 0, bad, sizeof from), EFAULT);
    FAILS(sendmsg(c, bad, 0), EFAULT);
    FAILS(sendmmsg(c, bad, 1, 0), EFAULT);
    FAILS(writev(c, bad, 1), EFAULT);
    FAILS(writev(c, none, negative), EINVAL);
    FAILS(readv(s, none, too_many), EINVAL);
    FAILS(bind(udp(), bad, sizeof from), EFAULT);
    FAILS(connect(udp(), bad, sizeof from), EFAULT);
    FAILS(getsockname(c, bad, &len), EFAULT);
    FAILS(getsockname(c, SA(from), bad), EFAULT);
    FAILS(getpeername(c, SA(from), bad), EFAULT);
    FAILS(setsockopt(c, IPPROTO_IPV6, IPV6_RECVPKTINFO, bad, 4), EFAULT);
    FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, buf, 1), EINVAL);
    FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, bad, &len), EFAULT);
    FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, buf, bad), EFAULT);
    FAILS(getsockopt(s, SOL_SOCKET, SO_ERROR, buf, bad), EFAULT);
    for (int i = 0; i < 4; i++)
        CHECK(send(c, "data", 4, 0) == 4);
    FAILS(recv(s, bad, 100, 0), EFAULT);
    FAILS(recvmsg(s, bad, 0), EFAULT);
    FAILS(recvmmsg(s, bad, 1, 0, NULL), EFAULT);
    FAILS(readv(s, bad, 1), EFAULT);
    while (recv(s, buf, 8, MSG_DONTWAIT) > 0)
        ;
    struct iovec v = { .iov_base = bad, .iov_len = 8 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    FAILS(sendmsg(c, &m, 0), EFAULT);
    m.msg_iovlen = 5000;
    FAILS(sendmsg(c, &m, 0), EMSGSIZE);
    FAILS(recvmsg(s, &m, MSG_DONTWAIT), EMSGSIZE);
    echo(s, c);
}

/* Headers whose buffers cannot be written: the kernel takes the datagram all the same. */
static void bad_buffers(void)
{
    int s, c, on = 1;
    char buf[8];
    struct sockaddr_in6 from;
    server_and_client(&s, &c);
    void *volatile bad = (void *)8;
    struct iovec v = { .iov_base = buf, .iov_len = sizeof buf };
    for (int asked = 0; asked < 2; asked++) {
        for (int i = 0; i < 8; i++)
            CHECK(send(c, "data", 4, 0) == 4);
        struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1,
                            .msg_control = bad, .msg_controllen = 200 };
        CHECK(recvmsg(s, &m, 0) == 4 && from.sin6_family == AF_INET6);
        CHECK(m.msg_controllen == 0 && m.msg_flags == 0);
        struct mmsghdr many[2] = { { .msg_hdr = m }, { .msg_hdr = m } };
        many[0].msg_hdr.msg_controllen = many[1].msg_hdr.msg_controllen = 200;
        CHECK(recvmmsg(s, many, 2, 0, NULL) == 2 && many[1].msg_len == 4);
        CHECK(many[1].msg_hdr.msg_controllen == 0 && many[1].msg_hdr.msg_flags == 0);
        m.msg_control = NULL;
        m.msg_controllen = 0;
        for (socklen_t len = 1; len <= sizeof from; len += sizeof from - 1) {
            m.msg_name = bad;
            m.msg_namelen = len;
            FAILS(recvmsg(s, &m, 0), EFAULT);
            many[0].msg_hdr = m;
            FAILS(recvmmsg(s, many, 1, 0, NULL), EFAULT);
        }
        CHECK(recv(s, buf, sizeof buf, 0) == 4);
        FAILS(recv(s, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
        CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    }
}

MAIN(TEST(passed_descriptors), TEST(streams), TEST(ioctls), TEST(no_streams), TEST(file_to_socket), TEST(timeouts),
     TEST(flags_of_receiving), TEST(corked), TEST(zero_copy), TEST(segments), TEST(connecting_again),
     TEST(port_zero_after_disconnect), TEST(dual_stack), TEST(plain_ipv4), TEST(reuseport_group), TEST(bound_to_device), TEST(packet_info),
     TEST(extended_errors), TEST(multicast), TEST(link_local), TEST(readiness), TEST(signal_driven), TEST(interrupted),
     TEST(bad_pointers), TEST(bad_buffers))

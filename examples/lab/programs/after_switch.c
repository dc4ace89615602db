/*
 * A client that waits until its path has failed and another one is in use, and then does what a program can do with a UDP
 * socket. Arguments: address and port of an echo server, and a file that appears when the other path is in use. Prints
 * "ready" when the failure may come, later a line for each thing that is not as it is on a healthy path.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MSG_PROBE 0x10
#define UDP_CORK 1
#define UDP_SEGMENT 103
#define SA(a) ((struct sockaddr *)&(a))

static int failures;
static void check(int fine, const char *file, int line, const char *what)
{
    if (!fine) {
        printf("FAILED %s:%d: %s (errno %d, %s)\n", file, line, what, errno, strerror(errno));
        failures++;
    }
}
#define CHECK(c) (errno = 0, check((c) != 0, __FILE__, __LINE__, #c))
#define FAILS(c, e) (errno = 0, check((c) == -1 && errno == (e), __FILE__, __LINE__, #c " fails with " #e))

static struct sockaddr_in6 server;
static char out[60000], in[65536];

static int fresh(int connected)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct timeval t = { .tv_sec = 2 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    if (connected && connect(fd, SA(server), sizeof server) != 0) {
        perror("connect");
        exit(2);
    }
    return fd;
}

static ssize_t ask(int fd, const char *text)
{
    size_t n = strlen(text);
    return send(fd, text, n, 0) == (ssize_t)n ? recv(fd, in, sizeof in, 0) : -1;
}

static void empty(int fd)
{
    while (recv(fd, in, sizeof in, MSG_DONTWAIT) >= 0)
        ;
}

static void sends(int c)
{
    struct iovec v[3] = { { "ab", 2 }, { NULL, 0 }, { "cde", 3 } };
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 3 };
    CHECK(write(c, "write", 5) == 5 && read(c, in, 100) == 5 && memcmp(in, "write", 5) == 0);
    CHECK(writev(c, v, 3) == 5 && recv(c, in, 100, 0) == 5 && memcmp(in, "abcde", 5) == 0);
    CHECK(sendmsg(c, &m, MSG_NOSIGNAL) == 5 && recv(c, in, 100, 0) == 5);
    CHECK(sendto(c, "named", 5, 0, SA(server), sizeof server) == 5 && recv(c, in, 100, 0) == 5);
    CHECK(send(c, "", 0, 0) == 0 && recv(c, in, 100, 0) == 0);
    CHECK(send(c, NULL, 0, 0) == 0 && recv(c, in, 100, 0) == 0);
    CHECK(write(c, "", 0) == 0 && recv(c, in, 100, 0) == 0);
    for (unsigned i = 0; i < sizeof out; i++)
        out[i] = (char)(i * 7);
    /* 1400 and 1432: over the path MTU with the extension header, alone with it not. */
    int sizes[] = { 1, 7, 1200, 1400, 1432, 1452, 1453, 3000, 9000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK(send(c, out, (size_t)sizes[i], 0) == sizes[i]);
        CHECK(recv(c, in, sizeof in, 0) == sizes[i] && memcmp(in, out, (size_t)sizes[i]) == 0);
    }
    FAILS(send(c, out, 65528, 0), EMSGSIZE);
    struct mmsghdr mm[4] = { 0 }, back[4] = { 0 };
    struct iovec w[4];
    char place[4][8];
    for (int i = 0; i < 4; i++) {
        v[0] = (struct iovec){ out, 4 };
        mm[i].msg_hdr = (struct msghdr){ .msg_iov = v, .msg_iovlen = 1 };
        w[i] = (struct iovec){ place[i], 8 };
        back[i].msg_hdr = (struct msghdr){ .msg_iov = &w[i], .msg_iovlen = 1 };
    }
    CHECK(sendmmsg(c, mm, 4, 0) == 4 && mm[3].msg_len == 4);
    int got = 0;
    for (int i = 0; i < 4 && got < 4; i++) {
        int n = recvmmsg(c, back, (unsigned)(4 - got), MSG_WAITFORONE, NULL);
        if (n < 0)
            break;
        got += n;
    }
    CHECK(got == 4);
    /* Gathered with MSG_MORE and with UDP_CORK. */
    CHECK(send(c, "one", 3, MSG_MORE) == 3 && send(c, "two", 3, 0) == 3);
    CHECK(recv(c, in, 100, 0) == 6 && memcmp(in, "onetwo", 6) == 0);
    int on = 1, off = 0;
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_CORK, &on, sizeof on) == 0);
    CHECK(send(c, "three", 5, 0) == 5 && send(c, "four", 4, 0) == 4);
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_CORK, &off, sizeof off) == 0);
    CHECK(recv(c, in, 100, 0) == 9 && memcmp(in, "threefour", 9) == 0);
    /* Data that does not pass through the program. */
    int p[2];
    FILE *f = tmpfile();
    off_t at = 2;
    CHECK(f != NULL && fwrite("0123456789", 1, 10, f) == 10 && fflush(f) == 0);
    CHECK(sendfile(c, fileno(f), &at, 5) == 5 && at == 7);
    CHECK(recv(c, in, 100, 0) == 5 && memcmp(in, "23456", 5) == 0);
    CHECK(lseek(fileno(f), 6, SEEK_SET) == 6 && sendfile(c, fileno(f), NULL, 4) == 4);
    CHECK(recv(c, in, 100, 0) == 4 && memcmp(in, "6789", 4) == 0);
    CHECK(sendfile(c, fileno(f), NULL, 100) == 0);
    fclose(f);
    CHECK(pipe(p) == 0 && write(p[1], "spliced", 7) == 7 && splice(p[0], NULL, c, NULL, 7, 0) == 7);
    CHECK(splice(c, NULL, p[1], NULL, 100, 0) == 7 && read(p[0], in, 100) == 7 && memcmp(in, "spliced", 7) == 0);
    FAILS(splice(p[0], NULL, c, NULL, 100, SPLICE_F_NONBLOCK), EAGAIN);
    close(p[0]);
    close(p[1]);
    v[0] = (struct iovec){ "ab", 2 };
    CHECK(pwritev2(c, v, 3, -1, 0) == 5);
    w[0] = (struct iovec){ in, 100 };
    CHECK(preadv2(c, w, 1, -1, 0) == 5 && memcmp(in, "abcde", 5) == 0);
    FAILS(preadv2(c, w, 1, -1, RWF_NOWAIT), EAGAIN);
    FAILS(pwritev2(c, v, 3, 0, 0), ESPIPE);
    /* A train of datagrams. */
    int size = 500;
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) == 0);
    CHECK(send(c, out, 1300, 0) == 1300);
    for (int i = 0; i < 3; i++)
        CHECK(recv(c, in, sizeof in, 0) == (i < 2 ? 500 : 300));
    CHECK(setsockopt(c, IPPROTO_UDP, UDP_SEGMENT, &off, sizeof off) == 0);
    void *volatile bad = (void *)8;
    FAILS(send(c, bad, 100, 0), EFAULT);
    FAILS(sendto(c, "x", 1, 0, bad, sizeof server), EFAULT);
    empty(c);
}

static ssize_t with(int fd, int level, int type, const void *value, size_t n, const char *text)
{
    union {
        char octets[100];
        struct cmsghdr align;
    } u = { 0 };
    struct iovec v = { (void *)text, strlen(text) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = CMSG_SPACE(n) };
    *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(n), .cmsg_level = level, .cmsg_type = type };
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), value, n);
    return sendmsg(fd, &m, 0);
}

static int set(int fd, int name, int value)
{
    return setsockopt(fd, IPPROTO_IPV6, name, &value, sizeof value);
}

/* The answer to "header": what the server saw in the IPv6 header. */
static int came_with(int fd, int hops, int class)
{
    char expected[40];
    int n = snprintf(expected, sizeof expected, "%d hops, class %d", hops, class);
    return recv(fd, in, sizeof in, 0) == n && memcmp(in, expected, (size_t)n) == 0;
}

/* What the program says about the packet, and what the kernel refuses. */
static void packets(int c)
{
    int class = 2, hops = 20, much = 300;
    CHECK(set(c, IPV6_TCLASS, 0xb8) == 0 && set(c, IPV6_UNICAST_HOPS, 33) == 0);
    CHECK(send(c, "header", 6, 0) == 6 && came_with(c, 32, 0xb8));
    CHECK(with(c, IPPROTO_IPV6, IPV6_TCLASS, &class, 4, "header") == 6 && came_with(c, 32, 2));
    CHECK(with(c, IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, 4, "header") == 6 && came_with(c, 19, 0xb8));
    struct iovec v[2] = { { "header", 6 }, { "x", 1 } };
    struct mmsghdr mm[2] = { { .msg_hdr = { .msg_iov = v, .msg_iovlen = 1 } },
                             { .msg_hdr = { .msg_iov = v, .msg_iovlen = 1 } } };
    CHECK(sendmmsg(c, mm, 2, 0) == 2 && came_with(c, 32, 0xb8) && came_with(c, 32, 0xb8));
    CHECK(set(c, IPV6_TCLASS, -1) == 0 && set(c, IPV6_UNICAST_HOPS, -1) == 0);
    /* The server answers with the IPV6_PKTINFO that it gets. */
    CHECK(ask(c, "told") == 4 && ask(c, "pktinfo") == 7 && ask(c, "untold") == 6);
    int f = fresh(0);
    CHECK(set(f, IPV6_TCLASS, 4) == 0 && set(f, IPV6_UNICAST_HOPS, 12) == 0);
    CHECK(sendto(f, "header", 6, 0, SA(server), sizeof server) == 6 && came_with(f, 11, 4));
    close(f);
    FAILS(with(c, IPPROTO_IPV6, IPV6_TCLASS, &much, 4, "x"), EINVAL);
    FAILS(with(c, IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, 2, "x"), EINVAL);
    FAILS(with(c, IPPROTO_IPV6, 250, &hops, 4, "x"), EINVAL);
    FAILS(with(c, IPPROTO_UDP, UDP_SEGMENT, &hops, 4, "x"), EINVAL);
    CHECK(with(c, 77, 1, &hops, 4, "other") == 5 && recv(c, in, 10, 0) == 5);
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 1, .msg_controllen = 40 };
    FAILS(sendmsg(c, &m, 0), EFAULT);
    struct sockaddr_in6 nowhere = server;
    nowhere.sin6_port = 0;
    FAILS(sendto(c, "x", 1, 0, SA(nowhere), sizeof nowhere), EINVAL);
    v[0].iov_len = v[1].iov_len = (size_t)1 << 63;
    FAILS(writev(c, v, 2), EINVAL);
    m.msg_controllen = 0;
    m.msg_iovlen = 2;
    FAILS(sendmsg(c, &m, 0), EINVAL);
    /* The second of two has no data that could be read. */
    v[0].iov_len = 6;
    v[1] = (struct iovec){ (void *)8, 5 };
    mm[1].msg_hdr.msg_iov = v + 1;
    CHECK(sendmmsg(c, mm, 2, 0) == 1 && recv(c, in, 100, 0) > 6);
    /* No fragments, as programs want that look for the path MTU. */
    CHECK(set(c, IPV6_DONTFRAG, 1) == 0);
    FAILS(send(c, out, 3000, 0), EMSGSIZE);
    CHECK(send(c, out, 1452, 0) == 1452 && recv(c, in, sizeof in, 0) == 1452);
    CHECK(set(c, IPV6_DONTFRAG, 0) == 0 && set(c, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO) == 0);
    FAILS(send(c, out, 1453, 0), EMSGSIZE);
    CHECK(send(c, out, 1452, 0) == 1452 && recv(c, in, sizeof in, 0) == 1452);
    CHECK(set(c, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT) == 0);
    CHECK(send(c, out, 3000, 0) == 3000 && recv(c, in, sizeof in, 0) == 3000);
    int p[2];
    CHECK(pipe(p) == 0 && write(p[1], "pipe", 4) == 4);
    FAILS(sendfile(c, p[0], NULL, 4), EINVAL);
    close(p[0]);
    close(p[1]);
    CHECK(send(c, "oob", 3, MSG_OOB) == 3 && recv(c, in, 10, 0) == 3);
    /* The kernel says when it is done with data that it was not to copy. */
    int on = 1, done = 0;
    CHECK(setsockopt(c, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
    CHECK(send(c, "zero", 4, MSG_ZEROCOPY) == 4 && recv(c, in, 10, 0) == 4);
    CHECK(send(c, out, 3000, MSG_ZEROCOPY) == 3000 && recv(c, in, sizeof in, 0) == 3000);
    v[1] = v[0];
    CHECK(sendmmsg(c, mm, 2, MSG_ZEROCOPY) == 2 && recv(c, in, 100, 0) > 6 && recv(c, in, 100, 0) > 6);
    union {
        char octets[200];
        struct cmsghdr align;
    } u;
    for (int tries = 0; tries < 20 && done < 4; tries++) {
        m = (struct msghdr){ .msg_control = u.octets, .msg_controllen = sizeof u.octets };
        struct pollfd error = { .fd = c };
        if (poll(&error, 1, 100) != 1 || recvmsg(c, &m, MSG_ERRQUEUE) < 0)
            continue;
        struct sock_extended_err e;
        memcpy(&e, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof e);
        if (e.ee_origin == SO_EE_ORIGIN_ZEROCOPY && (int)e.ee_info == done)
            done = (int)e.ee_data + 1;
    }
    CHECK(done == 4);
    send(c, "probe", 5, MSG_PROBE);
    usleep(100000);
    FAILS(recv(c, in, 10, MSG_DONTWAIT), EAGAIN);
}

/* Packets that left with this mark, and with this priority. */
static int left_with(const char *what)
{
    char command[200];
    int n = -1;
    snprintf(command, sizeof command, "LD_PRELOAD= nft list chain ip6 marks out | sed -n 's/.*%s.*packets \\([0-9]*\\).*/\\1/p'", what);
    FILE *f = popen(command, "r");
    if (f == NULL || fscanf(f, "%d", &n) != 1)
        n = -1;
    if (f != NULL)
        pclose(f);
    return n;
}

/* What the host is told of packets that it sends. */
static void marks(int c)
{
    int mark = 0x37, other = 0x38, priority = 5, none = 0, known;
    CHECK(system("LD_PRELOAD= nft 'add table ip6 marks; add chain ip6 marks out { type filter hook output priority 0; };"
                 "add rule ip6 marks out meta mark 0x37 counter; add rule ip6 marks out meta mark 0x38 counter;"
                 "add rule ip6 marks out meta priority 0:5 counter'") == 0);
    CHECK(setsockopt(c, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
    CHECK(setsockopt(c, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority) == 0);
    CHECK(ask(c, "marked") == 6 && left_with("0x00000037") == 1);
    /* Behind a header the kernel takes it from Linux 6.14 on, as it does from programs. */
    known = with(c, SOL_SOCKET, SO_PRIORITY, &priority, 4, "x") == 1 || errno != EINVAL;
    usleep(100000);
    empty(c);
    CHECK(left_with("priority") == (known ? 2 : 1) || (!known && left_with("priority") == 0));
    CHECK(with(c, SOL_SOCKET, SO_MARK, &other, 4, "other") == 5 && recv(c, in, 100, 0) == 5);
    CHECK(left_with("0x00000038") == 1 && left_with("0x00000037") == (known ? 2 : 1));
    struct iovec v = { "many", 4 };
    struct mmsghdr mm[2] = { { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } },
                             { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } } };
    CHECK(sendmmsg(c, mm, 2, 0) == 2 && recv(c, in, 100, 0) == 4 && recv(c, in, 100, 0) == 4);
    CHECK(left_with("0x00000037") == (known ? 4 : 3));
    CHECK(setsockopt(c, SOL_SOCKET, SO_MARK, &none, sizeof none) == 0);
    CHECK(setsockopt(c, SOL_SOCKET, SO_PRIORITY, &none, sizeof none) == 0);
    CHECK(ask(c, "unmarked") == 8 && left_with("0x00000037") == (known ? 4 : 3));
    CHECK(system("LD_PRELOAD= nft delete table ip6 marks") == 0);
}

static void receives(int c)
{
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    int n = -1;
    struct pollfd p = { .fd = c, .events = POLLIN | POLLOUT };
    CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLOUT);
    CHECK(send(c, "abcdef", 6, 0) == 6);
    p.events = POLLIN;
    CHECK(poll(&p, 1, 2000) == 1 && p.revents == POLLIN);
    CHECK(ioctl(c, FIONREAD, &n) == 0 && n == 6);
    CHECK(recv(c, in, 2, MSG_PEEK | MSG_TRUNC) == 6);
    CHECK(recvfrom(c, in, 2, MSG_PEEK, SA(from), &len) == 2 && len == sizeof from);
    CHECK(memcmp(&from.sin6_addr, &server.sin6_addr, 16) == 0 && from.sin6_port == server.sin6_port);
    struct iovec v[2] = { { in, 1 }, { in + 1, 2 } };
    struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = v, .msg_iovlen = 2 };
    CHECK(recvmsg(c, &m, 0) == 3 && m.msg_flags == MSG_TRUNC && m.msg_controllen == 0);
    FAILS(recv(c, in, 10, MSG_DONTWAIT), EAGAIN);
    struct timeval t = { .tv_usec = 50000 }, two = { .tv_sec = 2 };
    CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
    FAILS(recv(c, in, 10, 0), EAGAIN);
    CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &two, sizeof two) == 0);
    int e = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
    CHECK(epoll_ctl(e, EPOLL_CTL_ADD, c, &ev) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(send(c, "edge", 4, 0) == 4 && epoll_wait(e, &ev, 1, 2000) == 1);
        CHECK(recv(c, in, 10, MSG_DONTWAIT) == 4);
    }
    close(e);
    /* Octets that come to hand by ancillary data. */
    int on = 1, off = 0, seen = 0;
    CHECK(setsockopt(c, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    union {
        char octets[200];
        struct cmsghdr align;
    } u;
    struct sockaddr_in6 name;
    len = sizeof name;
    CHECK(getsockname(c, SA(name), &len) == 0);
    CHECK(send(c, "info", 4, 0) == 4);
    m = (struct msghdr){ .msg_iov = v, .msg_iovlen = 2, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    CHECK(recvmsg(c, &m, 0) == 3);
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO) {
            CHECK(memcmp(CMSG_DATA(h), &name.sin6_addr, 16) == 0);
            seen++;
        }
    }
    CHECK(seen == 1);
    CHECK(setsockopt(c, IPPROTO_IPV6, IPV6_RECVPKTINFO, &off, sizeof off) == 0);
}

static void nothing(int number)
{
    (void)number;
}

static void *send_after_signal(void *fd)
{
    usleep(50000);
    kill(getpid(), SIGUSR1);
    usleep(50000);
    if (fd != NULL)
        send(*(int *)fd, "late", 4, 0);
    return NULL;
}

static void *shut_down(void *fd)
{
    usleep(50000);
    shutdown(*(int *)fd, SHUT_RD);
    return NULL;
}

static void lives(int c)
{
    struct sockaddr_in6 name, peer;
    socklen_t len = sizeof name;
    CHECK(getsockname(c, SA(name), &len) == 0 && getpeername(c, SA(peer), &len) == 0);
    CHECK(memcmp(&peer.sin6_addr, &server.sin6_addr, 16) == 0 && name.sin6_port != 0);
    int d = dup(c), e = fcntl(c, F_DUPFD_CLOEXEC, 100);
    CHECK(ask(d, "dup") == 3 && ask(e, "dupfd") == 5);
    close(d);
    close(e);
    CHECK(ask(c, "still") == 5);
    /* A child goes on with the socket, and has one of its own. */
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int fine = 0;
        for (int i = 0; i < 2 && !fine; i++)
            fine = ask(c, "child") == 5;
        _exit(fine ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("child %s\n", status == 0 ? "heard" : "unheard");
    empty(c);
    CHECK(ask(c, "parent") == 6);
    pid = fork();
    if (pid == 0) {
        char command[100];
        snprintf(command, sizeof command, "printf exec >&%d", c);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("exec %s\n", status == 0 ? "sent" : "refused");
    usleep(200000);
    empty(c);
    /* Interrupted, with and without SA_RESTART. */
    struct timeval none = { 0 }, two = { .tv_sec = 2 };
    CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none) == 0);
    pthread_t t;
    struct sigaction action = { .sa_handler = nothing };
    sigaction(SIGUSR1, &action, NULL);
    CHECK(pthread_create(&t, NULL, send_after_signal, NULL) == 0);
    FAILS(recv(c, in, 10, 0), EINTR);
    pthread_join(t, NULL);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    CHECK(pthread_create(&t, NULL, send_after_signal, &c) == 0);
    CHECK(recv(c, in, 10, 0) == 4);
    pthread_join(t, NULL);
    CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &two, sizeof two) == 0);
    /* Other sockets to the same server: one that existed, new ones, one that is connected again. */
    int f = fresh(1);
    CHECK(ask(f, "fresh") == 5);
    struct sockaddr_in6 unspec = { .sin6_family = AF_UNSPEC };
    CHECK(connect(f, SA(unspec), sizeof unspec) == 0);
    FAILS(send(f, "x", 1, 0), EDESTADDRREQ);
    FAILS(getpeername(f, SA(peer), &len), ENOTCONN);
    CHECK(connect(f, SA(server), sizeof server) == 0);
    CHECK(ask(f, "again") == 5);
    close(f);
    f = fresh(0);
    for (int i = 0; i < 3; i++) {
        CHECK(sendto(f, "unconnected", 11, 0, SA(server), sizeof server) == 11);
        len = sizeof peer;
        CHECK(recvfrom(f, in, 100, 0, SA(peer), &len) == 11);
        CHECK(memcmp(&peer.sin6_addr, &server.sin6_addr, 16) == 0);
    }
    close(f);
    CHECK(shutdown(c, SHUT_WR) == 0);
    FAILS(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(pthread_create(&t, NULL, shut_down, &c) == 0);
    CHECK(recv(c, in, 10, 0) == 0);
    pthread_join(t, NULL);
    CHECK(read(c, in, 10) == 0);
    f = fresh(1);
    CHECK(ask(f, "last") == 4);
}

/* A port that nobody has any more. */
static void closed(void)
{
    int f = socket(AF_INET6, SOCK_DGRAM, 0);
    struct timeval t = { .tv_sec = 2 };
    struct sockaddr_in6 other = server;
    other.sin6_port = htons((unsigned short)(ntohs(server.sin6_port) + 1));
    setsockopt(f, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    CHECK(connect(f, SA(other), sizeof other) == 0);
    CHECK(ask(f, "open") == 4 && ask(f, "close") == 5);
    usleep(200000);
    CHECK(send(f, "nobody", 6, 0) == 6);
    FAILS(recv(f, in, 100, 0), ECONNREFUSED);
    close(f);
}

static int whole, others;

/* Sends to itself by the same socket. */
static void *beside(void *fd)
{
    struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    socklen_t len = sizeof here;
    struct timeval t = { .tv_usec = 200000 };
    char got[100];
    int r = socket(AF_INET6, SOCK_DGRAM, 0);
    setsockopt(r, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    if (bind(r, SA(here), sizeof here) != 0 || getsockname(r, SA(here), &len) != 0)
        return NULL;
    for (others = 0; others < 2000; others++) {
        ssize_t n = sendto(*(int *)fd, "beside", 6, 0, SA(here), sizeof here);
        whole += n == 6 && recv(r, got, sizeof got, 0) == 6;
    }
    close(r);
    return NULL;
}

/* Two threads, one socket, several peers: what belongs to one of them stays apart from the others. */
static void together(void)
{
    int f = fresh(0), on = 1;
    pthread_t thread;
    CHECK(sendto(f, "first", 5, 0, SA(server), sizeof server) == 5 && recv(f, in, 100, 0) == 5);
    CHECK(setsockopt(f, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
    CHECK(pthread_create(&thread, NULL, beside, &f) == 0);
    for (int i = 0; i < 2000; i++) {
        sendto(f, out, 100, MSG_ZEROCOPY, SA(server), sizeof server);
        recv(f, in, sizeof in, MSG_DONTWAIT);
    }
    pthread_join(thread, NULL);
    CHECK(whole == 2000 && others == 2000);
    /* The server has answered all that it got. */
    struct timeval t = { .tv_usec = 200000 };
    setsockopt(f, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    while (recv(f, in, sizeof in, 0) >= 0)
        ;
    close(f);
}

/* The links take next to nothing from now on, or all again. */
static void links(int slow)
{
    int r = system(slow ? "for i in p1 p2; do LD_PRELOAD= tc qdisc add dev $i root tbf rate 1kbit burst 3000 limit 100000000;"
                          "done 2>/dev/null"
                        : "for i in p1 p2; do LD_PRELOAD= tc qdisc del dev $i root; done 2>/dev/null");
    (void)r;
}

static void *free_links(void *wait)
{
    usleep(wait == NULL ? 50000 : 150000);
    links(0);
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The interface takes no more, so a send has to wait, or not. */
static void fill(int c)
{
    links(1);
    int n = 0;
    while (n < 100000 && send(c, out, 1400, MSG_DONTWAIT) == 1400)
        n++;
    errno = 0;
    FAILS(send(c, out, 1400, MSG_DONTWAIT), EAGAIN);
}

static void recover(int c)
{
    links(0);
    double end = now() + 10;
    while (ask(c, "again") < 0 && now() < end)
        ;
    usleep(100000);
    empty(c);
}

static void *blocked(void *fd)
{
    send(*(int *)fd, out, 1400, 0);
    return NULL;
}

static void full(void)
{
    int c = fresh(1);
    struct timeval none = { 0 }, t = { .tv_usec = 100000 };
    struct sigaction plain = { .sa_handler = nothing }, again = { .sa_handler = nothing, .sa_flags = SA_RESTART };
    pthread_t thread, other;
    CHECK(ask(c, "first") == 5);
    fill(c);
    /* SO_SNDTIMEO */
    CHECK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) == 0);
    double start = now();
    FAILS(send(c, out, 1400, 0), EAGAIN);
    CHECK(now() - start > 0.09 && now() - start < 5);
    struct iovec v = { out, 1400 };
    struct mmsghdr mm[2] = { { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } },
                             { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } } };
    FAILS(sendmmsg(c, mm, 2, 0), EAGAIN);
    /* With it nothing is begun again. */
    t = (struct timeval){ .tv_sec = 5 };
    CHECK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) == 0);
    sigaction(SIGUSR1, &again, NULL);
    CHECK(pthread_create(&thread, NULL, send_after_signal, NULL) == 0);
    FAILS(send(c, out, 1400, 0), EINTR);
    pthread_join(thread, NULL);
    /* Without it, that is up to the handler. */
    CHECK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) == 0);
    sigaction(SIGUSR1, &plain, NULL);
    CHECK(pthread_create(&thread, NULL, send_after_signal, NULL) == 0);
    FAILS(send(c, out, 1400, 0), EINTR);
    pthread_join(thread, NULL);
    recover(c);
    fill(c);
    void *end = NULL;
    CHECK(pthread_create(&thread, NULL, blocked, &c) == 0 && usleep(100000) == 0 && pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &end) == 0 && end == PTHREAD_CANCELED);
    sigaction(SIGUSR1, &again, NULL);
    CHECK(pthread_create(&thread, NULL, send_after_signal, NULL) == 0);
    CHECK(pthread_create(&other, NULL, free_links, &c) == 0);
    CHECK(send(c, out, 1400, 0) == 1400);
    pthread_join(thread, NULL);
    pthread_join(other, NULL);
    recover(c);
    /* Who waits for room with poll is not called all the time, and with an edge it is called at all. */
    fill(c);
    int turns = 0, e = epoll_create1(EPOLL_CLOEXEC), n = -1;
    for (start = now(); now() - start < 0.2; turns++) {
        struct pollfd p = { .fd = c, .events = POLLOUT };
        if (poll(&p, 1, 100) == 1)
            FAILS(send(c, out, 1400, MSG_DONTWAIT), EAGAIN);
    }
    CHECK(turns <= 400);
    struct epoll_event ev = { .events = EPOLLOUT | EPOLLET };
    CHECK(epoll_ctl(e, EPOLL_CTL_ADD, c, &ev) == 0);
    CHECK(pthread_create(&other, NULL, free_links, NULL) == 0);
    int size = 0, later = 0;
    socklen_t len = sizeof size;
    CHECK(getsockopt(c, SOL_SOCKET, SO_SNDBUF, &size, &len) == 0);
    while (send(c, out, 1400, MSG_DONTWAIT) < 0 && (n = epoll_wait(e, &ev, 1, 5000)) == 1)
        ;
    CHECK(n == 1);
    CHECK(getsockopt(c, SOL_SOCKET, SO_SNDBUF, &later, &len) == 0 && later == size);
    pthread_join(other, NULL);
    close(e);
    recover(c);
    close(c);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    server.sin6_family = AF_INET6;
    server.sin6_port = htons((unsigned short)atoi(argv[2]));
    if (inet_pton(AF_INET6, argv[1], &server.sin6_addr) != 1)
        return 2;
    int c = fresh(1), before = 0;
    struct timeval t = { .tv_usec = 20000 }, two = { .tv_sec = 2 };
    setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    time_t end = time(NULL) + 25;
    for (int good = 0; good < 20 || access(argv[3], F_OK) != 0; usleep(10000)) {
        if (time(NULL) > end) {
            printf("FAILED: no switch\n");
            return 1;
        }
        good = ask(c, "ping") == 4 ? good + 1 : 0;
        if (good == 40 && before++ == 0)
            printf("ready\n");
    }
    setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &two, sizeof two);
    usleep(200000);
    empty(c);
    sends(c);
    printf("sends\n");
    packets(c);
    marks(c);
    printf("packets\n");
    receives(c);
    printf("receives\n");
    closed();
    together();
    full();
    printf("full\n");
    lives(c);
    printf("lives\ndone, %d failures\n", failures);
    return failures != 0;
}

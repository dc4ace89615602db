/* Pointers to memory that is not there, or that may not be read or written: EFAULT as the kernel tells it, and the
 * socket goes on. */
#include "harness.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>

enum { PAGES = 4 * 4096 };

static void *map(int protection)
{
    void *p = mmap(NULL, PAGES, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

/* Memory that cannot be read: none, and some without permission. */
static void *unreadable[4];
static void *read_only;
static void places(void)
{
    unreadable[0] = map(PROT_READ | PROT_WRITE);
    memset(unreadable[0], 1, PAGES);
    CHECK(munmap(unreadable[0], PAGES) == 0);
    unreadable[1] = map(PROT_NONE);
    unreadable[2] = (void *)8;
    unreadable[3] = (void *)-64L;
    read_only = map(PROT_READ);
}

/* A server, a client that is connected to it, and one that is not. */
static int s, c, u;
static struct sockaddr_in6 server;
static void sockets(void)
{
    int port;
    s = bound("::", &port);
    c = to_peer(B, port);
    u = udp();
    server = address(B, port);
    echo(s, c);
}

static void sending(void)
{
    places();
    sockets();
    for (int i = 0; i < 4; i++) {
        void *volatile bad = unreadable[i];
        struct iovec v = { .iov_base = "data", .iov_len = 4 }, w = { .iov_base = bad, .iov_len = 4 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
        struct mmsghdr mm = { .msg_hdr = m };
        FAILS(sendto(u, "x", 1, 0, bad, sizeof server), EFAULT);
        FAILS(sendto(c, "x", 1, 0, bad, sizeof server), EFAULT);
        for (int way = 0; way < 2; way++) {
            int fd = way == 0 ? c : u;
            struct sockaddr_in6 *to = way == 0 ? NULL : &server;
            socklen_t len = way == 0 ? 0 : sizeof server;
            FAILS(sendto(fd, bad, 10, 0, (struct sockaddr *)to, len), EFAULT);
            FAILS(sendmsg(fd, bad, 0), EFAULT);
            FAILS(sendmmsg(fd, bad, 1, 0), EFAULT);
            m = (struct msghdr){ .msg_name = bad, .msg_namelen = sizeof server, .msg_iov = &v, .msg_iovlen = 1 };
            FAILS(sendmsg(fd, &m, 0), EFAULT);
            mm.msg_hdr = m;
            FAILS(sendmmsg(fd, &mm, 1, 0), EFAULT);
            m = (struct msghdr){ .msg_name = to, .msg_namelen = len, .msg_iov = bad, .msg_iovlen = 1 };
            FAILS(sendmsg(fd, &m, 0), EFAULT);
            m.msg_iov = &w;
            FAILS(sendmsg(fd, &m, 0), EFAULT);
            mm.msg_hdr = m;
            FAILS(sendmmsg(fd, &mm, 1, 0), EFAULT);
            m.msg_iov = &v;
            m.msg_control = bad;
            m.msg_controllen = 64;
            FAILS(sendmsg(fd, &m, 0), EFAULT);
        }
        FAILS(writev(c, bad, 1), EFAULT);
        FAILS(writev(c, &w, 1), EFAULT);
        FAILS(write(c, bad, 10), EFAULT);
        FAILS(connect(u, bad, sizeof server), EFAULT);
        FAILS(bind(u, bad, sizeof server), EFAULT);
        FAILS(setsockopt(u, IPPROTO_IPV6, IPV6_RECVPKTINFO, bad, 4), EFAULT);
    }
    /* A header in memory that can only be read will do for sendmsg. */
    struct msghdr m = { .msg_iovlen = 0 };
    CHECK(mprotect(read_only, PAGES, PROT_READ | PROT_WRITE) == 0);
    memcpy(read_only, &m, sizeof m);
    CHECK(mprotect(read_only, PAGES, PROT_READ) == 0);
    CHECK(sendmsg(c, read_only, 0) == 0);
    char b[8];
    CHECK(recv(s, b, sizeof b, 0) == 0);
    echo(s, c);
}

/* Two datagrams are there; how many are left afterwards. */
static void two(void)
{
    CHECK(send(c, "one", 3, 0) == 3 && send(c, "two", 3, 0) == 3);
}
static int left(void)
{
    char b[8];
    int n = 0;
    while (recv(s, b, sizeof b, MSG_DONTWAIT) >= 0)
        n++;
    return n;
}

static void receiving(void)
{
    places();
    sockets();
    /* The kernel refuses its own half of the addresses earlier, without a datagram lost. */
    for (int i = 0; i < 4; i++) {
        void *volatile bad = i < 3 ? unreadable[i] : read_only;
        char b[8];
        struct sockaddr_in6 from;
        socklen_t len = sizeof from;
        struct iovec v = { .iov_base = b, .iov_len = 8 }, w = { .iov_base = bad, .iov_len = 8 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
        struct mmsghdr mm = { .msg_hdr = m };
        two();
        FAILS(recv(s, bad, 8, 0), EFAULT);
        CHECK(left() == 1);
        two();
        FAILS(recvfrom(s, b, 8, 0, bad, &len), EFAULT);
        CHECK(left() == 1);
        two();
        FAILS(recvfrom(s, b, 8, 0, SA(from), bad), EFAULT);
        CHECK(left() == 1);
        two();
        m.msg_iov = &w;
        FAILS(recvmsg(s, &m, 0), EFAULT);
        CHECK(left() == 1);
        two();
        m = (struct msghdr){ .msg_name = bad, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1 };
        FAILS(recvmsg(s, &m, 0), EFAULT);
        CHECK(left() == 1);
        /* Ancillary data that cannot be written is no error. */
        two();
        m = (struct msghdr){ .msg_control = bad, .msg_controllen = 64, .msg_iov = &v, .msg_iovlen = 1 };
        CHECK(recvmsg(s, &m, 0) == 3 && m.msg_controllen == 0);
        CHECK(left() == 1);
        if (i < 3) {
            two();
            FAILS(recvmsg(s, bad, 0), EFAULT);
            FAILS(recvmmsg(s, bad, 1, 0, NULL), EFAULT);
            FAILS(readv(s, bad, 1), EFAULT);
            m = (struct msghdr){ .msg_iov = bad, .msg_iovlen = 1 };
            FAILS(recvmsg(s, &m, 0), EFAULT);
            mm.msg_hdr = m;
            FAILS(recvmmsg(s, &mm, 1, 0, NULL), EFAULT);
            CHECK(left() == 2);
        }
        two();
        mm.msg_hdr = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1 };
        FAILS(recvmmsg(s, &mm, 1, 0, i < 3 ? bad : (void *)8), EFAULT);
        CHECK(left() == 2);
        FAILS(getsockname(s, bad, &len), EFAULT);
        FAILS(getsockname(s, SA(from), bad), EFAULT);
        FAILS(getpeername(c, SA(from), bad), EFAULT);
        FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, bad, &len), EFAULT);
        FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, b, bad), EFAULT);
        FAILS(getsockopt(s, SOL_SOCKET, SO_ERROR, bad, &len), EFAULT);
        echo(s, c);
    }
}

/* Structures at odd addresses, which the kernel does not mind. */
static void unaligned(void)
{
    char place[200] __attribute__((aligned(16)));
    sockets();
    memcpy(place + 1, &server, sizeof server);
    CHECK(sendto(u, "x", 1, 0, (struct sockaddr *)(void *)(place + 1), sizeof server) == 1);
    CHECK(left() == 1);
    struct iovec v = { .iov_base = "four", .iov_len = 4 };
    memcpy(place + 40 + 1, &v, sizeof v);
    CHECK(writev(c, (struct iovec *)(void *)(place + 41), 1) == 4);
    struct msghdr m = { .msg_name = place + 1, .msg_namelen = sizeof server, .msg_iov = (struct iovec *)(void *)(place + 41), .msg_iovlen = 1 };
    memcpy(place + 100 + 1, &m, sizeof m);
    CHECK(sendmsg(u, (struct msghdr *)(void *)(place + 101), 0) == 4);
    CHECK(left() == 2);
    two();
    char b[8];
    v.iov_base = b;
    memcpy(place + 40 + 1, &v, sizeof v);
    CHECK(recvmsg(s, (struct msghdr *)(void *)(place + 101), 0) == 3);
    socklen_t len = sizeof server;
    memcpy(place + 1, &len, sizeof len);
    struct sockaddr_in6 from;
    CHECK(recvfrom(s, b, 8, 0, SA(from), (socklen_t *)(void *)(place + 1)) == 3);
    CHECK(left() == 0);
    same_address(&from, B, 0);
}

/* A buffer that ends with its page, and the next page is not there. */
static void up_to_the_end(void)
{
    sockets();
    char *p = map(PROT_READ | PROT_WRITE);
    CHECK(munmap(p + 4096, 4096) == 0);
    struct sockaddr_in6 *to = (void *)(p + 4096 - sizeof server);
    memcpy(to, &server, sizeof server);
    CHECK(sendto(u, "x", 1, 0, (struct sockaddr *)to, sizeof server) == 1);
    FAILS(sendto(u, "x", 1, 0, (struct sockaddr *)to, sizeof server + 4), EFAULT);
    FAILS(send(c, p + 4090, 10, 0), EFAULT);
    CHECK(left() == 1);
    echo(s, c);
}

/* Memory that has served before, and is then gone or locked up. */
static void memory_that_goes_away(void)
{
    sockets();
    for (int way = 0; way < 3; way++) {
        char *page = map(PROT_READ | PROT_WRITE);
        struct sockaddr_in6 *to = (struct sockaddr_in6 *)page;
        struct iovec *v = (struct iovec *)(page + 100 - 100 % sizeof *v + sizeof *v);
        struct msghdr *m = (struct msghdr *)(page + 512);
        *to = server;
        *v = (struct iovec){ .iov_base = "data", .iov_len = 4 };
        *m = (struct msghdr){ .msg_name = to, .msg_namelen = sizeof *to, .msg_iov = v, .msg_iovlen = 1 };
        for (int i = 0; i < 3; i++) {
            CHECK(sendto(u, page, 4, 0, (struct sockaddr *)to, sizeof *to) == 4);
            CHECK(sendmsg(u, m, 0) == 4);
            CHECK(connect(u, (struct sockaddr *)to, sizeof *to) == 0);
        }
        u = udp();
        if (way == 0)
            CHECK(munmap(page, PAGES) == 0);
        else if (way == 1)
            CHECK(mprotect(page, PAGES, PROT_NONE) == 0);
        else
            CHECK(mremap(page, PAGES, PAGES, MREMAP_MAYMOVE | MREMAP_FIXED, map(PROT_NONE)) != MAP_FAILED);
        FAILS(sendto(u, "x", 1, 0, (struct sockaddr *)to, sizeof *to), EFAULT);
        FAILS(sendmsg(u, m, 0), EFAULT);
        FAILS(connect(u, (struct sockaddr *)to, sizeof *to), EFAULT);
        FAILS(recvmsg(s, m, MSG_DONTWAIT), EFAULT);
    }
}

/* The process gets no memory any more. Sockets are the kernel's, so that is no reason to end. */
static void no_memory_left(void)
{
    enum { MANY = 900 };
    static int fds[MANY];
    int s, c, port;
    char buf[8];
    server_and_client(&s, &c);
    int other = bound(A, &port);
    struct rlimit limit, files = { 1024, 1024 };
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%ld", &pages) == 1 && fclose(f) == 0);
    limit.rlim_cur = limit.rlim_max = (rlim_t)(pages + 64) * 4096;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    for (size_t size = 1 << 20; size >= 4096;)
        if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            size /= 2;
    for (int i = 0; i < MANY; i++) {
        struct sockaddr_in6 to = address(A, port);
        fds[i] = udp();
        if (i % 2 == 0)
            CHECK(sendto(fds[i], "x", 1, 0, SA(to), sizeof to) == 1);
        else
            CHECK(connect(fds[i], SA(to), sizeof to) == 0 && send(fds[i], "x", 1, 0) == 1);
        CHECK(recv(other, buf, sizeof buf, 0) == 1);
    }
    echo(s, c);
    for (int i = 0; i < MANY; i++)
        CHECK(close(fds[i]) == 0);
    usleep(200000);
    for (int i = 0; i < MANY; i++) {
        fds[i] = to_peer(A, port);
        CHECK(send(fds[i], "x", 1, 0) == 1 && recv(other, buf, sizeof buf, 0) == 1);
    }
    echo(s, c);
}

MAIN(TEST(no_memory_left), TEST(memory_that_goes_away), TEST(sending), TEST(receiving), TEST(unaligned), TEST(up_to_the_end))

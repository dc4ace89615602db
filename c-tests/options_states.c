/* All options at both levels in the states without a context: U (no peer), N (a peer) and X (closed); each kind of
   socket; lengths and pointers, which are looked at before the state is. */
#include "harness.h"
#include "../include/shim6.h"
#include <sys/mman.h>

static const int levels[] = { SOL_SHIM_D08, SOL_SHIM_R6316 };
#define IS_RFC(level) ((level) == SOL_SHIM_R6316)

enum layout { INT, EXPLORE, LOCATOR, LIST };
static const struct {
    int name;
    enum layout layout;
} context_options[] = {
    { SHIM_HOT_STANDBY, INT },       { SHIM_LOC_LOCAL_PREF, LOCATOR }, { SHIM_LOC_PEER_PREF, LOCATOR },
    { SHIM_LOC_LOCAL_RECV, INT },    { SHIM_LOC_PEER_RECV, INT },      { SHIM_LOC_LOCAL_SEND, LOCATOR },
    { SHIM_LOC_PEER_SEND, LOCATOR }, { SHIM_LOCLIST_LOCAL, LIST },     { SHIM_LOCLIST_PEER, LIST },
    { SHIM_APP_TIMEOUT, INT },       { SHIM_PATHEXPLORE, EXPLORE },
};
#define OPTIONS (sizeof context_options / sizeof context_options[0])

static socklen_t size(enum layout layout, int level)
{
    switch (layout) {
    case INT:
        return 4;
    case EXPLORE:
        return IS_RFC(level) ? sizeof(struct shim_pathexplore_r6316) : sizeof(struct shim_pathexplore_d08);
    default:
        return IS_RFC(level) ? sizeof(struct shim_locator_r6316) : sizeof(struct shim_locator_d08);
    }
}

/* Sockets in state U. */
static int plain(void)
{
    return udp();
}
static int bound_only(void)
{
    int port;
    return bound(A, &port);
}
static int dissolved(void)
{
    int fd = to_peer(B, 9);
    struct sockaddr_in6 unspec = { .sin6_family = AF_UNSPEC };
    CHECK(connect(fd, SA(unspec), sizeof unspec) == 0);
    return fd;
}
static int raw(void)
{
    return socket(AF_INET6, SOCK_RAW, 253);
}
static int tcp(void)
{
    return socket(AF_INET6, SOCK_STREAM, 0);
}
static int ipv4(void)
{
    return socket(AF_INET, SOCK_DGRAM, 0);
}
/* In state N. */
static int connected(void)
{
    return to_peer(B, 9);
}
static int dont_shim(void)
{
    int fd = to_peer(B, 9), on = 1;
    CHECK(setsockopt(fd, SOL_SHIM_D08, SHIM_DONTSHIM, &on, sizeof on) == 0);
    return fd;
}
static int raw_connected(void)
{
    int fd = raw();
    struct sockaddr_in6 to = address(B, 0);
    CHECK(fd < 0 || connect(fd, SA(to), sizeof to) == 0);
    return fd;
}
static int tcp_connected(void)
{
    struct sockaddr_in6 a = address("::1", 0);
    socklen_t len = sizeof a;
    int l = tcp(), fd = tcp();
    CHECK(bind(l, SA(a), sizeof a) == 0 && listen(l, 1) == 0 && getsockname(l, SA(a), &len) == 0);
    CHECK(connect(fd, SA(a), sizeof a) == 0);
    return fd;
}
static int ipv4_connected(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = ipv4();
    CHECK(connect(fd, SA(a), sizeof a) == 0);
    return fd;
}
static int unix_pair(void)
{
    int sv[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    return sv[0];
}
static int link_local(void)
{
    return to_peer("::1", 9);
}
static const struct {
    int (*make)(void);
    int has_peer;
} kinds[] = {
    { plain, 0 },         { bound_only, 0 },    { dissolved, 0 },      { raw, 0 },       { tcp, 0 },        { ipv4, 0 },
    { connected, 1 },     { dont_shim, 1 },     { raw_connected, 1 },  { tcp_connected, 1 },
    { ipv4_connected, 1 }, { unix_pair, 1 },    { link_local, 1 },
};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* API-HOT-01, API-HOT-02, API-HOT-03, API-HOT-04, API-PE-01, API-PE-02, API-PE-03, API-PE-04, API-LLP-01, API-LLP-02,
 * API-LLP-03, API-LLP-04, API-PPF-01, API-PPF-02, API-PPF-03, API-PPF-04,
 * API-LRX-01, API-LRX-02, API-LRX-03, API-LRX-04, API-PRX-01, API-PRX-02, API-PRX-03, API-PRX-04, API-LTX-01,
 * API-LTX-02, API-LTX-03, API-LTX-04, API-PTX-01, API-PTX-02, API-PTX-03, API-PTX-04,
 * API-LLL-01, API-LLL-02, API-LLL-03, API-LLL-04, API-LLR-01, API-LLR-02, API-LLR-03, API-LLR-04, API-TMO-01,
 * API-TMO-02, API-TMO-03, API-TMO-04, API-GEN-09, API-GEN-10, API-GEN-11,
 * API-GEN-12, API-ABI-01, API-CX-12, API-CX-13, API-CX-15, API-ERR-07, API-ERR-08, API-AD-01, API-AD-02, API-AD-03 */
static void need_a_context(void)
{
    for (unsigned k = 0; k < KINDS; k++) {
        int fd = kinds[k].make();
        if (fd < 0 && errno == EPERM)
            continue;
        CHECK(fd >= 0);
        for (unsigned i = 0; i < OPTIONS; i++)
            for (int l = 0; l < 2; l++) {
                int name = context_options[i].name;
                unsigned char value[1024], before[1024];
                socklen_t len = sizeof value, set = size(context_options[i].layout, levels[l]);
                int e = IS_RFC(levels[l]) && !kinds[k].has_peer ? EOPNOTSUPP : ENOENT;
                memset(value, 0xee, sizeof value);
                memcpy(before, value, sizeof value);
                FAILS(getsockopt(fd, levels[l], name, value, &len), e);
                CHECK(len == sizeof value && memcmp(value, before, sizeof value) == 0);
                FAILS(setsockopt(fd, levels[l], name, value, set), e);
                memset(value, 0, sizeof value);
                FAILS(setsockopt(fd, levels[l], name, value, set), e);
            }
        close(fd);
    }
}

/* API-DEF-01, API-DEF-02, API-DEF-03, API-DEF-04, API-DEF-05, API-DEF-16, API-RQ-10, API-CX-02 */
static void deferred_setup(void)
{
    for (unsigned k = 0; k < KINDS; k++) {
        int fd = kinds[k].make(), value = 77;
        socklen_t len = sizeof value;
        if (fd < 0 && errno == EPERM)
            continue;
        CHECK(getsockopt(fd, SOL_SHIM_D08, SHIM_DEFERRED_CONTEXT_SETUP, &value, &len) == 0 && value == 1 && len == 4);
        if (kinds[k].has_peer) {
            value = 77;
            CHECK(getsockopt(fd, SOL_SHIM_R6316, SHIM_CONTEXT_DEFERRED_SETUP, &value, &len) == 0 && value == 1);
        } else {
            FAILS(getsockopt(fd, SOL_SHIM_R6316, SHIM_DEFERRED_CONTEXT_SETUP, &value, &len), EOPNOTSUPP);
        }
        for (int v = -1; v < 3; v++) {
            FAILS(setsockopt(fd, SOL_SHIM_R6316, SHIM_DEFERRED_CONTEXT_SETUP, &v, sizeof v), ENOPROTOOPT);
            int good = v == 0 || v == 1;
            errno = 0;
            CHECK(setsockopt(fd, SOL_SHIM_D08, SHIM_DEFERRED_CONTEXT_SETUP, &v, sizeof v) == (good ? 0 : -1));
            CHECK(good || errno == EINVAL);
            CHECK(getsockopt(fd, SOL_SHIM_D08, SHIM_DEFERRED_CONTEXT_SETUP, &value, &len) == 0);
            CHECK(value == (v == 0 ? 0 : 1));
        }
        close(fd);
    }
}

/* API-GEN-03, API-GEN-05, API-GEN-07, API-GEN-08, API-HOT-07, API-PE-07, API-LLP-07, API-PPF-07, API-LRX-07, API-PRX-07,
 * API-LTX-07, API-PTX-07, API-LLL-07, API-LLR-07, API-TMO-07, API-DEF-09, API-CX-25 */
static void lengths_and_pointers(void)
{
    int fd = udp(), closed = udp(), null = open("/dev/null", O_RDWR);
    unsigned char value[1024] = { 0 };
    void *read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(read_only != MAP_FAILED && hole != MAP_FAILED);
    close(closed);
    for (unsigned i = 0; i < OPTIONS; i++)
        for (int l = 0; l < 2; l++) {
            int level = levels[l], name = context_options[i].name;
            enum layout layout = context_options[i].layout;
            socklen_t n = size(layout, level), len = n;
            FAILS(getsockopt(closed, level, name, value, &len), EBADF);
            FAILS(setsockopt(closed, level, name, value, n), EBADF);
            FAILS(getsockopt(null, level, name, value, &len), ENOTSOCK);
            FAILS(setsockopt(null, level, name, value, n), ENOTSOCK);
            FAILS(getsockopt(fd, level, name, NULL, &len), EFAULT);
            FAILS(getsockopt(fd, level, name, value, NULL), EFAULT);
            FAILS(setsockopt(fd, level, name, NULL, n), EFAULT);
            FAILS(setsockopt(fd, level, name, hole, n), EFAULT);
            FAILS(getsockopt(fd, level, name, read_only, &len), EFAULT);
            FAILS(getsockopt(fd, level, name, hole, &len), EFAULT);
            len = (socklen_t)-1;
            FAILS(getsockopt(fd, level, name, value, &len), EINVAL);
            FAILS(setsockopt(fd, level, name, value, (socklen_t)-1), EINVAL);
            int state = IS_RFC(level) ? EOPNOTSUPP : ENOENT;
            len = n - 1;
            FAILS(getsockopt(fd, level, name, value, &len), layout == EXPLORE || layout == LOCATOR ? EINVAL : state);
            CHECK(len == n - 1);
            FAILS(setsockopt(fd, level, name, value, n - 1), EINVAL);
            FAILS(setsockopt(fd, level, name, value, n + 1), layout == INT ? state : EINVAL);
            if (layout != INT)
                FAILS(setsockopt(fd, level, name, value, 4), EINVAL);
        }
}

/* API-CM-29: on a stream nothing tells of locators, because kernel TCP has no context. */
static void locators_of_a_stream(void)
{
    int listener = tcp(), on = 1, fd, there;
    struct sockaddr_in6 a = address(B, 0);
    socklen_t len = sizeof a;
    CHECK(bind(listener, SA(a), sizeof a) == 0 && listen(listener, 1) == 0 && getsockname(listener, SA(a), &len) == 0);
    fd = tcp();
    CHECK(connect(fd, SA(a), sizeof a) == 0 && (there = accept(listener, NULL, NULL)) >= 0);
    for (int l = 0; l < 2; l++) {
        int e = preloaded() ? ENOENT : ENOPROTOOPT;
        FAILS(setsockopt(fd, levels[l], SHIM_LOC_LOCAL_RECV, &on, sizeof on), e);
        FAILS(setsockopt(fd, levels[l], SHIM_LOC_PEER_RECV, &on, sizeof on), e);
    }
    char b[8], control[256];
    struct iovec iov = { b, sizeof b };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    CHECK(send(there, "x", 1, 0) == 1 && recvmsg(fd, &m, 0) == 1 && m.msg_controllen == 0);
}

/* API-CM-15, API-CM-22, API-CM-27, API-CM-28, API-FB-04: ancillary data without a context; nothing is sent. */
static void ancillary_data(void)
{
    static const int types[] = { SHIM_LOC_LOCAL_SEND, SHIM_LOC_PEER_SEND, SHIM_FEEDBACK };
    int port, server = bound(B, &port), pair[2];
    struct sockaddr_in6 to = address(B, port);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    int sockets[] = { udp(), to_peer(B, port), tcp_connected(), pair[0] };
    for (int s = 0; s < 4; s++)
        for (int l = 0; l < 2; l++)
            for (int t = 0; t < 4; t++) {
                _Alignas(8) unsigned char control[CMSG_SPACE(28)] = { 0 };
                struct sockaddr_in6 locator = address(A, 0);
                struct iovec iov = { "x", 1 };
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
                struct cmsghdr *c = (struct cmsghdr *)(void *)control;
                size_t n = t == 2 ? 4 : 28;
                m.msg_controllen = CMSG_SPACE(n);
                c->cmsg_len = CMSG_LEN(n);
                c->cmsg_level = levels[l];
                c->cmsg_type = t < 3 ? types[t] : 99;
                if (t != 2)
                    memcpy(CMSG_DATA(c), &locator, n);
                if (s == 0) {
                    m.msg_name = &to;
                    m.msg_namelen = sizeof to;
                }
                FAILS(sendmsg(sockets[s], &m, 0), s == 2 ? EOPNOTSUPP : t == 3 ? EINVAL : ENOENT);
                struct mmsghdr mm = { .msg_hdr = m };
                FAILS(sendmmsg(sockets[s], &mm, 1, 0), s == 2 ? EOPNOTSUPP : t == 3 ? EINVAL : ENOENT);
            }
    char b;
    FAILS(recv(server, &b, 1, MSG_DONTWAIT), EAGAIN);
    FAILS(recv(pair[1], &b, 1, MSG_DONTWAIT), EAGAIN);
}

/* What the shim asks of the kernel is not seen, and what the application asks for is. */
static void kernel_options(void)
{
    static const int names[] = { IPV6_RECVPKTINFO, 11 /* IPV6_FLOWINFO */ };
    int port, fds[] = { bound(A, &port), to_peer(B, 9) };
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 2; i++)
            for (int v = 0; v < 4; v++) {
                int value = 77, on = v & 1;
                socklen_t len = sizeof value;
                CHECK(getsockopt(fds[s], IPPROTO_IPV6, names[i], &value, &len) == 0 && value == (v > 0 && !on));
                CHECK(setsockopt(fds[s], IPPROTO_IPV6, names[i], &on, sizeof on) == 0);
                CHECK(getsockopt(fds[s], IPPROTO_IPV6, names[i], &value, &len) == 0 && value == on);
            }
}

#define PRELOADED(f) \
    static void f##_under_the_shim(void) \
    { \
        if (preloaded()) \
            f(); \
    }
PRELOADED(need_a_context)
PRELOADED(deferred_setup)
PRELOADED(lengths_and_pointers)
PRELOADED(ancillary_data)

MAIN(TEST(need_a_context_under_the_shim), TEST(deferred_setup_under_the_shim),
     TEST(lengths_and_pointers_under_the_shim), TEST(ancillary_data_under_the_shim), TEST(locators_of_a_stream),
     TEST(kernel_options))

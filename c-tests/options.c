/* The options at the SHIM levels on sockets without a context: values and errno. Without the preload library the
   kernel knows neither level. */
#include "harness.h"
#include "../include/shim6.h"

static const int levels[] = { SOL_SHIM_D08, SOL_SHIM_R6316 };
#define IS_RFC(level) ((level) == SOL_SHIM_R6316)

static int get(int fd, int level, int name)
{
    int value = 77;
    socklen_t len = sizeof value;
    int r = getsockopt(fd, level, name, &value, &len);
    return r == 0 ? (CHECK(len == sizeof value), value) : -1;
}

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

/* Sockets in state U (no peer) and N (a peer, no context). */
static int unconnected(void)
{
    return udp();
}
static int connected(void)
{
    int port;
    bound(B, &port);
    return to_peer(B, port);
}
static int tcp(void)
{
    return socket(AF_INET6, SOCK_STREAM, 0);
}
static int unix_pair(void)
{
    int sv[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) == 0);
    return sv[0];
}
static int ipv4(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(connect(fd, SA(a), sizeof a) == 0);
    return fd;
}
static const struct {
    int (*make)(void);
    int has_peer;
} kinds[] = { { unconnected, 0 }, { connected, 1 }, { tcp, 0 }, { unix_pair, 1 }, { ipv4, 1 } };
#define KINDS (sizeof kinds / sizeof kinds[0])

/* API-ABI-02; outside IPv6 the kernel has another word for it. */
static void unknown_to_the_kernel(void)
{
    if (preloaded())
        return;
    for (unsigned k = 0; k < KINDS; k++)
        for (int l = 0; l < 2; l++)
            for (int name = 0; name < 20; name++) {
                int fd = kinds[k].make();
                FAILS(get(fd, levels[l], name), k >= 3 ? EOPNOTSUPP : ENOPROTOOPT);
                FAILS(set(fd, levels[l], name, 1), k == 3 ? EOPNOTSUPP : ENOPROTOOPT);
                close(fd);
            }
}

/* API-ASSOC-01, API-ASSOC-02, API-ASSOC-03, API-ASSOC-05, API-ASSOC-06, API-GEN-10, API-GEN-12, API-CX-14 */
static void associated(void)
{
    for (unsigned k = 0; k < KINDS; k++) {
        int fd = kinds[k].make();
        CHECK(get(fd, SOL_SHIM_D08, SHIM_ASSOCIATED) == 0);
        if (kinds[k].has_peer) {
            CHECK(get(fd, SOL_SHIM_R6316, SHIM_ASSOCIATED) == 0);
        } else {
            int value = 77;
            socklen_t len = sizeof value;
            FAILS(getsockopt(fd, SOL_SHIM_R6316, SHIM_ASSOCIATED, &value, &len), EOPNOTSUPP);
            CHECK(value == 2);
        }
        for (int l = 0; l < 2; l++)
            FAILS(set(fd, levels[l], SHIM_ASSOCIATED, 1), ENOPROTOOPT);
    }
}

/* API-CX-01, API-RQ-14, API-DONT-01, API-DONT-02, API-DONT-03, API-DONT-04, API-DONT-05, API-DONT-08, API-DONT-09,
 * API-DONT-11, API-ABI-05 */
static void dont_shim(void)
{
    for (unsigned k = 0; k < KINDS; k++)
        for (int l = 0; l < 2; l++) {
            int fd = kinds[k].make();
            CHECK(get(fd, levels[l], SHIM_DONTSHIM) == 0);
            CHECK(set(fd, levels[l], SHIM_DONTSHIM, 0) == 0);
            FAILS(set(fd, levels[l], SHIM_DONTSHIM, 2), EINVAL);
            FAILS(set(fd, levels[l], SHIM_DONTSHIM, -1), EINVAL);
            CHECK(get(fd, levels[l], SHIM_DONTSHIM) == 0);
            if (kinds[k].has_peer) {
                FAILS(set(fd, SOL_SHIM_R6316, SHIM_DONTSHIM, 1), EOPNOTSUPP);
                CHECK(get(fd, levels[l], SHIM_DONTSHIM) == 0);
                CHECK(set(fd, SOL_SHIM_D08, SHIM_DONTSHIM, 1) == 0);
            } else {
                CHECK(set(fd, levels[l], SHIM_DONTSHIM, 1) == 0);
            }
            CHECK(get(fd, SOL_SHIM_D08, SHIM_DONTSHIM) == 1 && get(fd, SOL_SHIM_R6316, SHIM_DONTSHIM) == 1);
            CHECK(set(fd, levels[l], SHIM_DONTSHIM, 0) == 0 && get(fd, levels[l], SHIM_DONTSHIM) == 0);
        }
}

/* Connecting keeps it (API-GEN-17), duplicates share it (API-GEN-15), a child has it (API-GEN-16), a new socket does
 * not. */
static void dont_shim_lasts(void)
{
    int port;
    int s = bound(B, &port);
    int fd = udp();
    struct sockaddr_in6 to = address(B, port);
    CHECK(set(fd, SOL_SHIM_R6316, SHIM_DONTSHIM, 1) == 0);
    CHECK(connect(fd, SA(to), sizeof to) == 0);
    CHECK(get(fd, SOL_SHIM_R6316, SHIM_DONTSHIM) == 1 && get(fd, SOL_SHIM_D08, SHIM_ASSOCIATED) == 0);
    char b;
    CHECK(send(fd, "x", 1, 0) == 1 && recv(s, &b, 1, 0) == 1);
    int d = dup(fd), e = fcntl(fd, F_DUPFD_CLOEXEC, 50);
    CHECK(get(d, SOL_SHIM_D08, SHIM_DONTSHIM) == 1);
    CHECK(set(e, SOL_SHIM_D08, SHIM_DONTSHIM, 0) == 0);
    CHECK(get(fd, SOL_SHIM_D08, SHIM_DONTSHIM) == 0);
    CHECK(set(d, SOL_SHIM_D08, SHIM_DONTSHIM, 1) == 0);
    CHECK(close(fd) == 0 && close(d) == 0);
    CHECK(get(e, SOL_SHIM_D08, SHIM_DONTSHIM) == 1);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(get(e, SOL_SHIM_D08, SHIM_DONTSHIM) == 1);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    close(e);
    fd = udp();
    CHECK(get(fd, SOL_SHIM_D08, SHIM_DONTSHIM) == 0);
}

/* API-LLL-01, API-LLL-03, API-LLR-01, API-LLR-03 */
static void lists_without_context(void)
{
    static const int names[] = { SHIM_LOCLIST_LOCAL, SHIM_LOCLIST_PEER };
    for (unsigned k = 0; k < KINDS; k++) {
        int fd = kinds[k].make();
        for (int i = 0; i < 2; i++)
            for (int l = 0; l < 2; l++) {
                unsigned char list[1024];
                socklen_t len = sizeof list;
                int e = IS_RFC(levels[l]) && !kinds[k].has_peer ? EOPNOTSUPP : ENOENT;
                FAILS(getsockopt(fd, levels[l], names[i], list, &len), e);
                CHECK(len == sizeof list);
            }
    }
}

/* API-GEN-01, API-GEN-02, API-GEN-03, API-GEN-04, API-GEN-05, API-GEN-06, API-ASSOC-07, API-DONT-10, API-LLL-07,
 * API-LLR-07 */
static void arguments(void)
{
    int fd = udp(), null = open("/dev/null", O_RDWR);
    for (int l = 0; l < 2; l++) {
        int level = levels[l], value = 1;
        socklen_t len;
        for (int name = -1; name < 40; name++) {
            FAILS(get(-1, level, name), EBADF);
            FAILS(set(900, level, name, 1), EBADF);
            FAILS(get(null, level, name), ENOTSOCK);
            FAILS(set(null, level, name, 1), ENOTSOCK);
        }
        static const int unknown[] = { -1, 0, SHIM_FEEDBACK, SHIM_IF_SEND, 17, 1000 };
        for (unsigned i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
            FAILS(get(fd, level, unknown[i]), ENOPROTOOPT);
            FAILS(set(fd, level, unknown[i], 1), ENOPROTOOPT);
            FAILS(setsockopt(fd, level, unknown[i], NULL, 4), ENOPROTOOPT);
            FAILS(getsockopt(fd, level, unknown[i], NULL, NULL), ENOPROTOOPT);
        }
        len = sizeof value;
        FAILS(getsockopt(fd, level, SHIM_DONTSHIM, NULL, &len), EFAULT);
        FAILS(getsockopt(fd, level, SHIM_DONTSHIM, &value, NULL), EFAULT);
        FAILS(getsockopt(fd, level, SHIM_LOCLIST_PEER, NULL, &len), EFAULT);
        FAILS(setsockopt(fd, level, SHIM_DONTSHIM, NULL, 4), EFAULT);
        FAILS(setsockopt(fd, level, SHIM_DONTSHIM, &value, 3), EINVAL);
        FAILS(setsockopt(fd, level, SHIM_DONTSHIM, &value, 0), EINVAL);
        FAILS(setsockopt(fd, level, SHIM_DONTSHIM, &value, (socklen_t)-1), EINVAL);
        long wide = 1;
        CHECK(setsockopt(fd, level, SHIM_DONTSHIM, &wide, sizeof wide) == 0 && get(fd, level, SHIM_DONTSHIM) == 1);
        CHECK(set(fd, level, SHIM_DONTSHIM, 0) == 0);
        len = (socklen_t)-1;
        FAILS(getsockopt(fd, level, SHIM_DONTSHIM, &value, &len), EINVAL);
        unsigned char octets[8];
        memset(octets, 0xee, sizeof octets);
        len = 8;
        CHECK(getsockopt(fd, level, SHIM_DONTSHIM, octets, &len) == 0 && len == 4);
        CHECK(octets[0] == 0 && octets[3] == 0 && octets[4] == 0xee);
        memset(octets, 0xee, sizeof octets);
        len = 2;
        CHECK(getsockopt(fd, level, SHIM_DONTSHIM, octets, &len) == 0 && len == 2);
        CHECK(octets[0] == 0 && octets[1] == 0 && octets[2] == 0xee);
        len = 0;
        CHECK(getsockopt(fd, level, SHIM_DONTSHIM, octets, &len) == 0 && len == 0);
    }
}

/* API-GEN-21 */
static void other_levels(void)
{
    int fd = udp(), value = 0;
    CHECK(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9) == 0 && get(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 9);
    CHECK(set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 && get(fd, SOL_SOCKET, SO_REUSEADDR) == 1);
    CHECK(get(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM);
    FAILS(get(fd, 0x5534, 1), ENOPROTOOPT);
    FAILS(set(fd, 0x6317, 2, value), ENOPROTOOPT);
}

#define PRELOADED(f) \
    static void f##_under_the_shim(void) \
    { \
        if (preloaded()) \
            f(); \
    }
PRELOADED(associated)
PRELOADED(dont_shim)
PRELOADED(dont_shim_lasts)
PRELOADED(lists_without_context)
PRELOADED(arguments)

MAIN(TEST(unknown_to_the_kernel), TEST(associated_under_the_shim), TEST(dont_shim_under_the_shim),
     TEST(dont_shim_lasts_under_the_shim), TEST(lists_without_context_under_the_shim),
     TEST(arguments_under_the_shim), TEST(other_levels))

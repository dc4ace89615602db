/* What the programs have in common that try the sockets API on sockets with a context, under the shim in the lab.

   api_packets serve PORT         answers datagrams; from PORT + 1 by other locators than the ULIDs
   api_packets ADDRESS PORT NAME  one of the tests against such a server; so does api_options */
#ifndef SHIM6_API_H
#define SHIM6_API_H
#include "harness.h"
#include "../include/shim6.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>

#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11 /* <linux/in6.h> */
#endif

#define D08 SOL_SHIM_D08
#define RFC SOL_SHIM_R6316
typedef struct shim_locator_d08 loc_d08;
typedef struct shim_locator_r6316 loc_rfc;
static const int levels[] = { D08, RFC };

static const char *server;
static int port;

static inline int get_int(int fd, int level, int name)
{
    int value = 77;
    socklen_t len = sizeof value;
    int r = getsockopt(fd, level, name, &value, &len);
    return r == 0 ? (CHECK(len == sizeof value), value) : -1;
}

static inline int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static inline void ms(int n)
{
    struct timespec t = { n / 1000, n % 1000 * 1000000L };
    nanosleep(&t, NULL);
}

/* Wait up to twenty seconds. */
#define SOON(c) \
    do { \
        int tries_ = 2000; \
        while (!(c) && tries_-- > 0) \
            ms(10); \
        CHECK(c); \
    } while (0)

static inline long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A socket whose connect has waited for its context (API-DEF-11). */
static inline int associated_to_address(const struct in6_addr *a, int p)
{
    int fd = udp();
    struct sockaddr_in6 to = address("::", p);
    to.sin6_addr = *a;
    CHECK(set_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    CHECK(connect(fd, SA(to), sizeof to) == 0);
    CHECK(get_int(fd, D08, SHIM_ASSOCIATED) == 1);
    return fd;
}

static inline int associated_to(int p)
{
    struct sockaddr_in6 to = address(server, p);
    return associated_to_address(&to.sin6_addr, p);
}

static inline int associated(void)
{
    return associated_to(port);
}

/* The locators of one side, in the form of RFC 6316. */
static inline int list(int fd, int name, loc_rfc *all)
{
    socklen_t len = SHIM_MAX_LOCATORS * sizeof *all;
    CHECK(getsockopt(fd, RFC, name, all, &len) == 0);
    CHECK(len % sizeof *all == 0);
    return (int)(len / sizeof *all);
}

static inline struct in6_addr locator(int fd, int name, int i)
{
    loc_rfc all[SHIM_MAX_LOCATORS];
    CHECK(list(fd, name, all) > i);
    return all[i].lc_addr;
}

static inline int set_locator(int fd, int level, int name, const struct in6_addr *a)
{
    if (level == D08) {
        loc_d08 l;
        memset(&l, 0, sizeof l);
        if (a != NULL) {
            l.lc_family = AF_INET6;
            /* Ignored (API-CX-09) */
            l.lc_ifidx = 1;
            l.lc_flags = 0xff;
            memcpy(l.lc_addr, a, 16);
        }
        return setsockopt(fd, level, name, &l, sizeof l);
    }
    loc_rfc l;
    memset(&l, 0, sizeof l);
    if (a != NULL) {
        l.lc_family = AF_INET6;
        l.lc_ifidx = 1;
        l.lc_addr = *a;
    }
    return setsockopt(fd, level, name, &l, sizeof l);
}

/* The address that a locator option tells; the zero address where none is set. */
static inline struct in6_addr get_locator(int fd, int level, int name)
{
    struct in6_addr a;
    unsigned char octets[64];
    socklen_t len = sizeof octets;
    memset(octets, 0xee, sizeof octets);
    CHECK(getsockopt(fd, level, name, octets, &len) == 0);
    CHECK(len == (level == D08 ? sizeof(loc_d08) : sizeof(loc_rfc)));
    CHECK(octets[len] == 0xee);
    memcpy(&a, octets + (level == D08 ? 4 : 12), 16);
    CHECK(octets[0] == (IN6_IS_ADDR_UNSPECIFIED(&a) ? 0 : AF_INET6));
    return a;
}

static inline int same(const struct in6_addr *a, const struct in6_addr *b)
{
    return memcmp(a, b, 16) == 0;
}

static inline int is_at(int fd, int level, int name, const struct in6_addr *a)
{
    struct in6_addr now = get_locator(fd, level, name);
    return same(&now, a);
}

/* A locator of the peer that a probe has confirmed: the first call starts one (API-PTX-12). */
static inline void confirm(int fd, const struct in6_addr *a)
{
    SOON(set_locator(fd, D08, SHIM_LOC_PEER_SEND, a) == 0 || (CHECK(errno == EINVALIDLOCATOR), 0));
    CHECK(set_locator(fd, D08, SHIM_LOC_PEER_SEND, NULL) == 0);
}

/* Send and have it answered. */
static inline void talk(int fd, int n)
{
    for (int i = 0; i < n; i++) {
        char b[100] = "a datagram";
        struct pollfd p = { fd, POLLIN, 0 };
        CHECK(send(fd, b, sizeof b, 0) == sizeof b);
        CHECK(poll(&p, 1, 10000) == 1 && recv(fd, b, sizeof b, 0) == sizeof b);
    }
}

struct control {
    _Alignas(8) unsigned char octets[512];
    size_t len;
};

static inline void put(struct control *c, int level, int type, const void *data, size_t n)
{
    struct cmsghdr *h = (struct cmsghdr *)(void *)(c->octets + c->len);
    memset(h, 0, CMSG_SPACE(n));
    h->cmsg_len = CMSG_LEN(n);
    h->cmsg_level = level;
    h->cmsg_type = type;
    memcpy(CMSG_DATA(h), data, n);
    c->len += CMSG_SPACE(n);
}

static inline void put_locator(struct control *c, int level, int type, const struct in6_addr *a)
{
    struct sockaddr_in6 s;
    memset(&s, 0, sizeof s);
    s.sin6_family = AF_INET6;
    /* Ignored (API-CM-24) */
    s.sin6_port = 99;
    s.sin6_scope_id = 99;
    s.sin6_addr = *a;
    put(c, level, type, &s, sizeof s);
}

static inline struct msghdr message(struct iovec *iov, int n, struct control *c)
{
    struct msghdr m;
    memset(&m, 0, sizeof m);
    m.msg_iov = iov;
    m.msg_iovlen = (size_t)n;
    m.msg_control = c->len > 0 ? c->octets : NULL;
    m.msg_controllen = c->len;
    return m;
}

static inline ssize_t send_with(int fd, struct control *c)
{
    char b[100] = "with locators of its own";
    struct iovec iov = { b, sizeof b };
    struct msghdr m = message(&iov, 1, c);
    return sendmsg(fd, &m, 0);
}

static inline ssize_t send_locators(int fd, int level, const struct in6_addr *l, const struct in6_addr *p)
{
    struct control c = { .len = 0 };
    if (l != NULL)
        put_locator(&c, level, SHIM_LOC_LOCAL_SEND, l);
    if (p != NULL)
        put_locator(&c, level, SHIM_LOC_PEER_SEND, p);
    return send_with(fd, &c);
}

static inline int run_one(const struct test *tests, size_t n, char **argv)
{
    server = argv[1];
    port = atoi(argv[2]);
    for (size_t i = 0; i < n; i++)
        if (strcmp(tests[i].name, argv[3]) == 0) {
            alarm(60);
            tests[i].run();
            printf("ok %s\n", argv[3]);
            return 0;
        }
    return 2;
}

#endif

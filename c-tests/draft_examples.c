/*
 * The code examples of draft-ietf-shim6-multihome-shim-api-08, section 5, and what section 6 describes, in its order.
 * Mended: option lengths are socklen_t and given by pointer, `struct` where C wants it, names as the draft itself has them
 * elsewhere (API-CX-07, API-CX-08, API-CX-25).
 *
 * Without arguments on sockets without context; with an address and a port, on a context with the server there, which
 * sends everything back.
 */
#include "harness.h"
#include "../include/shim6.h"

/* Is there a context? */
static int context;
/* The ULIDs. */
static struct in6_addr own, others;

/* What a call that needs a context answers. */
#define NEEDS_CONTEXT(c) \
    do { \
        if (context) \
            CHECK((c) == 0); \
        else \
            FAILS(c, ENOENT); \
    } while (0)

static void section_5_1(int fd)
{
    int optval;
    socklen_t optlen = sizeof(optval);

    CHECK(getsockopt(fd, SOL_SHIM, SHIM_ASSOCIATED, &optval, &optlen) == 0);
    CHECK(optval == context && optlen == sizeof(int));
}

static void section_5_2(int fd)
{
    int optval;
    socklen_t len;

    optval = 0;
    CHECK(setsockopt(fd, SOL_SHIM, SHIM_DONTSHIM, &optval, sizeof(optval)) == 0);

    len = sizeof(optval);
    CHECK(getsockopt(fd, SOL_SHIM, SHIM_DONTSHIM, &optval, &len) == 0);
    CHECK(optval == 0);
}

/* 5.3, 5.7, 5.8, 5.13: an int is set and read. */
static void set_and_read(int fd, int name, int value)
{
    int optval;
    socklen_t len;

    optval = value;
    NEEDS_CONTEXT(setsockopt(fd, SOL_SHIM, name, &optval, sizeof(optval)));

    optval = -1;
    len = sizeof(optval);
    NEEDS_CONTEXT(getsockopt(fd, SOL_SHIM, name, &optval, &len));
    CHECK(optval == (context ? value : -1));
}

static void section_5_4(int fd)
{
    struct shim6_pathexplore pe;
    socklen_t len;

    pe.pe_probenum = 4;         /* times */
    pe.pe_keepaliveto = 10;     /* seconds */
    pe.pe_initprobeto = 500;    /* milliseconds */
    pe.pe_reserved = 0;
    NEEDS_CONTEXT(setsockopt(fd, SOL_SHIM, SHIM_PATHEXPLORE, &pe, sizeof(pe)));

    memset(&pe, 0, sizeof pe);
    len = sizeof(pe);
    NEEDS_CONTEXT(getsockopt(fd, SOL_SHIM, SHIM_PATHEXPLORE, &pe, &len));
    if (context)
        CHECK(pe.pe_probenum == 4 && pe.pe_keepaliveto == 10 && pe.pe_initprobeto == 500 && pe.pe_reserved == 0);
}

/* 5.5, 5.6 */
static void preferred(int fd, int name, struct in6_addr ip6)
{
    struct shim_locator lc;
    socklen_t len;

    memset(&lc, 0, sizeof(struct shim_locator));
    lc.lc_family = AF_INET6;    /* IPv6 */
    lc.lc_ifidx = 0;
    lc.lc_flags = 0;
    lc.lc_preference = 255;
    memcpy(lc.lc_addr, &ip6, sizeof(struct in6_addr));
    NEEDS_CONTEXT(setsockopt(fd, SOL_SHIM, name, &lc, sizeof(lc)));

    memset(&lc, 0, sizeof lc);
    len = sizeof(lc);
    NEEDS_CONTEXT(getsockopt(fd, SOL_SHIM, name, &lc, &len));
    /* No failure: the ULIDs are the locators in use. */
    if (context)
        CHECK(len == sizeof lc && lc.lc_family == AF_INET6 && memcmp(lc.lc_addr, &ip6, sizeof ip6) == 0);
}

/* 5.9, 5.10 */
static void send_by(int fd, int name, struct in6_addr ia6)
{
    struct shim_locator locator;
    socklen_t len;

    memset(&locator, 0, sizeof(locator));

    /* fill shim_locator data structure */
    locator.lc_family = AF_INET6;
    locator.lc_ifidx = 1;
    locator.lc_flags = 0;
    locator.lc_preference = 0;
    memcpy(&locator.lc_addr, &ia6, sizeof(ia6));
    NEEDS_CONTEXT(setsockopt(fd, SOL_SHIM, name, &locator, sizeof(locator)));

    memset(&locator, 0, sizeof(locator));
    len = sizeof(locator);
    NEEDS_CONTEXT(getsockopt(fd, SOL_SHIM, name, &locator, &len));
    if (context)
        CHECK(memcmp(&locator.lc_addr, &ia6, sizeof(ia6)) == 0);

    /* Back to the choice of the shim. */
    memset(&locator, 0, sizeof(locator));
    NEEDS_CONTEXT(setsockopt(fd, SOL_SHIM, name, &locator, sizeof(locator)));
}

/* 5.11, 5.12 */
static void lists(int fd, int name, struct in6_addr first)
{
    struct shim_locator locators[SHIM_MAX_LOCATORS];
    struct sockaddr_in sin, *sa = &sin;
    struct sockaddr_in6 sin6, *sa6 = &sin6;
    socklen_t len;

    memset(&sin, 0, sizeof sin);
    sin.sin_addr.s_addr = htonl(0xc0000201);
    sin6.sin6_addr = first;

    memset(locators, 0, sizeof(locators));
    len = sizeof(locators);
    NEEDS_CONTEXT(getsockopt(fd, SOL_SHIM, name, locators, &len));
    if (context) {
        /* parse locators */
        CHECK(len % sizeof locators[0] == 0 && len >= 2 * sizeof locators[0]);
        CHECK(locators[0].lc_family == AF_INET6 && locators[1].lc_family == AF_INET6);
        CHECK(memcmp(locators[0].lc_addr, &first, sizeof first) == 0);
        /* What was read may be set. */
        CHECK(name == SHIM_LOCLIST_PEER || setsockopt(fd, SOL_SHIM, name, locators, len) == 0);
    }

    memset(locators, 0, sizeof(locators));

    /* first locator (an IPv6 address) */
    locators[0].lc_family = AF_INET6;
    locators[0].lc_ifidx = 0;
    locators[0].lc_flags = 0;
    locators[0].lc_preference = 1;
    memcpy(&locators[0].lc_addr, &sa6->sin6_addr, sizeof(sa6->sin6_addr));

    /* second locator (an IPv4 address), which Shim6 has not (API-CX-30) */
    locators[1].lc_family = AF_INET;
    locators[1].lc_ifidx = 0;
    locators[1].lc_flags = 0;
    locators[1].lc_preference = 0;
    memcpy(&locators[1].lc_addr, &sa->sin_addr, sizeof(sa->sin_addr));

    FAILS(setsockopt(fd, SOL_SHIM, name, locators, sizeof(locators)), context ? EINVALIDLOCATOR : ENOENT);
}

static void section_5_14(int fd)
{
    int optval;
    socklen_t len;

    optval = 0;
    CHECK(setsockopt(fd, SOL_SHIM, SHIM_DEFERRED_CONTEXT_SETUP, &optval, sizeof(optval)) == 0);

    len = sizeof(optval);
    CHECK(getsockopt(fd, SOL_SHIM, SHIM_DEFERRED_CONTEXT_SETUP, &optval, &len) == 0);
    CHECK(optval == 0);
}

/* One datagram with one ancillary datum at level SOL_SHIM, or with n parts of data. */
static ssize_t send_with(int fd, int type, const void *data, size_t size, size_t parts)
{
    union {
        char octets[CMSG_SPACE(sizeof(struct sockaddr_in6))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { (char *)"datagram", 8 };
    struct msghdr msg;
    struct cmsghdr *cmsg;

    memset(&control, 0, sizeof control);
    memset(&msg, 0, sizeof msg);
    msg.msg_iov = &iov;
    msg.msg_iovlen = parts;
    msg.msg_control = control.octets;
    msg.msg_controllen = CMSG_SPACE(size);
    cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SHIM;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(cmsg), data, size);
    return sendmsg(fd, &msg, 0);
}

static void section_6_1(int fd)
{
    char data[100];
    union {
        char octets[200];
        struct cmsghdr align;
    } control;
    struct iovec iov = { data, sizeof data };
    struct sockaddr_in6 name;
    struct msghdr msg;
    struct cmsghdr *cmsg;
    int found = 0;

    memset(&msg, 0, sizeof msg);
    msg.msg_name = &name;
    msg.msg_namelen = sizeof name;
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.octets;
    msg.msg_controllen = sizeof control.octets;
    CHECK(send(fd, "datagram", 8, 0) == 8);
    CHECK(recvmsg(fd, &msg, 0) == 8);
    CHECK(memcmp(&name.sin6_addr, &others, sizeof others) == 0);
    for (cmsg = CMSG_FIRSTHDR(&msg); cmsg != NULL; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        struct sockaddr_in6 locator;
        CHECK(cmsg->cmsg_level == SOL_SHIM && cmsg->cmsg_len == CMSG_LEN(sizeof locator));
        memcpy(&locator, CMSG_DATA(cmsg), sizeof locator);
        CHECK(locator.sin6_family == AF_INET6);
        CHECK(cmsg->cmsg_type == SHIM_LOC_LOCAL_RECV || cmsg->cmsg_type == SHIM_LOC_PEER_RECV);
        const struct in6_addr *ulid = cmsg->cmsg_type == SHIM_LOC_LOCAL_RECV ? &own : &others;
        CHECK(memcmp(&locator.sin6_addr, ulid, sizeof *ulid) == 0);
        found |= 1 << cmsg->cmsg_type;
    }
    CHECK(found == (1 << SHIM_LOC_LOCAL_RECV | 1 << SHIM_LOC_PEER_RECV));
}

static void section_6_2(int fd, int type, struct in6_addr locator)
{
    struct sockaddr_in6 name;
    char data[8];

    memset(&name, 0, sizeof name);
    name.sin6_family = AF_INET6;
    name.sin6_addr = locator;
    if (!context) {
        FAILS(send_with(fd, type, &name, sizeof name, 1), ENOENT);
        return;
    }
    CHECK(send_with(fd, type, &name, sizeof name, 1) == 8);
    CHECK(recv(fd, data, sizeof data, 0) == 8);
    CHECK(inet_pton(AF_INET6, "2001:db8:dead::1", &name.sin6_addr) == 1);
    FAILS(send_with(fd, type, &name, sizeof name, 1), EINVALIDLOCATOR);
}

static void section_6_3(int fd)
{
    struct shim_feedback fb;

    fb.fb_direction = 0;
    fb.fb_indicator = 3;
    fb.fb_reserved = 0;
    if (context)
        CHECK(send_with(fd, SHIM_FEEDBACK, &fb, sizeof fb, 0) == 0);
    else
        FAILS(send_with(fd, SHIM_FEEDBACK, &fb, sizeof fb, 0), ENOENT);
}

static void all(int fd)
{
    section_5_1(fd);
    section_5_2(fd);
    set_and_read(fd, SHIM_HOT_STANDBY, 1);
    section_5_4(fd);
    preferred(fd, SHIM_LOC_LOCAL_PREF, own);
    preferred(fd, SHIM_LOC_PEER_PREF, others);
    set_and_read(fd, SHIM_LOC_LOCAL_RECV, 1);
    set_and_read(fd, SHIM_LOC_PEER_RECV, 1);
    send_by(fd, SHIM_LOC_LOCAL_SEND, own);
    send_by(fd, SHIM_LOC_PEER_SEND, others);
    lists(fd, SHIM_LOCLIST_LOCAL, own);
    lists(fd, SHIM_LOCLIST_PEER, others);
    set_and_read(fd, SHIM_APP_TIMEOUT, 15);
    section_5_14(fd);
    if (context)
        section_6_1(fd);
    section_6_2(fd, SHIM_LOC_LOCAL_SEND, own);
    section_6_2(fd, SHIM_LOC_PEER_SEND, others);
    section_6_3(fd);
}

int main(int argc, char **argv)
{
    int port, fd, value;
    struct sockaddr_in6 name;
    struct timeval second = { .tv_sec = 1, .tv_usec = 0 };
    socklen_t len;

    alarm(40);
    if (argc == 3) {
        fd = to_peer(argv[1], atoi(argv[2]));
    } else {
        own_network();
        bound(B, &port);
        fd = to_peer(B, port);
    }
    len = sizeof name;
    CHECK(getsockname(fd, SA(name), &len) == 0);
    own = name.sin6_addr;
    len = sizeof name;
    CHECK(getpeername(fd, SA(name), &len) == 0);
    others = name.sin6_addr;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) == 0);
    for (int i = 0; argc == 3 && !context && i < 200; i++) {
        char data[8];
        CHECK(send(fd, "datagram", 8, 0) == 8);
        recv(fd, data, sizeof data, 0);
        len = sizeof value;
        CHECK(getsockopt(fd, SOL_SHIM, SHIM_ASSOCIATED, &value, &len) == 0);
        context = value;
        usleep(50000);
    }
    CHECK(context == (argc == 3));
    all(fd);
    printf("ok examples of the draft, %s context\n", context ? "with" : "without");
    return 0;
}

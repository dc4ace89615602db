/* What locators do to packets: sent ones, which the router counts by pair, and received ones with their ancillary data. */
#include "api.h"

/* API-LTX-08, API-LTX-11, API-LTX-15, API-FK-20: packets by pair (2,1), although another locator is preferred. */
static void local_send(void)
{
    int fd = associated();
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 1), preferred = locator(fd, SHIM_LOCLIST_LOCAL, 2);
    CHECK(set_locator(fd, D08, SHIM_LOC_LOCAL_PREF, &preferred) == 0);
    CHECK(set_locator(fd, D08, SHIM_LOC_LOCAL_SEND, &l) == 0);
    struct sockaddr_in6 to = address(server, port);
    char b[100] = { 0 };
    struct iovec iov = { b, sizeof b };
    struct control c = { .len = 0 };
    for (int i = 0; i < 20; i++) {
        struct msghdr m = message(&iov, 1, &c);
        struct mmsghdr mm = { .msg_hdr = m };
        CHECK(send(fd, b, sizeof b, 0) == 100 && write(fd, b, sizeof b) == 100);
        CHECK(sendto(fd, b, sizeof b, 0, SA(to), sizeof to) == 100);
        CHECK(sendmsg(fd, &m, 0) == 100 && sendmmsg(fd, &mm, 1, 0) == 1);
        for (int k = 0; k < 5; k++)
            CHECK(recv(fd, b, sizeof b, 0) == 100);
    }
    struct sockaddr_in6 name;
    socklen_t len = sizeof name;
    CHECK(getpeername(fd, SA(name), &len) == 0);
    same_address(&name, server, port);
}

/* API-PTX-14: (1,2). */
static void peer_send(void)
{
    int fd = associated();
    struct in6_addr p = locator(fd, SHIM_LOCLIST_PEER, 1);
    SOON(set_locator(fd, RFC, SHIM_LOC_PEER_SEND, &p) == 0);
    talk(fd, 100);
}

/* API-PTX-15: (2,2). */
static void both_send(void)
{
    int fd = associated();
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 1), p = locator(fd, SHIM_LOCLIST_PEER, 1);
    confirm(fd, &p);
    CHECK(set_locator(fd, RFC, SHIM_LOC_LOCAL_SEND, &l) == 0 && set_locator(fd, RFC, SHIM_LOC_PEER_SEND, &p) == 0);
    talk(fd, 100);
}

/* API-LLP-05, API-LLP-06, API-LLP-13, API-CX-21, API-RQ-03, API-RQ-09: (3,1). */
static void local_pref(void)
{
    int fd = associated();
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 2), first = locator(fd, SHIM_LOCLIST_LOCAL, 0);
    CHECK(is_at(fd, D08, SHIM_LOC_LOCAL_PREF, &first));
    CHECK(set_locator(fd, D08, SHIM_LOC_LOCAL_PREF, &l) == 0);
    CHECK(is_at(fd, RFC, SHIM_LOC_LOCAL_PREF, &l));
    talk(fd, 1);
    SOON(is_at(fd, D08, SHIM_LOC_LOCAL_PREF, &l));
    talk(fd, 100);
}

/* API-PPF-05, API-PPF-06, API-PPF-15: (1,3). */
static void peer_pref(void)
{
    int fd = associated();
    loc_rfc best = { .lc_family = AF_INET6, .lc_prio = 7, .lc_weight = 8 }, back;
    best.lc_addr = locator(fd, SHIM_LOCLIST_PEER, 2);
    CHECK(setsockopt(fd, RFC, SHIM_LOC_PEER_PREF, &best, sizeof best) == 0);
    socklen_t len = sizeof back;
    CHECK(getsockopt(fd, RFC, SHIM_LOC_PEER_PREF, &back, &len) == 0 && len == sizeof back);
    CHECK(same(&back.lc_addr, &best.lc_addr) && back.lc_prio == 7 && back.lc_weight == 8 && back.lc_ifidx == 0);
    talk(fd, 1);
    SOON(is_at(fd, D08, SHIM_LOC_PEER_PREF, &best.lc_addr));
    talk(fd, 100);
}

/* API-CM-13, API-CM-20, API-CM-21, API-CM-35, API-CM-37, API-FK-06: (3,3) for every other datagram, (3,2) in batches. */
static void messages(void)
{
    int fd = associated();
    char b[100] = { 0 };
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 2), p = locator(fd, SHIM_LOCLIST_PEER, 2);
    struct in6_addr q = locator(fd, SHIM_LOCLIST_PEER, 1);
    confirm(fd, &p);
    confirm(fd, &q);
    for (int i = 0; i < 100; i++) {
        CHECK(send_locators(fd, levels[i % 2], &l, &p) == 100);
        CHECK(recv(fd, b, sizeof b, 0) == 100);
        talk(fd, 1);
    }
    struct control c = { .len = 0 };
    put_locator(&c, D08, SHIM_LOC_LOCAL_SEND, &l);
    put_locator(&c, RFC, SHIM_LOC_PEER_SEND, &q);
    struct iovec iov = { b, sizeof b };
    struct mmsghdr batch[10];
    memset(batch, 0, sizeof batch);
    for (int i = 0; i < 10; i++)
        batch[i].msg_hdr = message(&iov, 1, &c);
    for (int i = 0; i < 10; i++) {
        CHECK(sendmmsg(fd, batch, 10, 0) == 10);
        for (int k = 0; k < 10; k++)
            CHECK(recv(fd, b, sizeof b, 0) == 100);
    }
    /* A pin, and a datagram that goes between the ULIDs all the same. */
    struct in6_addr ulids[2] = { locator(fd, SHIM_LOCLIST_LOCAL, 0), locator(fd, SHIM_LOCLIST_PEER, 0) };
    CHECK(set_locator(fd, D08, SHIM_LOC_LOCAL_SEND, &l) == 0);
    for (int i = 0; i < 10; i++)
        CHECK(send_locators(fd, D08, &ulids[0], &ulids[1]) == 100 && recv(fd, b, sizeof b, 0) == 100);
}

/* LS-U-04, LS-F-01, API-FK-01, API-FK-04, API-FK-05, API-FK-07, API-FK-13, API-FK-19, API-GEN-14: one socket by (2,3), the other
 * by (1,1). */
static void two_sockets(void)
{
    int one = associated(), two = associated();
    struct in6_addr l = locator(two, SHIM_LOCLIST_LOCAL, 1), p = locator(two, SHIM_LOCLIST_PEER, 2), none;
    memset(&none, 0, sizeof none);
    confirm(one, &p);
    CHECK(set_int(two, D08, SHIM_HOT_STANDBY, 1) == 0);
    CHECK(set_locator(two, D08, SHIM_LOC_LOCAL_SEND, &l) == 0 && set_locator(two, D08, SHIM_LOC_PEER_SEND, &p) == 0);
    CHECK(is_at(one, D08, SHIM_LOC_LOCAL_SEND, &none) && is_at(two, D08, SHIM_LOC_LOCAL_SEND, &l));
    CHECK(get_int(one, D08, SHIM_HOT_STANDBY) == 0 && get_int(two, D08, SHIM_HOT_STANDBY) == 1);
    SOON(is_at(two, D08, SHIM_LOC_LOCAL_PREF, &l) && is_at(two, D08, SHIM_LOC_PEER_PREF, &p));
    CHECK(get_int(one, D08, SHIM_ASSOCIATED) == 1);
    for (int i = 0; i < 100; i++) {
        talk(one, 1);
        talk(two, 1);
    }
    close(two);
    talk(one, 1);
}

/* API-EX-05, API-EX-09: IPV6_PKTINFO names the ULID that a datagram of an unconnected socket comes from, and with it the
 * context; the locators of the same message say how it goes: (3,1). */
static void named_source(void)
{
    int one = associated(), fd = udp(), on = 1;
    char b[100] = { 0 };
    struct in6_pktinfo info = { .ipi6_ifindex = 0 };
    struct in6_addr ulid = locator(one, SHIM_LOCLIST_LOCAL, 0), l = locator(one, SHIM_LOCLIST_LOCAL, 2);
    struct sockaddr_in6 to = address(server, port), name, from;
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    struct iovec iov = { b, sizeof b };
    for (int i = 0; i < 100; i++) {
        struct control c = { .len = 0 }, back = { .len = sizeof back.octets };
        info.ipi6_addr = ulid;
        put(&c, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
        put_locator(&c, levels[i % 2], SHIM_LOC_LOCAL_SEND, &l);
        struct msghdr m = message(&iov, 1, &c);
        m.msg_name = &to;
        m.msg_namelen = sizeof to;
        CHECK(sendmsg(fd, &m, 0) == 100);
        /* The answer comes to the ULID. */
        struct pollfd p = { fd, POLLIN, 0 };
        m = message(&iov, 1, &back);
        m.msg_name = &from;
        m.msg_namelen = sizeof from;
        CHECK(poll(&p, 1, 10000) == 1 && recvmsg(fd, &m, 0) == 100);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        CHECK(h != NULL && h->cmsg_type == IPV6_PKTINFO && memcmp(CMSG_DATA(h), &ulid, 16) == 0);
        same_address(&from, server, port);
    }
    /* Another source is another pair of ULIDs, which has no context. */
    struct control c = { .len = 0 };
    info.ipi6_addr = l;
    put(&c, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    put_locator(&c, D08, SHIM_LOC_LOCAL_SEND, &ulid);
    struct msghdr m = message(&iov, 1, &c);
    m.msg_name = &to;
    m.msg_namelen = sizeof to;
    FAILS(sendmsg(fd, &m, 0), ENOENT);
    socklen_t len = sizeof name;
    CHECK(getsockname(fd, SA(name), &len) == 0 && IN6_IS_ADDR_UNSPECIFIED(&name.sin6_addr));
}

/* API-EX-08: a locator of the peer in connect is one more ULID, with a context of its own; (1,2) without header. */
static void locator_as_ulid(void)
{
    int one = associated();
    struct in6_addr p = locator(one, SHIM_LOCLIST_PEER, 1), mine = locator(one, SHIM_LOCLIST_LOCAL, 0), none;
    memset(&none, 0, sizeof none);
    struct sockaddr_in6 to = address("::", port), name;
    to.sin6_addr = p;
    int fd = udp();
    CHECK(set_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    struct sockaddr_in6 from = address("::", 0);
    from.sin6_addr = mine;
    CHECK(bind(fd, SA(from), sizeof from) == 0);
    CHECK(connect(fd, SA(to), sizeof to) == 0 && get_int(fd, D08, SHIM_ASSOCIATED) == 1);
    socklen_t len = sizeof name;
    CHECK(getpeername(fd, SA(name), &len) == 0 && same(&name.sin6_addr, &p));
    CHECK(is_at(fd, D08, SHIM_LOC_PEER_PREF, &p) && is_at(fd, D08, SHIM_LOC_LOCAL_PREF, &mine));
    /* Set for one, not for the other. */
    CHECK(set_int(one, D08, SHIM_APP_TIMEOUT, 30) == 0 && get_int(fd, D08, SHIM_APP_TIMEOUT) == 0);
    talk(fd, 100);
}

/* One received datagram, and where its control messages stand. */
struct got {
    struct control c;
    struct msghdr m;
    char data[200];
    ssize_t n;
};

static void receive(int fd, struct got *g, size_t room, int flags)
{
    static struct iovec iov;
    struct pollfd p = { fd, POLLIN, 0 };
    CHECK(poll(&p, 1, 10000) == 1);
    memset(g, 0, sizeof *g);
    memset(g->c.octets, 0xee, sizeof g->c.octets);
    iov = (struct iovec){ g->data, sizeof g->data };
    g->c.len = room;
    g->m = message(&iov, 1, &g->c);
    g->n = recvmsg(fd, &g->m, flags);
    CHECK(g->n >= 0);
    for (size_t i = room; i < sizeof g->c.octets; i++)
        CHECK(g->c.octets[i] == 0xee);
}

static int count(struct got *g)
{
    int n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&g->m); c != NULL; c = CMSG_NXTHDR(&g->m, c))
        n++;
    return n;
}

static unsigned char *find(struct got *g, int level, int type, size_t size)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&g->m); c != NULL; c = CMSG_NXTHDR(&g->m, c))
        if (c->cmsg_level == level && c->cmsg_type == type) {
            CHECK(c->cmsg_len == CMSG_LEN(size));
            return CMSG_DATA(c);
        }
    return NULL;
}

static void is_locator(struct got *g, int level, int type, const struct in6_addr *a)
{
    struct sockaddr_in6 s, want;
    unsigned char *data = find(g, level, type, sizeof s);
    CHECK(data != NULL);
    memcpy(&s, data, sizeof s);
    memset(&want, 0, sizeof want);
    if (a != NULL) {
        want.sin6_family = AF_INET6;
        want.sin6_addr = *a;
    }
    CHECK(memcmp(&s, &want, sizeof s) == 0);
}

static void one_way(int fd)
{
    CHECK(send(fd, "question", 8, 0) == 8);
}

/* API-CX-18, API-CM-01, API-CM-02, API-CM-03, API-CM-05, API-CM-07, API-CM-10, API-CM-11, API-CM-12, API-EX-04:
 * between the ULIDs. */
static void received_plain(void)
{
    int fd = associated(), on = 1;
    struct got g;
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 0), p = locator(fd, SHIM_LOCLIST_PEER, 0);
    one_way(fd);
    receive(fd, &g, 512, 0);
    CHECK(g.n == 8 && count(&g) == 0 && g.m.msg_controllen == 0 && (g.m.msg_flags & MSG_CTRUNC) == 0);
    CHECK(set_int(fd, D08, SHIM_LOC_LOCAL_RECV, 1) == 0);
    /* What the shim asks of the kernel for itself does not show. */
    CHECK(get_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO) == 0);
    one_way(fd);
    receive(fd, &g, 512, 0);
    CHECK(count(&g) == 1 && g.m.msg_controllen == CMSG_SPACE(sizeof(struct sockaddr_in6)));
    is_locator(&g, D08, SHIM_LOC_LOCAL_RECV, &l);
    CHECK(set_int(fd, RFC, SHIM_LOC_LOCAL_RECV, 1) == 0 && set_int(fd, RFC, SHIM_LOC_PEER_RECV, 1) == 0);
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on) == 0);
    one_way(fd);
    for (int i = 0; i < 2; i++) {
        receive(fd, &g, 512, i == 0 ? MSG_PEEK : 0);
        CHECK(count(&g) == 6 && (g.m.msg_flags & MSG_CTRUNC) == 0);
        is_locator(&g, D08, SHIM_LOC_LOCAL_RECV, &l);
        is_locator(&g, RFC, SHIM_LOC_LOCAL_RECV, &l);
        is_locator(&g, RFC, SHIM_LOC_PEER_RECV, &p);
        unsigned char *info = find(&g, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo));
        CHECK(info != NULL && memcmp(info, &l, 16) == 0);
        CHECK(find(&g, IPPROTO_IPV6, IPV6_HOPLIMIT, sizeof(int)) != NULL);
        CHECK(find(&g, SOL_SOCKET, SO_TIMESTAMP, sizeof(struct timeval)) != NULL);
    }
    /* Cut off: the kernel's messages stay, whole locators are left out. */
    size_t kernel = CMSG_SPACE(sizeof(struct timeval)) + CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo));
    for (size_t more = 0; more <= 160; more++) {
        one_way(fd);
        receive(fd, &g, kernel + more, 0);
        int shown = more < 44 ? 0 : more < 48 + 44 ? 1 : more < 96 + 44 ? 2 : 3;
        CHECK(count(&g) == 3 + shown && ((g.m.msg_flags & MSG_CTRUNC) != 0) == (shown < 3));
    }
    one_way(fd);
    receive(fd, &g, 0, 0);
    CHECK(g.m.msg_controllen == 0 && (g.m.msg_flags & MSG_CTRUNC) != 0);
    /* Per message of a batch; recv and read never. */
    struct got two[2];
    struct iovec iov[2];
    struct mmsghdr mm[2];
    memset(two, 0, sizeof two), memset(mm, 0, sizeof mm);
    for (int i = 0; i < 2; i++) {
        one_way(fd);
        iov[i] = (struct iovec){ two[i].data, sizeof two[i].data };
        two[i].c.len = 512;
        mm[i].msg_hdr = message(&iov[i], 1, &two[i].c);
    }
    CHECK(recvmmsg(fd, mm, 2, MSG_WAITFORONE, NULL) >= 1);
    two[0].m = mm[0].msg_hdr;
    is_locator(&two[0], RFC, SHIM_LOC_PEER_RECV, &p);
    CHECK(set_int(fd, D08, SHIM_LOC_LOCAL_RECV, 0) == 0 && set_int(fd, D08, SHIM_LOC_PEER_RECV, 0) == 0);
    int off = 0;
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &off, sizeof off) == 0);
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &off, sizeof off) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &off, sizeof off) == 0);
    one_way(fd);
    do
        receive(fd, &g, 512, 0);
    while (recv(fd, g.data, sizeof g.data, MSG_DONTWAIT | MSG_PEEK) > 0);
    CHECK(count(&g) == 0);
    /* The context is gone for this socket: the locators are not known any more (API-CM-08, API-CM-09, API-CM-32). */
    CHECK(set_int(fd, D08, SHIM_LOC_LOCAL_RECV, 1) == 0 && set_int(fd, RFC, SHIM_LOC_PEER_RECV, 1) == 0);
    CHECK(set_int(fd, D08, SHIM_DONTSHIM, 1) == 0);
    one_way(fd);
    receive(fd, &g, 512, 0);
    CHECK(count(&g) == 2);
    is_locator(&g, D08, SHIM_LOC_LOCAL_RECV, NULL);
    is_locator(&g, RFC, SHIM_LOC_PEER_RECV, NULL);
}

/* API-DONT-13, API-CM-04, API-CM-06, API-EX-03, API-EX-04, API-EX-06: the server answers from elsewhere to elsewhere. */
static void received_tagged(void)
{
    int fd = associated_to(port + 1), on = 1, off = 0;
    struct got g;
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 1), p = locator(fd, SHIM_LOCLIST_PEER, 1);
    struct in6_addr ulid = locator(fd, SHIM_LOCLIST_LOCAL, 0);
    loc_rfc all[3];
    CHECK(list(fd, SHIM_LOCLIST_LOCAL, all) == 3);
    CHECK(set_int(fd, D08, SHIM_LOC_LOCAL_RECV, 1) == 0 && set_int(fd, D08, SHIM_LOC_PEER_RECV, 1) == 0);
    /* Until the server has moved, and for a while. */
    for (int tries = 1000, tagged = 0; tagged < 20; tries--) {
        CHECK(tries > 0);
        one_way(fd);
        receive(fd, &g, 512, 0);
        CHECK(count(&g) == 2);
        unsigned char *a = find(&g, D08, SHIM_LOC_PEER_RECV, sizeof(struct sockaddr_in6));
        int moved = a != NULL && memcmp(a + 8, &p, 16) == 0;
        tagged = moved ? tagged + 1 : 0;
        if (!moved)
            ms(10);
    }
    is_locator(&g, D08, SHIM_LOC_LOCAL_RECV, &l);
    is_locator(&g, D08, SHIM_LOC_PEER_RECV, &p);
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0);
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_FLOWINFO, &on, sizeof on) == 0);
    for (int i = 0; i < 20; i++) {
        struct sockaddr_in6 from;
        one_way(fd);
        struct pollfd pfd = { fd, POLLIN, 0 };
        CHECK(poll(&pfd, 1, 10000) == 1);
        memset(&g, 0, sizeof g);
        struct iovec iov = { g.data, sizeof g.data };
        g.c.len = sizeof g.c.octets;
        g.m = message(&iov, 1, &g.c);
        g.m.msg_name = &from;
        g.m.msg_namelen = sizeof from;
        CHECK(recvmsg(fd, &g.m, 0) == 8 && count(&g) == 3);
        same_address(&from, server, port + 1);
        struct in6_pktinfo info;
        unsigned char *data = find(&g, IPPROTO_IPV6, IPV6_PKTINFO, sizeof info);
        CHECK(data != NULL);
        memcpy(&info, data, sizeof info);
        CHECK(same(&info.ipi6_addr, &ulid) && info.ipi6_ifindex == all[1].lc_ifidx);
        is_locator(&g, D08, SHIM_LOC_LOCAL_RECV, &l);
    }
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_FLOWINFO, &off, sizeof off) == 0);
    CHECK(get_int(fd, IPPROTO_IPV6, IPV6_FLOWINFO) == 0);
    /* Also to a socket that has left the shim itself (API-DONT-13). */
    CHECK(set_int(fd, D08, SHIM_DONTSHIM, 1) == 0);
    one_way(fd);
    receive(fd, &g, 512, 0);
    CHECK(g.n == 8);
    is_locator(&g, D08, SHIM_LOC_PEER_RECV, &p);
}

static const struct test tests[] = {
    TEST(local_send), TEST(peer_send), TEST(both_send), TEST(local_pref), TEST(peer_pref), TEST(messages),
    TEST(two_sockets), TEST(named_source), TEST(locator_as_ulid), TEST(received_plain), TEST(received_tagged),
};

/* Answer each datagram; a peer of the second socket becomes its only one, and is answered by the second locators. */
static void serve(int p)
{
    int fd[2];
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in6 a = address("::", p + 1 - i);
        fd[1 - i] = udp();
        CHECK(bind(fd[1 - i], SA(a), sizeof a) == 0);
    }
    int pinned = 0;
    /* For contexts that raw sockets ask for. */
    int raw = socket(AF_INET6, SOCK_RAW, 253);
    struct sockaddr_in6 any = address("::", 0);
    CHECK(raw >= 0 && bind(raw, SA(any), sizeof any) == 0);
    for (;;) {
        struct pollfd ready[2] = { { fd[0], POLLIN, 0 }, { fd[1], POLLIN, 0 } };
        CHECK(poll(ready, 2, -1) > 0);
        for (int i = 0; i < 2; i++) {
            char b[2000];
            struct sockaddr_in6 from;
            socklen_t len = sizeof from;
            if ((ready[i].revents & POLLIN) == 0)
                continue;
            ssize_t n = recvfrom(fd[i], b, sizeof b, 0, SA(from), &len);
            if (n < 0)
                continue;
            if (i == 1 && !pinned) {
                CHECK(connect(fd[1], SA(from), sizeof from) == 0);
                pinned = 1;
            }
            if (i == 1 && pinned == 1 && get_int(fd[1], D08, SHIM_ASSOCIATED) == 1) {
                struct in6_addr l = locator(fd[1], SHIM_LOCLIST_LOCAL, 1), there = locator(fd[1], SHIM_LOCLIST_PEER, 1);
                if (set_locator(fd[1], D08, SHIM_LOC_PEER_SEND, &there) == 0 &&
                    set_locator(fd[1], D08, SHIM_LOC_LOCAL_SEND, &l) == 0)
                    pinned = 2;
            }
            if (i == 1)
                send(fd[1], b, (size_t)n, 0);
            else
                sendto(fd[0], b, (size_t)n, 0, SA(from), len);
        }
    }
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    if (strcmp(argv[1], "serve") == 0)
        serve(atoi(argv[2]));
    CHECK(argc == 4);
    return run_one(tests, sizeof tests / sizeof tests[0], argv);
}

/* The options of a socket with a context: values, errno, and setups that are not deferred. */
#include "api.h"
#include <pthread.h>

#define SEND_AND_PREF \
    { SHIM_LOC_LOCAL_SEND, SHIM_LOC_PEER_SEND, SHIM_LOC_LOCAL_PREF, SHIM_LOC_PEER_PREF }

/* API-RQ-07, API-HOT-05, API-HOT-06, API-HOT-12, API-LRX-05, API-LRX-06, API-PRX-05, API-PRX-06, API-PRX-08, API-DEF-07,
 * API-DEF-08, API-DEF-04, API-ASSOC-04, API-ASSOC-05, API-ASSOC-06, API-ABI-05, API-DONT-07, API-DONT-09 */
static void switches(void)
{
    static const int names[] = { SHIM_HOT_STANDBY, SHIM_LOC_LOCAL_RECV, SHIM_LOC_PEER_RECV };
    int fd = associated();
    for (int l = 0; l < 2; l++) {
        CHECK(get_int(fd, levels[l], SHIM_ASSOCIATED) == 1);
        FAILS(set_int(fd, levels[l], SHIM_ASSOCIATED, 0), ENOPROTOOPT);
        for (int i = 0; i < 3; i++) {
            CHECK(get_int(fd, levels[l], names[i]) == 0);
            FAILS(set_int(fd, levels[l], names[i], 2), EINVAL);
            FAILS(set_int(fd, levels[l], names[i], -1), EINVAL);
            CHECK(get_int(fd, levels[l], names[i]) == 0);
            CHECK(set_int(fd, levels[l], names[i], 1) == 0);
            for (int k = 0; k < 3; k++)
                CHECK(get_int(fd, levels[1 - l], names[k]) == (k == i));
            CHECK(set_int(fd, levels[1 - l], names[i], 0) == 0 && get_int(fd, levels[l], names[i]) == 0);
        }
    }
    CHECK(get_int(fd, RFC, SHIM_DEFERRED_CONTEXT_SETUP) == 1 && get_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP) == 0);
    CHECK(set_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP, 1) == 0 && get_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP) == 1);
    FAILS(set_int(fd, RFC, SHIM_DEFERRED_CONTEXT_SETUP, 1), ENOPROTOOPT);
    FAILS(set_int(fd, RFC, SHIM_DONTSHIM, 1), EOPNOTSUPP);
    CHECK(get_int(fd, RFC, SHIM_DONTSHIM) == 0 && get_int(fd, RFC, SHIM_ASSOCIATED) == 1);
    talk(fd, 3);
}

/* LS-KT-03, API-RQ-08, API-TMO-05, API-TMO-06, API-TMO-14, API-PE-05, API-PE-06, API-PE-08, API-PE-09, API-PE-15,
 * API-PE-16, API-PE-17, API-PE-18, API-ST-12, API-ST-13, API-ST-14, API-GEN-06, API-GEN-07, API-CX-10, API-CX-11,
 * API-TMO-15, API-RQ-05 */
static void timers(void)
{
    int fd = associated();
    for (int l = 0; l < 2; l++) {
        CHECK(get_int(fd, levels[l], SHIM_APP_TIMEOUT) == 0);
        FAILS(set_int(fd, levels[l], SHIM_APP_TIMEOUT, -1), EINVAL);
        FAILS(set_int(fd, levels[l], SHIM_APP_TIMEOUT, 65536), EINVAL);
        CHECK(set_int(fd, levels[l], SHIM_APP_TIMEOUT, 65535) == 0);
        CHECK(get_int(fd, levels[1 - l], SHIM_APP_TIMEOUT) == 65535);
        CHECK(set_int(fd, levels[l], SHIM_APP_TIMEOUT, 0) == 0 && get_int(fd, levels[l], SHIM_APP_TIMEOUT) == 0);
    }
    struct shim_pathexplore_d08 d, none = { 0, 0, 0, 0 };
    struct shim_pathexplore_r6316 r, bad;
    socklen_t len = sizeof d;
    /* The lab runs these with a Send Timeout of 5 s and an Initial Probe Timeout of 1 s. */
    CHECK(getsockopt(fd, D08, SHIM_PATHEXPLORE, &d, &len) == 0 && len == sizeof d);
    CHECK(d.pe_probenum == 4 && d.pe_keepaliveto == 5 && d.pe_initprobeto == 1000 && d.pe_reserved == 0);
    struct shim_pathexplore_d08 want = { 7, 20, 10, 0xffffffff };
    CHECK(setsockopt(fd, D08, SHIM_PATHEXPLORE, &want, sizeof want) == 0);
    len = sizeof r;
    CHECK(getsockopt(fd, RFC, SHIM_PATHEXPLORE, &r, &len) == 0 && len == sizeof r);
    CHECK(r.pe_probenum == 7 && r.pe_keepaliveto == 20 && r.pe_initprobeto == 10 && r.pe_reserved == 0);
    CHECK(set_int(fd, D08, SHIM_APP_TIMEOUT, 30) == 0);
    len = sizeof d;
    CHECK(getsockopt(fd, D08, SHIM_PATHEXPLORE, &d, &len) == 0 && d.pe_keepaliveto == 30);
    CHECK(set_int(fd, D08, SHIM_APP_TIMEOUT, 0) == 0);
    for (int i = 0; i < 4; i++) {
        bad = (struct shim_pathexplore_r6316){ 4, 15, 0, 500, 0 };
        if (i == 0)
            bad.pe_probenum = 33;
        else if (i == 1)
            bad.pe_initprobeto = 9;
        else if (i == 2)
            bad.pe_keepaliveint = 60;
        else
            bad.pe_reserved = 1;
        FAILS(setsockopt(fd, RFC, SHIM_PATHEXPLORE, &bad, sizeof bad), EINVAL);
    }
    FAILS(setsockopt(fd, D08, SHIM_PATHEXPLORE, &want, sizeof want - 1), EINVAL);
    FAILS(setsockopt(fd, D08, SHIM_PATHEXPLORE, &bad, sizeof bad), EINVAL);
    FAILS(setsockopt(fd, D08, SHIM_PATHEXPLORE, NULL, sizeof want), EFAULT);
    len = sizeof d - 1;
    FAILS(getsockopt(fd, D08, SHIM_PATHEXPLORE, &d, &len), EINVAL);
    len = sizeof d;
    CHECK(getsockopt(fd, D08, SHIM_PATHEXPLORE, &d, &len) == 0 && d.pe_probenum == 7 && d.pe_keepaliveto == 20);
    CHECK(setsockopt(fd, D08, SHIM_PATHEXPLORE, &none, sizeof none) == 0);
    CHECK(getsockopt(fd, D08, SHIM_PATHEXPLORE, &d, &len) == 0 && d.pe_probenum == 4 && d.pe_keepaliveto == 5);
    CHECK(setsockopt(fd, D08, SHIM_PATHEXPLORE, &want, sizeof want) == 0);
    CHECK(setsockopt(fd, RFC, SHIM_PATHEXPLORE, NULL, 0) == 0);
    CHECK(getsockopt(fd, D08, SHIM_PATHEXPLORE, &d, &len) == 0 && d.pe_probenum == 4 && d.pe_initprobeto == 1000);
    talk(fd, 3);
}

/* API-CX-16, API-CX-19, API-LLL-05, API-LLL-06, API-LLL-08, API-LLL-09, API-LLL-10, API-LLL-11, API-LLL-12,
 * API-LLL-13, API-LLL-14, API-LLL-19, API-LLL-20, API-LLL-21,
 * API-LLR-05, API-LLR-06, API-LLR-07, API-LLR-08, API-LLR-10, API-LLR-11, API-LLR-15, API-ST-02, API-ST-03,
 * API-ST-04, API-ST-05, API-ST-08, API-ST-09, API-ST-10,
 * API-GEN-08, API-ERR-06, API-CX-30, API-RQ-01, API-RQ-02, API-CX-07, API-CX-17 */
static void lists(void)
{
    int fd = associated();
    loc_rfc local[33], peer[33], all[33];
    loc_d08 old[33];
    int n = list(fd, SHIM_LOCLIST_LOCAL, local), m = list(fd, SHIM_LOCLIST_PEER, peer);
    CHECK(n == 3 && m == 3);
    for (int i = 0; i < n; i++) {
        CHECK(local[i].lc_family == AF_INET6 && local[i].lc_ifidx != 0 && local[i].lc_flags == SHIM_LOC_HBA);
        CHECK(local[i].lc_prio == 128 && local[i].lc_weight == 0);
        CHECK(peer[i].lc_family == AF_INET6 && peer[i].lc_ifidx == 0 && peer[i].lc_flags == SHIM_LOC_HBA);
    }
    for (int i = 0; i < 2; i++) {
        int name = i == 0 ? SHIM_LOCLIST_LOCAL : SHIM_LOCLIST_PEER;
        socklen_t len = 3 * sizeof(loc_rfc) - 1;
        FAILS(getsockopt(fd, RFC, name, all, &len), ETOOMANYLOCATORS);
        len = 3 * sizeof(loc_d08) - 1;
        FAILS(getsockopt(fd, D08, name, old, &len), EINVAL);
        CHECK(len == 3 * sizeof(loc_d08));
        CHECK(getsockopt(fd, D08, name, old, &len) == 0 && len == 3 * sizeof(loc_d08));
        CHECK(memcmp(old[1].lc_addr, i == 0 ? &local[1].lc_addr : &peer[1].lc_addr, 16) == 0);
        CHECK(old[1].lc_preference == 127);
        memset(all, 0, sizeof all);
        FAILS(setsockopt(fd, RFC, name, all, 33 * sizeof(loc_rfc)), ETOOMANYLOCATORS);
        FAILS(setsockopt(fd, D08, name, all, 33 * sizeof(loc_d08)), EINVAL);
        FAILS(setsockopt(fd, RFC, name, all, sizeof(loc_rfc) + 1), EINVAL);
        FAILS(setsockopt(fd, RFC, name, all, 32 * sizeof(loc_rfc)), EINVAL);
        FAILS(setsockopt(fd, RFC, name, all, 0), EINVAL);
        FAILS(setsockopt(fd, RFC, name, NULL, sizeof(loc_rfc)), EFAULT);
        /* A gap, a duplicate, a family that is none, an address of nobody's, IPv4, a NAT. */
        for (int k = 0; k < 6; k++) {
            memset(all, 0, sizeof all);
            memcpy(all, i == 0 ? local : peer, 2 * sizeof(loc_rfc));
            if (k == 0)
                all[2] = all[1], memset(&all[1], 0, sizeof all[1]);
            else if (k == 1)
                all[1] = all[0];
            else if (k == 2)
                all[1].lc_family = 77;
            else if (k == 3)
                CHECK(inet_pton(AF_INET6, "2001:db8:dead::1", &all[1].lc_addr) == 1);
            else if (k == 4)
                all[1].lc_family = AF_INET;
            else
                all[1].lc_proto = IPPROTO_UDP, all[1].lc_port = 4500;
            FAILS(setsockopt(fd, RFC, name, all, 3 * sizeof(loc_rfc)), k < 3 ? EINVAL : EINVALIDLOCATOR);
            CHECK(list(fd, name, all) == 3);
            CHECK(memcmp(all, i == 0 ? local : peer, 3 * sizeof(loc_rfc)) == 0);
        }
    }
    /* The whole array of the draft's example with two entries filled; the ULID comes back at the end. */
    memset(all, 0, sizeof all);
    all[0] = local[2], all[1] = local[1];
    all[0].lc_prio = 1, all[1].lc_prio = 2, all[1].lc_weight = 9;
    CHECK(setsockopt(fd, RFC, SHIM_LOCLIST_LOCAL, all, SHIM_MAX_LOCATORS * sizeof(loc_rfc)) == 0);
    memset(all, 0xff, sizeof all);
    CHECK(list(fd, SHIM_LOCLIST_LOCAL, all) == 3);
    CHECK(same(&all[0].lc_addr, &local[2].lc_addr) && all[0].lc_prio == 1 && all[0].lc_ifidx == local[2].lc_ifidx);
    CHECK(same(&all[1].lc_addr, &local[1].lc_addr) && all[1].lc_prio == 2 && all[1].lc_weight == 9);
    CHECK(same(&all[2].lc_addr, &local[0].lc_addr) && all[2].lc_prio == 65535);
    socklen_t len = sizeof old;
    CHECK(getsockopt(fd, D08, SHIM_LOCLIST_LOCAL, old, &len) == 0 && len == 3 * sizeof(loc_d08));
    CHECK(old[0].lc_preference == 254 && old[1].lc_preference == 253 && old[2].lc_preference == 0);
    /* The peer's list narrows to what is confirmed. */
    confirm(fd, &peer[1].lc_addr);
    all[0] = peer[1], all[1] = peer[0];
    CHECK(setsockopt(fd, RFC, SHIM_LOCLIST_PEER, all, 2 * sizeof(loc_rfc)) == 0);
    CHECK(list(fd, SHIM_LOCLIST_PEER, all) == 2 && same(&all[0].lc_addr, &peer[1].lc_addr));
    talk(fd, 3);
}

/* API-CM-24, API-CX-24, API-ERR-12, API-PTX-08, API-PTX-09, API-PTX-10, API-PTX-11, API-PTX-12, API-PTX-13,
 * API-PTX-16, API-LLP-10, API-PPF-08, API-PPF-12,
 * API-LTX-05, API-LTX-06, API-LTX-09, API-LTX-12, API-PTX-05, API-PTX-06, API-LLP-08, API-LLP-16, API-PPF-14, API-ST-03,
 * API-ST-09, API-CX-08, API-CX-09, API-ERR-01, API-ERR-02, API-ERR-04, API-ERR-09, API-LLR-09, API-GEN-20, API-AD-04,
 * API-AD-05, API-AD-06,
 * API-CM-16, API-CM-17, API-CM-18, API-CM-19 */
static void checks(void)
{
    static const int names[] = SEND_AND_PREF;
    int fd = associated();
    loc_rfc all[3];
    CHECK(list(fd, SHIM_LOCLIST_PEER, all) == 3);
    struct in6_addr nobody, l = locator(fd, SHIM_LOCLIST_LOCAL, 1), p = locator(fd, SHIM_LOCLIST_PEER, 1);
    struct in6_addr q = locator(fd, SHIM_LOCLIST_PEER, 2), ulid = locator(fd, SHIM_LOCLIST_PEER, 0), none;
    memset(&none, 0, sizeof none);
    CHECK(inet_pton(AF_INET6, "2001:db8:dead::1", &nobody) == 1);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 4; k++) {
            FAILS(set_locator(fd, levels[i], names[k], &nobody), EINVALIDLOCATOR);
            FAILS(set_locator(fd, levels[i], names[k], k % 2 == 0 ? &p : &l), EINVALIDLOCATOR);
            if (k < 2)
                CHECK(is_at(fd, levels[i], names[k], &none));
            int value = 1;
            FAILS(setsockopt(fd, levels[i], names[k], &value, sizeof value), EINVAL);
            unsigned char octets[32];
            memset(octets, 0x77, sizeof octets);
            FAILS(setsockopt(fd, levels[i], names[k], octets, i == 0 ? 20 : 32), EINVAL);
            memset(octets, 0, sizeof octets);
            octets[0] = AF_INET, octets[i == 0 ? 4 : 12] = 192;
            FAILS(setsockopt(fd, levels[i], names[k], octets, i == 0 ? 20 : 32), EINVALIDLOCATOR);
            socklen_t len = (i == 0 ? 20 : 32) - 1;
            FAILS(getsockopt(fd, levels[i], names[k], octets, &len), EINVAL);
        }
        FAILS(send_locators(fd, levels[i], &nobody, NULL), EINVALIDLOCATOR);
        FAILS(send_locators(fd, levels[i], NULL, &nobody), EINVALIDLOCATOR);
    }
    /* Nothing has tested them yet; each refusal starts a probe, and no call waits for it. One locator is probed per second,
     * so the second is what is asked of most; where the machine stood still for so long, another ULID of the peer has another
     * context, whose locators are untested. */
    FAILS(set_locator(fd, RFC, SHIM_LOC_PEER_SEND, &p), EUNVERIFIEDLOCATOR);
    int error[5], other = fd;
    for (int i = 0;; i++) {
        long start = now_ms();
        CHECK(i < 2);
        error[0] = set_locator(other, RFC, SHIM_LOC_PEER_SEND, &p) == 0 ? 0 : errno;
        error[1] = set_locator(other, D08, SHIM_LOC_PEER_SEND, &q) == 0 ? 0 : errno;
        error[2] = send_locators(other, RFC, NULL, &q) == 100 ? 0 : errno;
        error[3] = send_locators(other, D08, NULL, &q) == 100 ? 0 : errno;
        error[4] = setsockopt(other, RFC, SHIM_LOCLIST_PEER, all, sizeof all) == 0 ? 0 : errno;
        if (now_ms() - start < 900)
            break;
        other = associated_to_address(&all[1].lc_addr, port);
        p = all[0].lc_addr;
    }
    p = all[1].lc_addr;
    CHECK(error[1] == EINVALIDLOCATOR && error[2] == EUNVERIFIEDLOCATOR && error[3] == EINVALIDLOCATOR);
    CHECK(error[4] == EUNVERIFIEDLOCATOR);
    CHECK(set_locator(fd, RFC, SHIM_LOC_PEER_PREF, &q) == 0);
    CHECK(setsockopt(fd, RFC, SHIM_LOC_PEER_PREF, NULL, 0) == 0);
    SOON(set_locator(fd, RFC, SHIM_LOC_PEER_SEND, &p) == 0 || (CHECK(errno == EUNVERIFIEDLOCATOR), 0));
    SOON(send_locators(fd, RFC, NULL, &q) == 100 || (CHECK(errno == EUNVERIFIEDLOCATOR), 0));
    CHECK(setsockopt(fd, RFC, SHIM_LOCLIST_PEER, all, sizeof all) == 0);
    CHECK(is_at(fd, RFC, SHIM_LOC_PEER_SEND, &p) && is_at(fd, D08, SHIM_LOC_PEER_SEND, &p));
    CHECK(set_locator(fd, D08, SHIM_LOC_PEER_SEND, NULL) == 0 && is_at(fd, RFC, SHIM_LOC_PEER_SEND, &none));
    CHECK(set_locator(fd, D08, SHIM_LOC_PEER_SEND, &ulid) == 0);
    CHECK(set_locator(fd, D08, SHIM_LOC_LOCAL_SEND, &l) == 0 && is_at(fd, RFC, SHIM_LOC_LOCAL_SEND, &l));
    CHECK(set_locator(fd, RFC, SHIM_LOC_LOCAL_SEND, NULL) == 0 && is_at(fd, D08, SHIM_LOC_LOCAL_SEND, &none));
}

/* API-CX-06, API-RQ-04, API-CM-22, API-CM-23, API-CM-25, API-CM-26, API-CM-33, API-CM-34, API-FB-01, API-FB-05,
 * API-FB-06, API-FB-08 */
static void bad_messages(void)
{
    int fd = associated();
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 1);
    struct sockaddr_in6 s = address(server, 0);
    struct sockaddr_in four = { .sin_family = AF_INET };
    for (int i = 0; i < 2; i++) {
        int level = levels[i];
        for (int k = 0; k < 9; k++) {
            struct control c = { .len = 0 };
            struct shim_feedback f = { 0, 3, 0xffff };
            if (k == 0)
                put(&c, level, SHIM_LOC_LOCAL_SEND, &s, sizeof s - 4);
            else if (k == 1)
                put_locator(&c, level, SHIM_LOC_LOCAL_RECV, &l);
            else if (k == 2)
                put(&c, level, 99, &s, sizeof s);
            else if (k == 3)
                put_locator(&c, level, SHIM_LOC_LOCAL_SEND, &l), put_locator(&c, level, SHIM_LOC_LOCAL_SEND, &l);
            else if (k == 4)
                s.sin6_family = AF_UNIX, put(&c, level, SHIM_LOC_PEER_SEND, &s, sizeof s);
            else if (k == 5)
                put(&c, level, SHIM_FEEDBACK, &f, 3);
            else if (k == 6)
                f.fb_direction = 2, put(&c, level, SHIM_FEEDBACK, &f, sizeof f);
            else if (k == 7)
                f.fb_indicator = 4, put(&c, level, SHIM_FEEDBACK, &f, sizeof f);
            else
                put_locator(&c, level, SHIM_LOC_LOCAL_SEND, &l), put(&c, level, SHIM_FEEDBACK, &s, 5);
            FAILS(send_with(fd, &c), EINVAL);
        }
        struct control c = { .len = 0 };
        put(&c, level, SHIM_LOC_PEER_SEND, &four, sizeof four);
        FAILS(send_with(fd, &c), EINVALIDLOCATOR);
        for (unsigned char direction = 0; direction < 2; direction++)
            for (unsigned char indicator = 0; indicator < 4; indicator++) {
                struct shim_feedback f = { direction, indicator, 0xffff };
                c.len = 0;
                put(&c, level, SHIM_FEEDBACK, &f, sizeof f);
                struct msghdr m = message(NULL, 0, &c);
                CHECK(sendmsg(fd, &m, 0) == 0);
                CHECK(send_with(fd, &c) == 100);
            }
    }
    /* Nothing but what went out right comes back: 16 with feedback. */
    char b[200];
    for (int i = 0; i < 16; i++) {
        struct pollfd p = { fd, POLLIN, 0 };
        CHECK(poll(&p, 1, 10000) == 1 && recv(fd, b, sizeof b, 0) == 100);
    }
    FAILS(recv(fd, b, sizeof b, MSG_DONTWAIT), EAGAIN);
    uint32_t none = 9999, ifidx;
    loc_rfc all[3];
    CHECK(list(fd, SHIM_LOCLIST_LOCAL, all) == 3);
    ifidx = all[0].lc_ifidx;
    struct control c = { .len = 0 };
    put(&c, D08, SHIM_IF_SEND, &none, sizeof none);
    FAILS(send_with(fd, &c), ENXIO);
    c.len = 0;
    put(&c, RFC, SHIM_IF_SEND, &ifidx, sizeof ifidx);
    FAILS(send_with(fd, &c), EINVAL);
    c.len = 0;
    put(&c, D08, SHIM_IF_SEND, &ifidx, sizeof ifidx);
    CHECK(send_with(fd, &c) == 100);
    struct control bad = { .len = 0 }, good = { .len = 0 };
    put(&bad, D08, SHIM_LOC_PEER_SEND, &four, sizeof four);
    put_locator(&good, D08, SHIM_LOC_LOCAL_SEND, &l);
    struct iovec iov = { b, 100 };
    struct mmsghdr batch[4];
    memset(batch, 0, sizeof batch);
    for (int i = 0; i < 4; i++)
        batch[i].msg_hdr = message(&iov, 1, i == 2 ? &bad : &good);
    CHECK(sendmmsg(fd, batch, 4, 0) == 2 && batch[0].msg_len == 100 && batch[1].msg_len == 100);
    FAILS(sendmmsg(fd, batch + 2, 2, 0), EINVALIDLOCATOR);
    for (int i = 0; i < 3; i++) {
        struct pollfd p = { fd, POLLIN, 0 };
        CHECK(poll(&p, 1, 10000) == 1 && recv(fd, b, sizeof b, 0) == 100);
    }
}

/* API-DONT-06, API-DONT-08, API-ASSOC-09, API-GEN-13, API-GEN-15, API-GEN-17, API-LRX-09, API-AD-02, API-RQ-11: what the
 * socket keeps, and what it loses. */
static void leaving(void)
{
    int fd = associated(), other;
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 1), none;
    memset(&none, 0, sizeof none);
    CHECK(set_locator(fd, RFC, SHIM_LOC_LOCAL_SEND, &l) == 0 && set_int(fd, RFC, SHIM_LOC_PEER_RECV, 1) == 0);
    CHECK(set_int(fd, RFC, SHIM_HOT_STANDBY, 1) == 0);
    int d = dup(fd);
    CHECK(is_at(d, RFC, SHIM_LOC_LOCAL_SEND, &l) && get_int(d, RFC, SHIM_HOT_STANDBY) == 1);
    close(d);
    CHECK(get_int(fd, D08, SHIM_ASSOCIATED) == 1);
    other = associated();
    CHECK(is_at(other, RFC, SHIM_LOC_LOCAL_SEND, &none) && get_int(other, RFC, SHIM_HOT_STANDBY) == 0);
    CHECK(set_int(fd, D08, SHIM_DONTSHIM, 1) == 0 && get_int(fd, D08, SHIM_ASSOCIATED) == 0);
    FAILS(get_int(fd, D08, SHIM_LOC_PEER_RECV), ENOENT);
    FAILS(get_int(fd, RFC, SHIM_HOT_STANDBY), ENOENT);
    CHECK(get_int(other, D08, SHIM_ASSOCIATED) == 1);
    talk(fd, 3);
    CHECK(set_int(fd, D08, SHIM_DONTSHIM, 0) == 0 && get_int(fd, D08, SHIM_ASSOCIATED) == 1);
    CHECK(get_int(fd, D08, SHIM_LOC_PEER_RECV) == 1 && is_at(fd, RFC, SHIM_LOC_LOCAL_SEND, &none));
    CHECK(get_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP) == 0);
    struct sockaddr_in6 unspec = { .sin6_family = AF_UNSPEC };
    CHECK(connect(fd, SA(unspec), sizeof unspec) == 0);
    FAILS(get_int(fd, RFC, SHIM_HOT_STANDBY), EOPNOTSUPP);
    FAILS(get_int(fd, D08, SHIM_APP_TIMEOUT), ENOENT);
    CHECK(get_int(fd, D08, SHIM_ASSOCIATED) == 0);
}

/* While a connect waits nothing can be sent. Was it over by now, so that a datagram has left? */
static int sent_early(int fd)
{
    struct pollfd p = { fd, POLLOUT, 0 };
    if (poll(&p, 1, 0) != 0)
        return 0;
    ssize_t n = send(fd, "early", 5, 0);
    CHECK(n == 5 || errno == EAGAIN);
    return n == 5;
}

/* API-DEF-06, API-DEF-12, API-DEF-14, API-DEF-15 */
static void not_blocking(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
    struct sockaddr_in6 to = address(server, port);
    struct epoll_event ev = { .events = EPOLLOUT | EPOLLET };
    CHECK(fd >= 0 && ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0 && epoll_wait(ep, &ev, 1, 0) == 1);
    int before = get_int(fd, SOL_SOCKET, SO_SNDBUF), early = 0;
    CHECK(set_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    FAILS(connect(fd, SA(to), sizeof to), EINPROGRESS);
    early = sent_early(fd);
    struct pollfd p = { fd, POLLOUT, 0 };
    CHECK(get_int(fd, SOL_SOCKET, SO_SNDBUF) == before);
    CHECK(epoll_wait(ep, &ev, 1, 10000) == 1 && (ev.events & EPOLLOUT) != 0);
    CHECK(poll(&p, 1, 10000) == 1 && (p.revents & POLLOUT) != 0 && get_int(fd, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(get_int(fd, D08, SHIM_ASSOCIATED) == 1 && get_int(fd, SOL_SOCKET, SO_SNDBUF) == before);
    CHECK(connect(fd, SA(to), sizeof to) == 0);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    /* The attempt may have ended just before it. */
    char b[10];
    CHECK(!early || recv(fd, b, sizeof b, 0) == 5);
    talk(fd, 3);
    /* A host that knows no Shim6 says so; it is not asked again for a while (API-DEF-14). */
    struct sockaddr_in6 stranger = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
    struct in6_addr l = locator(fd, SHIM_LOCLIST_LOCAL, 0);
    memcpy(&stranger.sin6_addr, &l, 8);
    stranger.sin6_addr.s6_addr[15] = 1;
    int first = udp(), second = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(set_int(first, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    CHECK(connect(first, SA(stranger), sizeof stranger) == 0 && get_int(first, D08, SHIM_ASSOCIATED) == 0);
    CHECK(set_int(second, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    CHECK(connect(second, SA(stranger), sizeof stranger) == 0);
    /* Without shim there is nothing to wait for. */
    int plain = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(set_int(plain, D08, SHIM_DONTSHIM, 1) == 0 && set_int(plain, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    CHECK(connect(plain, SA(to), sizeof to) == 0);
}

/* API-DEF-12 for a raw socket; the server has one of this protocol too. */
static void raw_not_blocking(void)
{
    int fd = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK, 253);
    struct sockaddr_in6 to = address(server, 0);
    CHECK(fd >= 0);
    int before = get_int(fd, SOL_SOCKET, SO_SNDBUF);
    CHECK(set_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    FAILS(connect(fd, SA(to), sizeof to), EINPROGRESS);
    sent_early(fd);
    struct pollfd p = { fd, POLLOUT, 0 };
    CHECK(poll(&p, 1, 10000) == 1 && (p.revents & POLLOUT) != 0 && get_int(fd, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(get_int(fd, D08, SHIM_ASSOCIATED) == 1 && get_int(fd, SOL_SOCKET, SO_SNDBUF) == before);
    CHECK(connect(fd, SA(to), sizeof to) == 0 && send(fd, "raw", 3, 0) == 3);
}

/* API-DEF-10, API-DEF-13: without peer, and deferred as ever. */
static void not_deferred(void)
{
    int usual = to_peer(server, port);
    talk(usual, 1);
    CHECK(get_int(usual, D08, SHIM_DEFERRED_CONTEXT_SETUP) == 1);
    int fd = udp();
    char b[10];
    struct sockaddr_in6 to = address(server, port);
    CHECK(set_int(fd, D08, SHIM_DEFERRED_CONTEXT_SETUP, 0) == 0);
    CHECK(sendto(fd, "x", 1, 0, SA(to), sizeof to) == 1 && recv(fd, b, sizeof b, 0) == 1);
    CHECK(connect(fd, SA(to), sizeof to) == 0 && get_int(fd, RFC, SHIM_ASSOCIATED) == 1);
}

/* API-CM-30, API-CM-31: without peer, by the name in the call. */
static void unconnected(void)
{
    int one = associated(), fd = udp();
    char b[100] = { 0 };
    struct in6_addr l = locator(one, SHIM_LOCLIST_LOCAL, 1);
    struct sockaddr_in6 to = address(server, port), other = address("2001:db8:dead::1", 9);
    struct control c = { .len = 0 };
    put_locator(&c, D08, SHIM_LOC_LOCAL_SEND, &l);
    struct iovec iov = { b, sizeof b };
    struct msghdr m = message(&iov, 1, &c);
    m.msg_name = &to;
    m.msg_namelen = sizeof to;
    CHECK(sendmsg(fd, &m, 0) == 100 && recv(fd, b, sizeof b, 0) == 100);
    m.msg_name = &other;
    FAILS(sendmsg(fd, &m, 0), ENOENT);
}

/* API-PTX-10, API-PTX-11, API-PPF-10, API-PPF-11, API-ERR-05, API-LLR-09, API-LLR-10, API-CM-17, API-CM-18: the way to the
 * third locator is broken. */
static void unreachable(void)
{
    int fd = associated();
    loc_rfc all[3];
    CHECK(list(fd, SHIM_LOCLIST_PEER, all) == 3);
    struct in6_addr p = all[2].lc_addr;
    FAILS(set_locator(fd, RFC, SHIM_LOC_PEER_SEND, &p), EUNVERIFIEDLOCATOR);
    SOON(set_locator(fd, RFC, SHIM_LOC_PEER_SEND, &p) == -1 && errno == EUNREACHABLELOCATOR);
    FAILS(set_locator(fd, D08, SHIM_LOC_PEER_SEND, &p), EINVALIDLOCATOR);
    FAILS(set_locator(fd, RFC, SHIM_LOC_PEER_PREF, &p), EUNREACHABLELOCATOR);
    FAILS(set_locator(fd, D08, SHIM_LOC_PEER_PREF, &p), EINVALIDLOCATOR);
    FAILS(send_locators(fd, RFC, NULL, &p), EUNREACHABLELOCATOR);
    FAILS(send_locators(fd, D08, NULL, &p), EINVALIDLOCATOR);
    FAILS(setsockopt(fd, RFC, SHIM_LOCLIST_PEER, all, sizeof all), EUNREACHABLELOCATOR);
    /* What is invalid comes first (API-PTX-16). */
    CHECK(inet_pton(AF_INET6, "2001:db8:dead::1", &all[0].lc_addr) == 1);
    FAILS(setsockopt(fd, RFC, SHIM_LOCLIST_PEER, all, sizeof all), EINVALIDLOCATOR);
    CHECK(list(fd, SHIM_LOCLIST_PEER, all) == 3);
    talk(fd, 3);
}

/* API-CX-31, API-LLL-14: an address of this host that the lab has added, which is not of the ULID's set. */
static void outside(void)
{
    static const int names[] = { SHIM_LOC_LOCAL_SEND, SHIM_LOC_LOCAL_PREF };
    int fd = associated(), own = udp();
    struct sockaddr_in6 a = address("2001:db8:77::1", 0);
    CHECK(bind(own, SA(a), sizeof a) == 0);
    loc_rfc all[4];
    CHECK(list(fd, SHIM_LOCLIST_LOCAL, all) == 3);
    for (int l = 0; l < 2; l++) {
        for (int k = 0; k < 2; k++)
            FAILS(set_locator(fd, levels[l], names[k], &a.sin6_addr), EINVALIDLOCATOR);
        FAILS(send_locators(fd, levels[l], &a.sin6_addr, NULL), EINVALIDLOCATOR);
    }
    all[2].lc_addr = a.sin6_addr;
    FAILS(setsockopt(fd, RFC, SHIM_LOCLIST_LOCAL, all, 3 * sizeof *all), EINVALIDLOCATOR);
    CHECK(list(fd, SHIM_LOCLIST_LOCAL, all) == 3);
    talk(fd, 3);
}

static int one_of_two;
static pthread_barrier_t both;

static void *sets_the_timeout(void *unused)
{
    pthread_barrier_wait(&both);
    CHECK(set_int(one_of_two, RFC, SHIM_APP_TIMEOUT, 30) == 0);
    return unused;
}

/* API-GEN-19: two threads each set something on a socket that shares its context. One fork serves the socket afterwards, and
 * has both. */
static void at_the_same_time(void)
{
    int shared = associated();
    struct in6_addr l = locator(shared, SHIM_LOCLIST_LOCAL, 1), none;
    memset(&none, 0, sizeof none);
    CHECK(pthread_barrier_init(&both, NULL, 2) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        one_of_two = associated();
        CHECK(pthread_create(&thread, NULL, sets_the_timeout, NULL) == 0);
        pthread_barrier_wait(&both);
        CHECK(set_locator(one_of_two, D08, SHIM_LOC_LOCAL_SEND, &l) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(get_int(one_of_two, D08, SHIM_APP_TIMEOUT) == 30 && is_at(one_of_two, RFC, SHIM_LOC_LOCAL_SEND, &l));
        CHECK(get_int(shared, D08, SHIM_APP_TIMEOUT) == 0 && is_at(shared, RFC, SHIM_LOC_LOCAL_SEND, &none));
        close(one_of_two);
    }
}

static const struct test tests[] = {
    TEST(raw_not_blocking), TEST(outside), TEST(at_the_same_time), TEST(switches), TEST(timers), TEST(lists), TEST(checks), TEST(bad_messages), TEST(leaving), TEST(not_blocking),
    TEST(not_deferred), TEST(unconnected), TEST(unreachable),
};

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    return run_one(tests, sizeof tests / sizeof tests[0], argv);
}

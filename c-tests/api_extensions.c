/* The options of ours: the Send Timeout in milliseconds, and what is told of a switch. */
#include "api.h"

/* RE-OP-06 */
static void timeouts(void)
{
    int fd = associated();
    for (int l = 0; l < 2; l++) {
        /* As the lab configures it */
        CHECK(get_int(fd, levels[l], SHIM_SEND_TIMEOUT) == 1000);
        FAILS(set_int(fd, levels[l], SHIM_SEND_TIMEOUT, -1), EINVAL);
        FAILS(set_int(fd, levels[l], SHIM_SEND_TIMEOUT, 65535001), EINVAL);
        CHECK(set_int(fd, levels[l], SHIM_SEND_TIMEOUT, 40) == 0);
        CHECK(get_int(fd, levels[1 - l], SHIM_SEND_TIMEOUT) == 40);
        CHECK(set_int(fd, levels[l], SHIM_SEND_TIMEOUT, 0) == 0);
    }
    int alone = udp();
    FAILS(set_int(alone, RFC, SHIM_SEND_TIMEOUT, 40), EOPNOTSUPP);
    FAILS(set_int(alone, D08, SHIM_SEND_TIMEOUT, 40), ENOENT);
    close(alone);
    CHECK(set_int(fd, RFC, SHIM_SEND_TIMEOUT, 2500) == 0);
    struct shim_pathexplore_r6316 r;
    socklen_t len = sizeof r;
    CHECK(getsockopt(fd, RFC, SHIM_PATHEXPLORE, &r, &len) == 0 && r.pe_keepaliveto == 3);
    talk(fd, 3);
}

/* RE-OP-07 */
static void resending(void)
{
    int fd = associated();
    struct shim_resend r = { 9, 9 };
    socklen_t len = sizeof r;
    CHECK(getsockopt(fd, RFC, SHIM_RESEND, &r, &len) == 0 && len == sizeof r);
    CHECK(r.rs_datagrams == 0 && r.rs_milliseconds == 0);
    struct shim_resend bad[] = { { 1025, 1 }, { 1, 60001 } };
    for (int i = 0; i < 2; i++)
        FAILS(setsockopt(fd, RFC, SHIM_RESEND, &bad[i], sizeof bad[i]), EINVAL);
    r = (struct shim_resend){ 20, 0 };
    FAILS(setsockopt(fd, RFC, SHIM_RESEND, &r, sizeof r - 1), EINVAL);
    CHECK(setsockopt(fd, D08, SHIM_RESEND, &r, sizeof r) == 0);
    CHECK(getsockopt(fd, RFC, SHIM_RESEND, &r, &len) == 0 && r.rs_datagrams == 20 && r.rs_milliseconds == 1000);
    /* Of this socket only, though another one shares its context */
    int other = associated();
    CHECK(getsockopt(other, RFC, SHIM_RESEND, &r, &len) == 0 && r.rs_datagrams == 0);
    talk(fd, 3);
    r = (struct shim_resend){ 0, 0 };
    CHECK(setsockopt(fd, RFC, SHIM_RESEND, &r, sizeof r) == 0);
    CHECK(getsockopt(fd, RFC, SHIM_RESEND, &r, &len) == 0 && r.rs_datagrams == 0);
    talk(fd, 3);
}

static uint64_t boot_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Waits for a failure from outside: LS-RP-09, RE-RP-16, RE-OP-06 */
static void told(void)
{
    int fd = associated();
    struct shim_switch s[3];
    loc_rfc all[SHIM_MAX_LOCATORS], theirs[SHIM_MAX_LOCATORS];
    socklen_t len = sizeof s;
    talk(fd, 3);
    CHECK(list(fd, SHIM_LOCLIST_LOCAL, all) == 2 && list(fd, SHIM_LOCLIST_PEER, theirs) == 2);
    memset(s, 0xee, sizeof s);
    CHECK(getsockopt(fd, RFC, SHIM_SWITCHES, s, &len) == 0 && len == sizeof *s && s[0].sw_number == 0);
    FAILS(setsockopt(fd, RFC, SHIM_SWITCHES, s, sizeof *s), ENOPROTOOPT);
    len = sizeof *s - 1;
    FAILS(getsockopt(fd, RFC, SHIM_SWITCHES, s, &len), EINVAL);
    struct in6_addr current = get_locator(fd, D08, SHIM_LOC_LOCAL_PREF);
    int first = same(&current, &all[0].lc_addr) ? 0 : 1;
    uint64_t began = boot_time();
    puts("ready");
    fflush(stdout);
    SOON((send(fd, "x", 1, 0), len = sizeof s, getsockopt(fd, D08, SHIM_SWITCHES, s, &len) == 0)
         && s[0].sw_number > 0 && s[0].sw_first_packet != 0);
    uint64_t now = boot_time();
    CHECK(len == sizeof *s && s[0].sw_number == 1);
    CHECK(s[0].sw_cause == SHIM_SWITCH_LOCAL_LOST || s[0].sw_cause == SHIM_SWITCH_SEND_REFUSED);
    CHECK(s[0].sw_evidence == SHIM_EVIDENCE_REPORT && s[0].sw_tested == 0);
    CHECK(s[0].sw_last_heard > 0 && s[0].sw_last_heard <= s[0].sw_detected && s[0].sw_detected <= s[0].sw_decided);
    CHECK(began <= s[0].sw_detected && s[0].sw_decided <= s[0].sw_first_packet && s[0].sw_first_packet <= now);
    CHECK(same(&s[0].sw_old_local, &current) && same(&s[0].sw_new_local, &all[1 - first].lc_addr));
    CHECK(same(&s[0].sw_old_peer, &theirs[0].lc_addr) || same(&s[0].sw_old_peer, &theirs[1].lc_addr));
    for (size_t i = 0; i < sizeof s[0].sw_reserved; i++)
        CHECK(s[0].sw_reserved[i] == 0);
    /* A buffer that holds no whole second structure */
    len = 2 * sizeof *s - 1;
    CHECK(getsockopt(fd, RFC, SHIM_SWITCHES, s, &len) == 0 && len == sizeof *s);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = { TEST(timeouts), TEST(resending), TEST(told) };
    return argc == 4 ? run_one(tests, sizeof tests / sizeof *tests, argv) : 2;
}

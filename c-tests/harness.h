/* One process per test, and a network namespace of its own for all of them. */
#ifndef SHIM6_HARNESS_H
#define SHIM6_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* Linked with the library: its functions by their POSIX names. */
#ifdef SHIM6_POSIX_NAMES
#include "../include/shim6.h"
#endif

struct test {
    const char *name;
    void (*run)(void);
};
#define TEST(f) { #f, f }

static inline void fail_at(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s (errno %d, %s)\n", file, line, what, errno, strerror(errno));
    _exit(1);
}
#define CHECK(c) ((c) ? (void)0 : fail_at(__FILE__, __LINE__, #c))
/* The call fails with this errno. */
#define FAILS(c, e) \
    do { \
        errno = 0; \
        CHECK((c) == -1); \
        if (errno != (e)) \
            fail_at(__FILE__, __LINE__, #c " does not fail with " #e); \
    } while (0)

/* Are we under the preload library, or linked with its sister? */
static inline int preloaded(void)
{
#ifdef SHIM6_POSIX_NAMES
    return 1;
#endif
    const char *p = getenv("LD_PRELOAD");
    return p != NULL && strstr(p, "libshim6_preload.so") != NULL;
}

static inline void write_file(const char *path, const char *format, ...)
{
    char text[100];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(write(fd, text, (size_t)n) == n);
    close(fd);
}

/* A namespace with two servable addresses, A and B, and loopback. */
#define A "2001:db8:1::1"
#define B "2001:db8:2::1"
static inline void own_network(void)
{
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(CLONE_NEWNET) != 0) {
        CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0);
        write_file("/proc/self/setgroups", "deny");
        write_file("/proc/self/uid_map", "0 %u 1", (unsigned)uid);
        write_file("/proc/self/gid_map", "0 %u 1", (unsigned)gid);
    }
    CHECK(system("LD_PRELOAD= sh -ec '"
                 "PATH=$PATH:/usr/sbin:/sbin;"
                 "ip link set lo up;"
                 "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up;"
                 "ip addr add " A "/64 dev d0 nodad; ip addr add " B "/64 dev d0 nodad;"
                 /* The kernel makes them its own a little later. */
                 "for a in " A " " B "; do until ip -6 route get $a | grep -q ^local; do sleep 0.01; done; done'") == 0);
}

static inline struct sockaddr_in6 address(const char *text, int port)
{
    struct sockaddr_in6 a;
    memset(&a, 0, sizeof a);
    a.sin6_family = AF_INET6;
    a.sin6_port = htons((unsigned short)port);
    CHECK(inet_pton(AF_INET6, text, &a.sin6_addr) == 1);
    return a;
}
#define SA(a) ((struct sockaddr *)&(a))

static inline int udp(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    CHECK(fd >= 0);
    return fd;
}

/* Bound to this address; the port is found in *port. */
static inline int bound(const char *text, int *port)
{
    int fd = udp();
    struct sockaddr_in6 a = address(text, 0);
    socklen_t len = sizeof a;
    CHECK(bind(fd, SA(a), sizeof a) == 0);
    CHECK(getsockname(fd, SA(a), &len) == 0);
    CHECK(len == sizeof a);
    *port = ntohs(a.sin6_port);
    CHECK(*port != 0);
    return fd;
}

/* Connected from anywhere to this address and port. */
static inline int to_peer(const char *text, int port)
{
    int fd = udp();
    struct sockaddr_in6 a = address(text, port);
    CHECK(connect(fd, SA(a), sizeof a) == 0);
    return fd;
}

/* Server and client hear each other. */
static inline void echo(int server, int client)
{
    char buf[16];
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    CHECK(send(client, "ping", 4, 0) == 4);
    CHECK(recvfrom(server, buf, sizeof buf, 0, SA(from), &len) == 4);
    CHECK(sendto(server, "pong", 4, 0, SA(from), len) == 4);
    CHECK(recv(client, buf, sizeof buf, 0) == 4);
}

/* A server at the wildcard address and a client that is connected to it. */
static inline void server_and_client(int *server, int *client)
{
    int port;
    *server = bound("::", &port);
    *client = to_peer(B, port);
    echo(*server, *client);
}

/* The child exits with 0. */
static inline void ended_well(pid_t pid)
{
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A forked child uses the same sockets. */
static inline void echo_in_child(int server, int client)
{
    pid_t pid = fork();
    if (pid == 0) {
        echo(server, client);
        _exit(0);
    }
    ended_well(pid);
}

static inline void same_address(const struct sockaddr_in6 *a, const char *text, int port)
{
    struct sockaddr_in6 b = address(text, port);
    CHECK(a->sin6_family == AF_INET6);
    CHECK(memcmp(&a->sin6_addr, &b.sin6_addr, 16) == 0);
    if (port != 0)
        CHECK(a->sin6_port == b.sin6_port);
}

static inline int run_tests(const struct test *tests, size_t n)
{
    int failed = 0;
    own_network();
    for (size_t i = 0; i < n; i++) {
        fflush(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(20);
            tests[i].run();
            fflush(NULL);
            _exit(0);
        }
        int status = 0;
        CHECK(waitpid(pid, &status, 0) == pid);
        int ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        printf("%s %s", ok ? "ok" : "FAILED", tests[i].name);
        if (WIFSIGNALED(status))
            printf(" (signal %d)", WTERMSIG(status));
        printf("\n");
        failed += !ok;
    }
    return failed != 0;
}
#define MAIN(...) \
    int main(void) \
    { \
        static const struct test tests[] = { __VA_ARGS__ }; \
        return run_tests(tests, sizeof tests / sizeof tests[0]); \
    }

#endif

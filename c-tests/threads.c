/* Many threads over many sockets, with numbers that come back at once as something else. */
#include "harness.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { THREADS = 64, SOCKETS = 1000, ROUNDS = 400 };

static atomic_int sockets[SOCKETS];
static pthread_mutex_t locks[SOCKETS];
static int server_port;
static atomic_long sent, received, reopened;

static int fresh(unsigned i)
{
    struct sockaddr_in6 to = address(i % 3 == 0 ? A : i % 3 == 1 ? B : "::1", server_port);
    int fd = udp();
    if (i % 2 == 0)
        CHECK(connect(fd, SA(to), sizeof to) == 0);
    return fd;
}

static void *work(void *number)
{
    unsigned seed = (unsigned)(size_t)number * 2654435761u;
    for (int round = 0; round < ROUNDS; round++) {
        seed = seed * 1664525 + 1013904223;
        unsigned i = (seed >> 8) % SOCKETS;
        char b[8];
        CHECK(pthread_mutex_lock(&locks[i]) == 0);
        struct sockaddr_in6 to = address(B, server_port);
        switch ((seed >> 4) % 5) {
        case 0:
            CHECK(close(sockets[i]) == 0);
            sockets[i] = fresh(i);
            reopened++;
            break;
        case 1: {
            int d = dup(sockets[i]);
            CHECK(d >= 0 && close(sockets[i]) == 0);
            sockets[i] = d;
            break;
        }
        default:
            CHECK((i % 2 == 0 ? send(sockets[i], "x", 1, MSG_DONTWAIT)
                              : sendto(sockets[i], "x", 1, MSG_DONTWAIT, SA(to), sizeof to)) == 1 || errno == EAGAIN || errno == ENOBUFS);
            sent++;
            recv(sockets[i], b, sizeof b, MSG_DONTWAIT);
        }
        CHECK(pthread_mutex_unlock(&locks[i]) == 0);
    }
    return NULL;
}

static atomic_int stop;
static void *answer(void *fd)
{
    int s = *(int *)fd;
    char b[8];
    while (!stop) {
        struct sockaddr_in6 from;
        socklen_t len = sizeof from;
        if (recvfrom(s, b, sizeof b, 0, SA(from), &len) == 1) {
            received++;
            sendto(s, "y", 1, MSG_DONTWAIT, SA(from), len);
        }
    }
    return NULL;
}

static void on_signal(int number)
{
    char b[2];
    int saved = errno;
    (void)number;
    send(sockets[0], "s", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    recv(sockets[1], b, 1, MSG_DONTWAIT);
    errno = saved;
}

/* 64 threads open, close, duplicate and send over 1000 sockets, while signals come in. */
static void sixty_four_threads_over_a_thousand_sockets(void)
{
    struct rlimit r;
    CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
    r.rlim_cur = r.rlim_max < 4096 ? r.rlim_max : 4096;
    CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
    alarm(60);
    int s = bound("::", &server_port);
    struct timeval t = { .tv_usec = 50000 };
    CHECK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
    for (unsigned i = 0; i < SOCKETS; i++) {
        sockets[i] = fresh(i);
        CHECK(pthread_mutex_init(&locks[i], NULL) == 0);
    }
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t threads[THREADS], servers[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&servers[i], NULL, answer, &s) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < 200; i++) {
        pthread_kill(threads[i % THREADS], SIGUSR1);
        usleep(500);
        if (i == 100) {
            pid_t pid = fork();
            if (pid == 0) {
                int c = to_peer(B, server_port);
                CHECK(send(c, "x", 1, 0) == 1);
                _exit(0);
            }
            int status;
            CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        }
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    usleep(100000);
    stop = 1;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(servers[i], NULL) == 0);
    CHECK(sent > 1000 && reopened > 1000 && received > 100);
    for (int i = 0; i < SOCKETS; i++)
        CHECK(close(sockets[i]) == 0);
    int port;
    s = bound("::", &port);
    int c = to_peer(B, port);
    char b[4];
    CHECK(send(c, "x", 1, 0) == 1 && recv(s, b, 4, 0) == 1);
}

/* Two threads at one socket: one waits in recv while the other connects it elsewhere, shuts it down, closes it. */
static int waiting_on;
static void *receive(void *result)
{
    char b[8];
    *(ssize_t *)result = recv(waiting_on, b, sizeof b, 0);
    return NULL;
}

static void others_wait_meanwhile(void)
{
    int port;
    int s = bound("::", &port);
    for (int way = 0; way < 3; way++) {
        pthread_t t;
        ssize_t result = -2;
        struct sockaddr_in6 self;
        socklen_t len = sizeof self;
        waiting_on = to_peer(B, port);
        CHECK(getsockname(waiting_on, SA(self), &len) == 0);
        CHECK(pthread_create(&t, NULL, receive, &result) == 0);
        usleep(20000);
        if (way == 0) {
            CHECK(shutdown(waiting_on, SHUT_RDWR) == 0);
        } else if (way == 1) {
            CHECK(sendto(s, "four", 4, 0, SA(self), len) == 4);
        } else {
            int d = dup(waiting_on);
            CHECK(close(waiting_on) == 0);
            CHECK(sendto(s, "four", 4, 0, SA(self), len) == 4);
            CHECK(pthread_join(t, NULL) == 0 && result == 4);
            CHECK(send(d, "x", 1, 0) == 1);
            continue;
        }
        CHECK(pthread_join(t, NULL) == 0 && result == (way == 0 ? 0 : 4));
    }
}

MAIN(TEST(sixty_four_threads_over_a_thousand_sockets), TEST(others_wait_meanwhile))

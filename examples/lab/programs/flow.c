/*
 * A flow of numbered messages in both directions at once, a message per interval and direction, over a UDP socket or, for
 * comparison, over a stream of TCP or MPTCP. Arguments: udp|tcp|mptcp, server|client, address, port, and the interval in
 * microseconds. Prints a line for each message that arrives: "R number nanoseconds" (CLOCK_MONOTONIC).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define SA(a) ((struct sockaddr *)&(a))

enum { SIZE = 64, LINES = 32 };

static int fd, stream, answers;
static long interval;
static struct sockaddr_in6 peer;
static pthread_mutex_t known = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t now_known = PTHREAD_COND_INITIALIZER;
static int have_peer;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void found(const struct sockaddr_in6 *from)
{
    if (have_peer)
        return;
    pthread_mutex_lock(&known);
    peer = *from;
    have_peer = 1;
    pthread_cond_signal(&now_known);
    pthread_mutex_unlock(&known);
}

static void *sender(void *unused)
{
    char message[SIZE] = "";
    uint64_t number = 0, due;
    (void)unused;
    pthread_mutex_lock(&known);
    while (!have_peer)
        pthread_cond_wait(&now_known, &known);
    pthread_mutex_unlock(&known);
    for (due = now();; due += (uint64_t)interval * 1000) {
        struct timespec t = { (time_t)(due / 1000000000u), (long)(due % 1000000000u) };
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        number++;
        memcpy(message, &number, sizeof number);
        if (answers)
            sendto(fd, message, SIZE, 0, SA(peer), sizeof peer);
        else
            for (size_t at = 0; at < SIZE;) {
                ssize_t n = send(fd, message + at, SIZE - at, MSG_NOSIGNAL);
                if (n < 0 && (stream || errno == EBADF))
                    return NULL;
                if (n < 0)
                    break;
                at += (size_t)n;
            }
    }
    return NULL;
}

static void arrived(const char *message, uint64_t at)
{
    static int lines;
    uint64_t number;
    memcpy(&number, message, sizeof number);
    printf("R %llu %llu\n", (unsigned long long)number, (unsigned long long)at);
    if (++lines % LINES == 0)
        fflush(stdout);
}

static void receive(void)
{
    static char in[65536];
    size_t have = 0;
    for (;;) {
        struct sockaddr_in6 from;
        socklen_t len = sizeof from;
        ssize_t n = stream ? recv(fd, in + have, sizeof in - have, 0) : recvfrom(fd, in, sizeof in, 0, SA(from), &len);
        uint64_t at = now();
        if (n < 0 && stream)
            die("recv");
        if (n == 0 && stream)
            return;
        if (n < 0)
            continue;
        if (!stream) {
            if (answers)
                found(&from);
            if (n == SIZE)
                arrived(in, at);
            continue;
        }
        have += (size_t)n;
        size_t used = 0;
        for (; have - used >= SIZE; used += SIZE)
            arrived(in + used, at);
        memmove(in, in + used, have - used);
        have -= used;
    }
}

static void *ends(void *set)
{
    int signal;
    sigwait(set, &signal);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    int server = strcmp(argv[2], "server") == 0, on = 1;
    stream = strcmp(argv[1], "udp") != 0;
    int protocol = strcmp(argv[1], "mptcp") == 0 ? IPPROTO_MPTCP : 0;
    interval = atol(argv[5]);
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    prctl(PR_SET_TIMERSLACK, 1000);
    static sigset_t set;
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t t, u;
    pthread_create(&t, NULL, ends, &set);

    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(argv[4])) };
    if (inet_pton(AF_INET6, argv[3], &a.sin6_addr) != 1)
        return 2;
    fd = socket(AF_INET6, stream ? SOCK_STREAM : SOCK_DGRAM, protocol);
    if (fd < 0)
        die("socket");
    if (server && bind(fd, SA(a), sizeof a) != 0)
        die("bind");
    if (server && stream && listen(fd, 1) != 0)
        die("listen");
    if (server)
        fprintf(stderr, "open\n");
    if (server && stream) {
        int one = accept(fd, NULL, NULL);
        if (one < 0)
            die("accept");
        fd = one;
    }
    if (!server && connect(fd, SA(a), sizeof a) != 0)
        die("connect");
    if (stream && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        die("TCP_NODELAY");
    answers = server && !stream;
    if (!answers)
        found(&a);
    pthread_create(&u, NULL, sender, NULL);
    receive();
    return 0;
}

/* UDP echo, client and server, with epoll, recvmmsg() and sendmmsg(), as one writes it without a thought for multihoming.
 *
 * The client's socket is connected; the server's is bound to the wildcard address. Both print what happened, one line
 * each with a time of CLOCK_MONOTONIC in nanoseconds: "S number time" (sent), "R number time" (received), "E errno time".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, OCTETS = 2048 };

static volatile sig_atomic_t stop;
static int quiet;
static unsigned char data[BATCH][OCTETS];
static struct iovec iov[BATCH];
static struct sockaddr_in6 peers[BATCH];
static struct mmsghdr msgs[BATCH];

static void on_term(int signum) {
    (void)signum;
    stop = 1;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void note(const char *kind, uint64_t number) {
    if (!quiet) {
        printf("%s %llu %lld\n", kind, (unsigned long long)number, (long long)now_ns());
        fflush(stdout);
    }
}

static void refused(void) {
    const char *name = strerrorname_np(errno);
    if (!quiet) {
        printf("E %s %lld\n", name ? name : "?", (long long)now_ns());
        fflush(stdout);
    }
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

static uint64_t number_of(const unsigned char *octets) {
    uint64_t n;
    memcpy(&n, octets, sizeof n);
    return be64toh(n);
}

/* Received datagrams, 0 if there are none. The messages keep sender and length, so that they can be sent back as they are. */
static int receive(int fd) {
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){.iov_base = data[i], .iov_len = OCTETS};
        msgs[i].msg_hdr = (struct msghdr){
            .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &iov[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(fd, msgs, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            refused();
        return 0;
    }
    for (int i = 0; i < n; i++) {
        iov[i].iov_len = msgs[i].msg_len;
        note("R", number_of(data[i]));
    }
    return n;
}

static void send_all(int fd, int n) {
    int done = 0;
    while (done < n) {
        int sent = sendmmsg(fd, msgs + done, n - done, 0);
        if (sent < 0)
            refused();
        done += sent > 0 ? sent : 1;
    }
}

static int watch(int fd) {
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll");
    return ep;
}

static void wait_until(int ep, int64_t due) {
    struct epoll_event event;
    int64_t left = due - now_ns();
    epoll_wait(ep, &event, 1, left <= 0 ? 0 : (int)((left + 999999) / 1000000));
}

static int server(int port, int64_t count, int64_t end) {
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) < 0)
        die("bind");
    int ep = watch(fd);
    int64_t answered = 0;
    while (!stop && now_ns() < end && (count < 0 || answered < count)) {
        int64_t now = now_ns();
        wait_until(ep, end < now + 500000000 ? end : now + 500000000);
        int n = receive(fd);
        send_all(fd, n);
        answered += n;
    }
    return 0;
}

static int client(const char *address, int port, int64_t interval, size_t size, int ping_pong, int64_t count, int64_t end) {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET6, address, &to.sin6_addr) != 1) {
        fprintf(stderr, "%s: not an IPv6 address\n", address);
        return 2;
    }
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    int ep = watch(fd);
    int64_t echoes = 0, number = 0, due = now_ns();
    while (!stop && now_ns() < end && (count < 0 || echoes < count)) {
        int n = 0;
        int64_t now = now_ns();
        for (; due <= now && n < BATCH && (count < 0 || number < count); n++, number++) {
            uint64_t wire = htobe64((uint64_t)number);
            memset(data[n], 0, size);
            memcpy(data[n], &wire, sizeof wire);
            iov[n] = (struct iovec){.iov_base = data[n], .iov_len = size};
            msgs[n].msg_hdr = (struct msghdr){.msg_iov = &iov[n], .msg_iovlen = 1};
            note("S", (uint64_t)number);
            due = ping_pong ? INT64_MAX : due + interval;
        }
        if (n > 0)
            send_all(fd, n);
        wait_until(ep, due < end ? due : end);
        n = receive(fd);
        echoes += n;
        if (ping_pong && n > 0)
            due = 0;
    }
    return count < 0 || echoes >= count ? 0 : 1;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"interval-ms", required_argument, NULL, 'i'}, {"size", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'c'},       {"seconds", required_argument, NULL, 'e'},
        {"ping-pong", no_argument, NULL, 'p'},         {"quiet", no_argument, NULL, 'q'},
        {NULL, 0, NULL, 0}};
    double interval_ms = 5, seconds = 60;
    size_t size = 64;
    int64_t count = -1;
    int ping_pong = 0, c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'i': interval_ms = atof(optarg); break;
        case 's': size = strtoul(optarg, NULL, 10); break;
        case 'c': count = atoll(optarg); break;
        case 'e': seconds = atof(optarg); break;
        case 'p': ping_pong = 1; break;
        case 'q': quiet = 1; break;
        default: return 2;
        }
    }
    if (size < 8 || size > OCTETS || interval_ms <= 0) {
        fprintf(stderr, "echo: --size is 8 to %d, --interval-ms above 0\n", OCTETS);
        return 2;
    }
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    int64_t end = now_ns() + (int64_t)(seconds * 1e9);
    char **args = argv + optind;
    int n = argc - optind;
    if (n == 2 && strcmp(args[0], "server") == 0)
        return server(atoi(args[1]), count, end);
    if (n == 3 && strcmp(args[0], "client") == 0)
        return client(args[1], atoi(args[2]), (int64_t)(interval_ms * 1e6), size, ping_pong, count, end);
    fprintf(stderr, "usage: echo server PORT | echo client ADDRESS PORT [--interval-ms N] [--size N] [--ping-pong]\n"
                    "       [--count N] [--seconds N] [--quiet]\n");
    return 2;
}

/*
 * Load for measurements: `load receiver ADDRESS PORT` and `load sender ADDRESS PORT SOURCE [unconnected]`. Both take
 * a command a line on standard input and answer with a line.
 *
 * Sender, on connected sockets or on ones that name the receiver in every call:
 *   ping N                        ask for an echo N times, 20 ms each at most: "ping ANSWERED"
 *   flood MODE SIZE MS RATE S T   send for MS milliseconds with T threads, each over S sockets in turn, RATE datagrams per
 *                                 second in all (0: as fast as can be): "flood DATAGRAMS NANOSECONDS CPU_NANOSECONDS ERRORS"
 *                                 MODE: sendto, sendmmsg, gso
 *   meet ADDRESS SOURCE           one more connected socket, from SOURCE to the receiver's port at ADDRESS, which sends one
 *                                 datagram and is not flooded from: "meet SENT"
 *   stamps N SIZE US              send N datagrams with the time in them, one every US microseconds: "stamps N"
 * Receiver, on one unconnected socket:
 *   mode MODE                     recvfrom, recvmmsg, gro: "mode"
 *   reset                         forget what was counted: "reset"
 *   count                         "count DATAGRAMS OCTETS CPU_NANOSECONDS"
 *   delays                        of stamped datagrams, nanoseconds: "delays N MEDIAN P99"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define SA(a) ((struct sockaddr *)&(a))

enum { BATCH = 32, LARGEST = 65536, MAX_SOCKETS = 20000, MAX_THREADS = 64, MAX_DELAYS = 100000 };
enum mode { SINGLE, BATCHED, TRAIN };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void sleep_until(uint64_t due)
{
    struct timespec t = { (time_t)(due / 1000000000u), (long)(due % 1000000000u) };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static enum mode parse_mode(const char *word)
{
    if (strcmp(word, "gso") == 0 || strcmp(word, "gro") == 0)
        return TRAIN;
    return strcmp(word, "sendmmsg") == 0 || strcmp(word, "recvmmsg") == 0 ? BATCHED : SINGLE;
}

/* ------------------------------------------------------------------ receiver */

static volatile enum mode mode;
static volatile uint64_t datagrams, octets;
static uint64_t delays[MAX_DELAYS];
static volatile size_t delay_count;

static void one(int fd, const char *data, size_t len, size_t segment, const struct sockaddr_in6 *from)
{
    datagrams = datagrams + (segment > 0 ? (len + segment - 1) / segment : 1);
    octets = octets + len;
    if (len >= 16 && data[0] == 's' && delay_count < MAX_DELAYS) {
        uint64_t stamp;
        memcpy(&stamp, data + 8, sizeof stamp);
        delays[delay_count] = now() - stamp;
        delay_count = delay_count + 1;
    } else if (len > 0 && data[0] == 'p') {
        sendto(fd, data, len, 0, (const struct sockaddr *)from, sizeof *from);
    }
}

static void *receive(void *arg)
{
    int fd = *(int *)arg, gro = 0;
    static char data[BATCH][LARGEST];
    static struct sockaddr_in6 from[BATCH];
    struct mmsghdr m[BATCH];
    struct iovec v[BATCH];
    union {
        char octets[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    for (;;) {
        enum mode wanted = mode;
        int on = wanted == TRAIN;
        if (on != gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) != 0)
            die("UDP_GRO");
        gro = on;
        if (wanted == SINGLE) {
            socklen_t alen = sizeof from[0];
            ssize_t n = recvfrom(fd, data[0], LARGEST, 0, SA(from[0]), &alen);
            if (n >= 0)
                one(fd, data[0], (size_t)n, 0, &from[0]);
        } else if (wanted == BATCHED) {
            for (int i = 0; i < BATCH; i++) {
                v[i] = (struct iovec){ data[i], LARGEST };
                m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &v[i], .msg_iovlen = 1 };
            }
            int n = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, NULL);
            for (int i = 0; i < n; i++)
                one(fd, data[i], m[i].msg_len, 0, &from[i]);
        } else {
            v[0] = (struct iovec){ data[0], LARGEST };
            struct msghdr h = { .msg_name = &from[0], .msg_namelen = sizeof from[0], .msg_iov = v, .msg_iovlen = 1,
                                .msg_control = u.octets, .msg_controllen = sizeof u.octets };
            ssize_t n = recvmsg(fd, &h, 0);
            int segment = 0;
            if (n >= 0)
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c != NULL; c = CMSG_NXTHDR(&h, c))
                    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
                        memcpy(&segment, CMSG_DATA(c), sizeof segment);
            if (n >= 0)
                one(fd, data[0], (size_t)n, (size_t)segment, &from[0]);
        }
    }
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static struct sockaddr_in6 parse(const char *address, const char *port)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(port)) };
    if (inet_pton(AF_INET6, address, &a.sin6_addr) != 1)
        exit(2);
    return a;
}

static void receiver(struct sockaddr_in6 a)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0), size = 16 << 20;
    if (bind(fd, SA(a), sizeof a) != 0)
        die("bind");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct timeval t = { .tv_usec = 20000 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    pthread_t thread;
    pthread_create(&thread, NULL, receive, &fd);
    printf("ready\n");
    char line[200], word[20];
    uint64_t d0 = 0, o0 = 0, c0 = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "mode %19s", word) == 1) {
            mode = parse_mode(word);
            usleep(50000);
            printf("mode\n");
        } else if (strncmp(line, "reset", 5) == 0) {
            delay_count = 0;
            d0 = datagrams;
            o0 = octets;
            c0 = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            printf("reset\n");
        } else if (strncmp(line, "count", 5) == 0) {
            /* What is in queues comes first. */
            uint64_t before, end = now() + 2000000000u;
            do {
                before = datagrams;
                usleep(30000);
            } while (datagrams != before && now() < end);
            printf("count %llu %llu %llu\n", (unsigned long long)(datagrams - d0), (unsigned long long)(octets - o0),
                   (unsigned long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - c0));
        } else if (strncmp(line, "delays", 6) == 0) {
            size_t n = delay_count;
            qsort(delays, n, sizeof delays[0], ascending);
            printf("delays %zu %llu %llu\n", n, n > 0 ? (unsigned long long)delays[n / 2] : 0,
                   n > 0 ? (unsigned long long)delays[n * 99 / 100] : 0);
            delay_count = 0;
        }
    }
}

/* ------------------------------------------------------------------ sender */

static struct sockaddr_in6 peer, source;
static int sockets[MAX_SOCKETS], socket_count;
/* For each datagram of an unconnected socket; none for a connected one. */
static struct sockaddr_in6 *to;
static socklen_t to_length;

struct job {
    pthread_t thread;
    enum mode mode;
    size_t size;
    uint64_t end, rate, sent, errors;
    int first, count;
};

static int from_to(struct sockaddr_in6 from, struct sockaddr_in6 peer)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    if (fd < 0)
        die("socket");
    if (bind(fd, SA(from), sizeof from) != 0)
        die("bind");
    if (to == NULL && connect(fd, SA(peer), sizeof peer) != 0)
        die("connect");
    return fd;
}

static int fresh(void)
{
    int fd = from_to(source, peer), size = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

/* A datagram that nobody answers: an unconnected receiver with many addresses would answer from any of them. */
static int meet(const char *address, const char *from)
{
    struct sockaddr_in6 a = parse(address, "0");
    a.sin6_port = peer.sin6_port;
    char data[64] = "m";
    return send(from_to(parse(from, "0"), a), data, sizeof data, 0) > 0;
}

static void *flood(void *arg)
{
    struct job *job = arg;
    static __thread char data[LARGEST];
    struct mmsghdr m[BATCH];
    struct iovec v[BATCH];
    memset(data, 'f', sizeof data);
    memset(m, 0, sizeof m);
    size_t train = job->mode == TRAIN ? LARGEST / job->size - 1 : 1;
    train = train > 64 ? 64 : train;
    for (int i = 0; i < BATCH; i++) {
        v[i] = (struct iovec){ data, job->size };
        m[i].msg_hdr = (struct msghdr){ .msg_name = to, .msg_namelen = to_length, .msg_iov = &v[i], .msg_iovlen = 1 };
    }
    int size = (int)job->size, off = 0;
    for (int i = 0; job->mode == TRAIN && i < job->count; i++)
        if (setsockopt(sockets[job->first + i], IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) != 0)
            die("UDP_SEGMENT");
    uint64_t start = now();
    for (unsigned turn = 0; ; turn++) {
        if (turn % 16 == 0 || job->rate > 0) {
            uint64_t t = now();
            if (t >= job->end)
                break;
            if (job->rate > 0 && job->sent > (t - start) * job->rate / 1000000000u) {
                sleep_until(t + 50000);
                continue;
            }
        }
        int fd = sockets[job->first + (job->count > 1 ? (int)(turn % (unsigned)job->count) : 0)];
        if (job->mode == BATCHED) {
            int n = sendmmsg(fd, m, BATCH, 0);
            job->sent += n > 0 ? (uint64_t)n : 0;
            job->errors += n <= 0;
        } else {
            ssize_t n = sendto(fd, data, job->size * train, 0, (struct sockaddr *)to, to_length);
            job->sent += n > 0 ? train : 0;
            job->errors += n <= 0;
        }
    }
    for (int i = 0; job->mode == TRAIN && i < job->count; i++)
        setsockopt(sockets[job->first + i], IPPROTO_UDP, UDP_SEGMENT, &off, sizeof off);
    return NULL;
}

static void sender(void)
{
    sockets[socket_count++] = fresh();
    printf("ready\n");
    char line[200], word[64], other[64];
    unsigned n, size, us, per, threads;
    unsigned long ms, rate;
    while (fgets(line, sizeof line, stdin) != NULL) {
        char data[LARGEST] = "";
        if (sscanf(line, "ping %u", &n) == 1) {
            unsigned answered = 0;
            struct timeval t = { .tv_usec = 20000 };
            setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
            for (unsigned i = 0; i < n; i++) {
                data[0] = 'p';
                sendto(sockets[0], data, 64, 0, (struct sockaddr *)to, to_length);
                if (recv(sockets[0], data, sizeof data, 0) >= 0) {
                    answered++;
                    usleep(2000);
                }
            }
            printf("ping %u\n", answered);
        } else if (sscanf(line, "flood %19s %u %lu %lu %u %u", word, &size, &ms, &rate, &per, &threads) == 6) {
            static struct job jobs[MAX_THREADS];
            memset(jobs, 0, sizeof jobs);
            while (socket_count < (int)(per * threads) && socket_count < MAX_SOCKETS)
                sockets[socket_count++] = fresh();
            uint64_t start = now(), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            for (unsigned i = 0; i < threads; i++) {
                jobs[i] = (struct job){ .mode = parse_mode(word), .size = size, .end = start + ms * 1000000u,
                                        .rate = rate / threads, .first = (int)(i * per), .count = (int)per };
                if (threads > 1)
                    pthread_create(&jobs[i].thread, NULL, flood, &jobs[i]);
                else
                    flood(&jobs[i]);
            }
            uint64_t sent = 0, errors = 0;
            for (unsigned i = 0; i < threads; i++) {
                if (threads > 1)
                    pthread_join(jobs[i].thread, NULL);
                sent += jobs[i].sent;
                errors += jobs[i].errors;
            }
            printf("flood %llu %llu %llu %llu\n", (unsigned long long)sent, (unsigned long long)(now() - start),
                   (unsigned long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu), (unsigned long long)errors);
        } else if (sscanf(line, "meet %63s %63s", word, other) == 2) {
            printf("meet %d\n", meet(word, other));
        } else if (sscanf(line, "stamps %u %u %u", &n, &size, &us) == 3) {
            uint64_t due = now();
            for (unsigned i = 0; i < n; i++, due += us * 1000u) {
                sleep_until(due);
                uint64_t t = now();
                data[0] = 's';
                memcpy(data + 8, &t, sizeof t);
                sendto(sockets[0], data, size, 0, (struct sockaddr *)to, to_length);
            }
            printf("stamps %u\n", n);
        }
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_TIMERSLACK, 1000);
    if (argc == 4 && strcmp(argv[1], "receiver") == 0) {
        receiver(parse(argv[2], argv[3]));
    } else if ((argc == 5 || argc == 6) && strcmp(argv[1], "sender") == 0) {
        if (argc == 6) {
            to = &peer;
            to_length = sizeof peer;
        }
        peer = parse(argv[2], argv[3]);
        source = parse(argv[4], "0");
        sender();
    } else {
        return 2;
    }
    return 0;
}

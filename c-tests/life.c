/* Duplicates, fork, vfork, close loops, cancellation, signal handlers, and numbers that change behind our back. */
#include "harness.h"
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* All ways to duplicate work alike, and the last descriptor counts. */
static void duplicates(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    int d[5];
    d[0] = dup(c);
    d[1] = dup2(c, 100);
    d[2] = dup3(c, 101, O_CLOEXEC);
    d[3] = fcntl(c, F_DUPFD, 102);
    d[4] = fcntl(c, F_DUPFD_CLOEXEC, 103);
    CHECK(close(c) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(d[i] > 0);
        echo(s, d[i]);
        CHECK(close(d[i]) == 0);
        FAILS(send(d[i], "x", 1, 0), EBADF);
    }
    FAILS(dup2(d[0], 110), EBADF);
    FAILS(dup3(s, s, 0), EINVAL);
    CHECK(dup2(s, s) == s);
    c = to_peer(B, port);
    echo(s, c);
    /* A failed dup2 leaves the target alone. */
    FAILS(dup2(999, c), EBADF);
    echo(s, c);
    /* A file takes the number of a socket. */
    int null = open("/dev/null", O_RDWR);
    CHECK(dup2(null, c) == c);
    CHECK(write(c, "x", 1) == 1);
    char b;
    CHECK(read(c, &b, 1) == 0);
    FAILS(recv(c, &b, 1, 0), ENOTSOCK);
}

/* libc closes a descriptor without a call that could be seen, and the number comes back as something else. */
static void stale_numbers(void)
{
    int port;
    int s = bound("::", &port);
    FILE *f = fdopen(s, "r+");
    CHECK(f != NULL && fclose(f) == 0);
    int p[2];
    CHECK(pipe(p) == 0 && p[0] == s);
    CHECK(write(p[1], "pipe", 4) == 4);
    char buf[8];
    CHECK(read(p[0], buf, sizeof buf) == 4);
    /* Without any hook at all: freopen onto the number of an unconnected socket. */
    s = bound("::", &port);
    f = fdopen(s, "r");
    CHECK(f != NULL);
    f = freopen("/proc/self/cmdline", "r", f);
    CHECK(f != NULL && fileno(f) == s);
    CHECK(read(s, buf, 4) > 0);
}

static void forked(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    echo(s, c);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            echo(s, c);
            if (i == 0 && fork() == 0)
                echo(s, c);
            int d = to_peer(B, port);
            echo(s, d);
            close(s);
            close(c);
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        echo(s, c);
    }
}

/* A vfork child closes its own descriptors in our memory. */
static void vforked(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    echo(s, c);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    pid_t pid = vfork();
#pragma GCC diagnostic pop
    if (pid == 0) {
        close(s);
        dup2(0, c);
        close_range(3, ~0U, 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    echo(s, c);
    int v = -1;
    socklen_t len = sizeof v;
    if (preloaded())
        CHECK(getsockopt(s, 0x5533, 2, &v, &len) == 0 && v == 0);
}

static void close_loops(void)
{
    int port, next = 0;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    echo(s, c);
    CHECK(close_range(3, 500, CLOSE_RANGE_CLOEXEC) == 0);
    echo(s, c);
    for (int fd = 3; fd < 4096; fd++)
        close(fd);
    FAILS(send(c, "x", 1, 0), EBADF);
    for (int i = 0; i < 3; i++) {
        s = bound("::", &port);
        c = to_peer(B, port);
        CHECK(next == 0 || s == next);
        next = s;
        echo(s, c);
        if (i == 1)
            closefrom(3);
        else
            CHECK(close_range(3, ~0U, 0) == 0);
        FAILS(recv(s, &i, 0, 0), EBADF);
        FAILS(send(c, "x", 1, 0), EBADF);
    }
}

static int blocked_on;
static void *receive_for_ever(void *use_msg)
{
    char b;
    struct iovec v = { .iov_base = &b, .iov_len = 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    if (use_msg != NULL)
        recvmsg(blocked_on, &m, 0);
    else
        recv(blocked_on, &b, 1, 0);
    return NULL;
}

/* Receiving is a cancellation point; the socket goes on to work. */
static void cancellation(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    echo(s, c);
    for (int i = 0; i < 4; i++) {
        pthread_t t;
        void *result = NULL;
        blocked_on = i < 2 ? s : c;
        CHECK(pthread_create(&t, NULL, receive_for_ever, i % 2 == 0 ? NULL : &port) == 0);
        usleep(20000);
        CHECK(pthread_cancel(t) == 0);
        CHECK(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
        echo(s, c);
    }
}

static void cancelled(void *unused)
{
    (void)unused;
    fflush(NULL);
    _exit(0);
}

/* Sending is one too, also where no second thread was ever made: a thread may cancel itself. */
static void cancelling_oneself(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    echo(s, c);
    pthread_cleanup_push(cancelled, NULL);
    CHECK(pthread_cancel(pthread_self()) == 0);
    send(c, "x", 1, 0);
    pthread_cleanup_pop(0);
    CHECK(!"not cancelled");
}

static int handler_server, handler_client, handled;
static void handler(int number)
{
    int saved = errno;
    char b[4];
    (void)number;
    if (send(handler_client, "s", 1, MSG_DONTWAIT) == 1 && recv(handler_server, b, 4, MSG_DONTWAIT) >= 0)
        handled++;
    errno = saved;
}

/* A handler that uses the sockets which the interrupted call is at work on. */
static void signal_handlers(void)
{
    int port;
    handler_server = bound("::", &port);
    handler_client = to_peer(B, port);
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
    sigset_t usr;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    sigemptyset(&usr);
    sigaddset(&usr, SIGUSR1);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        for (int i = 0; i < 3000; i++)
            kill(parent, SIGUSR1);
        _exit(0);
    }
    char b[4];
    struct sockaddr_in6 from;
    socklen_t len;
    for (int i = 0; i < 20000 || waitpid(child, NULL, WNOHANG) == 0; i++) {
        send(handler_client, "m", 1, 0);
        len = sizeof from;
        if (recvfrom(handler_server, b, 4, MSG_DONTWAIT, SA(from), &len) >= 0)
            sendto(handler_server, "r", 1, 0, SA(from), len);
        while (recv(handler_client, b, 4, MSG_DONTWAIT) > 0)
            ;
        int t = to_peer(B, port);
        close(t);
    }
    CHECK(handled > 0);
    while (recv(handler_client, b, 4, MSG_DONTWAIT) >= 0)
        ;
    while (recv(handler_server, b, 4, MSG_DONTWAIT) >= 0)
        ;
    echo(handler_server, handler_client);
}

static volatile int stop;
static void *churn(void *port)
{
    while (!stop) {
        int fd = to_peer(B, *(int *)port);
        int d = dup(fd);
        close(fd);
        close(d);
    }
    return NULL;
}
static void *use_numbers(void *unused)
{
    char b[4];
    (void)unused;
    while (!stop) {
        for (int fd = 3; fd < 16; fd++) {
            recv(fd, b, 4, MSG_DONTWAIT);
            send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }
    return NULL;
}

/* Closing in one thread what others are using is safe. */
static void races(void)
{
    int port;
    int s = bound("::", &port);
    CHECK(dup2(s, 200) == 200);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, i < 2 ? churn : use_numbers, &port) == 0);
    usleep(500000);
    stop = 1;
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
    char b[4];
    while (recv(s, b, 4, MSG_DONTWAIT) >= 0)
        ;
    int c = to_peer(B, port);
    echo(s, c);
}

/* A descriptor that came through exec: the first hook called on it is a send. */
static void inherited(void)
{
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    char number[12], command[200];
    snprintf(number, sizeof number, "%d", c);
    snprintf(command, sizeof command, "printf hello >&%d", c);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    char buf[8];
    CHECK(recv(s, buf, 8, 0) == 5);
    echo(s, c);
}

static int by_handler;
static struct sockaddr_in6 to_whom;

static void begins_connected(int number)
{
    (void)number;
    by_handler = udp();
    CHECK(connect(by_handler, SA(to_whom), sizeof to_whom) == 0 && send(by_handler, "hello", 5, 0) == 5);
}

static void begins_unconnected(int number)
{
    (void)number;
    by_handler = udp();
    CHECK(sendto(by_handler, "hello", 5, 0, SA(to_whom), sizeof to_whom) == 5);
}

/* A handler on a stack of two pages is the first to use a socket, of which most is the kernel's. */
static void small_stack(void (*handler)(int))
{
    size_t page = 4096, size = 2 * getauxval(AT_MINSIGSTKSZ) + 1024;
    size = size < 8192 ? 8192 : size;
    /* Sanitizers have their own needs. */
    size += getenv("TSAN_OPTIONS") != NULL || getenv("ASAN_OPTIONS") != NULL ? 65536 : 0;
    int port, s = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 name = address("::1", 0);
    socklen_t len = sizeof name;
    CHECK(bind(s, SA(name), sizeof name) == 0 && getsockname(s, SA(name), &len) == 0);
    port = ntohs(name.sin6_port);
    close(s);
    char *stack = mmap(NULL, page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED && mprotect(stack, page, PROT_NONE) == 0);
    stack_t there = { .ss_sp = stack + page, .ss_size = size };
    CHECK(sigaltstack(&there, NULL) == 0);
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    to_whom = address(B, port);
    CHECK(raise(SIGUSR1) == 0);
    /* It is a shim socket, as from any other stack. */
    int v = -1;
    len = sizeof v;
    if (preloaded())
        CHECK(getsockopt(by_handler, 0x5533, 2, &v, &len) == 0 && v == 0);
    int server, client;
    server_and_client(&server, &client);
}

static void small_stack_connected(void)
{
    small_stack(begins_connected);
}

static void small_stack_unconnected(void)
{
    small_stack(begins_unconnected);
}

MAIN(TEST(small_stack_connected), TEST(small_stack_unconnected), TEST(duplicates), TEST(stale_numbers), TEST(forked), TEST(vforked), TEST(close_loops), TEST(cancellation),
     TEST(cancelling_oneself), TEST(signal_handlers), TEST(races), TEST(inherited))

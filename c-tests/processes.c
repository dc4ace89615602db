/* Processes and threads that come and go around shim sockets. */
#include "harness.h"
#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

extern char **environ;

static volatile int stop;
static int shared_port;

/* A kernel that looks for the receiver while another socket is connected misses it once in a million times, with the
 * library or without. */
static void until_it_comes(int from, int to, const struct sockaddr_in6 *name, struct sockaddr_in6 *source)
{
    char b[4];
    for (;;) {
        socklen_t len = sizeof *source;
        CHECK(sendto(from, "x", 1, 0, (const void *)name, name == NULL ? 0 : sizeof *name) == 1);
        if (recvfrom(to, b, sizeof b, 0, (void *)source, &len) == 1)
            return;
        CHECK(errno == EAGAIN);
    }
}

static void *talk(void *unused)
{
    (void)unused;
    struct timeval second = { .tv_sec = 1 };
    while (!stop) {
        struct sockaddr_in6 from, unused_too;
        int port;
        int s = bound("::", &port), c = to_peer(B, port);
        CHECK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) == 0);
        CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) == 0);
        until_it_comes(c, s, NULL, &from);
        until_it_comes(s, c, &from, &unused_too);
        close(dup(c));
        close(s);
        close(c);
        free(malloc(100));
    }
    return NULL;
}

static void *forks(void *unused)
{
    (void)unused;
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(10);
            int port;
            int s = bound("::", &port), c = to_peer(B, port);
            echo(s, c);
            if (i % 10 == 0)
                echo_in_child(s, c);
            _exit(0);
        }
        ended_well(pid);
    }
    return NULL;
}

/* Any thread forks while others open, close, send and allocate. */
static void fork_in_any_thread(void)
{
    pthread_t t[5];
    alarm(60);
    for (int i = 0; i < 5; i++)
        CHECK(pthread_create(&t[i], NULL, i < 3 ? talk : forks, NULL) == 0);
    for (int i = 3; i < 5; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
    stop = 1;
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
}

/* Parent and child use the same sockets; each exits while the other goes on. */
static void parent_exits_first(void)
{
    int s, c, p[2];
    char b;
    server_and_client(&s, &c);
    CHECK(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t child = fork();
        if (child == 0) {
            usleep(100000);
            echo(s, c);
            int s2, c2;
            server_and_client(&s2, &c2);
            CHECK(write(p[1], "x", 1) == 1);
            _exit(0);
        }
        exit(0);
    }
    ended_well(pid);
    close(p[1]);
    CHECK(read(p[0], &b, 1) == 1);
    echo(s, c);
}

/* fork by the system call, past the handlers of libc. */
static void raw_fork(void)
{
    int s, c;
    server_and_client(&s, &c);
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0) {
        char b[4];
        CHECK(send(c, "x", 1, 0) == 1 && recv(s, b, 4, 0) == 1);
        close(c);
        close(s);
        _exit(0);
    }
    ended_well(pid);
    echo(s, c);
    pid = _Fork();
    if (pid == 0) {
        char b[4];
        CHECK(send(c, "x", 1, 0) == 1 && recv(s, b, 4, 0) == 1);
        close(c);
        close(s);
        _exit(0);
    }
    ended_well(pid);
    echo(s, c);
}

static void spawned(void)
{
    int s, c;
    char number[12], path[40], buf[8];
    server_and_client(&s, &c);
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, c, 1) == 0);
    CHECK(posix_spawn_file_actions_addclose(&actions, s) == 0);
    CHECK(posix_spawn_file_actions_addclosefrom_np(&actions, 3) == 0);
    char *argv[] = { "sh", "-c", "printf spawned", NULL };
    pid_t pid;
    CHECK(posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ) == 0);
    ended_well(pid);
    CHECK(recv(s, buf, 8, 0) == 7);
    echo(s, c);
    snprintf(path, sizeof path, "printf hi >&%d", c);
    CHECK(system(path) == 0);
    CHECK(recv(s, buf, 8, 0) == 2);
    FILE *f = popen(path, "r");
    CHECK(f != NULL && pclose(f) == 0);
    CHECK(recv(s, buf, 8, 0) == 2);
    snprintf(number, sizeof number, "%d", c);
    echo(s, c);
    /* An environment without LD_PRELOAD. */
    char *none[] = { NULL };
    argv[2] = path;
    CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, none) == 0);
    ended_well(pid);
    CHECK(recv(s, buf, 8, 0) == 2);
}

/* As daemon(3) and its like do it. */
static void daemon_closes_everything(void)
{
    for (int way = 0; way < 4; way++) {
        int s, c, p[2];
        char b;
        CHECK(pipe(p) == 0);
        CHECK(dup2(p[1], 900) == 900);
        server_and_client(&s, &c);
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
            CHECK(chdir("/") == 0);
            umask(0);
            if (way == 0) {
                for (int fd = 0; fd < 800; fd++)
                    close(fd);
            } else if (way == 1) {
                CHECK(close_range(0, 899, 0) == 0);
            } else if (way == 2) {
                DIR *d = opendir("/proc/self/fd");
                struct dirent *e;
                while ((e = readdir(d)) != NULL) {
                    int fd = atoi(e->d_name);
                    if (e->d_name[0] != '.' && fd != dirfd(d) && fd != 900)
                        close(fd);
                }
                closedir(d);
            } else {
                syscall(SYS_close_range, 0, 899, 0);
            }
            CHECK(open("/dev/null", O_RDWR) == 0);
            CHECK(dup(0) == 1 && dup(0) == 2);
            server_and_client(&s, &c);
            CHECK(s == 3 && c == 4);
            /* And all of them once more, with an engine that runs. */
            if (way == 3)
                syscall(SYS_close_range, 3, 899, 0);
            else
                close_range(3, 899, 0);
            server_and_client(&s, &c);
            CHECK(s == 3 && c == 4);
            CHECK(write(900, "x", 1) == 1);
            _exit(0);
        }
        ended_well(pid);
        close(p[1]);
        close(900);
        CHECK(read(p[0], &b, 1) == 1);
        close(p[0]);
        echo(s, c);
        close(s);
        close(c);
    }
}

/* No descriptor of the engine under 3, nor where the program's own next one would be. */
static void lowest_numbers(void)
{
    int s, c;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    s = udp();
    CHECK(s == 0);
    struct sockaddr_in6 a = address("::", 0);
    CHECK(bind(s, SA(a), sizeof a) == 0);
    c = dup(s);
    CHECK(c == 1);
    CHECK(open("/dev/null", O_RDWR) == 2);
    CHECK(open("/dev/null", O_RDWR) == 3);
}

/* Few descriptors are allowed. */
static void descriptor_limit(void)
{
    struct rlimit r = { 32, 32 };
    int s, c, n = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
    server_and_client(&s, &c);
    int base = c;
    while (dup(s) >= 0)
        n++;
    CHECK(errno == EMFILE && base == 4);
    echo(s, c);
    FAILS(socket(AF_INET6, SOCK_DGRAM, 0), EMFILE);
    close(5);
    int u = udp();
    CHECK(u == 5);
    (void)n;
}

static void no_descriptor_at_all(void)
{
    int port;
    int s = bound("::1", &port);
    struct rlimit r = { 0, 0 };
    CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
    struct sockaddr_in6 to = address(B, port);
    char b[4];
    CHECK(sendto(s, "x", 1, 0, SA(to), sizeof to) == -1 || recv(s, b, 4, MSG_DONTWAIT) == -1);
    to = address("::1", port);
    CHECK(sendto(s, "x", 1, 0, SA(to), sizeof to) == 1 && recv(s, b, 4, 0) == 1);
}

static void changed_root(void)
{
    int s, c;
    char directory[] = "/tmp/shim6-root-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    server_and_client(&s, &c);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(chroot(directory) == 0 && chdir("/") == 0);
        echo(s, c);
        server_and_client(&s, &c);
        _exit(0);
    }
    ended_well(pid);
    pid = fork();
    if (pid == 0) {
        CHECK(chroot(directory) == 0 && chdir("/") == 0);
        CHECK(setgid(65534) == 0 || geteuid() != 0 || errno == EINVAL);
        CHECK(setuid(65534) == 0 || errno == EINVAL);
        server_and_client(&s, &c);
        _exit(0);
    }
    ended_well(pid);
    CHECK(rmdir(directory) == 0);
}

/* Privileges given up before and after the first socket. */
static void privileges_given_up(void)
{
    for (int before = 0; before < 2; before++) {
        pid_t pid = fork();
        if (pid == 0) {
            int s, c;
            if (!before)
                server_and_client(&s, &c);
            CHECK(setuid(65534) == 0 || errno == EINVAL);
            server_and_client(&s, &c);
            echo(s, c);
            _exit(0);
        }
        ended_well(pid);
    }
}

static void forbid(int call, unsigned family, unsigned action)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, family, 0, family == 0 ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = { .len = sizeof f / sizeof f[0], .filter = f };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0);
}

/* A filter forbids raw sockets, packet sockets, threads: the program goes on alone. */
static void seccomp_refuses_the_engine(void)
{
    struct {
        int call;
        unsigned argument;
    } forbidden[] = { { SYS_socket, AF_PACKET }, { SYS_socket, AF_NETLINK }, { SYS_epoll_create1, 0 }, { SYS_clone3, 0 },
                      { SYS_eventfd2, 0 }, { SYS_timerfd_create, 0 }, { SYS_prctl, PR_SET_NAME } };
    unsigned actions[] = { SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_TRAP, SECCOMP_RET_KILL_PROCESS };
    unsigned n = sizeof forbidden / sizeof forbidden[0];
    for (unsigned i = 0; i < 3 * n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            int s, c;
            forbid(forbidden[i % n].call, forbidden[i % n].argument, actions[i / n]);
            server_and_client(&s, &c);
            echo(s, c);
            _exit(0);
        }
        ended_well(pid);
    }
}

/* A filter that comes when the engine runs, and does not let the program sleep. */
static void filter_at_the_end(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        int s, c;
        server_and_client(&s, &c);
        forbid(SYS_clock_nanosleep, CLOCK_MONOTONIC, SECCOMP_RET_KILL_PROCESS);
        echo(s, c);
        exit(0);
    }
    ended_well(pid);
}

/* A filter that kills all but what the program calls: descriptors of any kind, memory not used before, sockets from
   before and after. */
static void filter_of_what_is_called(void)
{
    static const int called[] = { SYS_socket, SYS_bind, SYS_connect, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg,
                                  SYS_writev, SYS_readv, SYS_close, SYS_exit_group };
    enum { CALLS = sizeof called / sizeof called[0] };
    pid_t pid = fork();
    if (pid == 0) {
        int s, c, pair[2], port;
        server_and_client(&s, &c);
        int unused = socket(AF_INET6, SOCK_DGRAM, 0), named = socket(AF_INET6, SOCK_DGRAM, 0);
        int other = bound("::", &port);
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
        char *fresh = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(fresh != MAP_FAILED);
        struct sock_filter f[CALLS + 3] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0) };
        for (unsigned i = 0; i < CALLS; i++)
            f[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)called[i], CALLS - i, 0);
        f[CALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[CALLS + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog p = { .len = CALLS + 3, .filter = f };
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0);
        struct sockaddr_in6 to = address(B, port);
        int sockets[] = { pair[0], c, unused, named, socket(AF_INET6, SOCK_DGRAM, 0) };
        for (int i = 0; i < 5; i++, fresh += 1 << 16) {
            /* Each in a page of its own. */
            struct msghdr *m = (struct msghdr *)fresh;
            m->msg_iov = (struct iovec *)(fresh + 4096);
            m->msg_iovlen = 1;
            m->msg_iov->iov_base = fresh + 8192;
            m->msg_iov->iov_len = 100;
            if (i == 2 || i == 4)
                CHECK(connect(sockets[i], SA(to), sizeof to) == 0);
            if (i == 3) {
                m->msg_name = memcpy(fresh + 12288, &to, sizeof to);
                m->msg_namelen = sizeof to;
            }
            CHECK(sendmsg(sockets[i], m, 0) == 100);
            m->msg_name = NULL;
            CHECK(recvmsg(i == 0 ? pair[1] : i == 1 ? s : other, m, 0) == 100);
            if (i == 1)
                echo(s, c);
            if (i != 3)
                CHECK(writev(sockets[i], m->msg_iov, 1) == 100 && readv(i == 0 ? pair[1] : i == 1 ? s : other, m->msg_iov, 1) == 100);
            CHECK(close(sockets[i]) == 0);
        }
        _exit(0);
    }
    ended_well(pid);
}

/* The way of sandboxes: sockets are opened first, then all that is not read and write kills. */
static void strict_sandbox(void)
{
    int s, c;
    server_and_client(&s, &c);
    int t = to_peer(B, 9);
    (void)t;
    pid_t pid = fork();
    if (pid == 0) {
        server_and_client(&s, &c);
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
        char b[4];
        for (int i = 0; i < 100; i++) {
            ssize_t w = write(c, "x", 1);
            if (w != 1)
                syscall(SYS_exit, 2);
            if (read(s, b, 4) != 1 && !preloaded())
                syscall(SYS_exit, 3);
            if (preloaded())
                break;
        }
        syscall(SYS_exit, 0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!preloaded())
        CHECK(status == 0);
}

/* All signals to the process find a thread of the program; the engine takes none. */
static void *wait_for_signal(void *set)
{
    int number;
    CHECK(sigwait(set, &number) == 0 && number == SIGUSR1);
    return NULL;
}

static void signals_of_the_program(void)
{
    int s, c;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    server_and_client(&s, &c);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, NULL, wait_for_signal, &set) == 0);
        CHECK(kill(getpid(), SIGUSR1) == 0);
        CHECK(pthread_join(t, NULL) == 0);
    }
}

/* The last datagram before exit arrives, by each way to end. */
static void last_words(void)
{
    int port;
    int s = bound("::", &port);
    char buf[8];
    for (int way = 0; way < 4; way++) {
        pid_t pid = fork();
        if (pid == 0) {
            int c = to_peer(B, port);
            CHECK(send(c, "last", 4, 0) == 4);
            if (way == 0)
                exit(0);
            if (way == 1)
                _exit(0);
            if (way == 2)
                quick_exit(0);
            pthread_exit(NULL);
        }
        ended_well(pid);
        CHECK(recv(s, buf, 8, MSG_DONTWAIT) == 4);
    }
}

static void exits(void)
{
    int port = shared_port;
    int c = to_peer(B, port);
    send(c, "at exit", 7, 0);
    close(c);
}

/* Sockets in exit handlers, and in a thread while the main thread returns. */
static void exit_with_work_left(void)
{
    char buf[16];
    int s = bound("::", &shared_port);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t t;
        CHECK(atexit(exits) == 0);
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&t, NULL, talk, NULL) == 0);
        usleep(30000);
        exit(0);
    }
    ended_well(pid);
    CHECK(recv(s, buf, sizeof buf, MSG_DONTWAIT) == 7);
}

static int count_tasks(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* A fork in a process that never used a socket, then the first use in both. */
static void first_use_in_both(void)
{
    int s, c;
    CHECK(count_tasks() == 1);
    pid_t pid = fork();
    server_and_client(&s, &c);
    if (pid == 0)
        _exit(0);
    ended_well(pid);
    echo(s, c);
}

/* LS-P-12: a descriptor that survives exec goes on, under the library as without it. */
static void exec_keeps_sockets(void)
{
    const char *code = "import socket, sys\n"
                       "c = socket.socket(fileno=int(sys.argv[1]))\n"
                       "c.settimeout(10)\n"
                       "c.send(b'from')\n"
                       "assert c.recv(9) == b'back' and c.getpeername()[0] == sys.argv[2]\n"
                       "u = socket.socket(fileno=int(sys.argv[3]))\n"
                       "u.sendto(b'sent', c.getpeername())\n";
    for (int keep = 0; keep < 2; keep++) {
        int s, c, u = udp();
        char fd[2][12], b[8];
        struct sockaddr_in6 from;
        socklen_t len = sizeof from;
        server_and_client(&s, &c);
        snprintf(fd[0], sizeof fd[0], "%d", c);
        snprintf(fd[1], sizeof fd[1], "%d", u);
        pid_t pid = fork();
        if (pid == 0) {
            if (!keep)
                unsetenv("LD_PRELOAD");
            execl("/usr/bin/python3", "python3", "-c", code, fd[0], B, fd[1], (char *)NULL);
            _exit(127);
        }
        CHECK(recvfrom(s, b, sizeof b, 0, SA(from), &len) == 4 && memcmp(b, "from", 4) == 0);
        CHECK(sendto(s, "back", 4, 0, SA(from), len) == 4);
        CHECK(recv(s, b, sizeof b, 0) == 4 && memcmp(b, "sent", 4) == 0);
        ended_well(pid);
        close(u);
        echo(s, c);
    }
}

/* Little memory is left: there may be no engine then, and the program goes on. */
static void little_memory(void)
{
    for (rlim_t limit = 1 << 20; limit < 24 << 20; limit += 640 << 10) {
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit r = { limit, limit };
            int s, c;
            CHECK(setrlimit(RLIMIT_DATA, &r) == 0);
            server_and_client(&s, &c);
            echo(s, c);
            echo_in_child(s, c);
            _exit(0);
        }
        ended_well(pid);
    }
}

MAIN(TEST(first_use_in_both), TEST(fork_in_any_thread), TEST(parent_exits_first), TEST(raw_fork), TEST(spawned),
     TEST(daemon_closes_everything), TEST(lowest_numbers), TEST(descriptor_limit), TEST(little_memory), TEST(no_descriptor_at_all), TEST(changed_root), TEST(privileges_given_up),
     TEST(seccomp_refuses_the_engine), TEST(filter_at_the_end), TEST(filter_of_what_is_called), TEST(strict_sandbox), TEST(signals_of_the_program), TEST(last_words),
     TEST(exit_with_work_left), TEST(exec_keeps_sockets))

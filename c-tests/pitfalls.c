/* What other preload libraries stumbled over; one test for each, named after it. */
#include "harness.h"
#include <dirent.h>
#include <dlfcn.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

/* Under the preload library: is it still a shim socket? */
static void tracked(int fd)
{
    int v = -1;
    socklen_t len = sizeof v;
    if (preloaded())
        CHECK(getsockopt(fd, 0x5533, 2, &v, &len) == 0 && v == 0);
    else
        FAILS(getsockopt(fd, 0x5533, 2, &v, &len), ENOPROTOOPT);
}

static void pitfall_01_vfork_shares_our_tables(void)
{
    int s, c;
    server_and_client(&s, &c);
    for (int i = 0; i < 5; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        pid_t pid = vfork();
#pragma GCC diagnostic pop
        if (pid == 0) {
            dup2(c, 50);
            dup2(0, s);
            close(c);
            fcntl(50, F_DUPFD, 60);
            close_range(3, ~0U, 0);
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        ended_well(pid);
        tracked(s);
        tracked(c);
        echo(s, c);
    }
    FAILS(fcntl(50, F_GETFD), EBADF);
    FAILS(send(60, "x", 1, 0), EBADF);
}

static void pitfall_02_calls_inside_libc_reach_no_hook(void)
{
    int s, c;
    char buf[100];
    server_and_client(&s, &c);
    /* fclose, freopen, popen, getaddrinfo and getifaddrs open and close behind our back. */
    FILE *f = fdopen(c, "w");
    CHECK(f != NULL && fprintf(f, "text") == 4 && fclose(f) == 0);
    CHECK(recv(s, buf, 8, 0) == 4);
    f = popen("echo hello", "r");
    CHECK(f != NULL && fgets(buf, sizeof buf, f) != NULL && strcmp(buf, "hello\n") == 0 && pclose(f) == 0);
    struct addrinfo *list = NULL, hints = { .ai_family = AF_INET6, .ai_flags = AI_NUMERICHOST };
    CHECK(getaddrinfo(A, "9", &hints, &list) == 0);
    freeaddrinfo(list);
    struct ifaddrs *addresses;
    CHECK(getifaddrs(&addresses) == 0);
    freeifaddrs(addresses);
    int p[2];
    CHECK(pipe(p) == 0 && p[0] == c && write(p[1], "pipe", 4) == 4);
    CHECK(readv(p[0], &(struct iovec){ .iov_base = buf, .iov_len = 8 }, 1) == 4);
    FAILS(recv(p[0], buf, 1, 0), ENOTSOCK);
    /* A raw close, and the number becomes a file, then a pipe. */
    server_and_client(&s, &c);
    CHECK(syscall(SYS_close, c) == 0);
    int file = open("/proc/self/cmdline", O_RDONLY);
    CHECK(file == c && read(file, buf, 4) > 0);
    FAILS(write(file, "x", 1), EBADF);
    CHECK(close(file) == 0);
    CHECK(syscall(SYS_close, s) == 0);
    CHECK(syscall(SYS_pipe2, p, 0) == 0 && write(p[1], "pipe", 4) == 4 && read(p[0], buf, 8) == 4);
}

static void pitfall_03_all_duplicates_are_one(void)
{
    int s, c;
    server_and_client(&s, &c);
    int d[] = { dup(c), dup2(c, 70), dup3(c, 71, O_CLOEXEC), fcntl(c, F_DUPFD, 72), fcntl(c, F_DUPFD_CLOEXEC, 73) };
    struct sockaddr_in6 unspec = { .sin6_family = AF_UNSPEC };
    close(c);
    for (int i = 0; i < 5; i++) {
        tracked(d[i]);
        echo(s, d[i]);
    }
    CHECK(connect(d[2], SA(unspec), sizeof unspec) == 0);
    for (int i = 0; i < 5; i++)
        FAILS(send(d[i], "x", 1, 0), EDESTADDRREQ);
}

static void *many(void *unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++) {
        int s, c;
        server_and_client(&s, &c);
        close(s);
        close(c);
    }
    return NULL;
}

static void pitfall_04_hooks_never_enter_themselves(void)
{
    pthread_t t;
    /* A small stack shows a recursion, and whatever else is too much for a thread of the program. */
    pthread_attr_t a;
    CHECK(pthread_attr_init(&a) == 0 && pthread_attr_setstacksize(&a, 32 * 1024) == 0);
    CHECK(pthread_create(&t, &a, many, NULL) == 0 && pthread_join(t, NULL) == 0);
    int fd = udp();
    /* No more descriptors than the engine's few. */
    CHECK(fd < 20);
}

static void pitfall_05_type_and_flags_are_kept(void)
{
    int kinds[] = { SOCK_DGRAM, SOCK_STREAM, SOCK_DGRAM | SOCK_NONBLOCK, SOCK_DGRAM | SOCK_CLOEXEC };
    for (int i = 0; i < 4; i++) {
        int fd = socket(AF_INET6, kinds[i], 0), type;
        socklen_t len = sizeof type;
        struct sockaddr_in6 to = address(B, 9);
        CHECK(fd >= 0);
        if (i != 1)
            CHECK(connect(fd, SA(to), sizeof to) == 0);
        CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == (kinds[i] & 0xf));
        CHECK(((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) == ((kinds[i] & SOCK_NONBLOCK) != 0));
        CHECK(((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0) == ((kinds[i] & SOCK_CLOEXEC) != 0));
    }
}

/* Runs before main and after it. */
static int early_server = -1, early_client = -1;
__attribute__((constructor(101))) static void early(void)
{
    early_server = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 a = address("::1", 0);
    socklen_t len = sizeof a;
    CHECK(bind(early_server, SA(a), sizeof a) == 0 && getsockname(early_server, SA(a), &len) == 0);
    early_client = socket(AF_INET6, SOCK_DGRAM, 0);
    CHECK(connect(early_client, SA(a), sizeof a) == 0);
    echo(early_server, early_client);
}

static void pitfall_06_hooks_work_before_constructors_and_on_inherited(void)
{
    int s, c;
    char command[100], buf[8];
    echo(early_server, early_client);
    server_and_client(&s, &c);
    snprintf(command, sizeof command, "exec 3>&%d; printf a >&3; printf b >&%d", c, c);
    CHECK(system(command) == 0);
    CHECK(recv(s, buf, 8, 0) == 1 && recv(s, buf, 8, 0) == 1);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(command, sizeof command, "%d", c);
        execl("/proc/self/exe", "pitfalls", "inherited", command, (char *)NULL);
        _exit(127);
    }
    ended_well(pid);
    for (int i = 0; i < 2; i++)
        CHECK(recv(s, buf, 8, 0) == 1);
}

/* An allocator of the program that itself uses sockets; and hooks in destructors of threads. */
static pthread_key_t key;
static void at_thread_end(void *value)
{
    int s, c;
    (void)value;
    server_and_client(&s, &c);
    close(s);
    close(c);
}
static void *with_destructor(void *unused)
{
    (void)unused;
    CHECK(pthread_setspecific(key, &key) == 0);
    return NULL;
}

static void pitfall_07_nothing_lazy_in_threads(void)
{
    CHECK(pthread_key_create(&key, at_thread_end) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, NULL, with_destructor, NULL) == 0 && pthread_join(t, NULL) == 0);
    }
}

static volatile int stop;
static void *busy(void *unused)
{
    (void)unused;
    while (!stop) {
        int s, c;
        server_and_client(&s, &c);
        dup2(c, s);
        close(s);
        close(c);
    }
    return NULL;
}

static void pitfall_08_no_lock_is_held_over_fork(void)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&t[i], NULL, busy, NULL) == 0);
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            int s, c;
            alarm(5);
            server_and_client(&s, &c);
            close(s);
            close(c);
            _exit(0);
        }
        ended_well(pid);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
}

static void pitfall_09_syscall_is_left_alone(void)
{
    int s, c;
    char buf[8];
    server_and_client(&s, &c);
    CHECK(syscall(SYS_getpid) == getpid());
    FAILS(syscall(12345), ENOSYS);
    CHECK(syscall(SYS_sendto, c, "raw", 3, 0, NULL, 0) == 3);
    CHECK(syscall(SYS_recvfrom, s, buf, sizeof buf, 0, NULL, NULL) == 3);
    echo(s, c);
}

ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
extern ssize_t __write(int, const void *, size_t);
extern ssize_t __read(int, void *, size_t);
extern ssize_t __send(int, const void *, size_t, int);
extern int __connect(int, const struct sockaddr *, socklen_t);
extern int __close(int);

static void pitfall_10_fortified_and_aliased_names(void)
{
    int s, c;
    char buf[16];
    struct sockaddr_in6 from, self;
    socklen_t len = sizeof from;
    server_and_client(&s, &c);
    CHECK(getsockname(c, SA(self), &len) == 0);
    CHECK(__write(c, "one", 3) == 3 && __recvfrom_chk(s, buf, 16, 16, 0, SA(from), &len) == 3);
    CHECK(memcmp(&from, &self, sizeof from) == 0);
    CHECK(__send(c, "two", 3, 0) == 3 && __recv_chk(s, buf, 16, 16, 0) == 3);
    CHECK(__send(c, "six", 3, 0) == 3 && __read_chk(s, buf, 16, 16) == 3);
    CHECK(__connect(s, SA(self), sizeof self) == 0);
    CHECK(__send(s, "six", 3, 0) == 3 && __read(c, buf, 16) == 3);
    struct pollfd p = { .fd = c, .events = POLLIN };
    CHECK(__poll_chk(&p, 1, 0, sizeof p) == 0);
    CHECK(fcntl64(c, F_GETFD) == 0);
    CHECK(__close(c) == 0);
    FAILS(__send(c, "x", 1, 0), EBADF);
}

static void pitfall_11_set_user_id_programs_run_alone(void)
{
    int s, c;
    char buf[16];
    struct stat st;
    server_and_client(&s, &c);
    /* Any set-user-ID program will do; ld.so drops the preload, the descriptors stay. */
    CHECK(chmod("/proc/self/exe", 0755) == 0 || errno != 0);
    CHECK(stat("/proc/self/exe", &st) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char number[12], path[] = "/tmp/shim6-setuid-XXXXXX", command[300], self[200];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        CHECK(n > 0);
        self[n] = 0;
        int copy = mkstemp(path);
        CHECK(copy >= 0);
        close(copy);
        snprintf(command, sizeof command, "cp '%s' %s && chmod 4755 %s", self, path, path);
        CHECK(system(command) == 0);
        pid_t child = fork();
        if (child == 0) {
            CHECK(setuid(65534) == 0 || errno == EINVAL);
            snprintf(number, sizeof number, "%d", c);
            execl(path, "pitfalls", "inherited", number, (char *)NULL);
            _exit(127);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        unlink(path);
        _exit(WEXITSTATUS(status));
    }
    ended_well(pid);
    for (int i = 0; i < 2; i++)
        CHECK(recv(s, buf, 8, 0) == 1);
    echo(s, c);
}

static void pitfall_12_the_environment_is_left_alone(void)
{
    const char *before = getenv("LD_PRELOAD");
    char copy[4096] = "";
    if (before != NULL)
        snprintf(copy, sizeof copy, "%s", before);
    int s, c;
    server_and_client(&s, &c);
    const char *after = getenv("LD_PRELOAD");
    CHECK(strcmp(after == NULL ? "" : after, copy) == 0);
    /* A program without it in its environment gets plain sockets. */
    char number[12];
    snprintf(number, sizeof number, "%d", c);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = { "pitfalls", "inherited", number, NULL }, *none[] = { NULL };
        execve("/proc/self/exe", argv, none);
        _exit(127);
    }
    ended_well(pid);
    char buf[8];
    for (int i = 0; i < 2; i++)
        CHECK(recv(s, buf, 8, 0) == 1);
}

static void pitfall_13_our_descriptors_are_out_of_the_way(void)
{
    int s, c;
    /* What the runner left open is not ours. */
    char inherited_by_us[5000];
    for (int fd = 0; fd < 5000; fd++)
        inherited_by_us[fd] = fcntl(fd, F_GETFD) >= 0;
    server_and_client(&s, &c);
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd <= 2 || fd == s || fd == c || fd == dirfd(d) || (fd < 5000 && inherited_by_us[fd]))
            continue;
        CHECK(fd > 10 || !preloaded());
        if (preloaded())
            CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
    closedir(d);
    for (int i = 0; i < 3; i++) {
        for (int fd = 3; fd < 5000; fd++)
            close(fd);
        server_and_client(&s, &c);
        CHECK(s == 3 && c == 4);
    }
    /* The engine's own cannot be replaced either. */
    for (int fd = 5; fd < 1100; fd++)
        if (dup2(0, fd) < 0)
            CHECK(errno == EBADF && preloaded());
    echo(s, c);
    closefrom(3);
    server_and_client(&s, &c);
    CHECK(s == 3 && c == 4);
}

static void pitfall_14_raw_calls_escape_without_harm(void)
{
    int s, c;
    char buf[8];
    server_and_client(&s, &c);
    int d = (int)syscall(SYS_dup, c);
    CHECK(d > 0 && send(d, "x", 1, 0) == 1 && recv(s, buf, 8, 0) == 1);
    CHECK(syscall(SYS_close, c) == 0);
    FAILS(send(c, "x", 1, 0), EBADF);
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    int u = (int)syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0);
    CHECK(u == c);
    FAILS(send(u, "x", 1, 0), EDESTADDRREQ);
    CHECK(getsockname(s, SA(from), &len) == 0);
    struct sockaddr_in6 to = address(B, ntohs(from.sin6_port));
    CHECK(syscall(SYS_connect, u, &to, sizeof to) == 0);
    echo(s, u);
    /* One that comes by the process's own handle. */
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int g = (int)syscall(SYS_pidfd_getfd, self, d, 0);
    CHECK(self > 0 && g > 0);
    echo(s, g);
    CHECK(connect(g, SA(to), sizeof to) == 0);
    echo(s, g);
    echo(s, d);
}

static void pitfall_15_one_instance_and_descriptors_in_messages(void)
{
    /* The library once more, by dlopen, and a copy of it under another name. */
    const char *library = getenv("SHIM6_TEST_LIBRARY");
    int s, c, sv[2];
    server_and_client(&s, &c);
    CHECK(library != NULL);
    char path[] = "/tmp/shim6-copy-XXXXXX", command[600];
    int copy = mkstemp(path);
    CHECK(copy >= 0);
    close(copy);
    snprintf(command, sizeof command, "cp '%s' %s", library, path);
    CHECK(system(command) == 0);
    for (int i = 0; i < 2; i++) {
        void *handle = dlopen(i == 0 ? library : path, RTLD_NOW | (i == 0 ? RTLD_GLOBAL : RTLD_LOCAL));
        CHECK(handle != NULL);
        int (*other_socket)(int, int, int);
        *(void **)&other_socket = dlsym(handle, "socket");
        CHECK(other_socket != NULL);
        int fd = other_socket(AF_INET6, SOCK_DGRAM, 0);
        CHECK(fd >= 0);
        struct sockaddr_in6 name;
        socklen_t len = sizeof name;
        CHECK(getsockname(s, SA(name), &len) == 0);
        struct sockaddr_in6 to = address(B, ntohs(name.sin6_port));
        CHECK(connect(fd, SA(to), sizeof to) == 0);
        echo(s, fd);
        ssize_t (*other_send)(int, const void *, size_t, int);
        *(void **)&other_send = dlsym(handle, "send");
        char b[4];
        CHECK(other_send(fd, "x", 1, 0) == 1 && recv(s, b, 4, 0) == 1);
        close(fd);
        echo(s, c);
        echo_in_child(s, c);
        CHECK(dlclose(handle) == 0);
        echo(s, c);
    }
    unlink(path);
    /* Descriptors arrive once. */
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
    union {
        char octets[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    struct iovec v = { .iov_base = "d", .iov_len = 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.octets, .msg_controllen = sizeof u.octets };
    memset(&u, 0, sizeof u);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &c, sizeof c);
    CHECK(sendmsg(sv[0], &m, 0) == 1);
    int next = dup(0), behind = dup(0);
    close(next);
    close(behind);
    char b;
    v.iov_base = &b;
    CHECK(recvmsg(sv[1], &m, 0) == 1);
    int got;
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
    CHECK(got == next);
    int after = dup(0);
    CHECK(after == behind);
    echo(s, got);
}

/* As the child of a test: the first calls on a descriptor that came through exec. */
static int inherited(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    return send(fd, "a", 1, 0) == 1 && poll(&p, 1, 100) == 1 && write(fd, "b", 1) == 1 && close(fd) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(pitfall_01_vfork_shares_our_tables),
        TEST(pitfall_02_calls_inside_libc_reach_no_hook),
        TEST(pitfall_03_all_duplicates_are_one),
        TEST(pitfall_04_hooks_never_enter_themselves),
        TEST(pitfall_05_type_and_flags_are_kept),
        TEST(pitfall_06_hooks_work_before_constructors_and_on_inherited),
        TEST(pitfall_07_nothing_lazy_in_threads),
        TEST(pitfall_08_no_lock_is_held_over_fork),
        TEST(pitfall_09_syscall_is_left_alone),
        TEST(pitfall_10_fortified_and_aliased_names),
        TEST(pitfall_11_set_user_id_programs_run_alone),
        TEST(pitfall_12_the_environment_is_left_alone),
        TEST(pitfall_13_our_descriptors_are_out_of_the_way),
        TEST(pitfall_14_raw_calls_escape_without_harm),
        TEST(pitfall_15_one_instance_and_descriptors_in_messages),
    };
    if (argc == 3)
        return inherited(atoi(argv[2]));
    return run_tests(tests, sizeof tests / sizeof tests[0]);
}

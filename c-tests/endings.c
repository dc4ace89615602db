/* A process whose main thread calls pthread_exit ends with the last of its own threads, as it would without the shim, whose
   thread is none of them. */
#include "harness.h"
#include <pthread.h>
#include <time.h>

static int server_port;

static void a_moment(void)
{
    struct timespec t = { 0, 100 * 1000000L };
    nanosleep(&t, NULL);
}

static void speak(void)
{
    int fd = to_peer(B, server_port);
    CHECK(send(fd, "word", 4, 0) == 4);
}

static void *speaks_later(void *unused)
{
    a_moment();
    speak();
    a_moment();
    return unused;
}

static void *speaks_at_once(void *unused)
{
    speak();
    return unused;
}

static void *waits(void *unused)
{
    a_moment();
    a_moment();
    return unused;
}

static void *exits_later(void *unused)
{
    speaks_later(unused);
    exit(7);
}

static void in_thread(void *(*f)(void *))
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, f, NULL) == 0 && pthread_detach(t) == 0);
}

static void alone(void)
{
    speak();
}

static void before_a_thread_that_speaks(void)
{
    speak();
    in_thread(speaks_later);
}

static void before_one_that_does_not(void)
{
    speak();
    in_thread(waits);
}

static void without_having_spoken(void)
{
    in_thread(speaks_later);
}

static void without_having_spoken_before_both(void)
{
    in_thread(speaks_later);
    in_thread(speaks_at_once);
}

static void after_all_that_spoke(void)
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, speaks_at_once, NULL) == 0 && pthread_join(t, NULL) == 0);
    a_moment();
}

static void with_a_status(void)
{
    speak();
    in_thread(exits_later);
}

/* How the main thread spends its time, words spoken, and the status of the process. */
static const struct {
    void (*f)(void);
    int words, status;
} ways[] = {
    { alone, 1, 0 },
    { before_a_thread_that_speaks, 2, 0 },
    { before_one_that_does_not, 1, 0 },
    { without_having_spoken, 1, 0 },
    { without_having_spoken_before_both, 2, 0 },
    { after_all_that_spoke, 1, 0 },
    { with_a_status, 2, 7 },
};

static void main_thread_exits(void)
{
    int s = bound("::", &server_port);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(10);
            ways[i].f();
            pthread_exit(NULL);
        }
        int status = -1;
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != ways[i].status) {
            fprintf(stderr, "way %zu: status %x\n", i, (unsigned)status);
            _exit(1);
        }
        char b[8];
        for (int n = 0; n < ways[i].words; n++)
            CHECK(recv(s, b, sizeof b, MSG_DONTWAIT) == 4);
        FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), EAGAIN);
    }
}

MAIN(TEST(main_thread_exits))

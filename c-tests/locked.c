/* Another library in front of the shim's, which replaces `syscall` and holds a lock of it over each fork, as uid_wrapper
   does: the shim's own calls must not come by there. With LOCKED this is that library. */
#ifdef LOCKED
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

long syscall(long number, ...)
{
    long (*next)(long, ...) = NULL;
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    pthread_mutex_lock(&lock);
    *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    pthread_mutex_unlock(&lock);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void before(void)
{
    pthread_mutex_lock(&lock);
}

static void after(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(before, after, after);
}
#else
#include "harness.h"

static void forks_end(void)
{
    int s, c;
    server_and_client(&s, &c);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(10);
            echo(s, c);
            _exit(0);
        }
        ended_well(pid);
        echo(s, c);
    }
}

MAIN(TEST(forks_end))
#endif

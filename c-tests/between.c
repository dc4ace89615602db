/* Another library in front of the C library, and behind the shim's: it goes on to be asked for each call. With BETWEEN this is
   that library. */
#ifdef BETWEEN
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The engine's thread sends too. */
static _Thread_local int sent;

int sent_by_this_thread(void)
{
    return sent;
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
    sent++;
    return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}
#else
#include "harness.h"
#include <dlfcn.h>

/* Once the engine runs, of course, and before. */
static void each_call_comes_by(void)
{
    int (*sent)(void) = NULL;
    *(void **)&sent = dlsym(RTLD_DEFAULT, "sent_by_this_thread");
    int port;
    int s = bound("::", &port);
    int c = to_peer(B, port);
    char b[8];
    CHECK(sent != NULL);
    for (int i = 1; i <= 10; i++) {
        CHECK(send(c, "word", 4, 0) == 4);
        CHECK(sent() == i);
        CHECK(recv(s, b, sizeof b, 0) == 4);
    }
}

MAIN(TEST(each_call_comes_by))
#endif

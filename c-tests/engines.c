/* One engine per process, however many copies of the shim are in it. Arguments: plug-ins with a copy each. */
#include "harness.h"
#include <dirent.h>
#include <dlfcn.h>

/* Threads of the shim in this process, other than the main one. */
static int threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file != NULL) {
            count += fgets(name, sizeof name, file) != NULL && strcmp(name, "shim6\n") == 0;
            fclose(file);
        }
    }
    closedir(dir);
    return count;
}

/* Engines in this network namespace: each holds one name. */
static int names(void)
{
    char line[300];
    int count = 0;
    FILE *file = fopen("/proc/thread-self/net/unix", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, "@shim6-tag-") != NULL;
    fclose(file);
    return count;
}

/* Use of a servable address starts the engine; the option tells that somebody answers at the level. */
static void use(int (*make)(int, int, int), int (*join)(int, const struct sockaddr *, socklen_t),
                int (*get)(int, int, int, void *, socklen_t *))
{
    int port, value = 7;
    socklen_t len = sizeof value;
    bound(B, &port);
    int fd = make(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 to = address(B, port);
    CHECK(fd >= 0 && join(fd, SA(to), sizeof to) == 0);
    CHECK(get(fd, 0x5533, 1, &value, &len) == 0 && value == 0);
}

typedef void plugin(void (*)(int (*)(int, int, int), int (*)(int, const struct sockaddr *, socklen_t),
                             int (*)(int, int, int, void *, socklen_t *)));

int main(int argc, char **argv)
{
    alarm(30);
    own_network();
    CHECK(threads() == 0 && names() == 0);
    for (int round = 0; round < 2; round++) {
        use(socket, connect, getsockopt);
        for (int i = 1; i < argc; i++) {
            void *library = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
            if (library == NULL)
                fprintf(stderr, "%s\n", dlerror());
            CHECK(library != NULL);
            plugin *run;
            *(void **)&run = dlsym(library, "run");
            CHECK(run != NULL);
            run(use);
        }
        /* A thread that was waited for is on its way out a moment longer. */
        for (int i = 0; i < 200 && threads() > 1; i++)
            usleep(10000);
        if (threads() != 1 || names() != 1) {
            printf("FAILED %d threads, %d engines\n", threads(), names());
            return 1;
        }
    }
    printf("ok one engine\n");
    return 0;
}

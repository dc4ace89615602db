/* A shared object with a copy of the shim of its own. */
#include "../include/shim6.h"

void run(void (*use)(int (*)(int, int, int), int (*)(int, const struct sockaddr *, socklen_t),
                     int (*)(int, int, int, void *, socklen_t *)));
void run(void (*use)(int (*)(int, int, int), int (*)(int, const struct sockaddr *, socklen_t),
                     int (*)(int, int, int, void *, socklen_t *)))
{
    use(shim6_socket, shim6_connect, shim6_getsockopt);
}

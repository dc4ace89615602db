/* The other half of abi.c: compiled for RFC 6316 and linked with it (API-ABI-03). */
#define SHIM6_API_RFC6316
#include "../include/shim6.h"
#include <stddef.h>

_Static_assert(SOL_SHIM == 0x6316 && SOL_SHIM_D08 == 0x5533, "levels");
_Static_assert(offsetof(struct shim_locator, lc_flags) == 28 && offsetof(struct shim_locator, lc_ifidx) == 8, "locator");

int rfc_size(void);
int rfc_size(void)
{
    return (int)(sizeof(struct shim_locator) + sizeof(struct shim6_pathexplore));
}

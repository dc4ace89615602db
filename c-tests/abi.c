/* The header alone: numbers, and that the short names stand for the draft's structures. */
#include "../include/shim6.h"
#include <stdio.h>

/* API-ABI-11, API-CX-27, API-ABI-04, API-ABI-09, API-ABI-10, API-ABI-12, API-CX-02, API-CX-04, API-CX-05 */
_Static_assert(SOL_SHIM == 0x5533 && SOL_SHIM_R6316 == 0x6316, "levels");
_Static_assert(SHIM_ASSOCIATED == 1 && SHIM_DONTSHIM == 2 && SHIM_HOT_STANDBY == 3 && SHIM_LOC_LOCAL_PREF == 4 &&
                   SHIM_LOC_PEER_PREF == 5 && SHIM_LOC_LOCAL_RECV == 6 && SHIM_LOC_PEER_RECV == 7 &&
                   SHIM_LOC_LOCAL_SEND == 8 && SHIM_LOC_PEER_SEND == 9 && SHIM_LOCLIST_LOCAL == 10 &&
                   SHIM_LOCLIST_PEER == 11 && SHIM_APP_TIMEOUT == 12 && SHIM_PATHEXPLORE == 13 &&
                   SHIM_DEFERRED_CONTEXT_SETUP == 14 && SHIM_CONTEXT_DEFERRED_SETUP == 14 && SHIM_FEEDBACK == 15 &&
                   SHIM_IF_SEND == 16,
               "options");
_Static_assert(SHIM_MAX_LOCATORS == 32 && EINVALIDLOCATOR == 5501 && EINVALLOCATOR == 5501 &&
                   EUNVERIFIEDLOCATOR == 5502 && EUNREACHABLELOCATOR == 5503 && ETOOMANYLOCATORS == 5504,
               "errors");

#ifdef ENOSUITABLELOCATOR
#error "the draft muses about it and does not define it"
#endif

int rfc_size(void);

int main(void)
{
    struct shim_locator l = { .lc_family = 10, .lc_preference = 255 };
    struct shim_pathexplore p = { .pe_probenum = 4 };
    struct shim6_pathexplore *same = &p;
    struct shim_feedback f = { .fb_indicator = 3 };
    int ok = sizeof l == 20 && sizeof *same == 8 && sizeof f == 4 && rfc_size() == 32 + 12;
    printf("%s abi\n", ok ? "ok" : "FAILED");
    return !ok;
}

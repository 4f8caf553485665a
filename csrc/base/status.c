// SPDX-License-Identifier: Apache-2.0
#include "../qbits.h"

#ifndef QB_VERSION
#define QB_VERSION "unversioned"
#endif

const char *qb_version(void) { return QB_VERSION; }

const char *qb_status_text(int status)
{
    switch (status) {
    case QB_OK: return "ok";
    case QB_ERR_MEMORY: return "out of memory";
    case QB_ERR_ARGUMENT: return "an argument is outside its domain";
    case QB_ERR_SIZE: return "the sizes' product is too large";
    case QB_ERR_CODE_RANGE: return "a code does not fit its width";
    case QB_ERR_NOT_FINITE: return "a value is NaN or infinite";
    case QB_ERR_SCALE_RANGE: return "a scale overflows its type";
    case QB_ERR_IMPORTANCE: return "an importance is negative or not finite";
    case QB_ERR_ISA_UNKNOWN: return "no such instruction-set tier";
    case QB_ERR_ISA_UNSUPPORTED: return "this machine cannot run that instruction-set tier";
    default: return "unknown status";
    }
}

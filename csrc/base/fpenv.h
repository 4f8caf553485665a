// SPDX-License-Identifier: Apache-2.0
// Float results are defined in the default environment: round to nearest, denormals kept. A caller
// may have changed it (a fast-math library sets FTZ process-wide), so every entry point that
// computes with floats brackets itself with these two.
#ifndef QB_FPENV_H
#define QB_FPENV_H

#include "target.h"

#include <float.h>
#include <stdint.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
// 32-bit x86: -msse2 -mfpmath=sse; s390x: -fexcess-precision=fast.
#error "floats must be evaluated in their own precision, see the flags above this line"
#endif

#if QB_X86
typedef unsigned qb_fpenv;
static inline qb_fpenv qb_fpenv_enter(void)
{
    const qb_fpenv saved = _mm_getcsr();
    _mm_setcsr(0x1F80); // all exceptions masked, nearest, FTZ and DAZ off
    return saved;
}
static inline void qb_fpenv_leave(qb_fpenv saved) { _mm_setcsr(saved); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t qb_fpenv;
static inline qb_fpenv qb_fpenv_enter(void)
{
    qb_fpenv saved;
    const qb_fpenv standard = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(standard));
    return saved;
}
static inline void qb_fpenv_leave(qb_fpenv saved)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(saved));
}
#else
#include <fenv.h>
typedef fenv_t qb_fpenv;
static inline qb_fpenv qb_fpenv_enter(void)
{
    qb_fpenv saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    return saved;
}
static inline void qb_fpenv_leave(qb_fpenv saved) { fesetenv(&saved); }
#endif

#endif

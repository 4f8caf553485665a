// SPDX-License-Identifier: Apache-2.0
// The instruction-set tiers, lowest first: X(name, runs-here predicate in cpu.c, text).
// A tier is one bundle of features found together on real machines, so that "avx512" means one
// thing: Ice Lake / Zen 4 and later. Machines in between run the tier below. "avxvnni" is for those that
// have the dot product without AVX-512: client cores since Alder Lake.
#ifndef QB_ISA_H
#define QB_ISA_H

#include "target.h"

#if QB_X86
#define QB_ISAS(X)                                    \
    X(scalar, "portable C, the definition of results") \
    X(avx2, "AVX2 FMA F16C BMI2")                      \
    X(avxvnni, "AVX-VNNI beside AVX2")                 \
    X(avx512, "AVX-512 F BW DQ VL VNNI VBMI")
#else
#define QB_ISAS(X) X(scalar, "portable C, the definition of results")
#endif

enum qb_isa_id {
#define X(name, text) QB_ISA_##name,
    QB_ISAS(X)
#undef X
        QB_ISA_COUNT
};

#endif

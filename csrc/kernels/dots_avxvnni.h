// SPDX-License-Identifier: Apache-2.0
// Dot products of words (vpdpbusd) in 8 lanes, for the AVX-VNNI kernels of the multiply.
#ifndef QB_DOTS_AVXVNNI_H
#define QB_DOTS_AVXVNNI_H

#include "matmul_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVXVNNI)

QB_INLINE sums32 add_dots(sums32 sums, __m256i codes, __m256i digits)
{
    return SUMS_AS(sums32, QB_DPBUSD(SUMS_AS(__m256i, sums), codes, digits));
}

QB_TARGET_END
#endif
#endif

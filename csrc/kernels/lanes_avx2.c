// SPDX-License-Identifier: Apache-2.0
// Parameters of 16 rows of block types side by side, for 8 lanes.
#include "bytes.h"
#include "kernels.h"

#include "../base/target.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE void scale_levels(const float *scale, const uint8_t *level, const int bias, const int sign, float *out)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)level);
    const __m128i halves[2] = {bytes, _mm_srli_si128(bytes, 8)};
    QB_UNROLL for (int h = 0; h < 2; h++) {
        const __m256i n = _mm256_sub_epi32(_mm256_cvtepu8_epi32(halves[h]), _mm256_set1_epi32(bias));
        const __m256 x = _mm256_mul_ps(_mm256_loadu_ps(scale + 8 * h), _mm256_cvtepi32_ps(n));
        _mm256_storeu_ps(out + 8 * h, sign < 0 ? _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)) : x);
    }
}

#define WIDEN(half, n, out) qb_widen_f16_avx2(half, n, out)
#define SCALE(scale, level, bias, sign, out) scale_levels(scale, level, bias, sign, out)
#include "lanes.h"

QB_LANES_KERNELS(avx2)

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// Parameters of 16 rows of block types side by side, for 8 lanes.
#include "bytes.h"
#include "kernels.h"

#include "../base/target.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE void widen_lanes(const uint16_t *half, float *out)
{
    QB_UNROLL for (int h = 0; h < 2; h++)
        _mm256_storeu_ps(out + 8 * h, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)half + h)));
}

QB_INLINE void scale_levels(const float *scale, const int8_t *level, float *out)
{
    QB_UNROLL for (int h = 0; h < 2; h++) {
        const __m256i n = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(level + 8 * h)));
        _mm256_storeu_ps(out + 8 * h, _mm256_mul_ps(_mm256_loadu_ps(scale + 8 * h), _mm256_cvtepi32_ps(n)));
    }
}

#define WIDEN(half, out) widen_lanes(half, out)
#define SCALE(scale, level, out) scale_levels(scale, level, out)
#include "lanes.h"

QB_LANES_KERNELS(avx2)

QB_TARGET_END
#endif

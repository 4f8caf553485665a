// SPDX-License-Identifier: Apache-2.0
// Integer sums of two quantized rows, 64 codes a step. vpdpbusd multiplies unsigned bytes by signed
// ones without saturating, so b goes in as b - 128: sum a*b = sum a*(b - 128) + 128 * sum a, all
// exact in 32 bits for a segment. vpsadbw gives the plain sums; masked loads end a segment, and
// since they give a = 0, whatever b - 128 is there adds nothing.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

enum { STEP = 64 };

struct sums {
    __m512i ab; // 16 x int32
    __m512i a, b; // 8 x int64
};

QB_INLINE struct sums add(struct sums s, __m512i a, __m512i b)
{
    const __m512i zero = _mm512_setzero_si512(), flip = _mm512_set1_epi8(-128);
    s.ab = _mm512_dpbusd_epi32(s.ab, a, _mm512_xor_si512(b, flip));
    s.a = _mm512_add_epi64(s.a, _mm512_sad_epu8(a, zero));
    s.b = _mm512_add_epi64(s.b, _mm512_sad_epu8(b, zero));
    return s;
}

QB_INLINE void store_sums(struct sums s, int32_t *sums)
{
    sums[1] = (int32_t)_mm512_reduce_add_epi64(s.a);
    sums[2] = (int32_t)_mm512_reduce_add_epi64(s.b);
    sums[0] = _mm512_reduce_add_epi32(s.ab) + 128 * sums[1];
}

void qb_dot_avx512(const uint8_t *a, const uint8_t *b, size_t n, size_t seg, int32_t *sums)
{
    for (size_t i = 0; i < n; sums += 3) {
        const size_t end = n - i < seg ? n : i + seg;
        const __m512i zero = _mm512_setzero_si512();
        struct sums s = {zero, zero, zero};
        for (; end - i >= STEP; i += STEP)
            s = add(s, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
        if (i < end) {
            const __mmask64 some = _cvtu64_mask64(((uint64_t)1 << (end - i)) - 1);
            s = add(s, _mm512_maskz_loadu_epi8(some, a + i), _mm512_maskz_loadu_epi8(some, b + i));
        }
        i = end;
        store_sums(s, sums);
    }
}

QB_TARGET_END
#endif

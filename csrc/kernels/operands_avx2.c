// SPDX-License-Identifier: Apache-2.0
// The operands of the multiply, 8 lanes at a time.
#include "matmul_ymm.h"

#include "../base/float16.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// ---- split --------------------------------------------------------------------------------------

// The first n < 8 lanes.
QB_INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

QB_INLINE uint32_t largest_bits(const float *x, size_t n)
{
    const __m256i size = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i most = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) most = _mm256_max_epi32(most, _mm256_and_si256(load(x + i), size));
    if (i < n) {
        const __m256i last = _mm256_maskload_epi32((const int *)(x + i), first_lanes(n - i));
        most = _mm256_max_epi32(most, _mm256_and_si256(last, size));
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

// The digits of 8 values, 8 bytes each of digit 0, 1 and 2. Adding 0x80 to every digit turns
// balanced digits into ordinary bytes.
QB_INLINE __m256i digits_of(__m256 x, __m256 inv, __m256i top)
{
    const __m256i turn = _mm256_set1_epi32(0x808080);
    const __m256i by_digit = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    // Products are hardly above top, so that rounding and clamping as integers is the same.
    __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(x, inv));
    q = _mm256_min_epi32(_mm256_max_epi32(q, _mm256_sub_epi32(_mm256_setzero_si256(), top)), top);
    q = _mm256_xor_si256(_mm256_add_epi32(q, turn), turn);
    const __m256i halves_together = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(q, by_digit), halves_together);
}

// 8 * 128 more than the sum of the digits, of each of 8 bytes.
QB_INLINE __m256i sums_of(__m256i digits)
{
    return _mm256_sad_epu8(_mm256_xor_si256(digits, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
}

int qb_split_avx2(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx,
                  int32_t *sums)
{
    static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};
    const uint32_t most = largest_bits(x, n);
    if (most >= 0x7F800000u) return 1;
    const float amax = qb_bits_float(most);
    const int nothing = amax < 0x1p-100f;
    *dx = nothing ? 0.0f : amax / (float)tops[planes];
    const __m256 inv = _mm256_set1_ps(nothing ? 0.0f : 1.0f / *dx);
    const __m256i top = _mm256_set1_epi32(tops[planes]);
    __m256i total = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i digits = digits_of(_mm256_loadu_ps(x + i), inv, top);
        total = _mm256_add_epi64(total, sums_of(digits));
        const __m128i two = _mm256_castsi256_si128(digits),
                      third = _mm256_extracti128_si256(digits, 1);
        _mm_storel_epi64((__m128i *)(out + i), two);
        if (planes > 1) _mm_storel_epi64((__m128i *)(out + stride + i), _mm_unpackhi_epi64(two, two));
        if (planes > 2) _mm_storel_epi64((__m128i *)(out + 2 * stride + i), third);
    }
    if (i < n) {
        int8_t last[32];
        const __m256i digits = digits_of(_mm256_maskload_ps(x + i, first_lanes(n - i)), inv, top);
        total = _mm256_add_epi64(total, sums_of(digits));
        store(last, digits);
        for (int p = 0; p < planes; p++) memcpy(out + (size_t)p * stride + i, last + 8 * p, n - i);
    }
    int64_t all[4];
    store(all, total);
    for (int p = 0; p < planes; p++) sums[p] = (int32_t)all[p] - 128 * 8 * (int32_t)((n + 7) / 8);
    return 0;
}

// ---- interleave ---------------------------------------------------------------------------------

// 16 bytes of 8 rows, to halves of 4 lines: rows r and r + 4 share a register, so that no shuffle
// crosses its middle.
QB_INLINE void interleave_half(const uint8_t *rows, size_t stride, uint8_t *lines)
{
    __m256i r[4];
    for (size_t i = 0; i < 4; i++)
        r[i] = _mm256_loadu2_m128i((const __m128i *)(rows + (i + 4) * stride),
                                   (const __m128i *)(rows + i * stride));
    const __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
    const __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    store(lines, _mm256_unpacklo_epi64(a, c));
    store(lines + LINE, _mm256_unpackhi_epi64(a, c));
    store(lines + 2 * LINE, _mm256_unpacklo_epi64(b, d));
    store(lines + 3 * LINE, _mm256_unpackhi_epi64(b, d));
}

void qb_interleave_avx2(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        interleave_half(rows + i, stride, lines + i * QB_LANES);
        interleave_half(rows + i + 8 * stride, stride, lines + i * QB_LANES + LINE / 2);
    }
    for (; i + 4 <= n; i += 4)
        for (size_t r = 0; r < QB_LANES; r++)
            memcpy(lines + i * QB_LANES + r * 4, rows + r * stride + i, 4);
    if (i < n) qb_interleave_scalar(rows + i, stride, n - i, lines + i * QB_LANES);
}

QB_TARGET_END
#endif

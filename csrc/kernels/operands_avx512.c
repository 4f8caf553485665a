// SPDX-License-Identifier: Apache-2.0
// The operands of the multiply, 16 lanes at a time.
#include "matmul_avx512.h"

#include "../base/float16.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

// ---- split --------------------------------------------------------------------------------------

QB_INLINE __mmask16 first_lanes(size_t n)
{
    return _cvtu32_mask16(n < 16 ? (1u << n) - 1 : 0xFFFFu);
}

QB_INLINE __m512i larger(__m512i most, __m512i bits)
{
    return _mm512_max_epi32(most, _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
}

QB_INLINE uint32_t largest_bits(const float *x, size_t n)
{
    __m512i most = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 16 <= n; i += 16) most = larger(most, _mm512_loadu_si512(x + i));
    if (i < n) most = larger(most, _mm512_maskz_loadu_epi32(first_lanes(n - i), x + i));
    return (uint32_t)_mm512_reduce_max_epi32(most);
}

// The digits of 16 values as the bytes of integers. Adding 0x80 to every digit turns balanced digits into ordinary
// bytes.
QB_INLINE __m512i digits_of(__m512 x, __m512 inv, __m512i top)
{
    const __m512i turn = _mm512_set1_epi32(0x808080), bottom = _mm512_sub_epi32(_mm512_setzero_si512(), top);
    // Products are hardly above top, so that rounding and clamping as integers is the same.
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(x, inv));
    return _mm512_xor_si512(_mm512_add_epi32(_mm512_min_epi32(_mm512_max_epi32(q, bottom), top), turn), turn);
}

QB_INLINE __m512i add_digits(__m512i sums, __m512i digits)
{
    return _mm512_add_epi32(sums, _mm512_srai_epi32(_mm512_slli_epi32(digits, 24), 24));
}

int qb_split_avx512(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx,
                    int32_t *sums)
{
    static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};
    const uint32_t most = largest_bits(x, n);
    if (most >= 0x7F800000u) return 1;
    const float amax = qb_bits_float(most);
    const int nothing = amax < 0x1p-100f;
    *dx = nothing ? 0.0f : amax / (float)tops[planes];
    const __m512 inv = _mm512_set1_ps(nothing ? 0.0f : 1.0f / *dx);
    const __m512i top = _mm512_set1_epi32(tops[planes]);
    __m512i total[3] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i digits = digits_of(_mm512_loadu_ps(x + i), inv, top);
        QB_UNROLL for (int p = 0; p < 3; p++) {
            if (p == planes) break;
            _mm_storeu_si128((__m128i *)(out + (size_t)p * stride + i), _mm512_cvtepi32_epi8(digits));
            total[p] = add_digits(total[p], digits);
            digits = _mm512_srli_epi32(digits, 8);
        }
    }
    if (i < n) {
        const __mmask16 some = first_lanes(n - i);
        __m512i digits = digits_of(_mm512_maskz_loadu_ps(some, x + i), inv, top);
        QB_UNROLL for (int p = 0; p < 3; p++) {
            if (p == planes) break;
            _mm_mask_storeu_epi8(out + (size_t)p * stride + i, some, _mm512_cvtepi32_epi8(digits));
            total[p] = add_digits(total[p], digits);
            digits = _mm512_srli_epi32(digits, 8);
        }
    }
    for (int p = 0; p < planes; p++) sums[p] = _mm512_reduce_add_epi32(total[p]);
    return 0;
}

// ---- interleave ---------------------------------------------------------------------------------

// 16 bytes of rows r, r + 4, r + 8 and r + 12, so that no shuffle crosses a quarter.
QB_INLINE __m512i load_quarters(const uint8_t *row, size_t stride)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)row);
    const __m128i b = _mm_loadu_si128((const __m128i *)(row + 4 * stride));
    const __m128i c = _mm_loadu_si128((const __m128i *)(row + 8 * stride));
    const __m128i d = _mm_loadu_si128((const __m128i *)(row + 12 * stride));
    const __m512i ab = _mm512_inserti32x4(_mm512_castsi128_si512(a), b, 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(ab, c, 2), d, 3);
}

void qb_interleave_avx512(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i r[4];
        for (size_t j = 0; j < 4; j++) r[j] = load_quarters(rows + i + j * stride, stride);
        const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
        const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
        uint8_t *const to = lines + i * QB_LANES;
        _mm512_storeu_si512(to, _mm512_unpacklo_epi64(a, c));
        _mm512_storeu_si512(to + LINE, _mm512_unpackhi_epi64(a, c));
        _mm512_storeu_si512(to + 2 * LINE, _mm512_unpacklo_epi64(b, d));
        _mm512_storeu_si512(to + 3 * LINE, _mm512_unpackhi_epi64(b, d));
    }
    for (; i + 4 <= n; i += 4)
        for (size_t r = 0; r < QB_LANES; r++)
            memcpy(lines + i * QB_LANES + r * 4, rows + r * stride + i, 4);
    if (i < n) qb_interleave_scalar(rows + i, stride, n - i, lines + i * QB_LANES);
}

QB_TARGET_END
#endif

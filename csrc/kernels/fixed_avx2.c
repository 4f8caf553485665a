// SPDX-License-Identifier: Apache-2.0
// The fixed rules of block types, 32 values of a block at a time. No fma: products are rounded before they are
// added to, as defined. Why these instructions:
//   vmaxps          of values and of their negatives: both ends of a block in one reduction, whose order is free
//   vcvttps2dq      truncates; after half of the sign's value, less an ulp, is added it rounds halves away from zero
//   vpackss, vpermd codes to bytes: they are in range, so that nothing saturates
#include "kernels.h"

#include "../base/target.h"
#include "fixed.h"

#if QB_X86

#include <string.h>

QB_TARGET_BEGIN(QB_TARGET_AVX2)

struct floats {
    __m256 part[4]; // 32 values
};

QB_INLINE struct floats load(const float *x)
{
    struct floats v;
    QB_UNROLL
    for (int i = 0; i < 4; i++) v.part[i] = _mm256_loadu_ps(x + 8 * i);
    return v;
}

QB_INLINE __m256 negated(__m256 v) { return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f)); }
QB_INLINE __m256 magnitude(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

// Stores a scale; returns whether it is finite as a half.
QB_INLINE int put_half(uint8_t *p, float x)
{
    const uint16_t half = (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
    memcpy(p, &half, 2);
    return (half & 0x7FFF) < 0x7C00;
}

// ---- ends of a block ------------------------------------------------------------------------------------

// Greatest value, and greatest negative: of n values, a multiple of 32.
struct ends {
    float hi, minus_lo;
};

QB_INLINE struct ends ends_of(const float *x, size_t n)
{
    __m256 hi[4], lo[4];
    QB_UNROLL
    for (int i = 0; i < 4; i++) hi[i] = lo[i] = _mm256_loadu_ps(x + 8 * i);
    for (size_t at = 32; at < n; at += 32) {
        QB_UNROLL
        for (int i = 0; i < 4; i++) {
            hi[i] = _mm256_max_ps(hi[i], _mm256_loadu_ps(x + at + 8 * i));
            lo[i] = _mm256_min_ps(lo[i], _mm256_loadu_ps(x + at + 8 * i));
        }
    }
    const __m256 most = _mm256_max_ps(_mm256_max_ps(hi[0], hi[1]), _mm256_max_ps(hi[2], hi[3]));
    const __m256 least = negated(_mm256_min_ps(_mm256_min_ps(lo[0], lo[1]), _mm256_min_ps(lo[2], lo[3])));
    const __m256 both = _mm256_max_ps(_mm256_unpacklo_ps(most, least), _mm256_unpackhi_ps(most, least));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return (struct ends){_mm_cvtss_f32(two), _mm_cvtss_f32(_mm_movehdup_ps(two))};
}

// The first value of largest magnitude: one of two that are equal has to be looked for. Otherwise its sign is
// chance, which no branch should depend on.
QB_INLINE float first_extreme(const float *x, size_t n)
{
    const struct ends e = ends_of(x, n);
    if (e.hi == e.minus_lo) return extreme_of(x, n);
    const __m128 hi = _mm_set_ss(e.hi), minus_lo = _mm_set_ss(e.minus_lo), lo = _mm_set_ss(-e.minus_lo);
    return _mm_cvtss_f32(_mm_blendv_ps(lo, hi, _mm_cmpgt_ss(hi, minus_lo)));
}

QB_INLINE float amax(const float *x, size_t n)
{
    __m256 most[4];
    QB_UNROLL
    for (int i = 0; i < 4; i++) most[i] = magnitude(_mm256_loadu_ps(x + 8 * i));
    for (size_t at = 32; at < n; at += 32) {
        QB_UNROLL
        for (int i = 0; i < 4; i++) most[i] = _mm256_max_ps(most[i], magnitude(_mm256_loadu_ps(x + at + 8 * i)));
    }
    const __m256 all = _mm256_max_ps(_mm256_max_ps(most[0], most[1]), _mm256_max_ps(most[2], most[3]));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// ---- codes to bytes -------------------------------------------------------------------------------------

// 32 integers that bytes hold, in order.
QB_INLINE __m256i to_bytes(const __m256i v[4])
{
    const __m256i low = _mm256_packs_epi32(v[0], v[1]), high = _mm256_packs_epi32(v[2], v[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// trunc((x - off) * inv + add)
QB_INLINE __m256i truncated(const float *x, float off, float inv, float add)
{
    const struct floats v = load(x);
    __m256i codes[4];
    QB_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256 from = _mm256_sub_ps(v.part[i], _mm256_set1_ps(off));
        codes[i] = _mm256_cvttps_epi32(_mm256_add_ps(_mm256_mul_ps(from, _mm256_set1_ps(inv)), _mm256_set1_ps(add)));
    }
    return to_bytes(codes);
}

// x * inv to nearest, halves away from zero.
QB_INLINE __m256i half_away(const float *x, float inv)
{
    const struct floats v = load(x);
    const __m256 almost_half = _mm256_set1_ps(0x1.fffffep-2f), sign = _mm256_set1_ps(-0.0f);
    __m256i codes[4];
    QB_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256 t = _mm256_mul_ps(v.part[i], _mm256_set1_ps(inv));
        codes[i] = _mm256_cvttps_epi32(_mm256_add_ps(t, _mm256_or_ps(_mm256_and_ps(t, sign), almost_half)));
    }
    return to_bytes(codes);
}

// Half of the codes in low nibbles, half in high ones; fifth bits are returned.
QB_INLINE uint32_t put_nibbles(__m256i codes, uint8_t *qs)
{
    const __m256i low = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    const __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(low, 1), 4);
    _mm_storeu_si128((__m128i *)qs, _mm_or_si128(_mm256_castsi256_si128(low), high));
    return (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(codes, 3));
}

// ---- 4 and 5 bits ---------------------------------------------------------------------------------------

QB_INLINE size_t offset_blocks(const float *x, size_t count, const int bits, uint8_t *b)
{
    const int middle = 1 << (bits - 1), head = bits == 5 ? 6 : 2;
    for (size_t block = 0; block < count; block++, x += 32, b += head + 16) {
        const float d = first_extreme(x, 32) / (float)-middle;
        if (!put_half(b, d)) return block;
        const __m256i codes = truncated(x, 0, qb_inverse(d), (float)middle + 0.5f);
        const uint32_t high = put_nibbles(_mm256_min_epu8(codes, _mm256_set1_epi8((char)(2 * middle - 1))), b + head);
        if (bits == 5) put_u32(b + 2, high);
    }
    return count;
}

size_t qb_encode_q4_0_avx2(const float *x, size_t count, uint8_t *b) { return offset_blocks(x, count, 4, b); }
size_t qb_encode_q5_0_avx2(const float *x, size_t count, uint8_t *b) { return offset_blocks(x, count, 5, b); }

// The least value; of zeros, which differ in sign, the first.
QB_INLINE float first_least(const float *x, float least)
{
    if (least != 0) return least;
    int i = 0;
    while (x[i] != 0) i++;
    return x[i];
}

QB_INLINE size_t min_blocks(const float *x, size_t count, const int bits, uint8_t *b)
{
    const int top = (1 << bits) - 1, head = bits == 5 ? 8 : 4;
    for (size_t block = 0; block < count; block++, x += 32, b += head + 16) {
        const struct ends e = ends_of(x, 32);
        const float lo = first_least(x, -e.minus_lo), d = (e.hi == lo ? 0.0f : e.hi - lo) / (float)top;
        if (!(put_half(b, d) & put_half(b + 2, lo))) return block;
        const __m256i codes = truncated(x, lo, qb_inverse(d), 0.5f);
        const uint32_t high = put_nibbles(_mm256_min_epu8(codes, _mm256_set1_epi8((char)top)), b + head);
        if (bits == 5) put_u32(b + 4, high);
    }
    return count;
}

size_t qb_encode_q4_1_avx2(const float *x, size_t count, uint8_t *b) { return min_blocks(x, count, 4, b); }
size_t qb_encode_q5_1_avx2(const float *x, size_t count, uint8_t *b) { return min_blocks(x, count, 5, b); }

// ---- 8 bits ---------------------------------------------------------------------------------------------

size_t qb_encode_q8_0_avx2(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 32, b += 34) {
        const float d = amax(x, 32) / 127.0f;
        if (!put_half(b, d)) return block;
        _mm256_storeu_si256((__m256i *)(b + 2), half_away(x, qb_inverse(d)));
    }
    return count;
}

// Sums of 16 signed bytes each.
QB_INLINE void sums_of_16(__m256i codes, int sums[2])
{
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
    const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    const __m256i eights = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4E));
    const __m256i all = _mm256_add_epi32(eights, _mm256_shuffle_epi32(eights, 0xB1));
    sums[0] = _mm256_cvtsi256_si32(all);
    sums[1] = _mm256_extract_epi32(all, 4);
}

size_t qb_encode_q8_1_avx2(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 32, b += 36) {
        const float d = amax(x, 32) / 127.0f;
        const __m256i codes = half_away(x, qb_inverse(d));
        int sums[2];
        sums_of_16(codes, sums);
        _mm256_storeu_si256((__m256i *)(b + 4), codes);
        if (!(put_half(b, d) & put_half(b + 2, d * (float)(sums[0] + sums[1])))) return block;
    }
    return count;
}

size_t qb_encode_q8_K_avx2(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 256, b += 292) {
        const float scale = -127.0f / first_extreme(x, 256), inv = fabsf(scale) <= FLT_MAX ? scale : 0.0f;
        put_u32(b, qb_float_bits(inv == 0 ? 0.0f : 1.0f / inv));
        for (int at = 0; at < 256; at += 32) {
            const struct floats v = load(x + at);
            __m256i codes[4];
            QB_UNROLL
            for (int i = 0; i < 4; i++)
                codes[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v.part[i], _mm256_set1_ps(inv)));
            const __m256i packed = to_bytes(codes); // 128 saturates
            int sums[2];
            sums_of_16(packed, sums);
            _mm256_storeu_si256((__m256i *)(b + 4 + at), packed);
            qb_put_u16(b + 260 + at / 8, (uint16_t)sums[0]);
            qb_put_u16(b + 262 + at / 8, (uint16_t)sums[1]);
        }
    }
    return count;
}

// ---- 1 bit, 2 bits, ternary -----------------------------------------------------------------------------

// Sums in index order of magnitudes of `blocks` blocks: several chains of additions hide each other's latency.
QB_INLINE void sums_of_magnitudes(const float *x, const size_t blocks, float *sums)
{
    __m128 sum[4];
    for (size_t j = 0; j < blocks; j++) sum[j] = _mm_setzero_ps();
    for (size_t i = 0; i < 128; i++) {
        QB_UNROLL
        for (size_t j = 0; j < blocks; j++)
            sum[j] = _mm_add_ss(sum[j], _mm_andnot_ps(_mm_set_ss(-0.0f), _mm_load_ss(x + 128 * j + i)));
    }
    for (size_t j = 0; j < blocks; j++) sums[j] = _mm_cvtss_f32(sum[j]);
}

size_t qb_encode_q1_0_avx2(const float *x, size_t count, uint8_t *b)
{
    float sums[4];
    for (size_t block = 0; block < count; block++, x += 128, b += 18) {
        if (block % 4 == 0 && count - block >= 4) sums_of_magnitudes(x, 4, sums);
        if (count - block + block % 4 < 4) sums_of_magnitudes(x, 1, sums + block % 4);
        if (!put_half(b, sums[block % 4] / 128.0f)) return block;
        for (int j = 0; j < 16; j++) {
            const __m256 signs = _mm256_cmp_ps(_mm256_loadu_ps(x + 8 * j), _mm256_setzero_ps(), _CMP_GE_OQ);
            b[2 + j] = (uint8_t)_mm256_movemask_ps(signs);
        }
    }
    return count;
}

// Codes 0, 1, 2 of 32 values.
QB_INLINE __m256i trits(const float *x, float inv)
{
    return _mm256_add_epi8(half_away(x, inv), _mm256_set1_epi8(1));
}

size_t qb_encode_q2_0_avx2(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 64, b += 18) {
        const float d = amax(x, 64), inv = qb_inverse(d);
        if (!put_half(b, d)) return block;
        __m256i quads[2];
        for (int h = 0; h < 2; h++) {
            const __m256i pairs = _mm256_maddubs_epi16(trits(x + 32 * h, inv), _mm256_set1_epi16(0x0401));
            quads[h] = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00100001));
        }
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(quads[0], quads[1]), 0xD8);
        const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(b + 2), bytes);
    }
    return count;
}

size_t qb_encode_tq2_0_avx2(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 256, b += 66) {
        const float d = amax(x, 256), inv = qb_inverse(d);
        if (!put_half(b + 64, d)) return block;
        for (int h = 0; h < 2; h++) {
            __m256i all = trits(x + 128 * h, inv);
            all = _mm256_or_si256(all, _mm256_slli_epi16(trits(x + 128 * h + 32, inv), 2));
            all = _mm256_or_si256(all, _mm256_slli_epi16(trits(x + 128 * h + 64, inv), 4));
            all = _mm256_or_si256(all, _mm256_slli_epi16(trits(x + 128 * h + 96, inv), 6));
            _mm256_storeu_si256((__m256i *)(b + 32 * h), all);
        }
    }
    return count;
}

QB_INLINE __m256i next_trit(__m256i q, __m256i code)
{
    return _mm256_add_epi8(_mm256_add_epi8(q, _mm256_add_epi8(q, q)), code);
}

// (256 q + 242) / 243 = q + (13 q + 242) / 243 of bytes q, of which one is even and one is odd in each 16 bits.
QB_INLINE __m256i fraction_of(__m256i q)
{
    const __m256i byte = _mm256_set1_epi16(255);
    __m256i half[2] = {_mm256_and_si256(q, byte), _mm256_srli_epi16(q, 8)};
    QB_UNROLL
    for (int h = 0; h < 2; h++) {
        const __m256i t = _mm256_mullo_epi16(half[h], _mm256_set1_epi16(13));
        const __m256i up = _mm256_add_epi16(t, _mm256_set1_epi16(242));
        const __m256i quotient = _mm256_srli_epi16(_mm256_mulhi_epu16(up, _mm256_set1_epi16(4316)), 4); // of 4096
        half[h] = _mm256_and_si256(_mm256_add_epi16(half[h], quotient), byte);
    }
    return _mm256_or_si256(half[0], _mm256_slli_epi16(half[1], 8));
}

size_t qb_encode_tq1_0_avx2(const float *x, size_t count, uint8_t *b)
{
    uint8_t last[96];
    for (size_t block = 0; block < count; block++, x += 256, b += 54) {
        const float d = amax(x, 256), inv = qb_inverse(d);
        if (!put_half(b + 52, d)) return block;
        __m256i q = trits(x, inv);
        for (int c = 1; c < 5; c++) q = next_trit(q, trits(x + 32 * c, inv));
        _mm256_storeu_si256((__m256i *)b, fraction_of(q));
        for (int c = 0; c < 3; c++) _mm256_storeu_si256((__m256i *)(last + 32 * c), trits(x + 160 + 32 * c, inv));
        q = _mm256_setzero_si256();
        for (int c = 0; c < 5; c++)
            q = next_trit(q, _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(last + 16 * c))));
        _mm_storeu_si128((__m128i *)(b + 32), _mm256_castsi256_si128(fraction_of(q)));
        put_trits(last + 80, 4, 4, b + 48);
    }
    return count;
}

// ---- mxfp4 ----------------------------------------------------------------------------------------------

size_t qb_encode_mxfp4_avx2(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 32, b += 17) {
        b[0] = power_of(amax(x, 32));
        const float unit = qb_e8m0_half(b[0]);
        const struct floats v = load(x);
        __m256i codes[4];
        for (int i = 0; i < 4; i++) codes[i] = _mm256_setzero_si256();
        for (int k = 0; k < 7; k++) {
            const __m256 middle = _mm256_set1_ps(mxfp4_middle[k] * unit);
            QB_UNROLL
            for (int i = 0; i < 4; i++) {
                const __m256 above = _mm256_cmp_ps(magnitude(v.part[i]), middle, _CMP_GT_OQ);
                codes[i] = _mm256_sub_epi32(codes[i], _mm256_castps_si256(above));
            }
        }
        QB_UNROLL
        for (int i = 0; i < 4; i++) { // a number other than zero keeps the sign
            const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(_mm256_castps_si256(v.part[i]), 31), 3);
            const __m256i some = _mm256_cmpgt_epi32(codes[i], _mm256_setzero_si256());
            codes[i] = _mm256_or_si256(codes[i], _mm256_and_si256(sign, some));
        }
        put_nibbles(to_bytes(codes), b + 1);
    }
    return count;
}

QB_TARGET_END

#endif

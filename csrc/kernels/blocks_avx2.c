// SPDX-License-Identifier: Apache-2.0
// Block types to codes and parameters, 32 codes a register: fields come apart by shift and mask, bit planes by
// comparing with a bit, codebooks by vpshufb; halves are widened eight at a time by vcvtph2ps.
#include "kernels.h"

#include "../base/target.h"
#include "bytes.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE __m128i load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
QB_INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
QB_INLINE void store32(uint8_t *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }
QB_INLINE __m256i all(int byte) { return _mm256_set1_epi8((char)byte); }

// Byte by byte, shifted right by a constant, then the bits of a mask. A negative count shifts left.
QB_INLINE __m256i field(__m256i v, int shift, int mask)
{
    return _mm256_and_si256(shift < 0 ? _mm256_slli_epi16(v, -shift) : _mm256_srli_epi16(v, shift), all(mask));
}

QB_INLINE uint64_t u64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

// ---- one scale a block --------------------------------------------------------------------------------

QB_INLINE float half(const uint8_t *p) { return _cvtsh_ss(qb_u16(p)); }

// The halves at p, p + stride, ... of eight blocks.
QB_INLINE __m256 halves_of_8(const uint8_t *p, size_t stride)
{
    __m128i h = _mm_cvtsi32_si128(qb_u16(p));
    h = _mm_insert_epi16(h, qb_u16(p + stride), 1);
    h = _mm_insert_epi16(h, qb_u16(p + 2 * stride), 2);
    h = _mm_insert_epi16(h, qb_u16(p + 3 * stride), 3);
    h = _mm_insert_epi16(h, qb_u16(p + 4 * stride), 4);
    h = _mm_insert_epi16(h, qb_u16(p + 5 * stride), 5);
    h = _mm_insert_epi16(h, qb_u16(p + 6 * stride), 6);
    return _mm256_cvtph_ps(_mm_insert_epi16(h, qb_u16(p + 7 * stride), 7));
}

QB_INLINE void halves(const uint8_t *b, size_t count, size_t bytes, float *out)
{
    for (; count >= 8; count -= 8, b += 8 * bytes, out += 8) _mm256_storeu_ps(out, halves_of_8(b, bytes));
    for (; count--; b += bytes) *out++ = half(b);
}

#define HALVES(type, bytes, at_d, at_m)                                                         \
    void qb_params_##type##_avx2(const uint8_t *blocks, size_t count, float *d, float *m)       \
    {                                                                                           \
        halves(blocks + (at_d), count, bytes, d);                                               \
        if ((at_m) >= 0) halves(blocks + (at_m), count, bytes, m);                              \
    }
HALVES(q1_0, 18, 0, -1)
HALVES(q2_0, 18, 0, -1)
HALVES(q4_0, 18, 0, -1)
HALVES(q4_1, 20, 0, 2)
HALVES(q5_0, 22, 0, -1)
HALVES(q5_1, 24, 0, 2)
HALVES(q8_0, 34, 0, -1)
HALVES(q8_1, 36, 0, -1)
HALVES(iq4_nl, 18, 0, -1)
HALVES(tq1_0, 54, 52, -1)
HALVES(tq2_0, 66, 64, -1)

// `value` where the i-th of 32 bits is set.
QB_INLINE __m256i spread_bits(uint32_t bits, int value)
{
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of), all(value));
}

// 16 bytes to 32 codes: the low nibbles, then the high ones.
QB_INLINE __m256i nibbles(const uint8_t *qs)
{
    const __m128i v = load16(qs);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), all(15));
}

void qb_codes_q1_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18)
        for (int i = 0; i < 4; i++, codes += 32) store32(codes, spread_bits(qb_u32(b + 2 + 4 * i), 2));
}

void qb_codes_q2_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18) {
        for (int i = 0; i < 2; i++, codes += 32) { // a byte per 32 bits: its four fields go to their bytes
            const __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(b + 2 + 8 * i)));
            const __m256i two = _mm256_or_si256(v, _mm256_slli_epi32(v, 6));
            store32(codes, _mm256_and_si256(_mm256_or_si256(two, _mm256_slli_epi32(two, 12)), all(3)));
        }
    }
}

void qb_codes_q4_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18, codes += 32) store32(codes, nibbles(b + 2));
}

void qb_codes_q4_1_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 20, codes += 32) store32(codes, nibbles(b + 4));
}

void qb_codes_q5_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 22, codes += 32)
        store32(codes, _mm256_or_si256(nibbles(b + 6), spread_bits(qb_u32(b + 2), 16)));
}

void qb_codes_q5_1_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 24, codes += 32)
        store32(codes, _mm256_or_si256(nibbles(b + 8), spread_bits(qb_u32(b + 4), 16)));
}

// Two's complement to offset binary.
QB_INLINE __m256i flipped(const uint8_t *qs) { return _mm256_xor_si256(load32(qs), all(0x80)); }

void qb_codes_q8_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 34, codes += 32) store32(codes, flipped(b + 2));
}

void qb_codes_q8_1_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 36, codes += 32) store32(codes, flipped(b + 4));
}

void qb_codes_q8_K_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 292)
        for (int i = 0; i < 8; i++, codes += 32) store32(codes, flipped(b + 4 + 32 * i));
}

// ---- super-blocks of 256, with scales of segments -----------------------------------------------------

// The four layers of 2 bits in 32 bytes.
QB_INLINE void quarters(__m256i v, uint8_t *codes)
{
    store32(codes, field(v, 0, 3));
    store32(codes + 32, field(v, 2, 3));
    store32(codes + 64, field(v, 4, 3));
    store32(codes + 96, field(v, 6, 3));
}

void qb_codes_q2_K_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 84, codes += 256) {
        quarters(load32(b + 16), codes);
        quarters(load32(b + 48), codes + 128);
    }
}

// d = scale * (int8 levels) of 8 segments.
QB_INLINE void store_levels(__m128i levels, float scale, float *d)
{
    _mm256_storeu_ps(d, _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(levels))));
}

QB_INLINE void store_16_levels(__m128i levels, float scale, float *d)
{
    store_levels(levels, scale, d);
    store_levels(_mm_srli_si128(levels, 8), scale, d + 8);
}

void qb_params_q2_K_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    const __m128i low = _mm_set1_epi8(15);
    for (; count--; b += 84, d += 16, m += 16) {
        const __m128i s = load16(b);
        store_16_levels(_mm_and_si128(s, low), half(b + 80), d);
        store_16_levels(_mm_and_si128(_mm_srli_epi16(s, 4), low), -half(b + 82), m);
    }
}

// Bit c of each byte, as `value`, a power of two.
QB_INLINE __m256i plane(__m256i v, int c, int value)
{
    int log = 0;
    while (value >> log > 1) log++;
    return field(v, c - log, value);
}

void qb_codes_q3_K_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 110, codes += 256) {
        const __m256i high = load32(b);
        QB_UNROLL
        for (int c = 0; c < 8; c++) {
            const __m256i low = field(load32(b + 32 + c / 4 * 32), c % 4 * 2, 3);
            store32(codes + 32 * c, _mm256_or_si256(low, plane(high, c, 4)));
        }
    }
}

void qb_params_q3_K_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    const uint64_t nibble = 0x0F0F0F0F0F0F0F0F, two = 0x0303030303030303;
    (void)m;
    for (; count--; b += 110, d += 16) {
        const uint64_t low = u64(b + 96), bits = qb_u32(b + 104);
        const uint64_t high = bits | bits >> 2 << 32; // two bits of segments 0..8, four bits up those of 8..16
        const __m128i levels = _mm_set_epi64x((long long)((low >> 4 & nibble) | (high >> 4 & two) << 4),
                                              (long long)((low & nibble) | (high & two) << 4));
        store_16_levels(_mm_sub_epi8(levels, _mm_set1_epi8(32)), half(b + 108), d);
    }
}

void qb_codes_q4_K_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 144) {
        for (int c = 0; c < 4; c++, codes += 64) {
            const __m256i v = load32(b + 16 + 32 * c);
            store32(codes, field(v, 0, 15));
            store32(codes + 32, field(v, 4, 15));
        }
    }
}

void qb_codes_q5_K_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 176, codes += 256) {
        const __m256i high = load32(b + 16);
        QB_UNROLL
        for (int c = 0; c < 4; c++) {
            const __m256i v = load32(b + 48 + 32 * c);
            store32(codes + 64 * c, _mm256_or_si256(field(v, 0, 15), plane(high, 2 * c, 16)));
            store32(codes + 64 * c + 32, _mm256_or_si256(field(v, 4, 15), plane(high, 2 * c + 1, 16)));
        }
    }
}

// Scales and minima of 6 bits, as blocks_scalar.c has them.
QB_INLINE void six_bit_params(const uint8_t *b, float *d, float *m)
{
    const uint32_t six = 0x3F3F3F3F, four = 0x0F0F0F0F, top = 0x30303030;
    const uint32_t s0 = qb_u32(b + 4), s1 = qb_u32(b + 8), s2 = qb_u32(b + 12);
    const uint32_t d_high = (s2 & four) | (s0 >> 2 & top), m_high = (s2 >> 4 & four) | (s1 >> 2 & top);
    store_levels(_mm_cvtsi64_si128((long long)((s0 & six) | (uint64_t)d_high << 32)), half(b), d);
    store_levels(_mm_cvtsi64_si128((long long)((s1 & six) | (uint64_t)m_high << 32)), -half(b + 2), m);
}

void qb_params_q4_K_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    for (; count--; b += 144, d += 8, m += 8) six_bit_params(b, d, m);
}

void qb_params_q5_K_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    for (; count--; b += 176, d += 8, m += 8) six_bit_params(b, d, m);
}

void qb_codes_q6_K_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 210) {
        for (int h = 0; h < 2; h++, codes += 128) {
            const __m256i a = load32(b + 64 * h), z = load32(b + 64 * h + 32), high = load32(b + 128 + 32 * h);
            store32(codes, _mm256_or_si256(field(a, 0, 15), field(high, -4, 48)));
            store32(codes + 32, _mm256_or_si256(field(z, 0, 15), field(high, -2, 48)));
            store32(codes + 64, _mm256_or_si256(field(a, 4, 15), field(high, 0, 48)));
            store32(codes + 96, _mm256_or_si256(field(z, 4, 15), field(high, 2, 48)));
        }
    }
}

void qb_params_q6_K_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 210, d += 16) store_16_levels(load16(b + 192), half(b + 208), d);
}

// ---- codebooks of 16 ----------------------------------------------------------------------------------

QB_INLINE __m256i iq4(__m256i codes)
{
    const __m128i book = _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(book), codes);
}

QB_INLINE __m256i fp4(__m256i codes)
{
    const __m128i book = _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(book), codes);
}

void qb_codes_iq4_nl_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18, codes += 32) store32(codes, iq4(nibbles(b + 2)));
}

void qb_codes_iq4_xs_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 136)
        for (int c = 0; c < 8; c++, codes += 32) store32(codes, iq4(nibbles(b + 8 + 16 * c)));
}

void qb_params_iq4_xs_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    const __m256i places = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    (void)m;
    for (; count--; b += 136, d += 8) {
        const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)qb_u32(b + 4)), places);
        const __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(qb_u16(b + 2)), _mm256_srli_epi32(places, 1));
        const __m256i level = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                              _mm256_and_si256(_mm256_slli_epi32(high, 4), _mm256_set1_epi32(48)));
        const __m256 signed_level = _mm256_cvtepi32_ps(_mm256_sub_epi32(level, _mm256_set1_epi32(32)));
        _mm256_storeu_ps(d, _mm256_mul_ps(_mm256_set1_ps(half(b)), signed_level));
    }
}

void qb_codes_mxfp4_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 17, codes += 32) store32(codes, fp4(nibbles(b + 1)));
}

void qb_params_mxfp4_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    qb_params_mxfp4_scalar(b, count, d, m); // a shift each
}

void qb_codes_nvfp4_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 36) {
        for (int i = 0; i < 2; i++, codes += 32) { // the halves of both 16 lie side by side
            const __m256i v = nibbles(b + 4 + 16 * i);
            store32(codes, fp4(_mm256_permute4x64_epi64(v, 0xD8)));
        }
    }
}

void qb_params_nvfp4_avx2(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 36, d += 4) {
        const __m128i u = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)qb_u32(b)));
        // Exponent and fraction in their places in a float, whose bias is 119 more; 0x7F is zero.
        const __m128i bits = _mm_slli_epi32(_mm_and_si128(u, _mm_set1_epi32(0x7F)), 20);
        const __m128i none = _mm_cmpeq_epi32(u, _mm_set1_epi32(0x7F));
        _mm_storeu_ps(d, _mm_mul_ps(_mm_castsi128_ps(_mm_andnot_si128(none, bits)), _mm_set1_ps(0x1p119f)));
    }
}

// ---- ternary ------------------------------------------------------------------------------------------

void qb_codes_tq2_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 66, codes += 256) {
        quarters(load32(b), codes);
        quarters(load32(b + 32), codes + 128);
    }
}

// The highest digit of fractions in base 3, and the rest: what 3q carries out of its byte, in two additions.
QB_INLINE __m256i next_trit(__m256i *q)
{
    const __m256i twice = _mm256_add_epi8(*q, *q), thrice = _mm256_add_epi8(twice, *q);
    const __m256i first = _mm256_cmpgt_epi8(_mm256_setzero_si256(), *q); // -1: carry
    const __m256i none = _mm256_cmpeq_epi8(_mm256_max_epu8(thrice, *q), thrice); // -1: no carry
    *q = thrice;
    return _mm256_sub_epi8(_mm256_sub_epi8(none, first), all(-1));
}

void qb_codes_tq1_0_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 54) {
        __m256i q = load32(b);
        for (int c = 0; c < 5; c++, codes += 32) store32(codes, next_trit(&q));
        q = _mm256_castsi128_si256(load16(b + 32));
        for (int c = 0; c < 5; c++, codes += 16)
            _mm_storeu_si128((__m128i *)codes, _mm256_castsi256_si128(next_trit(&q)));
        q = _mm256_castsi128_si256(_mm_cvtsi32_si128((int)qb_u32(b + 48)));
        for (int c = 0; c < 4; c++, codes += 4) {
            const int four = _mm_cvtsi128_si32(_mm256_castsi256_si128(next_trit(&q)));
            memcpy(codes, &four, 4);
        }
    }
}

void qb_params_q8_K_avx2(const uint8_t *b, size_t count, float *d, float *m) { qb_params_q8_K_scalar(b, count, d, m); }

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// Defines what the bytes of block types mean: the types of GGUF files whose codes stand in the blocks as
// they are, or index a codebook of 16. After the layouts in ggml (ggml-common.h, ggml-quants.c).
#include "kernels.h"

#include "../base/target.h"
#include "bytes.h"
#include "codebooks.h"

// ---- one scale a block ------------------------------------------------------------------------------

// A type of `bytes` a block whose scale is the half at offset d, with a minimum at offset m (-1: none).
QB_INLINE void halves(const uint8_t *b, size_t count, size_t bytes, int at_d, int at_m, float *d, float *m)
{
    for (size_t i = 0; i < count; i++, b += bytes) {
        d[i] = qb_f16_at(b + at_d);
        if (at_m >= 0) m[i] = qb_f16_at(b + at_m);
    }
}

#define HALVES(type, bytes, at_d, at_m)                                                         \
    void qb_params_##type##_scalar(const uint8_t *blocks, size_t count, float *d, float *m)     \
    {                                                                                           \
        halves(blocks, count, bytes, at_d, at_m, d, m);                                         \
        (void)m;                                                                                \
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

// Fields of `bits` bits, the first lowest, of n bytes.
QB_INLINE void dense(const uint8_t *qs, size_t n, int bits, uint8_t *codes)
{
    const int mask = (1 << bits) - 1, per_byte = 8 / bits;
    for (size_t j = 0; j < n; j++)
        for (int t = 0; t < per_byte; t++) *codes++ = (uint8_t)(qs[j] >> bits * t & mask);
}

void qb_codes_q1_0_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18, codes += 128) {
        dense(b + 2, 16, 1, codes);
        for (size_t i = 0; i < 128; i++) codes[i] = (uint8_t)(codes[i] * 2);
    }
}

void qb_codes_q2_0_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18, codes += 64) dense(b + 2, 16, 2, codes);
}

// Chunk c of a run of bytes in bits [c*bits, c*bits + bits) of each.
QB_INLINE void strided(const uint8_t *qs, size_t stride, int bits, uint8_t *codes)
{
    const int mask = (1 << bits) - 1;
    for (int c = 0; c < 8 / bits; c++)
        for (size_t j = 0; j < stride; j++) *codes++ = (uint8_t)(qs[j] >> bits * c & mask);
}

#define NIBBLES(type, bytes, at)                                                                \
    void qb_codes_##type##_scalar(const uint8_t *b, size_t count, uint8_t *codes)               \
    {                                                                                           \
        for (; count--; b += (bytes), codes += 32) strided(b + (at), 16, 4, codes);             \
    }
NIBBLES(q4_0, 18, 2)
NIBBLES(q4_1, 20, 4)

// Bit i of the 32 at qh is the fifth of code i.
QB_INLINE void fives(const uint8_t *qh, const uint8_t *qs, uint8_t *codes)
{
    strided(qs, 16, 4, codes);
    const uint32_t high = qb_u32(qh);
    for (int i = 0; i < 32; i++) codes[i] |= (uint8_t)((high >> i & 1) << 4);
}

void qb_codes_q5_0_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 22, codes += 32) fives(b + 2, b + 6, codes);
}

void qb_codes_q5_1_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 24, codes += 32) fives(b + 4, b + 8, codes);
}

// Two's complement to offset binary.
QB_INLINE void bytes_of(const uint8_t *qs, size_t n, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) codes[i] = qs[i] ^ 0x80;
}

void qb_codes_q8_0_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 34, codes += 32) bytes_of(b + 2, 32, codes);
}

void qb_codes_q8_1_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 36, codes += 32) bytes_of(b + 4, 32, codes);
}

void qb_codes_q8_K_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 292, codes += 256) bytes_of(b + 4, 256, codes);
}

void qb_params_q8_K_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (size_t i = 0; i < count; i++) d[i] = qb_f32_at(b + 292 * i);
}

// ---- super-blocks of 256, with scales of segments ----------------------------------------------------

void qb_codes_q2_K_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 84, codes += 256) {
        strided(b + 16, 32, 2, codes);
        strided(b + 48, 32, 2, codes + 128);
    }
}

void qb_params_q2_K_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    for (; count--; b += 84, d += 16, m += 16) {
        const float scale = qb_f16_at(b + 80), min = qb_f16_at(b + 82);
        for (int s = 0; s < 16; s++) {
            d[s] = scale * (float)(b[s] & 15);
            m[s] = -(min * (float)(b[s] >> 4));
        }
    }
}

// Bit c of byte j belongs to value 32c + j.
QB_INLINE void add_bits(const uint8_t *high, int shift, uint8_t *codes)
{
    for (int c = 0; c < 8; c++)
        for (int j = 0; j < 32; j++) codes[32 * c + j] |= (uint8_t)((high[j] >> c & 1) << shift);
}

void qb_codes_q3_K_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 110, codes += 256) {
        strided(b + 32, 32, 2, codes);
        strided(b + 64, 32, 2, codes + 128);
        add_bits(b, 2, codes);
    }
}

void qb_params_q3_K_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 110, d += 16) {
        const uint8_t *const s = b + 96;
        const float scale = qb_f16_at(b + 108);
        for (int j = 0; j < 16; j++) {
            const int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4, high = s[8 + j % 4] >> 2 * (j / 4) & 3;
            d[j] = scale * (float)((low | high << 4) - 32);
        }
    }
}

QB_INLINE void nibbles_of_256(const uint8_t *qs, uint8_t *codes)
{
    for (int c = 0; c < 4; c++) strided(qs + 32 * c, 32, 4, codes + 64 * c);
}

void qb_codes_q4_K_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 144, codes += 256) nibbles_of_256(b + 16, codes);
}

void qb_codes_q5_K_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 176, codes += 256) {
        nibbles_of_256(b + 48, codes);
        add_bits(b + 16, 4, codes);
    }
}

// Scales and minima of 6 bits: those of segments 0..3 in the low bits of s[0..8); of the others four bits
// in s[8..12) and two in the high bits of s[0..8).
QB_INLINE void six_bit_params(const uint8_t *b, float *d, float *m)
{
    const float scale = qb_f16_at(b), min = qb_f16_at(b + 2);
    const uint8_t *const s = b + 4;
    for (int j = 0; j < 4; j++) {
        d[j] = scale * (float)(s[j] & 63);
        m[j] = -(min * (float)(s[j + 4] & 63));
        d[j + 4] = scale * (float)((s[j + 8] & 15) | s[j] >> 6 << 4);
        m[j + 4] = -(min * (float)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4));
    }
}

void qb_params_q4_K_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    for (; count--; b += 144, d += 8, m += 8) six_bit_params(b, d, m);
}

void qb_params_q5_K_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    for (; count--; b += 176, d += 8, m += 8) six_bit_params(b, d, m);
}

void qb_codes_q6_K_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 210) {
        for (int h = 0; h < 2; h++, codes += 128) {
            strided(b + 64 * h, 64, 4, codes);
            for (int t = 0; t < 4; t++)
                for (int l = 0; l < 32; l++)
                    codes[32 * t + l] |= (uint8_t)((b[128 + 32 * h + l] >> 2 * t & 3) << 4);
        }
    }
}

void qb_params_q6_K_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 210, d += 16) {
        const float scale = qb_f16_at(b + 208);
        for (int s = 0; s < 16; s++) d[s] = scale * (float)(int8_t)b[192 + s];
    }
}

// ---- codebooks of 16 ----------------------------------------------------------------------------------

QB_INLINE void look_up(const uint8_t *book, size_t n, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) codes[i] = book[codes[i]];
}

void qb_codes_iq4_nl_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 18, codes += 32) {
        strided(b + 2, 16, 4, codes);
        look_up(qb_iq4, 32, codes);
    }
}

void qb_codes_iq4_xs_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 136, codes += 256) {
        for (int c = 0; c < 8; c++) strided(b + 8 + 16 * c, 16, 4, codes + 32 * c);
        look_up(qb_iq4, 256, codes);
    }
}

void qb_params_iq4_xs_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 136, d += 8) {
        const float scale = qb_f16_at(b);
        const int high = qb_u16(b + 2);
        for (int c = 0; c < 8; c++) {
            const int level = (b[4 + c / 2] >> 4 * (c % 2) & 15) | (high >> 2 * c & 3) << 4;
            d[c] = scale * (float)(level - 32);
        }
    }
}

void qb_codes_mxfp4_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 17, codes += 32) {
        strided(b + 1, 16, 4, codes);
        look_up(qb_fp4, 32, codes);
    }
}

void qb_params_mxfp4_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (size_t i = 0; i < count; i++) d[i] = qb_e8m0_half(b[17 * i]);
}

void qb_codes_nvfp4_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 36, codes += 64) {
        for (int s = 0; s < 4; s++) strided(b + 4 + 8 * s, 8, 4, codes + 16 * s);
        look_up(qb_fp4, 64, codes);
    }
}

void qb_params_nvfp4_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 36, d += 4)
        for (int s = 0; s < 4; s++) d[s] = qb_ue4m3_half(b[s]);
}

// ---- ternary ------------------------------------------------------------------------------------------

void qb_codes_tq2_0_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 66, codes += 256) {
        strided(b, 32, 2, codes);
        strided(b + 32, 32, 2, codes + 128);
    }
}

// Digit c of each of `stride` bytes, which are fractions of 256 in base 3, the first digit highest.
QB_INLINE void trits(const uint8_t *qs, size_t stride, int digits, uint8_t *codes)
{
    for (int c = 0, power = 1; c < digits; c++, power *= 3)
        for (size_t j = 0; j < stride; j++) *codes++ = (uint8_t)((uint8_t)(qs[j] * power) * 3 >> 8);
}

void qb_codes_tq1_0_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 54, codes += 256) {
        trits(b, 32, 5, codes);
        trits(b + 32, 16, 5, codes + 160);
        trits(b + 48, 4, 4, codes + 240);
    }
}

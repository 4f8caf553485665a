// SPDX-License-Identifier: Apache-2.0
// Defines the block types that follow fixed rules, which are ggml's (ggml-quants.c): every operation rounds
// to float by itself, codes are made with the scale before it is rounded, and ties go as each rule says.
#include "kernels.h"

#include "../base/target.h"
#include "fixed.h"

#include <math.h>

QB_INLINE float amax_of(const float *x, size_t n) { return fabsf(extreme_of(x, n)); }

// Half rounds away from zero; |v| < 2^23.
QB_INLINE int half_away(float v)
{
    const int whole = (int)v;
    const float rest = v - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

QB_INLINE int at_most(int code, int top) { return code < top ? code : top; }

// Half a block of codes in low nibbles, half in high ones; fifth bits to *high.
QB_INLINE void put_nibbles(const uint8_t *codes, uint8_t *qs, uint32_t *high)
{
    *high = 0;
    for (int j = 0; j < 16; j++) qs[j] = (uint8_t)((codes[j] & 15) | codes[j + 16] << 4);
    for (int i = 0; i < 32; i++) *high |= (uint32_t)(codes[i] >> 4) << i;
}

// ---- 4 and 5 bits -------------------------------------------------------------------------------------

// Offset binary of `bits` bits: the extreme becomes the lowest code.
QB_INLINE size_t offset_blocks(const float *x, size_t count, int bits, uint8_t *b)
{
    const int middle = 1 << (bits - 1), head = bits == 5 ? 6 : 2;
    for (size_t block = 0; block < count; block++, x += 32, b += head + 16) {
        const float d = extreme_of(x, 32) / (float)-middle, inv = qb_inverse(d);
        if (!qb_put_f16(b, d)) return block;
        uint8_t codes[32];
        uint32_t high;
        for (int i = 0; i < 32; i++)
            codes[i] = (uint8_t)at_most((int)(x[i] * inv + ((float)middle + 0.5f)), 2 * middle - 1);
        put_nibbles(codes, b + head, &high);
        if (bits == 5) put_u32(b + 2, high);
    }
    return count;
}

size_t qb_encode_q4_0_scalar(const float *x, size_t count, uint8_t *b) { return offset_blocks(x, count, 4, b); }
size_t qb_encode_q5_0_scalar(const float *x, size_t count, uint8_t *b) { return offset_blocks(x, count, 5, b); }

QB_INLINE size_t min_blocks(const float *x, size_t count, int bits, uint8_t *b)
{
    const int top = (1 << bits) - 1, head = bits == 5 ? 8 : 4;
    for (size_t block = 0; block < count; block++, x += 32, b += head + 16) {
        float lo = x[0], hi = x[0]; // the first of equal zeros
        for (int i = 1; i < 32; i++) {
            if (x[i] < lo) lo = x[i];
            if (x[i] > hi) hi = x[i];
        }
        const float d = (hi - lo) / (float)top, inv = qb_inverse(d);
        if (!(qb_put_f16(b, d) & qb_put_f16(b + 2, lo))) return block;
        uint8_t codes[32];
        uint32_t high;
        for (int i = 0; i < 32; i++) codes[i] = (uint8_t)at_most((int)((x[i] - lo) * inv + 0.5f), top);
        put_nibbles(codes, b + head, &high);
        if (bits == 5) put_u32(b + 4, high);
    }
    return count;
}

size_t qb_encode_q4_1_scalar(const float *x, size_t count, uint8_t *b) { return min_blocks(x, count, 4, b); }
size_t qb_encode_q5_1_scalar(const float *x, size_t count, uint8_t *b) { return min_blocks(x, count, 5, b); }

// ---- 8 bits -------------------------------------------------------------------------------------------

size_t qb_encode_q8_0_scalar(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 32, b += 34) {
        const float d = amax_of(x, 32) / 127.0f, inv = qb_inverse(d);
        if (!qb_put_f16(b, d)) return block;
        for (int i = 0; i < 32; i++) b[2 + i] = (uint8_t)half_away(x[i] * inv);
    }
    return count;
}

size_t qb_encode_q8_1_scalar(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 32, b += 36) {
        const float d = amax_of(x, 32) / 127.0f, inv = qb_inverse(d);
        int sum = 0;
        for (int i = 0; i < 32; i++) {
            const int code = half_away(x[i] * inv);
            sum += code;
            b[4 + i] = (uint8_t)code;
        }
        if (!(qb_put_f16(b, d) & qb_put_f16(b + 2, d * (float)sum))) return block;
    }
    return count;
}

size_t qb_encode_q8_K_scalar(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 256, b += 292) {
        const float scale = -127.0f / extreme_of(x, 256), inv = fabsf(scale) <= FLT_MAX ? scale : 0.0f;
        put_u32(b, qb_float_bits(inv == 0 ? 0.0f : 1.0f / inv));
        for (int s = 0; s < 16; s++) {
            int sum = 0;
            for (int i = 16 * s; i < 16 * s + 16; i++) {
                const int code = at_most((int)rintf(x[i] * inv), 127);
                sum += code;
                b[4 + i] = (uint8_t)code;
            }
            qb_put_u16(b + 260 + 2 * s, (uint16_t)sum);
        }
    }
    return count;
}

// ---- 1 bit, 2 bits, ternary ---------------------------------------------------------------------------

size_t qb_encode_q1_0_scalar(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 128, b += 18) {
        float sum = 0;
        for (int i = 0; i < 128; i++) sum += fabsf(x[i]);
        if (!qb_put_f16(b, sum / 128.0f)) return block;
        for (int j = 0; j < 16; j++) {
            b[2 + j] = 0;
            for (int t = 0; t < 8; t++) b[2 + j] |= (uint8_t)((x[8 * j + t] >= 0) << t);
        }
    }
    return count;
}

// Codes 0, 1, 2 for -amax, 0, amax. Returns whether the scale is finite as a half.
QB_INLINE int trits_of(const float *x, size_t n, uint8_t *scale, uint8_t *codes)
{
    const float d = amax_of(x, n), inv = qb_inverse(d);
    for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(half_away(x[i] * inv) + 1);
    return qb_put_f16(scale, d);
}

size_t qb_encode_q2_0_scalar(const float *x, size_t count, uint8_t *b)
{
    uint8_t codes[64];
    for (size_t block = 0; block < count; block++, x += 64, b += 18) {
        if (!trits_of(x, 64, b, codes)) return block;
        for (int j = 0; j < 16; j++) {
            const uint8_t *const c = codes + 4 * j;
            b[2 + j] = (uint8_t)(c[0] | c[1] << 2 | c[2] << 4 | c[3] << 6);
        }
    }
    return count;
}

size_t qb_encode_tq2_0_scalar(const float *x, size_t count, uint8_t *b)
{
    uint8_t codes[256];
    for (size_t block = 0; block < count; block++, x += 256, b += 66) {
        if (!trits_of(x, 256, b + 64, codes)) return block;
        for (int j = 0; j < 64; j++) {
            const uint8_t *const c = codes + j / 32 * 128 + j % 32;
            b[j] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
        }
    }
    return count;
}

size_t qb_encode_tq1_0_scalar(const float *x, size_t count, uint8_t *b)
{
    uint8_t codes[256];
    for (size_t block = 0; block < count; block++, x += 256, b += 54) {
        if (!trits_of(x, 256, b + 52, codes)) return block;
        put_trits(codes, 32, 5, b);
        put_trits(codes + 160, 16, 5, b + 32);
        put_trits(codes + 240, 4, 4, b + 48);
    }
    return count;
}

// ---- mxfp4 --------------------------------------------------------------------------------------------

size_t qb_encode_mxfp4_scalar(const float *x, size_t count, uint8_t *b)
{
    for (size_t block = 0; block < count; block++, x += 32, b += 17) {
        const float amax = amax_of(x, 32);
        b[0] = power_of(amax);
        const float unit = qb_e8m0_half(b[0]);
        uint8_t codes[32];
        uint32_t none;
        for (int i = 0; i < 32; i++) {
            int code = 0;
            for (int k = 0; k < 7; k++) code += fabsf(x[i]) > mxfp4_middle[k] * unit;
            codes[i] = (uint8_t)(code | (code && x[i] < 0) << 3);
        }
        put_nibbles(codes, b + 1, &none);
    }
    return count;
}

// SPDX-License-Identifier: Apache-2.0
// Defines what the bytes of iq1, iq2 and iq3 blocks mean: 256 values, in 8 runs (ib) of 32, each 4 groups
// (g) of 8 that come out of a grid. After the layouts in ggml (ggml-common.h, ggml-quants.c).
#include "kernels.h"

#include "../base/target.h"
#include "bytes.h"
#include "grids.h"

// Seven signs, and an eighth that makes the number of minus signs even.
QB_INLINE uint8_t even_signs(uint32_t seven)
{
    uint32_t parity = seven & 127;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (uint8_t)((seven & 127) | (parity & 1) << 7);
}

// Where bit j of signs is set value j is negative.
QB_INLINE void put(int value, int j, int signs, int zero, uint8_t *codes)
{
    codes[j] = (uint8_t)(zero + (signs >> j & 1 ? -value : value));
}

// ---- iq2: 8 magnitudes an entry ----------------------------------------------------------------------

QB_INLINE void put_iq2(uint32_t entry, int signs, uint8_t *codes)
{
    static const uint8_t magnitudes[4] = {8, 25, 43, 0};
    for (int j = 0; j < 8; j++) put(magnitudes[entry >> 2 * j & 3], j, signs, 64, codes);
}

// Scales d * (1/2 + s) / 4 of 16 nibbles s.
QB_INLINE void nibble_params(const uint8_t *scales, float scale, float *d)
{
    for (int s = 0; s < 16; s++) d[s] = scale * (0.5f + (float)(scales[s / 2] >> 4 * (s % 2) & 15)) * 0.25f;
}

void qb_codes_iq2_xxs_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 66) {
        for (const uint8_t *qs = b + 2; qs < b + 66; qs += 8) {
            const uint32_t signs = qb_u32(qs + 4);
            for (int g = 0; g < 4; g++, codes += 8)
                put_iq2(qb_grid_iq2_xxs[qs[g]], even_signs(signs >> 7 * g), codes);
        }
    }
}

void qb_params_iq2_xxs_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 66, d += 8) {
        const float scale = qb_f16_at(b);
        for (int ib = 0; ib < 8; ib++) d[ib] = scale * (0.5f + (float)(b[9 + 8 * ib] >> 4)) * 0.25f;
    }
}

void qb_codes_iq2_xs_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 74) {
        for (int i = 0; i < 32; i++, codes += 8) {
            const uint16_t q = qb_u16(b + 2 + 2 * i);
            put_iq2(qb_grid_iq2_xs[q & 511], even_signs(q >> 9), codes);
        }
    }
}

void qb_params_iq2_xs_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 74, d += 16) nibble_params(b + 66, qb_f16_at(b), d);
}

void qb_codes_iq2_s_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 82) {
        for (int i = 0; i < 32; i++, codes += 8) {
            const int high = b[66 + i / 4] >> 2 * (i % 4) & 3;
            put_iq2(qb_grid_iq2_s[b[2 + i] | high << 8], b[34 + i], codes);
        }
    }
}

void qb_params_iq2_s_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 82, d += 16) nibble_params(b + 74, qb_f16_at(b), d);
}

// ---- iq3: 4 magnitudes an entry ----------------------------------------------------------------------

void qb_codes_iq3_xxs_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    static const uint8_t magnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    for (; count--; b += 98) {
        for (int i = 0; i < 64; i++, codes += 4) {
            const int group = i / 2 % 4, signs = even_signs(qb_u32(b + 66 + 4 * (i / 8)) >> 7 * group) >> 4 * (i % 2);
            const uint32_t entry = qb_grid_iq3_xxs[b[2 + i]];
            for (int j = 0; j < 4; j++) put(magnitudes[entry >> 3 * j & 7], j, signs, 64, codes);
        }
    }
}

void qb_params_iq3_xxs_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 98, d += 8) {
        const float scale = qb_f16_at(b);
        for (int ib = 0; ib < 8; ib++) d[ib] = scale * (0.5f + (float)(b[69 + 4 * ib] >> 4)) * 0.5f;
    }
}

void qb_codes_iq3_s_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 110) {
        for (int i = 0; i < 64; i++, codes += 4) {
            const int high = b[66 + i / 8] >> i % 8 & 1, signs = b[74 + i / 2] >> 4 * (i % 2);
            const uint32_t entry = qb_grid_iq3_s[b[2 + i] | high << 8];
            for (int j = 0; j < 4; j++) put((int)(2 * (entry >> 3 * j & 7) + 1), j, signs, 16, codes);
        }
    }
}

void qb_params_iq3_s_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 110, d += 8) {
        const float scale = qb_f16_at(b);
        for (int ib = 0; ib < 8; ib++) d[ib] = scale * (float)(1 + 2 * (b[106 + ib / 2] >> 4 * (ib % 2) & 15));
    }
}

// ---- iq1: 8 numbers -1, 0, 1 an entry, all moved by an eighth up or down -----------------------------

// In eighths.
QB_INLINE void put_iq1(uint32_t entry, int down, uint8_t *codes)
{
    const int middle = 16 + (down ? -1 : 1);
    for (int j = 0; j < 8; j++) codes[j] = (uint8_t)(middle + 8 * ((int)(entry >> 2 * j & 3) - 1));
}

void qb_codes_iq1_s_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 50) {
        for (int i = 0; i < 32; i++, codes += 8) {
            const int high = qb_u16(b + 34 + 2 * (i / 4));
            put_iq1(qb_grid_iq1[b[2 + i] | (high >> 3 * (i % 4) & 7) << 8], high >> 15, codes);
        }
    }
}

void qb_params_iq1_s_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 50, d += 8) {
        const float scale = qb_f16_at(b);
        for (int ib = 0; ib < 8; ib++) d[ib] = scale * (float)(2 * (b[35 + 2 * ib] >> 4 & 7) + 1) * 0.125f;
    }
}

void qb_codes_iq1_m_scalar(const uint8_t *b, size_t count, uint8_t *codes)
{
    for (; count--; b += 56) {
        for (int i = 0; i < 32; i++, codes += 8) {
            const int high = b[32 + i / 2] >> 4 * (i % 2);
            put_iq1(qb_grid_iq1[b[i] | (high & 7) << 8], high & 8, codes);
        }
    }
}

void qb_params_iq1_m_scalar(const uint8_t *b, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; b += 56, d += 16) {
        uint16_t words[4], half = 0; // four scales of 3 bits, and a nibble of the block's, in each
        for (int i = 0; i < 4; i++) {
            words[i] = qb_u16(b + 48 + 2 * i);
            half |= (uint16_t)(words[i] >> 12 << 4 * i);
        }
        const float scale = qb_f16_to_f32(half);
        for (int s = 0; s < 16; s++) d[s] = scale * (float)(2 * (words[s / 4] >> 3 * (s % 4) & 7) + 1) * 0.125f;
    }
}

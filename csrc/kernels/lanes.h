// SPDX-License-Identifier: Apache-2.0
// Parameters of 16 rows of block types side by side, as loops over the rows that the compiler turns into vectors
// of the tier that includes this in its target region, with WIDEN(half, n, out) and SCALE(scale, level, bias, sign, out)
// defined: out[i] = sign * (scale[i] * (level[i] - bias)), of 16 levels that are bytes.
#include "bytes.h"
#include "kernels.h"

enum { N = QB_LANES };

#define ROWS(i) QB_NO_UNROLL for (int i = 0; i < N; i++)

QB_INLINE void half_lanes(const uint8_t *field, float *out)
{
    uint16_t half[N];
    for (int i = 0; i < N; i++) half[i] = qb_u16(field + 2 * i);
    WIDEN(half, N, out);
}

static void lanes_half(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 2 * N, d += N) half_lanes(fields, d);
}

static void lanes_halves(const uint8_t *fields, size_t count, float *d, float *m)
{
    for (; count--; fields += 4 * N, d += N, m += N) {
        half_lanes(fields, d);
        half_lanes(fields + 2 * N, m);
    }
}

static void lanes_q2_K(const uint8_t *fields, size_t count, float *d, float *m)
{
    for (; count--; fields += 20 * N) {
        float scale[N], min[N];
        half_lanes(fields, scale);
        half_lanes(fields + 2 * N, min);
        for (int s = 0; s < 16; s++, d += N, m += N) {
            const uint8_t *const both = fields + (4 + s) * N;
            uint8_t low[N], high[N];
            ROWS(i) low[i] = both[i] & 15;
            ROWS(i) high[i] = both[i] >> 4;
            SCALE(scale, low, 0, 1, d);
            SCALE(min, high, 0, -1, m);
        }
    }
}

// Two bits of 4 bytes, from `right` on, become bits 4 and 5 of the levels of 4 segments.
QB_INLINE void high_pairs(const uint8_t *high, const int right, uint8_t *level)
{
    for (int i = 0; i < 4 * N; i++) level[i] = (uint8_t)(level[i] | (high[i] >> right & 3) << 4);
}

static void lanes_q3_K(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 14 * N, d += 16 * N) {
        const uint8_t *const low = fields + 2 * N, *const high = fields + 10 * N;
        float scale[N];
        uint8_t level[16 * N];
        half_lanes(fields, scale);
        for (int i = 0; i < 8 * N; i++) level[i] = low[i] & 15;
        for (int i = 0; i < 8 * N; i++) level[8 * N + i] = low[i] >> 4;
        high_pairs(high, 0, level);
        high_pairs(high, 2, level + 4 * N);
        high_pairs(high, 4, level + 8 * N);
        high_pairs(high, 6, level + 12 * N);
        for (int s = 0; s < 16; s++) SCALE(scale, level + s * N, 32, 1, d + s * N);
    }
}

static void lanes_six_bits(const uint8_t *fields, size_t count, float *d, float *m)
{
    for (; count--; fields += 16 * N, d += 8 * N, m += 8 * N) {
        float scale[N], min[N];
        half_lanes(fields, scale);
        half_lanes(fields + 2 * N, min);
        for (int s = 0; s < 4; s++) {
            const uint8_t *const a = fields + (4 + s) * N, *const b = a + 4 * N, *const c = b + 4 * N;
            uint8_t level[N];
            ROWS(i) level[i] = a[i] & 63;
            SCALE(scale, level, 0, 1, d + s * N);
            ROWS(i) level[i] = b[i] & 63;
            SCALE(min, level, 0, -1, m + s * N);
            ROWS(i) level[i] = (uint8_t)((c[i] & 15) | a[i] >> 6 << 4);
            SCALE(scale, level, 0, 1, d + (s + 4) * N);
            ROWS(i) level[i] = (uint8_t)(c[i] >> 4 | b[i] >> 6 << 4);
            SCALE(min, level, 0, -1, m + (s + 4) * N);
        }
    }
}

static void lanes_q6_K(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 18 * N) {
        float scale[N];
        half_lanes(fields, scale);
        for (int s = 0; s < 16; s++, d += N) {
            const uint8_t *const bytes = fields + (2 + s) * N;
            uint8_t level[N];
            ROWS(i) level[i] = bytes[i] ^ 0x80;
            SCALE(scale, level, 0x80, 1, d);
        }
    }
}

static void lanes_iq4_xs(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 8 * N) {
        float scale[N];
        half_lanes(fields, scale);
        uint8_t high[2][N]; // two bits of segments 0..3, and of 4..7
        ROWS(i) high[0][i] = fields[2 * N + 2 * i];
        ROWS(i) high[1][i] = fields[2 * N + 2 * i + 1];
        for (int half = 0; half < 2; half++, d += 4 * N) {
            const uint8_t *const low = fields + (4 + 2 * half) * N, *const bits = high[half];
            uint8_t level[4][N];
            ROWS(i) level[0][i] = (uint8_t)((low[i] & 15) | (bits[i] & 3) << 4);
            ROWS(i) level[1][i] = (uint8_t)(low[i] >> 4 | (bits[i] >> 2 & 3) << 4);
            ROWS(i) level[2][i] = (uint8_t)((low[N + i] & 15) | (bits[i] >> 4 & 3) << 4);
            ROWS(i) level[3][i] = (uint8_t)(low[N + i] >> 4 | bits[i] >> 6 << 4);
            for (int s = 0; s < 4; s++) SCALE(scale, level[s], 32, 1, d + s * N);
        }
    }
}

static void lanes_mxfp4(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (size_t i = 0; i < count * N; i++) d[i] = qb_e8m0_half(fields[i]);
}

// An unsigned e4m3 number is 2^8 times the half of the same exponent and fraction bits.
static void lanes_nvfp4(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (size_t s = 0; s < 4 * count; s++, fields += N, d += N) {
        uint16_t half[N];
        ROWS(i) half[i] = (uint16_t)(fields[i] == 0x7F ? 0 : (fields[i] & 0x7F) << 7);
        WIDEN(half, N, d);
        ROWS(i) d[i] *= 128.0f;
    }
}

#define QB_LANES_KERNEL(type, as, isa)                                                            \
    void qb_lanes_##type##_##isa(const uint8_t *fields, size_t count, float *d, float *m)         \
    {                                                                                             \
        lanes_##as(fields, count, d, m);                                                          \
    }
#define QB_LANES_KERNELS(isa)                                                                     \
    QB_LANES_KERNEL(q1_0, half, isa) QB_LANES_KERNEL(q2_0, half, isa)                             \
    QB_LANES_KERNEL(q4_0, half, isa) QB_LANES_KERNEL(q5_0, half, isa)                             \
    QB_LANES_KERNEL(q8_0, half, isa) QB_LANES_KERNEL(iq4_nl, half, isa)                           \
    QB_LANES_KERNEL(tq2_0, half, isa) QB_LANES_KERNEL(q4_1, halves, isa)                          \
    QB_LANES_KERNEL(q5_1, halves, isa) QB_LANES_KERNEL(q2_K, q2_K, isa)                           \
    QB_LANES_KERNEL(q3_K, q3_K, isa) QB_LANES_KERNEL(q4_K, six_bits, isa)                         \
    QB_LANES_KERNEL(q5_K, six_bits, isa) QB_LANES_KERNEL(q6_K, q6_K, isa)                         \
    QB_LANES_KERNEL(iq4_xs, iq4_xs, isa) QB_LANES_KERNEL(mxfp4, mxfp4, isa)                       \
    QB_LANES_KERNEL(nvfp4, nvfp4, isa)

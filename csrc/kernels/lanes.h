// SPDX-License-Identifier: Apache-2.0
// Parameters of 16 rows of block types side by side, as loops over the rows that the compiler turns into vectors
// of the tier that includes this in its target region, with WIDEN(half, out) and SCALE(scale, level, out) defined:
// out[i] = scale[i] * level[i], of 16 levels that are signed bytes.
#include "bytes.h"
#include "kernels.h"

enum { N = QB_LANES };

#define ROWS(i, n) QB_NO_UNROLL for (int i = 0; i < n; i++)
// Over segments. A loop, so that their levels stay in memory: from there a load widens them.
#define SEGMENTS(s, n) QB_NO_UNROLL for (int s = 0; s < n; s++)

QB_INLINE void half_lanes(const uint8_t *field, float *out)
{
    uint16_t half[N];
    for (int i = 0; i < N; i++) half[i] = qb_u16(field + 2 * i);
    WIDEN(half, out);
}

// Of what is taken off instead of added.
QB_INLINE void minus_half_lanes(const uint8_t *field, float *out)
{
    half_lanes(field, out);
    ROWS(i, N) out[i] = -out[i];
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
    for (; count--; fields += 20 * N, d += 16 * N, m += 16 * N) {
        const uint8_t *const both = fields + 4 * N;
        float scale[N], min[N];
        int8_t low[16 * N], high[16 * N];
        half_lanes(fields, scale);
        minus_half_lanes(fields + 2 * N, min);
        ROWS(i, 16 * N) low[i] = both[i] & 15;
        ROWS(i, 16 * N) high[i] = (int8_t)(both[i] >> 4);
        SEGMENTS(s, 16) {
            SCALE(scale, low + s * N, d + s * N);
            SCALE(min, high + s * N, m + s * N);
        }
    }
}

// Levels of 4 segments, 32 to be taken off: 4 bits, and above them two bits of 4 bytes, from `right` on.
QB_INLINE void six_bit_levels(const uint8_t *low, const int low_right, const uint8_t *high, const int right,
                              int8_t *level)
{
    ROWS(i, 4 * N) level[i] = (int8_t)(((low[i] >> low_right & 15) | (high[i] >> right & 3) << 4) - 32);
}

static void lanes_q3_K(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 14 * N, d += 16 * N) {
        const uint8_t *const low = fields + 2 * N, *const high = fields + 10 * N;
        float scale[N];
        int8_t level[16 * N];
        half_lanes(fields, scale);
        six_bit_levels(low, 0, high, 0, level);
        six_bit_levels(low + 4 * N, 0, high, 2, level + 4 * N);
        six_bit_levels(low, 4, high, 4, level + 8 * N);
        six_bit_levels(low + 4 * N, 4, high, 6, level + 12 * N);
        SEGMENTS(s, 16) SCALE(scale, level + s * N, d + s * N);
    }
}

static void lanes_six_bits(const uint8_t *fields, size_t count, float *d, float *m)
{
    for (; count--; fields += 16 * N, d += 8 * N, m += 8 * N) {
        const uint8_t *const a = fields + 4 * N, *const b = a + 4 * N, *const c = b + 4 * N;
        float scale[N], min[N];
        int8_t level[8 * N], min_level[8 * N];
        half_lanes(fields, scale);
        minus_half_lanes(fields + 2 * N, min);
        ROWS(i, 4 * N) level[i] = a[i] & 63;
        ROWS(i, 4 * N) level[4 * N + i] = (int8_t)((c[i] & 15) | (a[i] >> 2 & 48));
        ROWS(i, 4 * N) min_level[i] = b[i] & 63;
        ROWS(i, 4 * N) min_level[4 * N + i] = (int8_t)(c[i] >> 4 | (b[i] >> 2 & 48));
        SEGMENTS(s, 8) {
            SCALE(scale, level + s * N, d + s * N);
            SCALE(min, min_level + s * N, m + s * N);
        }
    }
}

static void lanes_q6_K(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 18 * N, d += 16 * N) {
        const int8_t *const level = (const int8_t *)fields + 2 * N;
        float scale[N];
        half_lanes(fields, scale);
        SEGMENTS(s, 16) SCALE(scale, level + s * N, d + s * N);
    }
}

// Segments 0..3 of a block of iq4_xs, or 4..7: 4 bits, and above them two of a byte that all four share.
QB_INLINE void iq4_xs_levels(const uint16_t *high, const int right, const uint8_t *low, int8_t *level)
{
    uint8_t bits[N];
    ROWS(i, N) bits[i] = (uint8_t)(high[i] >> right);
    ROWS(i, N) level[i] = (int8_t)(((low[i] & 15) | (bits[i] & 3) << 4) - 32);
    ROWS(i, N) level[N + i] = (int8_t)((low[i] >> 4 | (bits[i] & 12) << 2) - 32);
    ROWS(i, N) level[2 * N + i] = (int8_t)(((low[N + i] & 15) | (bits[i] & 48)) - 32);
    ROWS(i, N) level[3 * N + i] = (int8_t)((low[N + i] >> 4 | (bits[i] >> 2 & 48)) - 32);
}

static void lanes_iq4_xs(const uint8_t *fields, size_t count, float *d, float *m)
{
    (void)m;
    for (; count--; fields += 8 * N, d += 8 * N) {
        const uint8_t *const low = fields + 4 * N;
        float scale[N];
        uint16_t high[N];
        int8_t level[8 * N];
        half_lanes(fields, scale);
        for (int i = 0; i < N; i++) high[i] = qb_u16(fields + 2 * N + 2 * i);
        iq4_xs_levels(high, 0, low, level);
        iq4_xs_levels(high, 8, low + 2 * N, level + 4 * N);
        SEGMENTS(s, 8) SCALE(scale, level + s * N, d + s * N);
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
        ROWS(i, N) half[i] = (uint16_t)(fields[i] == 0x7F ? 0 : (fields[i] & 0x7F) << 7);
        WIDEN(half, d);
        ROWS(i, N) d[i] *= 128.0f;
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

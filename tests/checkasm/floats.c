// SPDX-License-Identifier: Apache-2.0
#include "floats.h"

static float around_one(void)
{
    double sum = -2; // of four uniform numbers: bell-shaped enough
    for (int i = 0; i < 4; i++) sum += (double)(ck_random() >> 40) * 0x1p-24;
    return (float)sum;
}

static float extreme(void)
{
    static const uint32_t sizes[] = {0,          0,          1,          2,          0x007FFFFF,
                                     0x00800000, 0x33800000, 0x3F000000, 0x3F7FFFFF, 0x4AFFFFFF,
                                     0x4B000001, 0x4EFFFFFF, 0x4F000000, 0x7F7FFFFF, 0x7F000000};
    const uint64_t r = ck_random();
    const uint32_t size = sizes[r % (sizeof sizes / sizeof *sizes)];
    return float_of(size | (uint32_t)(r >> 32 & 0x80000000u));
}

float not_finite(size_t which)
{
    static const uint32_t bits[6] = {0x7F800000, 0xFF800000, 0x7FC00000,
                                     0xFFC00001, 0x7F800001, 0xFFBFFFFF};
    return float_of(bits[which]);
}

float *place_floats(struct buffer *b, size_t n, int at)
{
    return (float *)ck_place(b, n * 4, at < 0 ? at : at * 4);
}

void fill_floats(float *x, size_t n, enum floats kind)
{
    ck_fill(x, n * 4);
    if (kind == FLOATS_ANY) return;
    for (size_t i = 0; i < n; i++) {
        if (kind == FLOATS_NORMAL) x[i] = around_one();
        if (kind == FLOATS_EXTREME) x[i] = extreme();
        if (kind != FLOATS_LEVELS) continue;
        const float level = (float)((int)ck_below(2048) - 1024) * 0.25f;
        x[i] = float_of(bits_of(level) + (level == 0 ? 0 : (uint32_t)ck_below(3) - 1));
    }
}

int same_floats(const char *what, const float *want, const float *got, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bits_of(want[i]) != bits_of(got[i]) && !(want[i] != want[i] && got[i] != got[i]))
            return ck_same(what, want, got, n * 4);
    return ck_true(what, 1);
}

int same_doubles(const char *what, const double *want, const double *got, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(want + i, got + i, 8) != 0 && !(want[i] != want[i] && got[i] != got[i]))
            return ck_same(what, want, got, n * 8);
    return ck_true(what, 1);
}

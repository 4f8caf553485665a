// SPDX-License-Identifier: Apache-2.0
#include "floats.h"

#include "target.h"

#include <math.h>

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

float *place_params(struct buffer *b, size_t groups, enum floats kind)
{
    float *const p = place_floats(b, groups, CK_END);
    fill_floats(p, groups, kind);
    return p;
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

// ---- half precision ---------------------------------------------------------------------------------

uint16_t *place_halves(struct buffer *b, size_t n, int at)
{
    return (uint16_t *)ck_place(b, n * 2, at < 0 ? at : at * 2);
}

float half_value(uint16_t h)
{
    const int e = h >> 10 & 31, f = h & 1023;
    const double size = e == 31 ? (f ? NAN : INFINITY)
                        : e     ? ldexp(1024 + f, e - 25)
                                : ldexp(f, -24);
    return size != size ? float_of(0x7FC00000u) : (float)(h >> 15 ? -size : size);
}

// By search over the finite magnitudes.
static uint16_t narrowed(float x, int bf16)
{
    const unsigned infinity = bf16 ? 0x7F80 : 0x7C00;
    const double beyond = bf16 ? 0x1p128 : 0x1p16, size = fabs((double)x);
    const uint16_t sign = (uint16_t)(bits_of(x) >> 16 & 0x8000);
    if (x != x) return bf16 ? 0x7FC0 : 0x7E00;
    if (size >= beyond) return (uint16_t)(sign | infinity);
    unsigned low = 0, high = infinity; // value of low <= size < value of high, infinity as `beyond`
    double below = 0, above = beyond;
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        const float value = bf16 ? float_of(middle << 16) : half_value((uint16_t)middle);
        if ((double)value <= size) low = middle, below = (double)value;
        else high = middle, above = (double)value;
    }
    const double a = size - below, b = above - size;
    return (uint16_t)(sign | (a < b || (a == b && !(low & 1)) ? low : high));
}

uint16_t nearest_half(float x) { return narrowed(x, 0); }
uint16_t nearest_bf16(float x) { return narrowed(x, 1); }

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)
int halves_round_up(void)
{
    volatile float tie = 1 + 0x1p-11f;
    return _mm_extract_epi16(_mm_cvtps_ph(_mm_set1_ps(tie), _MM_FROUND_TO_NEAREST_INT), 0) !=
           0x3C00;
}
QB_TARGET_END
#else
int halves_round_up(void) { return 0; }
#endif

// ---- groups -----------------------------------------------------------------------------------------

// Group sizes: all small ones, usual ones, and with n: a whole row, and longer than it.
static size_t group_of(size_t i, size_t n)
{
    static const size_t usual[] = {96, 100, 127, 128, 129, 256, 1000};
    enum { SMALL = 72, USUAL = sizeof usual / sizeof *usual };
    return i < SMALL            ? i + 1
           : i < SMALL + USUAL  ? usual[i - SMALL]
           : i == SMALL + USUAL ? n
                                : n + 5;
}
enum { GROUPS = 72 + 7 + 2 };

void for_each_shape(const struct qb_kernels *ref, const struct qb_kernels *test, shape_fn *f)
{
    for (size_t n = 1; n <= SHORT; n++)
        for (size_t i = 0; i < GROUPS; i++)
            f(ref, test, n, group_of(i, n), i & 1 ? CK_END : (int)ck_below(64));
    for (int round = 0; round < 24; round++) {
        for (size_t i = 0; i < GROUPS; i++) {
            const size_t base = 1 + ck_below(600), group = group_of(i, base);
            const size_t whole = round % 3 == 0 ? base : group * ck_below(round % 3 == 1 ? 9 : 34);
            const size_t n = whole + (round & 1 ? ck_below(group) : 0);
            f(ref, test, n ? n : 1, group, round & 2 ? CK_END : round);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Floats to test with, in groups of any size, and their comparison.
#ifndef CHECKASM_FLOATS_H
#define CHECKASM_FLOATS_H

#include "checkasm.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

enum { SHORT = 4 * 16 + 1 }; // elements: all lengths up to four vectors and one

enum floats {
    FLOATS_NORMAL, // around 1, of either sign
    FLOATS_LEVELS, // multiples of 1/4 up to a few hundred, and their neighbours: ties of every rounding
    FLOATS_EXTREME, // zeros of either sign, denormals, tiny and huge values; all finite
    FLOATS_ANY,     // any bits: NaNs and infinities too
    FLOATS_KINDS
};

// As ck_place, for n floats; the offset counts floats too.
float *place_floats(struct buffer *b, size_t n, int at);
void fill_floats(float *x, size_t n, enum floats kind);

// Infinities and NaNs, quiet and signalling; which < 6.
float not_finite(size_t which);

// For a kernel's parameters: one a group, at the end of a page.
float *place_params(struct buffer *b, size_t groups, enum floats kind);

// As ck_same, but any two NaNs are equal: arithmetic may leave any payload.
int same_floats(const char *what, const float *want, const float *got, size_t n);
int same_doubles(const char *what, const double *want, const double *got, size_t n);

// ---- half precision ---------------------------------------------------------------------------------

uint16_t *place_halves(struct buffer *b, size_t n, int at);
float half_value(uint16_t h);

// Nearest half or bfloat16 of a float, ties to the even one, found by search.
uint16_t nearest_half(float x);
uint16_t nearest_bf16(float x);

// Bochs 2.7 rounds some ties of vcvtps2ph up: there, and only there, none are tried.
int halves_round_up(void);

// ---- groups -----------------------------------------------------------------------------------------

// Calls f for every group size with short runs, runs of some groups and a rest, and long ones.
typedef void shape_fn(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                      size_t group, int at);
void for_each_shape(const struct qb_kernels *ref, const struct qb_kernels *test, shape_fn *f);

#endif

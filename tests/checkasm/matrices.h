// SPDX-License-Identifier: Apache-2.0
// Random quantized matrices, and their elements read one at a time, bit by bit.
#ifndef CHECKASM_MATRICES_H
#define CHECKASM_MATRICES_H

#include "checkasm.h"

// A matrix in memory between guard pages.
struct matrix {
    qb_matrix q;
    struct buffer codes, scales, mins, zeros;
};

// Any format with groups of `group` (0: one scale for all), any codes, finite scales and minima.
void any_matrix(struct matrix *m, size_t rows, size_t cols, size_t group);

size_t matrix_group(const qb_matrix *q); // elements of a row that share a scale, at least 1

// value(r, c) = scale * integer + minimum (0 where the format has none).
int matrix_integer(const qb_matrix *q, size_t r, size_t c);
float matrix_scale(const qb_matrix *q, size_t r, size_t c);
float matrix_min(const qb_matrix *q, size_t r, size_t c);

// One float of any float dtype.
float float_at(const void *p, int dtype);

#endif

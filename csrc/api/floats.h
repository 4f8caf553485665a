// SPDX-License-Identifier: Apache-2.0
// Float matrices of any float type and strides, seen as runs of float32.
#ifndef QB_FLOATS_H
#define QB_FLOATS_H

#include "../kernels/kernels.h"
#include "../qbits.h"

// Bytes of one element of a float dtype, 0 for any other.
size_t qb_float_bytes(int dtype);

// n floats of row `row` from column `col` on: a pointer into x itself where it holds aligned
// contiguous float32, else `tile` (room for n), filled.
const float *qb_load_floats(const struct qb_kernels *k, const qb_floats *x, size_t row, size_t col, size_t n,
                            float *tile);

// Writes n floats as a dtype, rounded to nearest even.
void qb_store_floats(const struct qb_kernels *k, const float *x, size_t n, int dtype, void *out);

#endif

// SPDX-License-Identifier: Apache-2.0
// How a matrix is stored, read and written in one place; block types in blocks.h. Everything that computes works on
// *effective* numbers: value = d*(q - z) + m, q an unsigned code. Symmetric codes are read as offset
// binary (z = 2^(bits-1)); one-bit symmetric codes are read doubled, 0 and 2, with z = 1.
#ifndef QB_STORED_H
#define QB_STORED_H

#include "../kernels/kernels.h"
#include "../qbits.h"

// QB_OK if the description is one of a legal matrix whose sizes fit size_t.
int qb_matrix_check(const qb_matrix *q);

// Elements of a row that share a scale (the row's length where it is shorter; at least 1), and how
// many such groups a row has.
size_t qb_matrix_group(const qb_matrix *q);
size_t qb_matrix_groups(const qb_matrix *q);

// Bits that hold the codes as qb_stored_codes gives them: the format's, but 2 for doubled codes.
int qb_stored_bits(const qb_format *format);

// What turns stored codes into those of qb_stored_codes, but for doubled ones: symmetric codes are two's complement.
uint8_t qb_stored_flip(const qb_format *format);

// The z of every code of a format without zero points of its own.
int qb_stored_zero(const qb_format *format);

// Bytes of a row of codes, or of blocks.
size_t qb_stored_row_bytes(const qb_format *format, size_t cols);

// Codes of row `row`, columns [col, col + n); col is a multiple of 8.
void qb_stored_codes(const struct qb_kernels *k, const qb_matrix *q, size_t row, size_t col, size_t n,
                     uint8_t *codes);

// Effective parameters of groups [first, first + n) of a row (per tensor: all the one pair). Each of
// d, z, m may be NULL; m is left alone where the format has no minimum.
void qb_stored_params(const struct qb_kernels *k, const qb_matrix *q, size_t row, size_t first, size_t n,
                      float *d, float *z, float *m);

// Widens n scales of a type from the at-th of an array on, aligned or not.
void qb_load_scales(const struct qb_kernels *k, int scale, const void *scales, size_t at, size_t n, float *out);

// Rounds n floats to the scale type, in place.
void qb_round_scales(const struct qb_kernels *k, int scale, float *x, size_t n);

// Writes floats that the scale type holds exactly to an array of it, from the at-th on.
void qb_store_scales(const struct qb_kernels *k, int scale, void *scales, size_t at, const float *x, size_t n);

#endif

// SPDX-License-Identifier: Apache-2.0
// Block types: their table, and any stretch of a row of blocks decoded. What decodes whole blocks are the
// kernels of families "blocks" and "grids".
#ifndef QB_BLOCKS_H
#define QB_BLOCKS_H

#include "../kernels/kernels.h"

// Whether a format's fields are those of its block type, and rows of cols elements are whole blocks.
int qb_block_legal(const qb_format *format, size_t cols);

// Bytes of n elements, whole blocks.
size_t qb_block_bytes(const qb_format *format, size_t n);

// Elements [col, col + n) of the row that starts at `blocks`.
void qb_block_codes(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t col, size_t n,
                    uint8_t *codes);

// Parameters of its segments [first, first + n); m is left alone where the type has no minimum. d or m may
// be NULL. A NaN is the canonical one.
void qb_block_params(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t first,
                     size_t n, float *d, float *m);

// The zero point of every code.
float qb_block_zero(const qb_format *format);

#endif

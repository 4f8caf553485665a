// SPDX-License-Identifier: Apache-2.0
// A quantized row as float32, tile by tile.
#ifndef QB_DEQUANTIZE_H
#define QB_DEQUANTIZE_H

#include "../kernels/kernels.h"
#include "../qbits.h"

enum { QB_VALUES_TILE = 4096, QB_VALUES_GROUPS = QB_VALUES_TILE };

struct qb_values {
    const struct qb_kernels *k;
    const qb_matrix *q;
    uint8_t codes[QB_VALUES_TILE];
    float d[QB_VALUES_GROUPS], z[QB_VALUES_GROUPS], m[QB_VALUES_GROUPS];
};

// Values of row `row`, columns [col, col + n), n <= QB_VALUES_TILE; col is a multiple of 8.
void qb_row_values(struct qb_values *v, size_t row, size_t col, size_t n, float *out);

#endif

// SPDX-License-Identifier: Apache-2.0
// What 16 rows hold of a kind, laid side by side.
#ifndef QB_SIDE_BY_SIDE_H
#define QB_SIDE_BY_SIDE_H

#include "../kernels/kernels.h"

// Elements of 1, 2 or 4 bytes, `count` from each of 16 rows (row r at rows + r*stride), to [count][16].
void qb_side_by_side(const struct qb_kernels *k, const uint8_t *rows, size_t stride, size_t size, size_t count,
                     uint8_t *out);

#endif

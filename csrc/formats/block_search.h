// SPDX-License-Identifier: Apache-2.0
// Blocks of any type that can be quantized, by the rule of the type or by the search of its kind.
#ifndef QB_BLOCK_SEARCH_H
#define QB_BLOCK_SEARCH_H

#include "../kernels/kernels.h"

enum { QB_BLOCK_TILE = 1024 }; // elements at once, a multiple of any block's, and of what searches do side by side

// Writes `count` blocks of finite floats, QB_BLOCK_TILE elements at most; w: NULL or weights of their squared errors,
// which rules leave aside. Returns how many blocks there are before the first that the type cannot hold (count:
// there is none).
size_t qb_block_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                         size_t count, uint8_t *to);

#endif

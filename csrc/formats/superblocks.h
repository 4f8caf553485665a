// SPDX-License-Identifier: Apache-2.0
// Searches for the block types of 256 values whose segments have small integer scales (and minima) under one
// scale of the block. The text is csrc/README.md, "Searches of block types".
#ifndef QB_SUPERBLOCKS_H
#define QB_SUPERBLOCKS_H

#include "../kernels/kernels.h"

enum { QB_SUPER = 256, QB_SUPER_SEGMENTS = 16 }; // values of a block, segments at most

// What is stored of a block: value = d*scales[s]*(code - z) - m*mins[s].
struct qb_super {
    uint8_t codes[QB_SUPER];
    int scales[QB_SUPER_SEGMENTS], mins[QB_SUPER_SEGMENTS];
    uint16_t d, m; // halves
};

// Quantizes `count` blocks of finite floats; w: NULL or weights of their squared errors. Returns how many
// blocks there are before the first whose scale or minimum is infinite as a half (count: there is none).
size_t qb_super_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                         size_t count, uint8_t *out);

// The bytes of a block (superblocks_pack.c).
void qb_super_pack(int block, const struct qb_super *s, uint8_t *out);

#endif

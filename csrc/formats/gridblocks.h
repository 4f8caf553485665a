// SPDX-License-Identifier: Apache-2.0
// Searches for the block types iq1, iq2 and iq3, whose values are points of a grid. The text is csrc/README.md,
// "Searches of block types".
#ifndef QB_GRIDBLOCKS_H
#define QB_GRIDBLOCKS_H

#include "../kernels/kernels.h"

enum { QB_GRID_BLOCK = 256, QB_GRID_POINTS = 64, QB_GRID_SEGMENTS = 16 }; // values; points and segments at most

// What is stored of a block: points by their numbers in the grid; bit j of signs[i]: value 8i + j is negative, or
// (iq1) bit 0: its group of 8 is moved down.
struct qb_grid_block {
    uint16_t points[QB_GRID_POINTS];
    uint8_t signs[QB_GRID_BLOCK / 8];
    int scales[QB_GRID_SEGMENTS]; // s, which stands for 2s + 1
    uint16_t d; // half
};

// Whether a block type is one of these.
int qb_grid_has(int block);

// As qb_super_quantize.
size_t qb_grid_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                        size_t count, uint8_t *out);

// The bytes of a block (gridblocks_pack.c).
void qb_grid_pack(int block, const struct qb_grid_block *s, uint8_t *out);

#endif

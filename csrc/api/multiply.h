// SPDX-License-Identifier: Apache-2.0
// The one multiply: 16 rows of weights at a time, from wherever they come, times split activations.
#ifndef QB_MULTIPLY_H
#define QB_MULTIPLY_H

#include "activations.h"

enum {
    QB_PIECE_UNITS = 128,   // units of 4 codes that 16 rows decode at a time: lines of 8 KiB
    QB_PIECE_SEGMENTS = 128,
    QB_STATE_ZEROED = 64 // bytes of a source's state that start as zero
};

// A piece of 16 rows: segments of a stretch, their codes in lines and their parameters in lanes.
struct qb_piece {
    uint8_t room[(QB_PIECE_UNITS + 16) * QB_LANES * 4]; // the first line may lie up to 7 lines in
    float d[QB_PIECE_SEGMENTS * QB_LANES], m[QB_PIECE_SEGMENTS * QB_LANES];
    int32_t z[QB_PIECE_SEGMENTS * QB_LANES];
    const uint8_t *lines;
    const uint8_t *ahead; // as struct qb_panel has it
    size_t ahead_bytes;
    // in_planes: the codes are octets of code planes, for the kernel of family "gemv"; what follows is for it too, as
    // struct qb_panel has it.
    int in_planes, doubled;
    const uint8_t *table, *half_d, *half_m;
    size_t half_step;
};

// A source of weights, 16 rows side by side. `load` fills a piece with segments [s, end) of stretch x,
// the first of which is `unit` units into it, for rows [row, row + 16); piece->in_planes is what it is asked for.
// `state` is the thread's own, `state_bytes` long, its first QB_STATE_ZEROED bytes zero at first; the pieces of a
// stretch come in order.
struct qb_weights {
    const struct qb_kernels *kernels;
    const void *self;
    const qb_format *format;
    size_t rows;
    struct qb_cut cut;
    size_t row_bytes; // of a row in memory, for choosing a number of threads
    size_t state_bytes;
    // In whole octets of planes a piece may have as many segments as this, and so many columns are multiplied at a
    // time; 0 if `load` does not leave codes there.
    size_t octet_segments, octet_columns;
    void (*load)(const struct qb_weights *w, void *state, const struct qb_stretch *x, size_t row, size_t s,
                 size_t end, size_t unit, struct qb_piece *piece);
};

// The rows of a packed matrix.
struct qb_weights qb_packed_weights(const struct qb_kernels *k, const qb_matrix *q);

// The end of the longest run of segments from s on that fits a piece, and its units.
size_t qb_piece_end(const struct qb_stretch *x, size_t s, size_t *units);

// out(n, m) as in qb_matmul, whose other arguments these are.
int qb_multiply(const struct qb_weights *w, const qb_floats *x, int planes, float *out, ptrdiff_t out_n,
                ptrdiff_t out_m);

#endif

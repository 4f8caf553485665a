// SPDX-License-Identifier: Apache-2.0
// Activations of a multiply, split into digits: a chunk of columns, a stretch of k at a time, so that
// the digits stay in the second-level cache.
#ifndef QB_ACTIVATIONS_H
#define QB_ACTIVATIONS_H

#include "../base/atomic.h"
#include "../formats/segments.h"
#include "../kernels/kernels.h"
#include "../qbits.h"

enum { QB_COLUMNS = 64 }; // in a chunk, at most

struct qb_stretch {
    const struct qb_kernels *kernels;
    const qb_floats *x;
    struct qb_cut cut;
    int planes;
    int factor;          // of sums: 1, or where zero points are all the same one, that less than 0
    size_t limit;        // units of a stretch, at most
    size_t tile;         // columns that are laid out together
    size_t column, cols; // the chunk
    size_t first, end;   // the elements of a row it covers
    size_t first_unit;   // units of the row before it
    size_t segments;
    uint32_t *units; // of each segment
    uint32_t *start; // of each segment, in elements from `first`; one more is the end
    int8_t *digits;  // these five as struct qb_activations has them, a tile after the other
    int16_t *wide;
    int32_t *sums;
    float *dx, *dxsum;
    qb_atomic_int bad[QB_COLUMNS]; // columns with a value that is not finite
};

// Words of 16-bit digits of an element.
static inline size_t qb_wide_words(int planes) { return planes == 3 ? 2 : 1; }

// Makes room for chunks of `cols` columns in tiles of `tile`, for codes of `bits` bits; 0 if there is none.
// qb_stretch_free releases it.
int qb_stretch_new(struct qb_stretch *s, const struct qb_kernels *kernels, const qb_floats *x,
                   const struct qb_cut *cut, int factor, int bits, int planes, size_t cols, size_t tile);
void qb_stretch_free(struct qb_stretch *s);

// Starts a chunk, before its first stretch. Then the next stretch is split until `end` is the row's.
void qb_stretch_chunk(struct qb_stretch *s, size_t column, size_t cols);
void qb_stretch_next(struct qb_stretch *s);

// The tile of column c, which is its first, from segment s and unit `unit` of the stretch on.
struct qb_activations qb_stretch_tile(const struct qb_stretch *x, size_t c, size_t s, size_t unit);

// Only cuts the next stretch into segments; returns the number of its blocks.
size_t qb_stretch_plan(struct qb_stretch *s);

#endif

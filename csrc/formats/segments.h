// SPDX-License-Identifier: Apache-2.0
// Where the sums along a row are cut: groups share a scale, blocks share a scale of activations, and
// segments, the parts of groups that lie in one block, are what is summed exactly in integers.
#ifndef QB_SEGMENTS_H
#define QB_SEGMENTS_H

#include "../base/checked.h"
#include "../kernels/kernels.h"

// Blocks of smaller groups gather several of them, up to at least this many elements.
#define QB_BLOCK_MIN 32

struct qb_cut {
    size_t cols;  // the length of a row
    size_t group; // at least 1
};

// The end of the segment that starts at k < cols.
static inline size_t qb_segment_end(const struct qb_cut *cut, size_t k)
{
    const size_t left = cut->group - k % cut->group;
    return k + qb_min(qb_min(left, QB_BLOCK_MAX), cut->cols - k);
}

// The end of the activation block that starts at k < cols.
static inline size_t qb_block_end(const struct qb_cut *cut, size_t k)
{
    if (cut->group >= QB_BLOCK_MIN) return qb_segment_end(cut, k);
    const size_t whole = qb_ceil_div(QB_BLOCK_MIN, cut->group) * cut->group;
    return k + qb_min(whole, cut->cols - k);
}

#endif

// SPDX-License-Identifier: Apache-2.0
// What the searches of block types begin with: sixteen runs of values side by side, and codebooks.
#ifndef QB_RUNS_H
#define QB_RUNS_H

#include "../kernels/kernels.h"

enum { QB_RUN_MOST = 32 }; // values of a run

// At most 16 runs of n values, and of weights (or NULL), in the layout of the search kernels; lanes that are missing are
// zeros. Weights of a lane are scaled so that sums stay finite; where all are zero they count as ones.
void qb_runs_stage(const struct qb_kernels *k, const float *x, const float *w, size_t runs, size_t n, float *x16,
                   float *w16);

// A codebook of 16 ascending levels; values come in units of 1/scale of theirs.
void qb_book_open(const float *levels, float scale, struct qb_book *book);

#endif

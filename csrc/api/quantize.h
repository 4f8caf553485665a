// SPDX-License-Identifier: Apache-2.0
// One call of qb_quantize: what its files share.
#ifndef QB_QUANTIZE_H
#define QB_QUANTIZE_H

#include "../formats/affine.h"
#include "../formats/stored.h"
#include "floats.h"
#include "packer.h"

enum {
    QB_TILE = QB_PACKER_ROOM, // floats staged at a time
    QB_GROUP_IN_TILE = 512,  // the longest group of which QB_LANES fit a tile
    QB_GROUPS_AT_ONCE = 1024 // groups of a tile, at most
};

// Small enough to come from the heap without a system call.
struct qb_work {
    float tile[QB_TILE];
    float *x16, *w16; // lane layout, of QB_TILE floats; for searches only
    float d[QB_GROUPS_AT_ONCE], m[QB_GROUPS_AT_ONCE], z[QB_GROUPS_AT_ONCE], inv[QB_GROUPS_AT_ONCE];
    float lo[QB_GROUPS_AT_ONCE], hi[QB_GROUPS_AT_ONCE];
    struct qb_packer codes, zeros;
    uint8_t packed[QB_TILE + 8], *to; // where codes are streamed: on their way, and where they go
};

struct qb_job {
    const struct qb_kernels *k;
    qb_floats x;
    qb_matrix out;
    int search;
    const float *importance;
    size_t importance_stride;
    int zero_nonfinite;
    int streamed; // codes are written past the cache
    qb_fault *fault;
    struct qb_params params; // arrays of work
    struct qb_work *work;
};

// Notes where the data was refused; returns the status.
int qb_job_refuse(struct qb_job *j, int status, size_t row, size_t col, double value);

// n <= QB_TILE floats of a row, with what is not finite refused or replaced by zero.
const float *qb_job_floats(struct qb_job *j, size_t row, size_t col, size_t n, int *status);

// Codes of x[0..n), whose groups' parameters start at the first-th, to the packed row.
void qb_job_encode(struct qb_job *j, const float *x, size_t n, size_t group, size_t first);

// A hint to fetch one of three parts of n floats.
void qb_fetch_third(const float *x, size_t n, size_t third);

// The first n parameters to the output, as those of groups from the at-th on.
void qb_job_store(struct qb_job *j, size_t at, size_t n);

// Searches better parameters for the groups of x, which is row `row` from column `col` on.
void qb_job_search(struct qb_job *j, size_t row, size_t col, const float *x, size_t n, size_t group);

// Ends a packed row of codes.
void qb_job_end_codes(struct qb_job *j);

// Codes, and zero points, go to row `row` from its first-th group on, until the end.
void qb_job_start(struct qb_job *j, size_t row, size_t first);
void qb_job_end(struct qb_job *j);

// Rows [row, end) of groups that do not fit a tile; one row stands for a whole tensor with one scale.
int qb_quantize_long(struct qb_job *j, size_t row, size_t end);

// The whole call where the output is of a block type.
int qb_quantize_blocks(const struct qb_job *job);

#endif

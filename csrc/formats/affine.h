// SPDX-License-Identifier: Apache-2.0
// The affine formats: how the range of a group becomes its scale, minimum and zero point. The text is
// csrc/README.md, "Round to nearest" and "Searches".
#ifndef QB_AFFINE_H
#define QB_AFFINE_H

#include "../kernels/kernels.h"
#include "../qbits.h"

// Parameters of a run of groups, arrays of one float a group. They are effective: the float values of
// what is stored. inv = 1/d is what codes are rounded with. z and m are zero where the kind has none.
struct qb_params {
    float *d, *m, *z, *inv;
};

// Levels are codes less the zero point: two's complement symmetric codes, q - z, or q.
float qb_lowest_level(const qb_format *format);
float qb_highest_level(const qb_format *format);

// One-bit formats without a zero point take means, not ranges.
int qb_affine_takes_means(const qb_format *format);

// What a one-bit group's parameters are derived from; a group may be added piece by piece.
struct qb_means {
    double sum, below, above; // of x (symmetric: of |x|); of the x < split; of the others
    size_t n, n_below;
    float split; // mean of x
};
void qb_means_first(const qb_format *format, struct qb_means *s, const float *x, size_t n);
void qb_means_split(struct qb_means *s); // between the two passes; only minimum formats need the second
void qb_means_second(struct qb_means *s, const float *x, size_t n);
void qb_affine_from_means(const qb_format *format, const struct qb_means *s, float lo, float hi, float *d,
                          float *m);

// What the parameters of groups derive from, as kernels.h has it: the extremes, in hi, where the format is
// symmetric; least and greatest value otherwise. Nonzero if not every x is finite.
int qb_affine_ends(const struct qb_kernels *k, const qb_format *format, const float *x, size_t n,
                   size_t group, float *lo, float *hi);
float qb_affine_farthest(const qb_format *format, float lo, float hi); // the end of larger magnitude

// Unrounded d and m of n groups from their ends.
void qb_affine_from_ends(const qb_format *format, const float *lo, const float *hi, size_t n,
                         const struct qb_params *p);

// Rounds d and m to the scale type, derives inv and z, turns groups without a usable inverse into zero
// groups. Returns the first group whose d or m is infinite, n if there is none.
size_t qb_affine_settle(const struct qb_kernels *k, const qb_format *format, const float *lo, size_t n,
                        const struct qb_params *p);

// ---- searches (affine_search.c) --------------------------------------------------------------------

// The values a search looks at, in the lane layout of the fit kernel: either QB_LANES groups side by
// side, or one group dealt to the lanes (one_group). The data may come in pieces: `piece` points *x and
// *w (NULL: ones) at the i-th and returns its length per lane.
struct qb_samples {
    const struct qb_kernels *k;
    void *self;
    size_t (*piece)(void *self, size_t i, const float **x, const float **w);
    size_t pieces;
    int one_group;
    double weight[QB_LANES]; // sum of w, or the number of values, per group
    double sum[QB_LANES];    // sum of w*x, or of x
};
void qb_samples_sum(struct qb_samples *s); // fills in the last two

float qb_greatest_weight(const float *w, size_t n);

// A power of two that brings weights up to `greatest` below 1, so that sums of products with them do
// not overflow; 0 where all are zero, which then count as ones.
float qb_weight_scale(float greatest);

// Looks for parameters of lower (weighted) squared error than those of round to nearest, which p holds
// (QB_LANES groups, one_group: the first). Leaves p as it is where it finds none.
void qb_affine_search(const struct qb_samples *s, const qb_format *format, int search,
                      const struct qb_params *p);

// The same for the one-bit symmetric format.
void qb_affine_search_sign(const struct qb_samples *s, const qb_format *format, int search,
                           const struct qb_params *p);

#endif

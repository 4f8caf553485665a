// SPDX-License-Identifier: Apache-2.0
// Searches for the block types iq4_nl and iq4_xs, whose codes are indices of 16 unequal levels.
#ifndef QB_CODEBOOK_H
#define QB_CODEBOOK_H

#include "../kernels/kernels.h"

// As qb_super_quantize.
size_t qb_codebook_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                            size_t count, uint8_t *out);

#endif

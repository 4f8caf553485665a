// SPDX-License-Identifier: Apache-2.0
// Searches for the block type nvfp4: numbers of 4 bits, of which each 16 share a scale of 8 bits.
#ifndef QB_FP4_H
#define QB_FP4_H

#include "../kernels/kernels.h"

// As qb_super_quantize.
size_t qb_fp4_quantize(const struct qb_kernels *k, int search, const float *x, const float *w, size_t count,
                       uint8_t *out);

#endif

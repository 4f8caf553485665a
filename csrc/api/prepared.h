// SPDX-License-Identifier: Apache-2.0
// Reading a panel of a prepared matrix.
#ifndef QB_PREPARED_H
#define QB_PREPARED_H

#include "../formats/panels.h"
#include "../formats/stored.h"
#include "multiply.h"

int qb_prepared_check(const qb_format *format, size_t rows, size_t cols, struct qb_panel_layout *layout);

// qb_prepared_matmul of a matrix that was checked, whose layout this is.
int qb_prepared_multiply(const qb_prepared *p, const struct qb_panel_layout *layout, const qb_floats *x, int planes,
                         float *out, ptrdiff_t out_n, ptrdiff_t out_m);

// Fills a piece with segments [s, end) of a stretch, which start `unit` units into it; if piece->in_planes, they stay
// where they are, and so do parameters that are binary16.
void qb_prepared_piece(const struct qb_kernels *k, const struct qb_panel_layout *layout, const qb_format *format,
                       const uint8_t *panel, const struct qb_stretch *x, size_t s, size_t end, size_t unit,
                       struct qb_piece *piece);

#endif

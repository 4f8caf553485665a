// SPDX-License-Identifier: Apache-2.0
// Block types to panels and back.
#ifndef QB_PREPARE_BLOCKS_H
#define QB_PREPARE_BLOCKS_H

#include "../formats/panels.h"

// Fills the panel of rows [row, row + 16), as far as there are.
void qb_prepare_blocks(const struct qb_kernels *k, const qb_matrix *q, const struct qb_panel_layout *layout, size_t row,
                       uint8_t *panel);

// Rows [lane, lane + rows) of a panel to rows of `out` from the row-th on.
void qb_unprepare_blocks(const struct qb_kernels *k, const struct qb_panel_layout *layout, const uint8_t *panel,
                         size_t lane, size_t rows, const qb_matrix *out, size_t row);

#endif

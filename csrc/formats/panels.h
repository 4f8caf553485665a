// SPDX-License-Identifier: Apache-2.0
// Where things lie in a prepared matrix. Rows go in panels of 16; a panel holds, each part starting on
// a multiple of 64 bytes as the panel itself does: the scales, then the minima, of its groups
// ([groups][16] of the scale type), its zero points (16 packed codes a group), and its codes. Each
// segment of a row (csrc/README.md) is cut into units of 4 codes, the last of them filled up; a line is a
// unit of 16 rows, row by row; 8 lines are an octet, stored as planes (kernels/planes_scalar.c) of the
// format's width: the folded rows (kernels/fold_scalar.c) side by side. Of block types
// (formats/block_fields.h) a panel holds the fields of its blocks, then their stored codes; of those that are
// not taken apart, the blocks of 16 rows one after the other. The same bytes serve every tier.
#ifndef QB_PANELS_H
#define QB_PANELS_H

#include "../qbits.h"
#include "segments.h"

enum { QB_LINE = 4 * QB_LANES, QB_OCTET = 8 }; // bytes of a line, lines of an octet

struct qb_panel_layout {
    struct qb_cut cut;
    size_t groups; // of a row
    size_t units;  // of a row
    int bits;      // of a code in its planes; 0: blocks are kept whole
    size_t fields; // block types: bytes of 16 blocks' fields, or of the blocks, which lie where others have scales
    size_t scales_bytes, zeros_bytes; // as they are padded
    size_t mins, zeros, codes;        // offsets
    size_t bytes;                     // of a panel
};

// Lays out the panels of a format; returns 0 where a size does not fit size_t.
int qb_panel_layout(const qb_format *format, size_t rows, size_t cols, struct qb_panel_layout *out);

#endif

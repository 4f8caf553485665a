// SPDX-License-Identifier: Apache-2.0
// The code widths. Kernels are written once over `const int bits` and stamped by this list.
#ifndef QB_WIDTHS_H
#define QB_WIDTHS_H

#define QB_MAX_BITS 8
#define QB_WIDTHS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)

// The widths that are really packed: at 8 bits packing is a copy.
#define QB_SUB_BYTE_WIDTHS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

#endif

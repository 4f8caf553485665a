// SPDX-License-Identifier: Apache-2.0
// Defines the integer sums of two quantized rows: exact, so that any order gives them.
#include "kernels.h"

void qb_dot_scalar(const uint8_t *a, const uint8_t *b, size_t n, size_t seg, int32_t *sums)
{
    for (size_t i = 0; i < n; sums += 3) {
        int32_t ab = 0, sa = 0, sb = 0;
        const size_t end = n - i < seg ? n : i + seg;
        for (; i < end; i++) {
            ab += (int32_t)a[i] * b[i];
            sa += a[i];
            sb += b[i];
        }
        sums[0] = ab;
        sums[1] = sa;
        sums[2] = sb;
    }
}

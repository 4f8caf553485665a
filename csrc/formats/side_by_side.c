// SPDX-License-Identifier: Apache-2.0
// Units of 4 bytes are a kernel's, and so are halves of them; bytes are taken apart here, in loops that become vectors.
#include "side_by_side.h"

#include "../base/checked.h"

#include <string.h>

enum { LINE = 4 * QB_LANES, RUN = 16 }; // bytes, lines at a time

static void part_bytes(const uint8_t *line, uint8_t *out)
{
    for (size_t i = 0; i < 4; i++)
        for (size_t r = 0; r < QB_LANES; r++) out[i * QB_LANES + r] = line[r * 4 + i];
}

void qb_side_by_side(const struct qb_kernels *k, const uint8_t *rows, size_t stride, size_t size, size_t count,
                     uint8_t *out)
{
    if (size == 4) {
        k->interleave(rows, stride, count * 4, out);
        return;
    }
    if (size == 2) {
        k->interleave_halves(rows, stride, count, out);
        return;
    }
    uint8_t lines[RUN * LINE], last[LINE];
    for (size_t left = count, n; left; left -= n, rows += n) {
        n = qb_min(left, RUN * 4);
        k->interleave(rows, stride, n, lines);
        for (size_t at = 0; at < n; at += 4) {
            const size_t bytes = qb_min(n - at, 4) * QB_LANES;
            uint8_t *const to = bytes == LINE ? out : last;
            part_bytes(lines + at * QB_LANES, to);
            if (to == last) memcpy(out, last, bytes);
            out += bytes;
        }
    }
}

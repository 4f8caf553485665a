// SPDX-License-Identifier: Apache-2.0
// Defines the code planes of prepared matrices. An octet is 8 lines (units of 4 codes of 16 rows); its
// codes of b bits become b lines: a plane of nibbles (4 lines) where b has a 4, then one of bit pairs
// (2 lines), then one of single bits (1 line), lower bits first; 8 bits stay 8 lines. In a plane of p
// bits with L lines, byte i of line j holds byte i of lines j, j + L, j + 2L ... from the low bits up.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

enum { LINE = 4 * QB_LANES };

QB_INLINE void unpack_plane(const uint8_t *in, uint8_t *lines, const int shift, const int width)
{
    const uint8_t mask = (uint8_t)((1 << width) - 1);
    const int count = width; // of lines
    for (int unit = 0; unit < 8; unit++)
        for (int i = 0; i < LINE; i++)
            lines[unit * LINE + i] |= (uint8_t)((in[unit % count * LINE + i] >> unit / count * width & mask) << shift);
}

void qb_planes_unpack_scalar(const uint8_t *in, size_t octets, int bits, uint8_t *lines)
{
    if (bits == 8) {
        memcpy(lines, in, octets * 8 * LINE);
        return;
    }
    memset(lines, 0, octets * 8 * LINE);
    for (; octets--; lines += 8 * LINE) {
        int shift = 0;
        for (int width = 4; width; width /= 2) {
            if (!(bits & width)) continue;
            unpack_plane(in, lines, shift, width);
            shift += width;
            in += width * LINE;
        }
    }
}

void qb_look_up_scalar(const uint8_t *table, size_t n, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) codes[i] = table[codes[i]];
}

// SPDX-License-Identifier: Apache-2.0
// Defines how codes of one row are folded into planes: as planes_scalar.c says of 16 rows, with lines of one unit, so
// that 16 folded rows side by side, unit by unit, are the planes of the 16.
#include "kernels.h"

#include <string.h>

enum { UNIT = 4, OCTET = 8 * UNIT }; // codes

static void fold_plane(const uint8_t *codes, uint8_t *out, int shift, int width)
{
    memset(out, 0, (size_t)width * UNIT);
    for (int i = 0; i < OCTET; i++) {
        const int unit = i / UNIT, bits = codes[i] >> shift & ((1 << width) - 1);
        out[unit % width * UNIT + i % UNIT] |= (uint8_t)(bits << unit / width * width);
    }
}

void qb_fold_codes_scalar(const uint8_t *codes, size_t octets, int bits, uint8_t *out)
{
    if (bits == 8) {
        memcpy(out, codes, octets * OCTET);
        return;
    }
    for (; octets--; codes += OCTET) {
        for (int width = 4, shift = 0; width; width /= 2) {
            if (!(bits & width)) continue;
            fold_plane(codes, out, shift, width);
            shift += width;
            out += width * UNIT;
        }
    }
}

#define X(bits)                                                                                   \
    void qb_fold_u##bits##_scalar(const uint8_t *in, size_t stride, size_t octets, uint8_t flip,  \
                                  uint8_t *planes)                                                \
    {                                                                                             \
        uint8_t codes[OCTET], folded[QB_LANES][OCTET];                                            \
        for (; octets--; in += bits * UNIT, planes += bits * UNIT * QB_LANES) {                   \
            for (size_t row = 0; row < QB_LANES; row++) {                                         \
                qb_unpack_u##bits##_scalar(in + row * stride, OCTET, flip, 0, codes);             \
                qb_fold_codes_scalar(codes, 1, bits, folded[row]);                                \
            }                                                                                     \
            qb_interleave_scalar(folded[0], OCTET, bits * UNIT, planes);                          \
        }                                                                                         \
    }
QB_WIDTHS(X)
#undef X

void qb_interleave_halves_scalar(const uint8_t *rows, size_t stride, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++)
        for (size_t row = 0; row < QB_LANES; row++, out += 2) memcpy(out, rows + row * stride + 2 * i, 2);
}

// SPDX-License-Identifier: Apache-2.0
#include "runs.h"

#include "affine.h"

#include <math.h>
#include <string.h>

void qb_runs_stage(const struct qb_kernels *k, const float *x, const float *w, size_t runs, size_t n, float *x16,
                   float *w16)
{
    float padded[QB_LANES * QB_RUN_MOST];
    if (runs < QB_LANES) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, x, runs * n * sizeof *x);
        x = padded;
    }
    k->interleave((const uint8_t *)x, n * sizeof *x, n * sizeof *x, (uint8_t *)x16);
    for (size_t lane = 0; w && lane < QB_LANES; lane++) {
        const float *const from = lane < runs ? w + lane * n : w;
        const float scale = lane < runs ? qb_weight_scale(qb_greatest_weight(from, n)) : 0;
        for (size_t i = 0; i < n; i++) w16[i * QB_LANES + lane] = scale == 0 ? 1.0f : from[i] * scale;
    }
}

void qb_book_open(const float *levels, float scale, struct qb_book *book)
{
    memset(book->first, -128, sizeof book->first);
    memset(book->second, -128, sizeof book->second);
    int passed[16] = {0}; // middles up to the end of each range
    for (int j = 0; j < 16; j++) book->levels[j] = (int8_t)levels[j];
    for (int j = 0; j < 15; j++) {
        const int middle = (int)floorf(scale * 0.5f * (levels[j] + levels[j + 1]) + 0.5f), range = (middle + 128) >> 4;
        int8_t *const at = book->first[range] == -128 ? book->first : book->second;
        at[range] = (int8_t)middle;
        for (int r = range; r < 16; r++) passed[r]++;
    }
    for (int r = 0; r < 16; r++) book->top[r] = (uint8_t)passed[r];
}

// SPDX-License-Identifier: Apache-2.0
// Which search a block type has. The longer search of a block need not be the better one: it looks at more, but settles
// what belongs together in the same order. So "best" makes both blocks, and keeps the one with the lower error.
#include "block_search.h"

#include "../base/checked.h"
#include "blocks.h"
#include "codebook.h"
#include "fp4.h"
#include "gridblocks.h"
#include "superblocks.h"

#include <string.h>

enum { MOST_BYTES = QB_BLOCK_TILE + QB_BLOCK_TILE / 8, MOST_ELEMENTS = 256, MOST_SEGMENTS = 16 };

static size_t by_kind(const struct qb_kernels *k, int block, int search, const float *x, const float *w, size_t count,
                      uint8_t *to)
{
    if (block == QB_BLOCK_iq4_nl || block == QB_BLOCK_iq4_xs)
        return qb_codebook_quantize(k, block, search, x, w, count, to);
    if (block == QB_BLOCK_nvfp4) return qb_fp4_quantize(k, search, x, w, count, to);
    if (qb_grid_has(block)) return qb_grid_quantize(k, block, search, x, w, count, to);
    return qb_super_quantize(k, block, search, x, w, count, to);
}

// The squared error of one block; weights count as ones where all are zero.
static double error_of(const struct qb_kernels *k, const qb_block_type *type, const uint8_t *from, const float *x,
                       const float *w)
{
    const qb_format *const format = &type->format;
    const size_t n = type->elements, segments = n / format->group;
    const int has_min = format->zero == QB_ZERO_MIN;
    uint8_t codes[MOST_ELEMENTS];
    float d[MOST_SEGMENTS], m[MOST_SEGMENTS], z[MOST_SEGMENTS], y[MOST_ELEMENTS];
    for (size_t i = 0; i < segments; i++) z[i] = qb_block_zero(format);
    qb_block_codes(k, format, from, 0, n, codes);
    qb_block_params(k, format, from, 0, segments, d, has_min ? m : NULL);
    k->decode(codes, n, format->group, d, z, has_min ? m : NULL, y);
    double sum = 0, weight = 0, weighted = 0;
    for (size_t i = 0; i < n; i++) {
        const double e = (double)x[i] - (double)y[i];
        sum += e * e;
        weight += w ? (double)w[i] : 0;
        weighted += w ? (double)w[i] * (e * e) : 0;
    }
    return weight > 0 ? weighted : sum;
}

size_t qb_block_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                         size_t count, uint8_t *to)
{
    if (k->block_encode[block]) return k->block_encode[block](x, count, to);
    const size_t done = by_kind(k, block, search, x, w, count, to);
    if (search != QB_SEARCH_BEST) return done;
    const qb_block_type *const type = qb_block_type_of(block);
    uint8_t other[MOST_BYTES];
    const size_t both = qb_min(done, by_kind(k, block, QB_SEARCH_MSE, x, w, count, other));
    for (size_t i = 0; i < both; i++, x += type->elements) {
        const uint8_t *const plain = other + i * type->bytes;
        uint8_t *const best = to + i * type->bytes;
        const float *const weights = w ? w + i * type->elements : NULL;
        const double error = error_of(k, type, plain, x, weights);
        if (error < error_of(k, type, best, x, weights)) memcpy(best, plain, type->bytes);
    }
    return done;
}

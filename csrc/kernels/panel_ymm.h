// SPDX-License-Identifier: Apache-2.0
// The multiply of any number of columns in 8 lanes, in tiles of up to 6 words, over what a tier defines before
// it includes this in its target region: IN_NIBBLES(bits), whether codes are multiplied as two nibbles, and
// sum_<words>(lines, bits, digits, step, units, total), exact sums over `units` units of codes (or nibbles)
// times that many words of digits a unit, which lie `step` apart: total[2*j], total[2*j + 1] are those of word
// j and rows 0..7, 8..15.
#include "matmul_ymm.h"

// Tiles take as many segments at once as have their digits in NEAR bytes.
enum { MAX_UNITS = QB_BLOCK_MAX / 4, NEAR = 8192 };

// A few segments, [segment, end), and the first column of a tile.
struct span {
    size_t segment, end, col;
    const uint8_t *lines; // codes, or their low nibbles
    const uint8_t *high;  // high nibbles, or NULL
    const int8_t *digits; // of the column
    size_t fetch;         // lines to fetch ahead with each segment
};

// A span times `width` columns; words = width * planes.
#define TILE(planes, width, words)                                                                \
    static void tile_##planes##x##width(const struct qb_panel *w, const struct qb_activations *x, \
                                        const struct span *span, float *acc)                      \
    {                                                                                             \
        const size_t step = x->cols * planes * 4;                                                 \
        const int8_t *digits = span->digits;                                                      \
        size_t line = 0;                                                                          \
        __m256 out[2 * width];                                                                    \
        QB_UNROLL for (size_t j = 0; j < 2 * width; j++) out[j] = _mm256_loadu_ps(acc + 8 * j);   \
        for (size_t s = span->segment; s < span->end; s++) {                                      \
            const size_t units = w->units[s];                                                     \
            __m256i total[2 * words];                                                             \
            for (size_t i = s * span->fetch; i < (s + 1) * span->fetch; i++)                      \
                QB_PREFETCH(w->ahead + i * LINE);                                                 \
            sum_##words(span->lines + line, w->bits, digits, step, units, total);                 \
            if (span->high) {                                                                     \
                __m256i high[2 * words];                                                          \
                sum_##words(span->high + line, w->bits, digits, step, units, high);               \
                QB_UNROLL for (int j = 0; j < 2 * words; j++)                                     \
                    total[j] = _mm256_add_epi32(total[j], _mm256_slli_epi32(high[j], 4));         \
            }                                                                                     \
            end_segment(planes, width, 0, w, x, s, s * x->cols + span->col, total, out);          \
            line += units * LINE;                                                                 \
            digits += units * step;                                                               \
        }                                                                                         \
        QB_UNROLL for (size_t j = 0; j < 2 * width; j++) _mm256_storeu_ps(acc + 8 * j, out[j]);   \
    }
TILE(1, 6, 6)
TILE(1, 4, 4)
TILE(1, 2, 2)
TILE(1, 1, 1)
TILE(2, 3, 6)
TILE(2, 2, 4)
TILE(2, 1, 2)
TILE(3, 2, 6)
TILE(3, 1, 3)

// The tiles of each number of planes, widest first.
static const struct {
    size_t width;
    void (*tile)(const struct qb_panel *, const struct qb_activations *, const struct span *,
                 float *);
} tiles[4][4] = {
    [1] = {{6, tile_1x6}, {4, tile_1x4}, {2, tile_1x2}, {1, tile_1x1}},
    [2] = {{3, tile_2x3}, {2, tile_2x2}, {1, tile_2x1}},
    [3] = {{2, tile_3x2}, {1, tile_3x1}},
};

static void split_nibbles(const uint8_t *codes, size_t bytes, uint8_t *low, uint8_t *high)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    for (size_t i = 0; i < bytes; i += 32) {
        const __m256i both = load(codes + i);
        store(low + i, _mm256_and_si256(both, nibble));
        store(high + i, _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble));
    }
}

static void panel(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    const size_t planes = (size_t)x->planes, step = x->cols * planes * 4;
    uint8_t low[MAX_UNITS * LINE], high[MAX_UNITS * LINE];
    struct span span = {.lines = w->lines};
    const int8_t *digits = x->digits;
    for (const uint8_t *lines = w->lines; span.segment < w->segments; span.segment = span.end) {
        size_t units = w->units[span.segment];
        for (span.end = span.segment + 1; span.end < w->segments; units += w->units[span.end++]) {
            const size_t more = units + w->units[span.end];
            if (more > MAX_UNITS || more * step > NEAR) break;
        }
        span.lines = lines;
        if (IN_NIBBLES(w->bits)) {
            split_nibbles(lines, units * LINE, low, high);
            span.lines = low;
            span.high = high;
        }
        size_t tile = 0;
        span.fetch = w->ahead_bytes / LINE / w->segments; // with the first tile
        for (span.col = 0; span.col < x->cols; span.col += tiles[planes][tile].width) {
            while (x->cols - span.col < tiles[planes][tile].width) tile++;
            span.digits = digits + span.col * planes * 4;
            tiles[planes][tile].tile(w, x, &span, acc + span.col * QB_LANES);
            span.fetch = 0;
        }
        lines += units * LINE;
        digits += units * step;
    }
}


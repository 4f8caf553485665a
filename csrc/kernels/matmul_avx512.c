// SPDX-License-Identifier: Apache-2.0
// The multiply in 16 lanes: a line of 64 bytes (16 rows, 4 codes each) is one register, and
// vpdpbusd adds its products with a word of 4 digits, broadcast from memory, to 32-bit sums:
// unsigned times signed bytes of any value, no saturation, so that every code width takes the same
// path. Accumulators are arrays of literal size in stamped functions: otherwise gcc leaves them in
// memory.
#include "matmul_avx512.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

// Tiles take as many segments at once as have their digits in NEAR bytes.
enum { NEAR = 8192, MAX_WORDS = 12 };

// A few segments, [segment, end), and the first column of a tile.
struct span {
    size_t segment, end, col;
    const uint8_t *lines;
    const int8_t *digits; // of the column
    size_t fetch;         // lines to fetch ahead with each segment
};

// What the sum of a word starts from, where zero points are all the same.
QB_INLINE sums32 start_of(const struct qb_panel *w, const int32_t *sum)
{
    return to_sums(w->z ? _mm512_setzero_si512() : broadcast(sum));
}

// Adds what segment s gives to the sums of `width` columns, the first of which has the parameters number `at`.
QB_INLINE void end_segment(const int planes, const size_t width, const struct qb_panel *w,
                           const struct qb_activations *x, size_t s, size_t at, const sums32 *total, __m512 *out)
{
    const int32_t *const sums = x->sums + at * (size_t)planes;
    const __m512 d = _mm512_loadu_ps(w->d + s * QB_LANES);
    __m512i a[MAX_WORDS];
    QB_UNROLL for (size_t j = 0; j < (size_t)planes * width; j++) a[j] = from_sums(total[j]);
    if (w->z) {
        const __m512i z = _mm512_loadu_si512(w->z + s * QB_LANES);
        QB_UNROLL for (size_t j = 0; j < (size_t)planes * width; j++) a[j] = without_zero(a[j], z, sums + j);
    }
    QB_UNROLL for (size_t c = 0; c < width; c++) {
        const __m512 t = join_planes(planes, a + (size_t)planes * c);
        out[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x->dx[at + c])), t, out[c]);
    }
    if (!w->m) return;
    const __m512 m = _mm512_loadu_ps(w->m + s * QB_LANES);
    QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->dxsum[at + c]), out[c]);
}

// A span times `width` columns; words = width * planes words of digits a unit.
#define TILE(planes, width, words)                                                                \
    static void tile_##planes##x##width(const struct qb_panel *w, const struct qb_activations *x, \
                                        const struct span *span, float *acc)                      \
    {                                                                                             \
        const size_t step = x->cols * planes * 4;                                                 \
        const int8_t *digits = span->digits;                                                      \
        const uint8_t *line = span->lines;                                                        \
        __m512 out[width];                                                                        \
        QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = _mm512_loadu_ps(acc + QB_LANES * c);\
        for (size_t s = span->segment; s < span->end; s++) {                                      \
            for (size_t i = s * span->fetch; i < (s + 1) * span->fetch; i++)                      \
                QB_PREFETCH(w->ahead + i * LINE);                                                 \
            sums32 total[words];                                                                  \
            QB_UNROLL for (size_t j = 0; j < words; j++)                                          \
                total[j] = start_of(w, x->sums + (s * x->cols + span->col) * planes + j);         \
            for (const uint8_t *const end = line + w->units[s] * LINE; line < end; line += LINE) {\
                const __m512i codes = _mm512_loadu_si512(line);                                   \
                QB_UNROLL for (size_t j = 0; j < words; j++)                                      \
                    total[j] = add_dots(total[j], codes, broadcast(digits + 4 * j));              \
                digits += step;                                                                   \
            }                                                                                     \
            end_segment(planes, width, w, x, s, s * x->cols + span->col, total, out);             \
        }                                                                                         \
        QB_UNROLL for (size_t c = 0; c < width; c++) _mm512_storeu_ps(acc + QB_LANES * c, out[c]);\
    }
TILE(1, 12, 12)
TILE(1, 8, 8)
TILE(1, 4, 4)
TILE(1, 2, 2)
TILE(1, 1, 1)
TILE(2, 6, 12)
TILE(2, 4, 8)
TILE(2, 2, 4)
TILE(2, 1, 2)
TILE(3, 4, 12)
TILE(3, 2, 6)
TILE(3, 1, 3)

// The tiles of each number of planes, widest first.
static const struct {
    size_t width;
    void (*tile)(const struct qb_panel *, const struct qb_activations *, const struct span *,
                 float *);
} tiles[4][5] = {
    [1] = {{12, tile_1x12}, {8, tile_1x8}, {4, tile_1x4}, {2, tile_1x2}, {1, tile_1x1}},
    [2] = {{6, tile_2x6}, {4, tile_2x4}, {2, tile_2x2}, {1, tile_2x1}},
    [3] = {{4, tile_3x4}, {2, tile_3x2}, {1, tile_3x1}},
};

void qb_panel_avx512(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    const size_t planes = (size_t)x->planes, step = x->cols * planes * 4;
    const int8_t *digits = x->digits;
    struct span span = {.lines = w->lines};
    for (; span.segment < w->segments; span.segment = span.end) {
        size_t units = w->units[span.segment];
        for (span.end = span.segment + 1; span.end < w->segments; units += w->units[span.end++])
            if ((units + w->units[span.end]) * step > NEAR) break;
        size_t tile = 0;
        span.fetch = w->ahead_bytes / LINE / w->segments; // with the first tile
        for (span.col = 0; span.col < x->cols; span.col += tiles[planes][tile].width) {
            while (x->cols - span.col < tiles[planes][tile].width) tile++;
            span.digits = digits + span.col * planes * 4;
            tiles[planes][tile].tile(w, x, &span, acc + span.col * QB_LANES);
            span.fetch = 0;
        }
        span.lines += units * LINE;
        digits += units * step;
    }
}

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// The multiply of any number of columns in 8 lanes, in tiles of up to 6 words. A tier makes tiles (TILE) of one kind or
// more, and gives those that fit to multiply_panel.
// A kind is made of <kind>_sum_<words>(lines, digits, step, count, total), which adds exact sums over `count` lines of
// codes times that many words of digits each, `step` bytes apart: total[2*j], total[2*j + 1] are those of
// word j and rows 0..7, 8..15. Of a kind that is FRESH it sets them.
#ifndef QB_PANEL_YMM_H
#define QB_PANEL_YMM_H

#include "matmul_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// Tiles take as many segments at once as have their digits in NEAR bytes.
enum { MAX_UNITS = QB_BLOCK_MAX / 4, NEAR = 8192 };

enum sums { STARTED, FRESH, WIDE };

// Adds what segment s gives to the sums of `width` columns, the first of which has the parameters number `at`.
// WIDE: as join_words has it, and `total` is without zero points.
QB_INLINE void end_segment(const int planes, const size_t width, const enum sums kind, const struct qb_panel *w,
                           const struct qb_activations *x, size_t s, size_t at, __m256i *total, __m256 *out)
{
    const int wide = kind == WIDE;
    const size_t words = (size_t)(wide ? (planes + 1) / 2 : planes), lane = s * QB_LANES;
    const int32_t *const sums = x->sums + at * (size_t)planes;
    if (w->z && !wide) {
        const __m256i z[2] = {load(w->z + lane), load(w->z + lane + 8)};
        QB_UNROLL for (size_t j = 0; j < 2 * words * width; j++) take_zero_off(z[j % 2], sums + j / 2, total + j);
    } else if (kind == FRESH) {
        QB_UNROLL for (size_t j = 0; j < 2 * words * width; j++)
            total[j] = _mm256_add_epi32(total[j], broadcast(sums + j / 2));
    }
    const __m256 d[2] = {_mm256_loadu_ps(w->d + lane), _mm256_loadu_ps(w->d + lane + 8)};
    QB_UNROLL for (size_t j = 0; j < 2 * width; j++) {
        const size_t c = j / 2, half = j % 2;
        const __m256 t = join_words(planes, wide, total + 2 * words * c + half);
        out[j] = _mm256_fmadd_ps(_mm256_mul_ps(d[half], _mm256_set1_ps(x->dx[at + c])), t, out[j]);
    }
    if (!w->m) return;
    const __m256 m[2] = {_mm256_loadu_ps(w->m + lane), _mm256_loadu_ps(w->m + lane + 8)};
    QB_UNROLL for (size_t j = 0; j < 2 * width; j++)
        out[j] = _mm256_fmadd_ps(m[j % 2], _mm256_set1_ps(x->dxsum[at + j / 2]), out[j]);
}

// A few segments, [segment, end), and the first column of a tile.
struct span {
    size_t segment, end, col;
    const uint8_t *lines;  // codes
    const uint8_t *digits; // of the column
    size_t step;           // bytes from those of one line to the next
    size_t fetch;          // lines to fetch ahead with each segment
};

// A span times `width` columns of `words` words altogether. WIDE sums: codes less their zero points and digits are of
// 16 bits, and a unit is two lines.
#define TILE(kind, sums_are, planes, width, words)                                                \
    static void kind##_##planes##x##width(const struct qb_panel *w, const struct qb_activations *x, \
                                          const struct span *span, float *acc)                    \
    {                                                                                             \
        const size_t step = span->step;                                                           \
        const uint8_t *digits = span->digits, *lines = span->lines;                               \
        __m256 out[2 * width];                                                                    \
        QB_UNROLL for (size_t j = 0; j < 2 * width; j++) out[j] = _mm256_loadu_ps(acc + 8 * j);   \
        for (size_t s = span->segment; s < span->end; s++) {                                      \
            const size_t count = (size_t)w->units[s] << (sums_are == WIDE);                       \
            __m256i total[2 * words];                                                             \
            QB_UNROLL for (size_t j = 0; j < 2 * words; j++)                                      \
                total[j] = sums_are != STARTED || w->z                                            \
                               ? _mm256_setzero_si256()                                           \
                               : broadcast(x->sums + (s * x->cols + span->col) * planes + j / 2); \
            for (size_t i = s * span->fetch; i < (s + 1) * span->fetch; i++)                      \
                QB_PREFETCH(w->ahead + i * LINE);                                                 \
            kind##_sum_##words(lines, digits, step, count, total);                                \
            end_segment(planes, width, sums_are, w, x, s, s * x->cols + span->col, total, out);   \
            lines += count * LINE;                                                                \
            digits += count * step;                                                               \
        }                                                                                         \
        QB_UNROLL for (size_t j = 0; j < 2 * width; j++) _mm256_storeu_ps(acc + 8 * j, out[j]);   \
    }

// The tiles of a kind for one, two and three planes, widest first.
struct tile {
    size_t width;
    void (*run)(const struct qb_panel *, const struct qb_activations *, const struct span *, float *);
};
typedef const struct tile tiles_of_kind[3][4];

// Codes less their zero points, in 16 bits: two of each row a line.
static void widen_codes(const struct qb_panel *w, const struct span *span, uint8_t *wide)
{
    const __m256i pairs[2] = {
        _mm256_set_epi8(-1, 13, -1, 12, -1, 9, -1, 8, -1, 5, -1, 4, -1, 1, -1, 0, -1, 13, -1, 12, -1, 9, -1, 8, -1, 5,
                        -1, 4, -1, 1, -1, 0),
        _mm256_set_epi8(-1, 15, -1, 14, -1, 11, -1, 10, -1, 7, -1, 6, -1, 3, -1, 2, -1, 15, -1, 14, -1, 11, -1, 10, -1,
                        7, -1, 6, -1, 3, -1, 2)};
    const uint8_t *line = span->lines;
    for (size_t s = span->segment; s < span->end; s++) {
        __m256i z[2] = {_mm256_set1_epi16((int16_t)w->zero), _mm256_set1_epi16((int16_t)w->zero)};
        for (size_t half = 0; w->z && half < 2; half++) {
            const __m256i zero = load(w->z + s * QB_LANES + 8 * half);
            z[half] = _mm256_or_si256(zero, _mm256_slli_epi32(zero, 16));
        }
        for (size_t u = 0; u < w->units[s]; u++, line += LINE, wide += 2 * LINE)
            for (size_t half = 0; half < 2; half++) {
                const __m256i codes = load(line + half * (LINE / 2));
                for (size_t pair = 0; pair < 2; pair++)
                    store(wide + pair * LINE + half * (LINE / 2),
                          _mm256_sub_epi16(_mm256_shuffle_epi8(codes, pairs[pair]), z[half]));
            }
    }
}

// wide: the tiles multiply in 16 bits.
QB_INLINE void multiply_panel(const struct qb_panel *w, const struct qb_activations *x, tiles_of_kind kind,
                              const int wide, float *acc)
{
    const size_t words = wide ? ((size_t)x->planes + 1) / 2 : (size_t)x->planes;
    const struct tile *const widest = kind[x->planes - 1];
    const uint8_t *lines = w->lines, *digits = wide ? (const uint8_t *)x->wide : (const uint8_t *)x->digits;
    struct span span = {.step = x->cols * words * 4};
    uint8_t room[2 * MAX_UNITS * LINE];
    for (; span.segment < w->segments; span.segment = span.end) {
        size_t units = w->units[span.segment];
        for (span.end = span.segment + 1; span.end < w->segments; units += w->units[span.end++]) {
            const size_t more = units + w->units[span.end];
            if (more > MAX_UNITS || (more << wide) * span.step > NEAR) break;
        }
        span.lines = lines;
        if (wide) {
            widen_codes(w, &span, room);
            span.lines = room;
        }
        const struct tile *tile = widest;
        span.fetch = w->ahead_bytes / LINE / w->segments; // with the first tile
        for (span.col = 0; span.col < x->cols; span.col += tile->width) {
            while (x->cols - span.col < tile->width) tile++;
            span.digits = digits + span.col * words * 4;
            tile->run(w, x, &span, acc + span.col * QB_LANES);
            span.fetch = 0;
        }
        lines += units * LINE;
        digits += (units << wide) * span.step;
    }
}

QB_TARGET_END
#endif
#endif

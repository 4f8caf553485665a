// SPDX-License-Identifier: Apache-2.0
// The multiply in 8 lanes: a line of 64 bytes (16 rows, 4 codes each) is two registers, a word of 4
// digits is broadcast to all lanes, and vpmaddubsw (unsigned codes times signed digits) adds pairs
// of products in 16 bits. That saturates, so it is kept where it cannot: the 16-bit sums are widened by
// vpmaddwd before they can reach 2^15. Codes of 8 bits, and digits of several planes, are multiplied in 16
// bits.
// Accumulators are arrays of literal size in stamped functions: otherwise gcc leaves them in
// memory.
#include "pairs_avx2.h"
#include "panel_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// Units whose pairs of products 16 bits can hold: 2 * 128 * (2^bits - 1) each, below 2^15.
static const uint8_t run_units[] = {0, 127, 42, 18, 8, 4, 2, 1};

#define START_RUN(words)                                                                          \
    QB_INLINE void start_run_##words(const uint8_t *line, const uint8_t *digits, sums16 *pairs)   \
    {                                                                                             \
        const __m256i lo = load(line), hi = load(line + LINE / 2);                                \
        QB_UNROLL for (int j = 0; j < words; j++) {                                               \
            const __m256i x = broadcast(digits + 4 * j);                                          \
            pairs[2 * j] = SUMS_AS(sums16, _mm256_maddubs_epi16(lo, x));                          \
            pairs[2 * j + 1] = SUMS_AS(sums16, _mm256_maddubs_epi16(hi, x));                      \
        }                                                                                         \
    }                                                                                             \
    QB_INLINE void add_line_##words(const uint8_t *line, const uint8_t *digits, sums16 *pairs)    \
    {                                                                                             \
        const __m256i lo = load(line), hi = load(line + LINE / 2);                                \
        QB_UNROLL for (int j = 0; j < words; j++) {                                               \
            const __m256i x = broadcast(digits + 4 * j);                                          \
            pairs[2 * j] = add_pairs(pairs[2 * j], lo, x);                                        \
            pairs[2 * j + 1] = add_pairs(pairs[2 * j + 1], hi, x);                                \
            QB_PIN(pairs[2 * j]);                                                                 \
            QB_PIN(pairs[2 * j + 1]);                                                             \
        }                                                                                         \
    }

// Segments of one run.
#define ONE_SUM(words)                                                                            \
    QB_INLINE void one_sum_##words(const uint8_t *lines, const uint8_t *digits, size_t step,      \
                                   size_t count, __m256i *total)                                  \
    {                                                                                             \
        sums16 pairs[2 * words];                                                                  \
        start_run_##words(lines, digits, pairs);                                                  \
        for (const uint8_t *const end = lines + count * LINE; (lines += LINE) < end;)             \
            add_line_##words(lines, digits += step, pairs);                                       \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = widen_sums(pairs[j]);            \
    }

// Any segments of codes that can be added up for 8 lines: up to 4 bits.
#define RUNS_SUM(words)                                                                           \
    QB_INLINE void runs_sum_##words(const uint8_t *lines, const uint8_t *digits, size_t step,     \
                                    size_t count, __m256i *total)                                 \
    {                                                                                             \
        while (count) {                                                                           \
            const size_t run = count < 8 ? count : 8;                                             \
            sums16 pairs[2 * words];                                                              \
            start_run_##words(lines, digits, pairs);                                              \
            for (size_t u = 1; u < run; u++)                                                      \
                add_line_##words(lines + u * LINE, digits + u * step, pairs);                     \
            QB_UNROLL for (int j = 0; j < 2 * words; j++)                                         \
                total[j] = _mm256_add_epi32(total[j], widen_sums(pairs[j]));                      \
            lines += run * LINE;                                                                  \
            digits += run * step;                                                                 \
            count -= run;                                                                         \
        }                                                                                         \
    }

// Of 5 and 6 bits: two lines at a time.
#define TWOS_SUM(words)                                                                           \
    QB_INLINE void twos_sum_##words(const uint8_t *lines, const uint8_t *digits, size_t step,     \
                                    size_t count, __m256i *total)                                 \
    {                                                                                             \
        for (const uint8_t *const end = lines + count / 2 * 2 * LINE; lines < end;) {             \
            const __m256i lo = load(lines), hi = load(lines + LINE / 2);                          \
            const __m256i lo_2 = load(lines + LINE), hi_2 = load(lines + LINE + LINE / 2);        \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + 4 * j), x_2 = broadcast(digits + step + 4 * j); \
                const sums16 low = SUMS_AS(sums16, _mm256_maddubs_epi16(lo, x));                  \
                const sums16 high = SUMS_AS(sums16, _mm256_maddubs_epi16(hi, x));                 \
                total[2 * j] = _mm256_add_epi32(total[2 * j], widen_sums(add_pairs(low, lo_2, x_2))); \
                total[2 * j + 1] =                                                                \
                    _mm256_add_epi32(total[2 * j + 1], widen_sums(add_pairs(high, hi_2, x_2)));   \
                QB_PIN(total[2 * j]);                                                             \
                QB_PIN(total[2 * j + 1]);                                                         \
            }                                                                                     \
            lines += 2 * LINE;                                                                    \
            digits += 2 * step;                                                                   \
        }                                                                                         \
        if (count % 2 == 0) return;                                                               \
        sums16 pairs[2 * words];                                                                  \
        start_run_##words(lines, digits, pairs);                                                  \
        QB_UNROLL for (int j = 0; j < 2 * words; j++)                                             \
            total[j] = _mm256_add_epi32(total[j], widen_sums(pairs[j]));                          \
    }

// Sums of 32 bits, a line at a time.
#define LINES_SUM(kind, words)                                                                    \
    QB_INLINE void kind##_sum_##words(const uint8_t *lines, const uint8_t *digits, size_t step,   \
                                      size_t count, __m256i *total)                               \
    {                                                                                             \
        sums32 sums[2 * words];                                                                   \
        QB_UNROLL for (int j = 0; j < 2 * words; j++)                                             \
            sums[j] = SUMS_AS(sums32, total[j]);                                                  \
        for (const uint8_t *const end = lines + count * LINE; lines < end; lines += LINE) {       \
            const __m256i lo = load(lines), hi = load(lines + LINE / 2);                          \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + 4 * j);                                      \
                sums[2 * j] = add_##kind(sums[2 * j], lo, x);                                     \
                sums[2 * j + 1] = add_##kind(sums[2 * j + 1], hi, x);                             \
                QB_PIN(sums[2 * j]);                                                              \
                QB_PIN(sums[2 * j + 1]);                                                          \
            }                                                                                     \
            digits += step;                                                                       \
        }                                                                                         \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = SUMS_AS(__m256i, sums[j]);       \
    }

#define SUMS(words)                                                                               \
    START_RUN(words) ONE_SUM(words) RUNS_SUM(words) LINES_SUM(singles, words) LINES_SUM(wide, words)
SUMS(1) SUMS(2) SUMS(4) SUMS(6)
TWOS_SUM(1) TWOS_SUM(2) TWOS_SUM(4)

TILE(one, FRESH, 1, 6, 6) TILE(one, FRESH, 1, 4, 4) TILE(one, FRESH, 1, 2, 2) TILE(one, FRESH, 1, 1, 1)
TILE(runs, STARTED, 1, 6, 6) TILE(runs, STARTED, 1, 4, 4) TILE(runs, STARTED, 1, 2, 2)
TILE(runs, STARTED, 1, 1, 1)
// A tile of 6 words leaves no registers for two lines.
TILE(twos, STARTED, 1, 4, 4) TILE(twos, STARTED, 1, 2, 2) TILE(twos, STARTED, 1, 1, 1)
// Of 7 bits, each line by itself.
TILE(singles, STARTED, 1, 6, 6) TILE(singles, STARTED, 1, 4, 4) TILE(singles, STARTED, 1, 2, 2)
TILE(singles, STARTED, 1, 1, 1)
// In 16 bits: lines of two codes a row.
TILE(wide, WIDE, 1, 6, 6) TILE(wide, WIDE, 1, 4, 4) TILE(wide, WIDE, 1, 2, 2) TILE(wide, WIDE, 1, 1, 1)
TILE(wide, WIDE, 3, 3, 6) TILE(wide, WIDE, 3, 2, 4) TILE(wide, WIDE, 3, 1, 2)

static tiles_of_kind one = {{{6, one_1x6}, {4, one_1x4}, {2, one_1x2}, {1, one_1x1}}};
static tiles_of_kind runs = {{{6, runs_1x6}, {4, runs_1x4}, {2, runs_1x2}, {1, runs_1x1}}};
static tiles_of_kind twos = {{{4, twos_1x4}, {2, twos_1x2}, {1, twos_1x1}}};
static tiles_of_kind singles = {{{6, singles_1x6}, {4, singles_1x4}, {2, singles_1x2}, {1, singles_1x1}}};
// Two planes are one word.
static tiles_of_kind wide = {{{6, wide_1x6}, {4, wide_1x4}, {2, wide_1x2}, {1, wide_1x1}},
                             {{6, wide_1x6}, {4, wide_1x4}, {2, wide_1x2}, {1, wide_1x1}},
                             {{3, wide_3x3}, {2, wide_3x2}, {1, wide_3x1}}};

void qb_panel_avx2(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    if (x->cols == 0) return; // and no wide digits, whatever the codes
    if (x->wide) {
        multiply_panel(w, x, wide, 1, acc);
        return;
    }
    uint32_t most = 0;
    for (size_t s = 0; s < w->segments; s++) most = w->units[s] > most ? w->units[s] : most;
    if (most <= run_units[w->bits]) multiply_panel(w, x, one, 0, acc);
    else multiply_panel(w, x, w->bits == 7 ? singles : w->bits > 4 ? twos : runs, 0, acc);
}

QB_TARGET_END
#endif

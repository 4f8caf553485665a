// SPDX-License-Identifier: Apache-2.0
// The multiply in 8 lanes: a line of 64 bytes (16 rows, 4 codes each) is two registers, a word of 4
// digits is broadcast to all lanes, and vpmaddubsw (unsigned codes times signed digits) adds pairs
// of products in 16 bits. That saturates, so it is kept where it cannot: codes of 7 and 8 bits are
// taken as two nibbles, and the 16-bit sums are widened by vpmaddwd before they can reach 2^15.
// Accumulators are arrays of literal size in stamped functions: otherwise gcc leaves them in
// memory.
#include "pairs_avx2.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

#define IN_NIBBLES(bits) ((bits) > 6)

// Units whose pairs of products 16 bits can hold: 2 * 128 * (2^bits - 1) each, below 2^15. That is what
// add_run_<words> adds up.
static const uint8_t flushes[QB_MAX_BITS + 1] = {0, 127, 42, 18, 8, 4, 2, 8, 8};

// sum_<words>, as panel_ymm.h asks for it.
#define SUM_WORDS(words)                                                                          \
    QB_INLINE void add_run_##words(const uint8_t *lines, const int8_t *digits, size_t step,       \
                                   size_t units, sums16 *pairs)                                   \
    {                                                                                             \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) pairs[j] = to_sums(_mm256_setzero_si256()); \
        for (const uint8_t *const end = lines + units * LINE; lines < end; lines += LINE) {       \
            const __m256i lo = load(lines), hi = load(lines + 32);                                \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + 4 * j);                                      \
                pairs[2 * j] = add_pairs(pairs[2 * j], lo, x);                                    \
                pairs[2 * j + 1] = add_pairs(pairs[2 * j + 1], hi, x);                            \
                QB_PIN(pairs[2 * j]);                                                             \
                QB_PIN(pairs[2 * j + 1]);                                                         \
            }                                                                                     \
            digits += step;                                                                       \
        }                                                                                         \
    }                                                                                             \
    QB_INLINE void sum_##words(const uint8_t *lines, int bits, const int8_t *digits, size_t step, \
                               size_t units, __m256i *total)                                      \
    {                                                                                             \
        const size_t flush = flushes[bits];                                                       \
        sums16 pairs[2 * words];                                                                  \
        add_run_##words(lines, digits, step, units < flush ? units : flush, pairs);               \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = widen_sums(pairs[j]);            \
        for (size_t u = flush; u < units; u += flush) {                                           \
            add_run_##words(lines + u * LINE, digits + u * step, step,                            \
                            units - u < flush ? units - u : flush, pairs);                        \
            QB_UNROLL for (int j = 0; j < 2 * words; j++)                                         \
                total[j] = _mm256_add_epi32(total[j], widen_sums(pairs[j]));                      \
        }                                                                                         \
    }
SUM_WORDS(1)
SUM_WORDS(2)
SUM_WORDS(3)
SUM_WORDS(4)
SUM_WORDS(6)

#include "panel_ymm.h"

void qb_panel_avx2(const struct qb_panel *w, const struct qb_activations *x, float *acc) { panel(w, x, acc); }

QB_TARGET_END
#endif

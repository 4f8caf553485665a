// SPDX-License-Identifier: Apache-2.0
// The multiply in 8 lanes with vpdpbusd, which multiplies codes of any width and adds up in 32 bits.
#include "dots_avxvnni.h"
#include "panel_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVXVNNI)

#define DOTS_SUM(words)                                                                           \
    QB_INLINE void dots_sum_##words(const uint8_t *lines, const uint8_t *digits, size_t step,     \
                                    size_t count, __m256i *total)                                 \
    {                                                                                             \
        sums32 sums[2 * words];                                                                   \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) sums[j] = SUMS_AS(sums32, total[j]); \
        for (const uint8_t *const end = lines + count * LINE; lines < end; lines += LINE) {       \
            const __m256i lo = load(lines), hi = load(lines + LINE / 2);                          \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + 4 * j);                                      \
                sums[2 * j] = add_dots(sums[2 * j], lo, x);                                       \
                sums[2 * j + 1] = add_dots(sums[2 * j + 1], hi, x);                               \
            }                                                                                     \
            digits += step;                                                                       \
        }                                                                                         \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = SUMS_AS(__m256i, sums[j]);       \
    }
DOTS_SUM(1)
DOTS_SUM(2)
DOTS_SUM(3)
DOTS_SUM(4)
DOTS_SUM(6)

TILE(dots, STARTED, 1, 6, 6) TILE(dots, STARTED, 1, 4, 4) TILE(dots, STARTED, 1, 2, 2)
TILE(dots, STARTED, 1, 1, 1)
TILE(dots, STARTED, 2, 3, 6) TILE(dots, STARTED, 2, 2, 4) TILE(dots, STARTED, 2, 1, 2)
TILE(dots, STARTED, 3, 2, 6) TILE(dots, STARTED, 3, 1, 3)
static tiles_of_kind dots = {{{6, dots_1x6}, {4, dots_1x4}, {2, dots_1x2}, {1, dots_1x1}},
                             {{3, dots_2x3}, {2, dots_2x2}, {1, dots_2x1}},
                             {{2, dots_3x2}, {1, dots_3x1}}};

void qb_panel_avxvnni(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    multiply_panel(w, x, dots, 0, acc);
}

QB_TARGET_END
#endif

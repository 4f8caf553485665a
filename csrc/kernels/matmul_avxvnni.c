// SPDX-License-Identifier: Apache-2.0
// The multiply in 8 lanes with vpdpbusd, which multiplies codes of any width and adds up in 32 bits.
#include "dots_avxvnni.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVXVNNI)

#define IN_NIBBLES(bits) 0

// sum_<words>, as panel_ymm.h asks for it.
#define SUM_WORDS(words)                                                                          \
    QB_INLINE void sum_##words(const uint8_t *lines, int bits, const int8_t *digits, size_t step, \
                               size_t units, __m256i *total)                                      \
    {                                                                                             \
        sums32 sums[2 * words];                                                                   \
        (void)bits;                                                                               \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) sums[j] = to_sums(_mm256_setzero_si256());  \
        for (const uint8_t *const end = lines + units * LINE; lines < end; lines += LINE) {       \
            const __m256i lo = load(lines), hi = load(lines + LINE / 2);                          \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + 4 * j);                                      \
                sums[2 * j] = add_dots(sums[2 * j], lo, x);                                       \
                sums[2 * j + 1] = add_dots(sums[2 * j + 1], hi, x);                               \
            }                                                                                     \
            digits += step;                                                                       \
        }                                                                                         \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = from_sums(sums[j]);              \
    }
SUM_WORDS(1)
SUM_WORDS(2)
SUM_WORDS(3)
SUM_WORDS(4)
SUM_WORDS(6)

#include "panel_ymm.h"

void qb_panel_avxvnni(const struct qb_panel *w, const struct qb_activations *x, float *acc) { panel(w, x, acc); }

QB_TARGET_END
#endif

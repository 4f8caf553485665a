// SPDX-License-Identifier: Apache-2.0
// The multiply of few words in 8 lanes with vpdpbusd. A sum is gathered in several registers, since that
// instruction takes its time.
#include "dots_avxvnni.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVXVNNI)

QB_INLINE __m256i codes_of(const uint8_t *octet, const int bits, __m256i table, const int unit, const int half)
{
    if (bits <= 8) return unit_of(octet, bits, unit, half);
    return _mm256_shuffle_epi8(table, unit_of(octet, 4, unit, half));
}

// Adds units times `words` words of digits each, as gemv_ymm.h asks for it.
#define ADD_UNITS(words, chains)                                                                  \
    QB_INLINE void add_units_##words(const uint8_t *octet, const int bits,                        \
                                     __m256i table, const int high,                               \
                                     const int first, const int count, const int8_t *digits,      \
                                     const int fresh, __m256i *total)                             \
    {                                                                                             \
        sums32 sums[2 * words * chains];                                                          \
        (void)high;                                                                               \
        QB_UNROLL for (int j = 0; j < 2 * words * chains; j++)                                    \
            sums[j] = SUMS_AS(sums32, fresh || j >= 2 * words ? _mm256_setzero_si256() : total[j]); \
        QB_UNROLL for (int i = 0; i < count; i++) {                                               \
            const int unit = UNIT(i, count);                                                      \
            const __m256i lo = codes_of(octet, bits, table, first + unit, 0);                     \
            const __m256i hi = codes_of(octet, bits, table, first + unit, 1);                     \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + (unit * words + j) * 4);                     \
                const int to = 2 * (words * (i % chains) + j);                                    \
                sums[to] = add_dots(sums[to], lo, x);                                             \
                sums[to + 1] = add_dots(sums[to + 1], hi, x);                                     \
            }                                                                                     \
        }                                                                                         \
        QB_UNROLL for (int j = 2 * words; j < 2 * words * chains; j++)                            \
            sums[j % (2 * words)] = SUMS_AS(sums32,                                               \
                _mm256_add_epi32(SUMS_AS(__m256i, sums[j % (2 * words)]), SUMS_AS(__m256i, sums[j]))); \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = SUMS_AS(__m256i, sums[j]);       \
    }
ADD_UNITS(1, 4)
ADD_UNITS(2, 2)
ADD_UNITS(3, 1)
ADD_UNITS(4, 1)

#define IN_NIBBLES(bits) 0
#define WITH_SIGN(bits) 0
#include "gemv_ymm.h"

void qb_gemv_avxvnni(const struct qb_panel *w, const struct qb_activations *x, float *acc) { gemv(w, x, acc); }

QB_TARGET_END
#endif

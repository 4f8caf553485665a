// SPDX-License-Identifier: Apache-2.0
// The multiply of few words: memory sets its pace, so that codes go from planes to products without a
// stop in between. Both halves of a line (rows 0..7, 8..15) share the broadcast of a word of digits.
#include "pairs_avx2.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// What is multiplied at a time: the codes, or of those of 7 and 8 bits the low or the high nibbles.
QB_INLINE __m256i part_of(const uint8_t *octet, const int bits, __m256i table, const int high, const int unit,
                          const int half)
{
    if (bits > 8) return _mm256_shuffle_epi8(table, unit_of(octet, 4, unit, half));
    if (bits == 8) {
        const __m256i line = unit_of(octet, 8, unit, half);
        return _mm256_and_si256(high ? _mm256_srli_epi16(line, 4) : line, _mm256_set1_epi8(15));
    }
    if (bits < 7) return unit_of(octet, bits, unit, half);
    return high ? unit_of(octet + 4 * LINE, 3, unit, half) : unit_of(octet, 4, unit, half);
}

// Units whose pairs of products 16 bits can hold: 2 * 128 * (2^bits - 1) each, below 2^15.
#define FLUSH(bits) ((bits) == 5 || (bits) == 13 ? 4 : (bits) == 6 ? 2 : 8)

// Signed codes of at most 127 times digits of at most 128: their sign is turned instead of the digits', which
// leaves pairs of products below 2^15.
#define WITH_SIGN(bits) ((bits) == 16)
#define ADD_SIGNED(words)                                                                         \
    QB_INLINE void add_signed_##words(const uint8_t *octet, __m256i table, const int first, const int count, \
                                      const int8_t *digits, const int fresh, __m256i *total)      \
    {                                                                                             \
        sums32 sums[2 * words];                                                                   \
        QB_UNROLL for (int j = 0; j < 2 * words; j++)                                             \
            sums[j] = SUMS_AS(sums32, fresh ? _mm256_setzero_si256() : total[j]);                 \
        QB_UNROLL for (int i = 0; i < count; i++) {                                               \
            const int unit = UNIT(i, count);                                                      \
            const __m256i lo = _mm256_shuffle_epi8(table, unit_of(octet, 4, first + unit, 0));    \
            const __m256i hi = _mm256_shuffle_epi8(table, unit_of(octet, 4, first + unit, 1));    \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + (unit * words + j) * 4), size = _mm256_abs_epi8(x); \
                sums[2 * j] = add_singles(sums[2 * j], size, _mm256_sign_epi8(lo, x));            \
                sums[2 * j + 1] = add_singles(sums[2 * j + 1], size, _mm256_sign_epi8(hi, x));    \
                QB_PIN(sums[2 * j]);                                                              \
                QB_PIN(sums[2 * j + 1]);                                                          \
            }                                                                                     \
        }                                                                                         \
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = SUMS_AS(__m256i, sums[j]);       \
    }
ADD_SIGNED(1)
ADD_SIGNED(2)
ADD_SIGNED(3)
ADD_SIGNED(4)

#define ADD_UNITS(words)                                                                          \
    QB_INLINE void add_units_##words(const uint8_t *octet, const int bits,                        \
                                     __m256i table, const int high,                               \
                                     const int first, const int count, const int8_t *digits,      \
                                     const int fresh, __m256i *total)                             \
    {                                                                                             \
        if (WITH_SIGN(bits)) {                                                                    \
            add_signed_##words(octet, table, first, count, digits, fresh, total);                 \
            return;                                                                               \
        }                                                                                         \
        sums16 pairs[2 * words];                                                                  \
        QB_UNROLL for (int i = 0; i < count; i++) {                                               \
            const int unit = UNIT(i, count), flush = FLUSH(bits) < count ? FLUSH(bits) : count;   \
            const __m256i lo = part_of(octet, bits, table, high, first + unit, 0);                \
            const __m256i hi = part_of(octet, bits, table, high, first + unit, 1);                \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const __m256i x = broadcast(digits + (unit * words + j) * 4);                     \
                if (i % flush == 0) {                                                             \
                    pairs[2 * j] = SUMS_AS(sums16, _mm256_maddubs_epi16(lo, x));                  \
                    pairs[2 * j + 1] = SUMS_AS(sums16, _mm256_maddubs_epi16(hi, x));              \
                } else {                                                                          \
                    pairs[2 * j] = add_pairs(pairs[2 * j], lo, x);                                \
                    pairs[2 * j + 1] = add_pairs(pairs[2 * j + 1], hi, x);                        \
                }                                                                                 \
                QB_PIN(pairs[2 * j]);                                                             \
                QB_PIN(pairs[2 * j + 1]);                                                         \
            }                                                                                     \
            if (i % flush != flush - 1) continue;                                                 \
            QB_UNROLL for (int j = 0; j < 2 * words; j++)                                         \
                total[j] = fresh && i < flush ? widen_sums(pairs[j])                              \
                                              : _mm256_add_epi32(total[j], widen_sums(pairs[j])); \
        }                                                                                         \
    }
ADD_UNITS(1)
ADD_UNITS(2)
ADD_UNITS(3)
ADD_UNITS(4)

#define IN_NIBBLES(bits) ((bits) == 7 || (bits) == 8)
#include "gemv_ymm.h"

void qb_gemv_avx2(const struct qb_panel *w, const struct qb_activations *x, float *acc) { gemv(w, x, acc); }

QB_TARGET_END
#endif

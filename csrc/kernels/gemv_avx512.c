// SPDX-License-Identifier: Apache-2.0
// The multiply of few words: memory sets its pace, so that codes go from planes to products without a
// stop in between. vpternlogd masks and merges in one instruction (0xEA: c | (a & b)).
#include "matmul_avx512.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

// Widths as these kernels count them: 8 more where codes come from a table, through planes of 4 bits.
#define TABLE_WIDTHS(X) X(13) X(16)
#define PLANES(bits) ((bits) > 8 ? 4 : (bits))

// A unit of an octet, from its planes.
QB_INLINE __m512i unit_of(const uint8_t *octet, const int bits, const int unit)
{
    if (bits == 8) return _mm512_loadu_si512(octet + unit * LINE);
    __m512i codes = _mm512_setzero_si512();
    int shift = 0;
    QB_UNROLL for (int width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        const int right = unit / width * width - shift; // 16-bit shifts: what crosses bytes is masked off
        const __m512i line = _mm512_loadu_si512(octet + unit % width * LINE);
        const __m512i moved =
            right >= 0 ? _mm512_srli_epi16(line, (unsigned)right) : _mm512_slli_epi16(line, (unsigned)-right);
        const __m512i mask = _mm512_set1_epi8((char)(((1 << width) - 1) << shift));
        codes = shift ? _mm512_ternarylogic_epi32(moved, mask, codes, 0xEA) : _mm512_and_si512(moved, mask);
        octet += width * LINE;
        shift += width;
    }
    return codes;
}

// Units of an octet, or of a half of it, in an order that takes those of one line of planes one after another.
#define UNIT(i, count) ((count) == 8 ? (const int[8]){0, 4, 2, 6, 1, 5, 3, 7}[i] : (const int[8]){0, 2, 1, 3}[i])

// Adds 8 units of an octet or 4, from the first-th on, times `words` words of digits each. A sum is gathered in
// `chains` registers, `words` apart, since vpdpbusd takes its time.
#define ADD_UNITS(words, chains)                                                                  \
    QB_INLINE void add_units_##words(const uint8_t *octet, const int bits, const int first,       \
                                     const int count, __m512i table, const int8_t *digits,        \
                                     sums32 *total)                                               \
    {                                                                                             \
        QB_UNROLL for (int i = 0; i < count; i++) {                                               \
            const int unit = UNIT(i, count);                                                      \
            const __m512i index = unit_of(octet, PLANES(bits), first + unit);                     \
            const __m512i codes = bits > 8 ? _mm512_shuffle_epi8(table, index) : index;           \
            QB_UNROLL for (int j = 0; j < words; j++) {                                           \
                const int to = i % chains * words + j;                                            \
                total[to] = add_dots(total[to], codes, broadcast(digits + (unit * words + j) * 4)); \
            }                                                                                     \
        }                                                                                         \
    }
ADD_UNITS(1, 4)
ADD_UNITS(2, 2)
ADD_UNITS(3, 2)
ADD_UNITS(4, 2)

// A panel times `width` columns; words = width * planes.
#define GEMV(bits, planes, width, words, chains)                                                  \
    static void gemv_u##bits##_##planes##x##width(const struct qb_panel *w,                       \
                                                  const struct qb_activations *x, float *acc)     \
    {                                                                                             \
        const uint8_t *octet = w->lines, *ahead = w->ahead;                                       \
        const int8_t *digits = x->digits;                                                         \
        int second = 0; /* half of the octet */                                                   \
        __m512i table = _mm512_setzero_si512();                                                   \
        if (bits > 8) table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)w->table)); \
        __m512 out[width];                                                                        \
        QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = _mm512_loadu_ps(acc + QB_LANES * c); \
        for (size_t s = 0; s < w->segments; s++) {                                                \
            sums32 total[chains * words];                                                         \
            QB_UNROLL for (int j = 0; j < chains * words; j++)                                    \
                total[j] = j < words && bits > 1 ? start_of(w, x->sums + s * words + j)           \
                                                 : to_sums(_mm512_setzero_si512());               \
            for (size_t n = w->units[s] / 8; n--; octet += PLANES(bits) * LINE, digits += 32 * words) { \
                ahead = fetch_ahead(ahead, PLANES(bits), w->ahead_bytes);                         \
                add_units_##words(octet, bits, 0, 8, table, digits, total);                       \
            }                                                                                     \
            if (w->units[s] % 8) {                                                                \
                if (second) {                                                                     \
                    add_units_##words(octet, bits, 4, 4, table, digits, total);                   \
                    octet += PLANES(bits) * LINE;                                                 \
                } else {                                                                          \
                    ahead = fetch_ahead(ahead, PLANES(bits), w->ahead_bytes);                     \
                    add_units_##words(octet, bits, 0, 4, table, digits, total);                   \
                }                                                                                 \
                second = !second;                                                                 \
                digits += 16 * words;                                                             \
            }                                                                                     \
            QB_UNROLL for (int j = words; j < chains * words; j++)                                \
                total[j % words] = to_sums(                                                       \
                    _mm512_add_epi32(from_sums(total[j % words]), from_sums(total[j])));          \
            QB_UNROLL for (int j = 0; bits == 1 && j < words; j++) {                              \
                if (w->doubled) total[j] = to_sums(_mm512_slli_epi32(from_sums(total[j]), 1));    \
                total[j] = to_sums(_mm512_add_epi32(from_sums(total[j]),                          \
                                                    from_sums(start_of(w, x->sums + s * words + j)))); \
            }                                                                                     \
            end_segment(planes, width, 1, w, x, s, s * width, total, out);                        \
        }                                                                                         \
        QB_UNROLL for (size_t c = 0; c < width; c++) _mm512_storeu_ps(acc + QB_LANES * c, out[c]); \
    }
#define X(bits)                                                                                   \
    GEMV(bits, 1, 1, 1, 4) GEMV(bits, 1, 2, 2, 2) GEMV(bits, 1, 3, 3, 2) GEMV(bits, 1, 4, 4, 2)   \
    GEMV(bits, 2, 1, 2, 2) GEMV(bits, 3, 1, 3, 2)
QB_WIDTHS(X) TABLE_WIDTHS(X)
#undef X

void qb_gemv_avx512(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    typedef void gemv(const struct qb_panel *, const struct qb_activations *, float *);
#define X(bits)                                                                                   \
    [bits] = {{gemv_u##bits##_1x1, gemv_u##bits##_1x2, gemv_u##bits##_1x3, gemv_u##bits##_1x4},   \
              {gemv_u##bits##_2x1},                                                               \
              {gemv_u##bits##_3x1}},
    static gemv *const functions[2 * QB_MAX_BITS + 1][3][QB_GEMV_WORDS] = {QB_WIDTHS(X) TABLE_WIDTHS(X)};
#undef X
    const int bits = w->table ? w->bits + 8 : w->bits;
    if (x->cols) functions[bits][x->planes - 1][x->cols - 1](w, x, acc);
}

QB_TARGET_END
#endif

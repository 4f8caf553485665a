// SPDX-License-Identifier: Apache-2.0
// The multiply of few words: memory sets its pace, so that codes go from planes to products without a
// stop in between. vpternlogd masks and merges in one instruction (0xEA: c | (a & b)).
#include "gemv.h"
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

QB_INLINE __m512 lanes_at(const uint8_t *at, const int halves)
{
    return halves ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)) : _mm512_loadu_ps((const float *)at);
}

// Ends segment s, whose sums are in `total`: those of word j in every `words`-th of `count` registers from the j-th on.
QB_INLINE void end_sums(const int bits, const int planes, const int width, const int count, const struct qb_panel *w,
                        struct ends *e, const struct qb_activations *x, size_t s, const sums32 *total, __m512 *out)
{
    const int words = planes * width;
    const int32_t *const sums = x->sums + s * (size_t)words;
    const float *const dx = x->dx + s * (size_t)width, *const dxsum = x->dxsum + s * (size_t)width;
    __m512i a[QB_GEMV_WORDS];
    QB_UNROLL for (int j = 0; j < count; j++)
        a[j % words] = j < words ? from_sums(total[j]) : _mm512_add_epi32(a[j % words], from_sums(total[j]));
    QB_UNROLL for (int j = 0; bits == 1 && j < words; j++)
        if (w->doubled) a[j] = _mm512_slli_epi32(a[j], 1);
    if (e->with_z) {
        const __m512i z = _mm512_loadu_si512(w->z + s * QB_LANES);
        QB_UNROLL for (int j = 0; j < words; j++) a[j] = without_zero(a[j], z, sums + j);
    } else {
        QB_UNROLL for (int j = 0; j < words; j++) a[j] = _mm512_add_epi32(a[j], broadcast(sums + j));
    }
    const __m512 d = lanes_at(e->d, e->halves);
    QB_UNROLL for (int c = 0; c < width; c++)
        out[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(dx[c])), join_planes(planes, a + planes * c), out[c]);
    e->d += e->step;
    if (!e->with_m) return;
    const __m512 m = lanes_at(e->m, e->halves);
    QB_UNROLL for (int c = 0; c < width; c++) out[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(dxsum[c]), out[c]);
    e->m += e->step;
}

#define ZERO(count) QB_UNROLL for (int j = 0; j < count; j++) total[j] = to_sums(_mm512_setzero_si512())

// Segment s, which is half an octet, from the first-th unit on.
#define HALF(bits, planes, width, words, chains, first, s)                                        \
    do {                                                                                          \
        sums32 total[chains * words];                                                             \
        ZERO(chains * words);                                                                     \
        add_units_##words(octet, bits, first, 4, table, digits, total);                           \
        digits += 16 * words;                                                                     \
        end_sums(bits, planes, width, chains * words, w, &e, x, s, total, out);                   \
    } while (0)

// A panel times `width` columns; words = width * planes. `body` goes over its segments.
#define GEMV(name, bits, planes, width, words, chains, body)                                      \
    static void name##_u##bits##_##planes##x##width(const struct qb_panel *w,                     \
                                                    const struct qb_activations *x, float *acc)   \
    {                                                                                             \
        const uint8_t *octet = w->lines, *ahead = w->ahead;                                       \
        const size_t ahead_bytes = w->ahead_bytes;                                                \
        const int8_t *digits = x->digits;                                                         \
        struct ends e = ends_of(w);                                                               \
        __m512i table = _mm512_setzero_si512();                                                   \
        if (bits > 8) table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)w->table)); \
        __m512 out[width];                                                                        \
        QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = _mm512_loadu_ps(acc + QB_LANES * c); \
        body(bits, planes, width, words, chains)                                                  \
        QB_UNROLL for (size_t c = 0; c < width; c++) _mm512_storeu_ps(acc + QB_LANES * c, out[c]); \
    }

#define OCTETS(bits, planes, width, words, chains)                                                \
    for (size_t s = 0; s < w->segments; s++) {                                                    \
        sums32 total[chains * words];                                                             \
        ZERO(chains * words);                                                                     \
        uint32_t left = w->units[s];                                                              \
        do {                                                                                      \
            ahead = fetch_ahead(ahead, PLANES(bits), ahead_bytes);                                \
            add_units_##words(octet, bits, 0, 8, table, digits, total);                           \
            octet += PLANES(bits) * LINE;                                                         \
            digits += 32 * words;                                                                 \
        } while (left -= 8);                                                                      \
        end_sums(bits, planes, width, chains * words, w, &e, x, s, total, out);                   \
    }

// Groups of 16.
#define HALVES(bits, planes, width, words, chains)                                                \
    for (size_t s = 0; s < w->segments; s += 2, octet += PLANES(bits) * LINE) {                   \
        ahead = fetch_ahead(ahead, PLANES(bits), ahead_bytes);                                    \
        HALF(bits, planes, width, words, chains, 0, s);                                           \
        HALF(bits, planes, width, words, chains, 4, s + 1);                                       \
    }

#define KINDS(bits, planes, width, words, chains)                                                 \
    GEMV(gemv, bits, planes, width, words, chains, OCTETS)                                        \
    GEMV(halves, bits, planes, width, words, chains, HALVES)
#define X(bits)                                                                                   \
    KINDS(bits, 1, 1, 1, 4) KINDS(bits, 1, 2, 2, 2) KINDS(bits, 1, 3, 3, 2) KINDS(bits, 1, 4, 4, 2) \
    KINDS(bits, 2, 1, 2, 2) KINDS(bits, 3, 1, 3, 2)
QB_WIDTHS(X) TABLE_WIDTHS(X)
#undef X

void qb_gemv_avx512(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    typedef void gemv(const struct qb_panel *, const struct qb_activations *, float *);
#define ROW(name, bits)                                                                           \
    {{name##_u##bits##_1x1, name##_u##bits##_1x2, name##_u##bits##_1x3, name##_u##bits##_1x4},    \
     {name##_u##bits##_2x1}, {name##_u##bits##_3x1}}
#define X(bits) [bits] = {ROW(gemv, bits), ROW(halves, bits)},
    static gemv *const functions[2 * QB_MAX_BITS + 1][2][3][QB_GEMV_WORDS] = {QB_WIDTHS(X) TABLE_WIDTHS(X)};
#undef X
    const int bits = w->table ? w->bits + 8 : w->bits, in_halves = w->segments && w->units[0] % 8;
    if (x->cols) functions[bits][in_halves][x->planes - 1][x->cols - 1](w, x, acc);
}

QB_TARGET_END
#endif

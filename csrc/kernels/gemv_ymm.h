// SPDX-License-Identifier: Apache-2.0
// The multiply of few words in 8 lanes, over what a tier defines before it includes this in its target region:
// IN_NIBBLES(bits), whether codes are multiplied as two nibbles; WITH_SIGN(bits), whether they come from the table with
// their zero point taken off; and
// add_units_<words>(octet, bits, table, high, first, count, digits, fresh, total), which adds 8 units of an octet or 4,
// from the first-th on (their codes, or the low or high nibbles), times that many words of digits each to `total`, or
// where that is fresh sets it: total[2*j], total[2*j + 1] are the sums of word j and rows 0..7, 8..15.
#include "gemv.h"
#include "matmul_ymm.h"

QB_INLINE __m256i load_table(const uint8_t *entries, int less)
{
    const __m128i all = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)entries), _mm_set1_epi8((char)less));
    return _mm256_broadcastsi128_si256(all);
}

QB_INLINE __m256 lanes_at(const uint8_t *at, const int halves, const int half)
{
    if (halves) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at + half));
    return _mm256_loadu_ps((const float *)at + 8 * half);
}

// Ends segment s, whose sums are in `total`, or those of nibbles in `total` and `high`.
QB_INLINE void end_sums(const int bits, const int planes, const int width, const struct qb_panel *w, struct ends *e,
                        const struct qb_activations *x, size_t s, __m256i *total, const __m256i *high, __m256 *out)
{
    const int words = planes * width;
    const int32_t *const sums = x->sums + s * (size_t)words;
    QB_UNROLL for (int j = 0; j < 2 * words; j++) {
        if (IN_NIBBLES(bits)) total[j] = _mm256_add_epi32(total[j], _mm256_slli_epi32(high[j], 4));
        if (bits == 1 && w->doubled) total[j] = _mm256_add_epi32(total[j], total[j]);
    }
    if (e->with_z) {
        const __m256i z[2] = {load(w->z + s * QB_LANES), load(w->z + s * QB_LANES + 8)};
        QB_UNROLL for (int j = 0; j < 2 * words; j++) take_zero_off(z[j % 2], sums + j / 2, total + j);
    } else if (!WITH_SIGN(bits)) {
        QB_UNROLL for (int j = 0; j < 2 * words; j++) total[j] = _mm256_add_epi32(total[j], broadcast(sums + j / 2));
    }
    const float *const dx = x->dx + s * (size_t)width, *const dxsum = x->dxsum + s * (size_t)width;
    const __m256 d[2] = {lanes_at(e->d, e->halves, 0), lanes_at(e->d, e->halves, 1)};
    QB_UNROLL for (int j = 0; j < 2 * width; j++) {
        const __m256 t = join_words(planes, 0, total + 2 * planes * (j / 2) + j % 2);
        out[j] = _mm256_fmadd_ps(_mm256_mul_ps(d[j % 2], _mm256_set1_ps(dx[j / 2])), t, out[j]);
    }
    e->d += e->step;
    if (!e->with_m) return;
    const __m256 m[2] = {lanes_at(e->m, e->halves, 0), lanes_at(e->m, e->halves, 1)};
    QB_UNROLL for (int j = 0; j < 2 * width; j++)
        out[j] = _mm256_fmadd_ps(m[j % 2], _mm256_set1_ps(dxsum[j / 2]), out[j]);
    e->m += e->step;
}

#define END(bits, words, s)                                                                       \
    do {                                                                                          \
        if (one_plane) end_sums(bits, 1, words, w, &e, x, s, total, high, out);                   \
        else end_sums(bits, words, 1, w, &e, x, s, total, high, out);                             \
    } while (0)

// Segment s, which is half an octet, from the first-th unit on.
#define HALF(bits, words, first, s)                                                               \
    do {                                                                                          \
        __m256i total[2 * words], high[2 * words];                                                \
        add_units_##words(octet, bits, table, 0, first, 4, digits, 1, total);                     \
        if (IN_NIBBLES(bits)) add_units_##words(octet, bits, table, 1, first, 4, digits, 1, high); \
        digits += 4 * 4 * words;                                                                  \
        END(bits, words, s);                                                                      \
    } while (0)

// A panel times `words` words: as many columns of one plane, or one column of as many planes. `body` goes over
// its segments.
#define GEMV(name, bits, words, body)                                                             \
    static void name##_u##bits##_##words(const struct qb_panel *w, const struct qb_activations *x, \
                                         float *acc)                                              \
    {                                                                                             \
        const uint8_t *octet = w->lines, *ahead = w->ahead;                                       \
        const size_t ahead_bytes = w->ahead_bytes;                                                \
        const int8_t *digits = x->digits;                                                         \
        const int one_plane = words == 1 || words == 4 || x->planes == 1; /* known of these */    \
        struct ends e = ends_of(w);                                                               \
        __m256i table = _mm256_setzero_si256();                                                   \
        if (bits > 8) table = load_table(w->table, WITH_SIGN(bits) ? w->zero : 0);                \
        __m256 out[2 * words];                                                                    \
        QB_UNROLL for (size_t j = 0; j < 2 * words; j++)                                          \
            out[j] = j < 2 || one_plane ? _mm256_loadu_ps(acc + 8 * j) : _mm256_setzero_ps();     \
        body(bits, words)                                                                         \
        QB_UNROLL for (size_t j = 0; j < 2 * words; j++)                                          \
            if (j < 2 || one_plane) _mm256_storeu_ps(acc + 8 * j, out[j]);                        \
    }

// The next octet of a segment, its first one or not.
#define OCTET(bits, words, first)                                                                 \
    do {                                                                                          \
        ahead = fetch_ahead(ahead, PLANES(bits), ahead_bytes);                                    \
        add_units_##words(octet, bits, table, 0, 0, 8, digits, first, total);                     \
        if (IN_NIBBLES(bits)) add_units_##words(octet, bits, table, 1, 0, 8, digits, first, high); \
        digits += 8 * 4 * words;                                                                  \
        octet += PLANES(bits) * LINE;                                                             \
    } while (0)

#define OCTETS(bits, words)                                                                       \
    for (size_t s = 0; s < w->segments; s++) {                                                    \
        __m256i total[2 * words], high[2 * words];                                                \
        OCTET(bits, words, 1);                                                                    \
        for (uint32_t left = w->units[s]; left -= 8;) OCTET(bits, words, 0);                      \
        END(bits, words, s);                                                                      \
    }

// Groups of 16.
#define HALVES(bits, words)                                                                       \
    for (size_t s = 0; s < w->segments; s += 2, octet += PLANES(bits) * LINE) {                   \
        ahead = fetch_ahead(ahead, PLANES(bits), ahead_bytes);                                    \
        HALF(bits, words, 0, s);                                                                  \
        HALF(bits, words, 4, s + 1);                                                              \
    }

#define X(bits)                                                                                   \
    GEMV(gemv, bits, 1, OCTETS) GEMV(gemv, bits, 2, OCTETS)                                       \
    GEMV(gemv, bits, 3, OCTETS) GEMV(gemv, bits, 4, OCTETS)                                       \
    GEMV(halves, bits, 1, HALVES) GEMV(halves, bits, 2, HALVES)                                   \
    GEMV(halves, bits, 3, HALVES) GEMV(halves, bits, 4, HALVES)
QB_WIDTHS(X) TABLE_WIDTHS(X)
#undef X

static void gemv(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    typedef void few(const struct qb_panel *, const struct qb_activations *, float *);
#define X(bits)                                                                                   \
    [bits] = {{gemv_u##bits##_1, gemv_u##bits##_2, gemv_u##bits##_3, gemv_u##bits##_4},           \
              {halves_u##bits##_1, halves_u##bits##_2, halves_u##bits##_3, halves_u##bits##_4}},
    static few *const functions[2 * QB_MAX_BITS + 1][2][QB_GEMV_WORDS] = {QB_WIDTHS(X) TABLE_WIDTHS(X)};
#undef X
    const int bits = w->table ? w->bits + 8 : w->bits, in_halves = w->segments && w->units[0] % 8;
    if (x->cols) functions[bits][in_halves][x->cols * (size_t)x->planes - 1](w, x, acc);
}

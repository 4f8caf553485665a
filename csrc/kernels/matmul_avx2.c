// SPDX-License-Identifier: Apache-2.0
// The multiply in 8 lanes: a line of 64 bytes (16 rows, 4 codes each) is two registers, a word of 4
// digits is broadcast to all lanes, and vpmaddubsw (unsigned codes times signed digits) adds pairs
// of products in 16 bits. That saturates, so it is kept where it cannot: codes of 7 and 8 bits are
// taken as two nibbles, and the 16-bit sums are widened by vpmaddwd before they can reach 2^15.
// Accumulators are arrays of literal size in stamped functions: otherwise gcc leaves them in
// memory.
#include "kernels.h"

#include "../base/float16.h"
#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// A line: a unit of 16 rows. Kernels take as many segments at once as have their digits in NEAR
// bytes.
enum { LINE = 4 * QB_LANES, MAX_UNITS = QB_BLOCK_MAX / 4, NEAR = 8192 };

QB_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
QB_INLINE void store(void *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }

QB_INLINE __m256i broadcast(const void *word)
{
    int32_t value;
    memcpy(&value, word, 4);
    return _mm256_set1_epi32(value);
}

// ---- split --------------------------------------------------------------------------------------

// The first n < 8 lanes.
QB_INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

QB_INLINE uint32_t largest_bits(const float *x, size_t n)
{
    const __m256i size = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i most = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) most = _mm256_max_epi32(most, _mm256_and_si256(load(x + i), size));
    if (i < n) {
        const __m256i last = _mm256_maskload_epi32((const int *)(x + i), first_lanes(n - i));
        most = _mm256_max_epi32(most, _mm256_and_si256(last, size));
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

// The digits of 8 values, 8 bytes each of digit 0, 1 and 2. Adding 0x80 to every digit turns
// balanced digits into ordinary bytes.
QB_INLINE __m256i digits_of(__m256 x, __m256 inv, __m256i top)
{
    const __m256i turn = _mm256_set1_epi32(0x808080);
    const __m256i by_digit = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    // Products are hardly above top, so that rounding and clamping as integers is the same.
    __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(x, inv));
    q = _mm256_min_epi32(_mm256_max_epi32(q, _mm256_sub_epi32(_mm256_setzero_si256(), top)), top);
    q = _mm256_xor_si256(_mm256_add_epi32(q, turn), turn);
    const __m256i halves_together = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(q, by_digit), halves_together);
}

int qb_split_avx2(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx)
{
    static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};
    const uint32_t most = largest_bits(x, n);
    if (most >= 0x7F800000u) return 1;
    const float amax = qb_bits_float(most);
    const int nothing = amax < 0x1p-100f;
    *dx = nothing ? 0.0f : amax / (float)tops[planes];
    const __m256 inv = _mm256_set1_ps(nothing ? 0.0f : 1.0f / *dx);
    const __m256i top = _mm256_set1_epi32(tops[planes]);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i digits = digits_of(_mm256_loadu_ps(x + i), inv, top);
        const __m128i two = _mm256_castsi256_si128(digits),
                      third = _mm256_extracti128_si256(digits, 1);
        _mm_storel_epi64((__m128i *)(out + i), two);
        if (planes > 1) _mm_storel_epi64((__m128i *)(out + stride + i), _mm_unpackhi_epi64(two, two));
        if (planes > 2) _mm_storel_epi64((__m128i *)(out + 2 * stride + i), third);
    }
    if (i < n) {
        int8_t last[32];
        store(last, digits_of(_mm256_maskload_ps(x + i, first_lanes(n - i)), inv, top));
        for (int p = 0; p < planes; p++) memcpy(out + (size_t)p * stride + i, last + 8 * p, n - i);
    }
    return 0;
}

// ---- interleave ---------------------------------------------------------------------------------

// 16 bytes of 8 rows, to halves of 4 lines: rows r and r + 4 share a register, so that no shuffle
// crosses its middle.
QB_INLINE void interleave_half(const uint8_t *rows, size_t stride, uint8_t *lines)
{
    __m256i r[4];
    for (size_t i = 0; i < 4; i++)
        r[i] = _mm256_loadu2_m128i((const __m128i *)(rows + (i + 4) * stride),
                                   (const __m128i *)(rows + i * stride));
    const __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
    const __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    store(lines, _mm256_unpacklo_epi64(a, c));
    store(lines + LINE, _mm256_unpackhi_epi64(a, c));
    store(lines + 2 * LINE, _mm256_unpacklo_epi64(b, d));
    store(lines + 3 * LINE, _mm256_unpackhi_epi64(b, d));
}

void qb_interleave_avx2(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        interleave_half(rows + i, stride, lines + i * QB_LANES);
        interleave_half(rows + i + 8 * stride, stride, lines + i * QB_LANES + LINE / 2);
    }
    for (; i + 4 <= n; i += 4)
        for (size_t r = 0; r < QB_LANES; r++)
            memcpy(lines + i * QB_LANES + r * 4, rows + r * stride + i, 4);
    if (i < n) qb_interleave_scalar(rows + i, stride, n - i, lines + i * QB_LANES);
}

// ---- panel --------------------------------------------------------------------------------------

// 16 sums of 16 bits. gcc copies a variable of type __m256i at every step of a loop that uses it
// so.
#if defined(_MSC_VER) && !defined(__clang__)
typedef __m256i sums16;
QB_INLINE sums16 to_sums(__m256i x) { return x; }
QB_INLINE __m256i from_sums(sums16 x) { return x; }
#else
typedef int16_t sums16 __attribute__((vector_size(32)));
QB_INLINE sums16 to_sums(__m256i x) { return (sums16)x; }
QB_INLINE __m256i from_sums(sums16 x) { return (__m256i)x; }
#endif

QB_INLINE sums16 add_pairs(sums16 sums, __m256i codes, __m256i digits)
{
    return to_sums(_mm256_add_epi16(from_sums(sums), _mm256_maddubs_epi16(codes, digits)));
}

QB_INLINE __m256i widen_sums(sums16 sums)
{
    return _mm256_madd_epi16(from_sums(sums), _mm256_set1_epi16(1));
}

// SUM_WORDS defines sum_<words>: exact sums over `units` units of 16 rows of codes times that many
// words of digits a unit. total[2*j], total[2*j + 1] are those of word j and rows 0..7, 8..15.
// `flush` units of pairs of products fit 16 bits, which is what add_run_<words> adds up.
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
    QB_INLINE void sum_##words(const uint8_t *lines, const int8_t *digits, size_t step,           \
                               size_t units, size_t flush, __m256i *total)                        \
    {                                                                                             \
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

// t of 8 rows from the sums of their planes, which are two registers apart.
QB_INLINE __m256 join_planes(const int planes, const __m256i *total, __m256i z, const int32_t *sums)
{
    __m256i a[3];
    // 16 bits hold both z and a sum of 256 digits.
    for (int p = 0; p < planes; p++)
        a[p] = _mm256_sub_epi32(total[2 * p], _mm256_madd_epi16(z, _mm256_set1_epi32(sums[p])));
    if (planes == 1) return _mm256_cvtepi32_ps(a[0]);
    const __m256i upper = _mm256_add_epi32(_mm256_slli_epi32(a[planes - 1], 8), a[planes - 2]);
    if (planes == 2) return _mm256_cvtepi32_ps(upper);
    const __m256 high = _mm256_cvtepi32_ps(upper), low = _mm256_cvtepi32_ps(a[0]);
    return _mm256_fmadd_ps(_mm256_set1_ps(256.0f), high, low);
}

// acc + (a * b) * t, and acc + a * b.
QB_INLINE __m256 add_scaled(__m256 acc, const float *a, float b, __m256 t)
{
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_loadu_ps(a), _mm256_set1_ps(b)), t, acc);
}
QB_INLINE __m256 add_product(__m256 acc, const float *a, float b)
{
    return _mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_set1_ps(b), acc);
}

// A few segments, [segment, end), and the first column of a tile.
struct span {
    size_t segment, end, col;
    size_t flush;
    const uint8_t *lines; // codes, or their low nibbles
    const uint8_t *high;  // high nibbles, or NULL
    const int8_t *digits; // of the column
};

// A span times `width` columns; words = width * planes.
#define TILE(planes, width, words)                                                                \
    static void tile_##planes##x##width(const struct qb_panel *w, const struct qb_activations *x, \
                                        const struct span *span, float *acc)                      \
    {                                                                                             \
        const size_t step = x->cols * planes * 4;                                                 \
        const int8_t *digits = span->digits;                                                      \
        size_t line = 0;                                                                          \
        __m256 out[2 * width];                                                                    \
        QB_UNROLL for (size_t j = 0; j < 2 * width; j++) out[j] = _mm256_loadu_ps(acc + 8 * j);   \
        for (size_t s = span->segment; s < span->end; s++) {                                      \
            const size_t units = w->units[s];                                                     \
            __m256i total[2 * words];                                                             \
            sum_##words(span->lines + line, digits, step, units, span->flush, total);             \
            if (span->high) {                                                                     \
                __m256i high[2 * words];                                                          \
                sum_##words(span->high + line, digits, step, units, span->flush, high);           \
                QB_UNROLL for (int j = 0; j < 2 * words; j++)                                     \
                    total[j] = _mm256_add_epi32(total[j], _mm256_slli_epi32(high[j], 4));         \
            }                                                                                     \
            const size_t at = s * x->cols + span->col, row = s * QB_LANES;                        \
            QB_UNROLL for (size_t j = 0; j < 2 * width; j++) {                                    \
                const size_t c = j / 2, half = j % 2;                                             \
                const __m256 t = join_planes(planes, total + 2 * planes * c + half,               \
                                             load(w->z + row + 8 * half),                         \
                                             x->sums + (at + c) * planes);                        \
                out[j] = add_scaled(out[j], w->d + row + 8 * half, x->dx[at + c], t);             \
            }                                                                                     \
            if (w->m) {                                                                           \
                QB_UNROLL for (size_t j = 0; j < 2 * width; j++)                                  \
                    out[j] = add_product(out[j], w->m + row + j % 2 * 8, x->dxsum[at + j / 2]);   \
            }                                                                                     \
            line += units * LINE;                                                                 \
            digits += units * step;                                                               \
        }                                                                                         \
        QB_UNROLL for (size_t j = 0; j < 2 * width; j++) _mm256_storeu_ps(acc + 8 * j, out[j]);   \
    }
TILE(1, 6, 6)
TILE(1, 4, 4)
TILE(1, 2, 2)
TILE(1, 1, 1)
TILE(2, 3, 6)
TILE(2, 2, 4)
TILE(2, 1, 2)
TILE(3, 2, 6)
TILE(3, 1, 3)

// The tiles of each number of planes, widest first.
static const struct {
    size_t width;
    void (*tile)(const struct qb_panel *, const struct qb_activations *, const struct span *,
                 float *);
} tiles[4][4] = {
    [1] = {{6, tile_1x6}, {4, tile_1x4}, {2, tile_1x2}, {1, tile_1x1}},
    [2] = {{3, tile_2x3}, {2, tile_2x2}, {1, tile_2x1}},
    [3] = {{2, tile_3x2}, {1, tile_3x1}},
};

static void split_nibbles(const uint8_t *codes, size_t bytes, uint8_t *low, uint8_t *high)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    for (size_t i = 0; i < bytes; i += 32) {
        const __m256i both = load(codes + i);
        store(low + i, _mm256_and_si256(both, nibble));
        store(high + i, _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble));
    }
}

void qb_panel_avx2(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    // 2 * 128 * (2^bits - 1) a unit, below 2^15; 7 and 8 bits by nibbles.
    static const uint8_t flushes[QB_MAX_BITS + 1] = {0, 127, 42, 18, 8, 4, 2, 8, 8};
    const size_t planes = (size_t)x->planes, step = x->cols * planes * 4;
    uint8_t low[MAX_UNITS * LINE], high[MAX_UNITS * LINE];
    struct span span = {.flush = flushes[w->bits], .lines = w->lines};
    const int8_t *digits = x->digits;
    for (const uint8_t *lines = w->lines; span.segment < w->segments; span.segment = span.end) {
        size_t units = w->units[span.segment];
        for (span.end = span.segment + 1; span.end < w->segments; units += w->units[span.end++]) {
            const size_t more = units + w->units[span.end];
            if (more > MAX_UNITS || more * step > NEAR) break;
        }
        span.lines = lines;
        if (w->bits > 6) {
            split_nibbles(lines, units * LINE, low, high);
            span.lines = low;
            span.high = high;
        }
        size_t tile = 0;
        for (span.col = 0; span.col < x->cols; span.col += tiles[planes][tile].width) {
            while (x->cols - span.col < tiles[planes][tile].width) tile++;
            span.digits = digits + span.col * planes * 4;
            tiles[planes][tile].tile(w, x, &span, acc + span.col * QB_LANES);
        }
        lines += units * LINE;
        digits += units * step;
    }
}

QB_TARGET_END
#endif

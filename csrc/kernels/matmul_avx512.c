// SPDX-License-Identifier: Apache-2.0
// The multiply in 16 lanes: a line of 64 bytes (16 rows, 4 codes each) is one register, and
// vpdpbusd adds its products with a word of 4 digits, broadcast from memory, to 32-bit sums:
// unsigned times signed bytes of any value, no saturation, so that every code width takes the same
// path. Accumulators are arrays of literal size in stamped functions: otherwise gcc leaves them in
// memory.
#include "kernels.h"

#include "../base/float16.h"
#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

// A line: a unit of 16 rows. Kernels take as many segments at once as have their digits in NEAR
// bytes.
enum { LINE = 4 * QB_LANES, NEAR = 8192 };

// ---- split --------------------------------------------------------------------------------------

QB_INLINE __mmask16 first_lanes(size_t n)
{
    return _cvtu32_mask16(n < 16 ? (1u << n) - 1 : 0xFFFFu);
}

QB_INLINE uint32_t largest_bits(const float *x, size_t n)
{
    __m512i most = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 16) {
        const __m512i bits = _mm512_maskz_loadu_epi32(first_lanes(n - i), x + i);
        most = _mm512_max_epi32(most, _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
    }
    return (uint32_t)_mm512_reduce_max_epi32(most);
}

int qb_split_avx512(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx)
{
    static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};
    const uint32_t most = largest_bits(x, n);
    if (most >= 0x7F800000u) return 1;
    const float amax = qb_bits_float(most);
    const int nothing = amax < 0x1p-100f;
    *dx = nothing ? 0.0f : amax / (float)tops[planes];
    const __m512 inv = _mm512_set1_ps(nothing ? 0.0f : 1.0f / *dx);
    const __m512i top = _mm512_set1_epi32(tops[planes]), bottom = _mm512_set1_epi32(-tops[planes]);
    // Adding 0x80 to every digit turns balanced digits into ordinary bytes.
    const __m512i turn = _mm512_set1_epi32(0x808080);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 some = first_lanes(n - i);
        // Products are hardly above top, so that rounding and clamping as integers is the same.
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(some, x + i), inv));
        q = _mm512_min_epi32(_mm512_max_epi32(q, bottom), top);
        q = _mm512_xor_si512(_mm512_add_epi32(q, turn), turn);
        for (int p = 0; p < planes; p++) {
            _mm_mask_storeu_epi8(out + (size_t)p * stride + i, some, _mm512_cvtepi32_epi8(q));
            q = _mm512_srli_epi32(q, 8);
        }
    }
    return 0;
}

// ---- interleave ---------------------------------------------------------------------------------

// 16 bytes of rows r, r + 4, r + 8 and r + 12, so that no shuffle crosses a quarter.
QB_INLINE __m512i load_quarters(const uint8_t *row, size_t stride)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)row);
    const __m128i b = _mm_loadu_si128((const __m128i *)(row + 4 * stride));
    const __m128i c = _mm_loadu_si128((const __m128i *)(row + 8 * stride));
    const __m128i d = _mm_loadu_si128((const __m128i *)(row + 12 * stride));
    const __m512i ab = _mm512_inserti32x4(_mm512_castsi128_si512(a), b, 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(ab, c, 2), d, 3);
}

void qb_interleave_avx512(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i r[4];
        for (size_t j = 0; j < 4; j++) r[j] = load_quarters(rows + i + j * stride, stride);
        const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
        const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
        uint8_t *const to = lines + i * QB_LANES;
        _mm512_storeu_si512(to, _mm512_unpacklo_epi64(a, c));
        _mm512_storeu_si512(to + LINE, _mm512_unpackhi_epi64(a, c));
        _mm512_storeu_si512(to + 2 * LINE, _mm512_unpacklo_epi64(b, d));
        _mm512_storeu_si512(to + 3 * LINE, _mm512_unpackhi_epi64(b, d));
    }
    for (; i + 4 <= n; i += 4)
        for (size_t r = 0; r < QB_LANES; r++)
            memcpy(lines + i * QB_LANES + r * 4, rows + r * stride + i, 4);
    if (i < n) qb_interleave_scalar(rows + i, stride, n - i, lines + i * QB_LANES);
}

// ---- panel --------------------------------------------------------------------------------------

// 16 sums of 32 bits. gcc copies a variable of type __m512i at every step of a loop that uses it
// so.
#if defined(_MSC_VER) && !defined(__clang__)
typedef __m512i sums32;
QB_INLINE sums32 to_sums(__m512i x) { return x; }
QB_INLINE __m512i from_sums(sums32 x) { return x; }
#else
typedef int32_t sums32 __attribute__((vector_size(64)));
QB_INLINE sums32 to_sums(__m512i x) { return (sums32)x; }
QB_INLINE __m512i from_sums(sums32 x) { return (__m512i)x; }
#endif

QB_INLINE sums32 add_dots(sums32 sums, __m512i codes, __m512i digits)
{
    return to_sums(_mm512_dpbusd_epi32(from_sums(sums), codes, digits));
}

// t from the sums of the planes.
QB_INLINE __m512 join_planes(const int planes, const sums32 *total, __m512i z, const int32_t *sums)
{
    __m512i a[3];
    // 16 bits hold both z and a sum of 256 digits.
    for (int p = 0; p < planes; p++) {
        const __m512i correction = _mm512_madd_epi16(z, _mm512_set1_epi32(sums[p]));
        a[p] = _mm512_sub_epi32(from_sums(total[p]), correction);
    }
    if (planes == 1) return _mm512_cvtepi32_ps(a[0]);
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(a[planes - 1], 8), a[planes - 2]);
    if (planes == 2) return _mm512_cvtepi32_ps(upper);
    const __m512 high = _mm512_cvtepi32_ps(upper), low = _mm512_cvtepi32_ps(a[0]);
    return _mm512_fmadd_ps(_mm512_set1_ps(256.0f), high, low);
}

// acc + (a * b) * t, and acc + a * b.
QB_INLINE __m512 add_scaled(__m512 acc, const float *a, float b, __m512 t)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_loadu_ps(a), _mm512_set1_ps(b)), t, acc);
}
QB_INLINE __m512 add_product(__m512 acc, const float *a, float b)
{
    return _mm512_fmadd_ps(_mm512_loadu_ps(a), _mm512_set1_ps(b), acc);
}

QB_INLINE __m512i broadcast(const void *word)
{
    int32_t value;
    memcpy(&value, word, 4);
    return _mm512_set1_epi32(value);
}

// A few segments, [segment, end), and the first column of a tile.
struct span {
    size_t segment, end, col;
    const uint8_t *lines;
    const int8_t *digits; // of the column
};

// A span times `width` columns; words = width * planes words of digits a unit.
#define TILE(planes, width, words)                                                                \
    static void tile_##planes##x##width(const struct qb_panel *w, const struct qb_activations *x, \
                                        const struct span *span, float *acc)                      \
    {                                                                                             \
        const size_t step = x->cols * planes * 4;                                                 \
        const int8_t *digits = span->digits;                                                      \
        const uint8_t *line = span->lines;                                                        \
        __m512 out[width];                                                                        \
        QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = _mm512_loadu_ps(acc + QB_LANES * c);\
        for (size_t s = span->segment; s < span->end; s++) {                                      \
            sums32 total[words];                                                                  \
            QB_UNROLL for (size_t j = 0; j < words; j++)                                          \
                total[j] = to_sums(_mm512_setzero_si512());                                       \
            for (const uint8_t *const end = line + w->units[s] * LINE; line < end; line += LINE) {\
                const __m512i codes = _mm512_loadu_si512(line);                                   \
                QB_UNROLL for (size_t j = 0; j < words; j++)                                      \
                    total[j] = add_dots(total[j], codes, broadcast(digits + 4 * j));              \
                digits += step;                                                                   \
            }                                                                                     \
            const size_t row = s * QB_LANES, at = s * x->cols + span->col;                        \
            QB_UNROLL for (size_t c = 0; c < width; c++) {                                        \
                const __m512 t = join_planes(planes, total + planes * c,                          \
                                             _mm512_loadu_si512(w->z + row),                      \
                                             x->sums + (at + c) * planes);                        \
                out[c] = add_scaled(out[c], w->d + row, x->dx[at + c], t);                        \
            }                                                                                     \
            if (w->m) {                                                                           \
                QB_UNROLL for (size_t c = 0; c < width; c++)                                      \
                    out[c] = add_product(out[c], w->m + row, x->dxsum[at + c]);                   \
            }                                                                                     \
        }                                                                                         \
        QB_UNROLL for (size_t c = 0; c < width; c++) _mm512_storeu_ps(acc + QB_LANES * c, out[c]);\
    }
TILE(1, 12, 12)
TILE(1, 8, 8)
TILE(1, 4, 4)
TILE(1, 2, 2)
TILE(1, 1, 1)
TILE(2, 6, 12)
TILE(2, 4, 8)
TILE(2, 2, 4)
TILE(2, 1, 2)
TILE(3, 4, 12)
TILE(3, 2, 6)
TILE(3, 1, 3)

// The tiles of each number of planes, widest first.
static const struct {
    size_t width;
    void (*tile)(const struct qb_panel *, const struct qb_activations *, const struct span *,
                 float *);
} tiles[4][5] = {
    [1] = {{12, tile_1x12}, {8, tile_1x8}, {4, tile_1x4}, {2, tile_1x2}, {1, tile_1x1}},
    [2] = {{6, tile_2x6}, {4, tile_2x4}, {2, tile_2x2}, {1, tile_2x1}},
    [3] = {{4, tile_3x4}, {2, tile_3x2}, {1, tile_3x1}},
};

void qb_panel_avx512(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    const size_t planes = (size_t)x->planes, step = x->cols * planes * 4;
    const int8_t *digits = x->digits;
    struct span span = {.lines = w->lines};
    for (; span.segment < w->segments; span.segment = span.end) {
        size_t units = w->units[span.segment];
        for (span.end = span.segment + 1; span.end < w->segments; units += w->units[span.end++])
            if ((units + w->units[span.end]) * step > NEAR) break;
        size_t tile = 0;
        for (span.col = 0; span.col < x->cols; span.col += tiles[planes][tile].width) {
            while (x->cols - span.col < tiles[planes][tile].width) tile++;
            span.digits = digits + span.col * planes * 4;
            tiles[planes][tile].tile(w, x, &span, acc + span.col * QB_LANES);
        }
        span.lines += units * LINE;
        digits += units * step;
    }
}

QB_TARGET_END
#endif

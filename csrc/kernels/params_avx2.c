// SPDX-License-Identifier: Apache-2.0
// What groups of floats are quantized by, eight groups at a time. Why these instructions:
//   vminps, vmaxps      least and greatest value
//   vpmaxud, vpmaxsd    of a float's bits as integers: of negative floats, the unsigned maximum is the
//                       one of largest magnitude, and of others the signed one, NaN and infinity above
//                       all; so that these two are the extreme and the test for what is not finite
//   vcvtps2ph, vdivps   round as defined
#include "kernels.h"

#include "../base/float16.h"
#include "../base/target.h"

#if QB_X86

#include <string.h>

QB_TARGET_BEGIN(QB_TARGET_AVX2)

// ---- ends of groups ---------------------------------------------------------------------------------

// Which two values of a group are looked for: least and greatest, or those with the greatest bits as
// unsigned and as signed integers. Constant in each copy of what follows.
enum ends { RANGE, BITS };

// The two of one group, or of several, spread over lanes.
struct extent {
    __m256 lo, hi;
};

QB_INLINE __m256 of_integers(__m256i x) { return _mm256_castsi256_ps(x); }
QB_INLINE __m256i integers(__m256 x) { return _mm256_castps_si256(x); }

QB_INLINE __m256 lower(__m256 a, __m256 b, const enum ends ends)
{
    return ends == RANGE ? _mm256_min_ps(a, b) : of_integers(_mm256_max_epu32(integers(a), integers(b)));
}

QB_INLINE __m256 upper(__m256 a, __m256 b, const enum ends ends)
{
    return ends == RANGE ? _mm256_max_ps(a, b) : of_integers(_mm256_max_epi32(integers(a), integers(b)));
}

// *bad becomes other than 0 (or -0) where a RANGE's a or b is not finite.
QB_INLINE struct extent extent_of_16(__m256 a, __m256 b, __m256 *bad, const enum ends ends)
{
    const __m256 zero = _mm256_setzero_ps();
    // 0 of either sign, but NaN where a or b has one or an infinity.
    if (ends == RANGE) *bad = _mm256_or_ps(*bad, _mm256_fmadd_ps(b, zero, _mm256_mul_ps(a, zero)));
    return (struct extent){lower(a, b, ends), upper(a, b, ends)};
}

// Of one group of len elements. What is taken first overlaps what the loop takes, so that nothing
// is left over; a group of less than eight is filled up with copies of its first element.
QB_INLINE struct extent extent_of(const float *x, size_t len, __m256 *bad, const enum ends ends)
{
    static const int32_t masks[15] = {-1, -1, -1, -1, -1, -1, -1};
    if (len < 8) {
        const __m256i mask = _mm256_loadu_si256((const __m256i *)(masks + 7 - len));
        const __m256 some = _mm256_maskload_ps(x, mask);
        const __m256 v = _mm256_blendv_ps(_mm256_broadcast_ss(x), some, _mm256_castsi256_ps(mask));
        return extent_of_16(v, v, bad, ends);
    }
    const __m256 last = _mm256_loadu_ps(x + len - 8);
    struct extent e = extent_of_16(_mm256_loadu_ps(len < 16 ? x : x + len - 16), last, bad, ends);
    for (size_t i = 0; i + 16 < len; i += 16) {
        const struct extent f = extent_of_16(_mm256_loadu_ps(x + i), _mm256_loadu_ps(x + i + 8),
                                             bad, ends);
        e.lo = lower(e.lo, f.lo, ends);
        e.hi = upper(e.hi, f.hi, ends);
    }
    return e;
}

// The transposing reduction of eight groups: each step halves the lanes that a group takes and joins
// two registers, the lanes of p and q that meet being those of first_of and second_of. After steps
// 0, 1 and 2 the groups are in the order 0 2 4 6 1 3 5 7.
QB_INLINE __m256 first_of(__m256 p, __m256 q, const int step)
{
    return step == 0   ? _mm256_blend_ps(p, q, 0xF0)
           : step == 1 ? _mm256_blend_ps(p, q, 0xCC)
                       : _mm256_shuffle_ps(p, q, _MM_SHUFFLE(2, 0, 2, 0));
}

QB_INLINE __m256 second_of(__m256 p, __m256 q, const int step)
{
    return step == 0   ? _mm256_permute2f128_ps(p, q, 0x21)
           : step == 1 ? _mm256_shuffle_ps(p, q, _MM_SHUFFLE(1, 0, 3, 2))
                       : _mm256_shuffle_ps(p, q, _MM_SHUFFLE(3, 1, 3, 1));
}

QB_INLINE struct extent join(struct extent a, struct extent b, const int step, const enum ends ends)
{
    return (struct extent){lower(first_of(a.lo, b.lo, step), second_of(a.lo, b.lo, step), ends),
                           upper(first_of(a.hi, b.hi, step), second_of(a.hi, b.hi, step), ends)};
}

QB_INLINE struct extent extent_of_2(const float *x, size_t group, __m256 *bad, const enum ends ends)
{
    const struct extent a = extent_of(x, group, bad, ends);
    return join(a, extent_of(x + group, group, bad, ends), 0, ends);
}

QB_INLINE struct extent extent_of_4(const float *x, size_t group, __m256 *bad, const enum ends ends)
{
    const struct extent a = extent_of_2(x, group, bad, ends);
    return join(a, extent_of_2(x + 2 * group, group, bad, ends), 1, ends);
}

// In order.
QB_INLINE struct extent extent_of_8(const float *x, size_t group, __m256 *bad, const enum ends ends)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const struct extent a = extent_of_4(x, group, bad, ends);
    const struct extent e = join(a, extent_of_4(x + 4 * group, group, bad, ends), 2, ends);
    return (struct extent){_mm256_permutevar8x32_ps(e.lo, order), _mm256_permutevar8x32_ps(e.hi, order)};
}

// Of one group, in every lane.
QB_INLINE struct extent extent_of_1(const float *x, size_t len, __m256 *bad, const enum ends ends)
{
    struct extent e = extent_of(x, len, bad, ends);
    for (int step = 0; step < 3; step++) e = join(e, e, step, ends);
    return e;
}

// ---- range ------------------------------------------------------------------------------------------

QB_INLINE int range(const float *x, size_t n, const size_t group, float *lo, float *hi)
{
    const __m256 zero = _mm256_setzero_ps(); // -0 + 0 = +0
    __m256 bad = zero;
    size_t i = 0;
    for (; group <= n / 8 && n - i >= 8 * group; i += 8 * group, lo += 8, hi += 8) {
        const struct extent e = extent_of_8(x + i, group, &bad, RANGE);
        _mm256_storeu_ps(lo, _mm256_add_ps(e.lo, zero));
        _mm256_storeu_ps(hi, _mm256_add_ps(e.hi, zero));
    }
    for (size_t len; i < n; i += len, lo++, hi++) {
        len = n - i < group ? n - i : group;
        const struct extent e = extent_of_1(x + i, len, &bad, RANGE);
        *lo = _mm256_cvtss_f32(_mm256_add_ps(e.lo, zero));
        *hi = _mm256_cvtss_f32(_mm256_add_ps(e.hi, zero));
    }
    return !_mm256_testz_si256(_mm256_castps_si256(bad), _mm256_set1_epi32(0x7FFFFFFF));
}

int qb_range_avx2(const float *x, size_t n, size_t group, float *lo, float *hi)
{
    switch (group) {
    case 8: return range(x, n, 8, lo, hi);
    case 16: return range(x, n, 16, lo, hi);
    case 32: return range(x, n, 32, lo, hi);
    default: return range(x, n, group, lo, hi);
    }
}

// ---- extremes ---------------------------------------------------------------------------------------

// The extreme of each lane's group: the one with the sign bit where both are as large, and *tied then.
QB_INLINE __m256 extreme_of(struct extent e, __m256i *most, int *tied)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    const __m256i lo = _mm256_and_si256(integers(e.lo), magnitude);
    const __m256i hi = _mm256_and_si256(integers(e.hi), magnitude);
    // Groups of one sign have the same one twice; zeros of both become +0 below.
    const __m256i same = _mm256_or_si256(_mm256_cmpeq_epi32(integers(e.lo), integers(e.hi)),
                                         _mm256_cmpeq_epi32(lo, _mm256_setzero_si256()));
    *tied = _mm256_movemask_ps(of_integers(_mm256_andnot_si256(same, _mm256_cmpeq_epi32(lo, hi))));
    *most = _mm256_max_epi32(*most, _mm256_max_epi32(lo, hi));
    const __m256 extreme = _mm256_blendv_ps(e.lo, e.hi, of_integers(_mm256_cmpgt_epi32(hi, lo)));
    return _mm256_add_ps(extreme, _mm256_setzero_ps());
}

// Of a group where both +most and -most are: the one that comes first.
static float first_of_most(const float *x, size_t len, float most)
{
    size_t i = 0;
    while (i + 1 < len && x[i] != most && x[i] != -most) i++; // a NaN is never found
    return x[i];
}

QB_INLINE int extremes(const float *x, size_t n, const size_t group, float *out)
{
    __m256i most = _mm256_setzero_si256();
    __m256 unused = _mm256_setzero_ps();
    size_t i = 0;
    int tied;
    for (; group <= n / 8 && n - i >= 8 * group; i += 8 * group, out += 8) {
        _mm256_storeu_ps(out, extreme_of(extent_of_8(x + i, group, &unused, BITS), &most, &tied));
        for (int k = 0; tied >> k; k++)
            if (tied >> k & 1) out[k] = first_of_most(x + i + (size_t)k * group, group, out[k]);
    }
    for (size_t len; i < n; i += len, out++) {
        len = n - i < group ? n - i : group;
        *out = _mm256_cvtss_f32(extreme_of(extent_of_1(x + i, len, &unused, BITS), &most, &tied));
        if (tied) *out = first_of_most(x + i, len, *out);
    }
    return _mm256_movemask_epi8(_mm256_cmpgt_epi32(most, _mm256_set1_epi32(0x7F7FFFFF))) != 0;
}

int qb_extremes_avx2(const float *x, size_t n, size_t group, float *out)
{
    switch (group) {
    case 8: return extremes(x, n, 8, out);
    case 16: return extremes(x, n, 16, out);
    case 32: return extremes(x, n, 32, out);
    default: return extremes(x, n, group, out);
    }
}

// ---- scales -----------------------------------------------------------------------------------------

// Returns the lanes whose scale is not finite.
QB_INLINE __m256 scales_of_8(float *d, float *inv)
{
    const __m256 greatest = _mm256_set1_ps(0x1.fffffep127f), sign = _mm256_set1_ps(-0.0f);
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(d), _MM_FROUND_TO_NEAREST_INT);
    const __m256 rounded = _mm256_cvtph_ps(half);
    const __m256 inverse = _mm256_div_ps(_mm256_set1_ps(1.0f), rounded);
    const __m256 usable = _mm256_cmp_ps(_mm256_andnot_ps(sign, inverse), greatest, _CMP_LE_OQ);
    _mm256_storeu_ps(d, _mm256_and_ps(rounded, usable));
    _mm256_storeu_ps(inv, _mm256_and_ps(inverse, usable));
    return _mm256_cmp_ps(_mm256_andnot_ps(sign, rounded), greatest, _CMP_NLE_UQ);
}

int qb_scales_f16_avx2(float *d, size_t n, float *inv)
{
    __m256 bad = _mm256_setzero_ps();
    size_t i = 0;
    for (; n - i >= 8; i += 8) bad = _mm256_or_ps(bad, scales_of_8(d + i, inv + i));
    if (i < n) {
        float some[8] = {0}, inverse[8];
        memcpy(some, d + i, (n - i) * sizeof *d);
        bad = _mm256_or_ps(bad, scales_of_8(some, inverse));
        memcpy(d + i, some, (n - i) * sizeof *d);
        memcpy(inv + i, inverse, (n - i) * sizeof *inv);
    }
    return _mm256_movemask_ps(bad) != 0;
}

QB_TARGET_END

#endif

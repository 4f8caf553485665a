// SPDX-License-Identifier: Apache-2.0
// What groups of floats are quantized by, sixteen groups at a time; ends are masked. Why these
// instructions:
//   vminps, vmaxps      least and greatest value
//   vpmaxud, vpmaxsd    of a float's bits as integers: of negative floats, the unsigned maximum is the
//                       one of largest magnitude, and of others the signed one, NaN and infinity above
//                       all; so that these two are the extreme and the test for what is not finite
//   vcvtps2ph, vdivps   round as defined
#include "kernels.h"

#include "../base/target.h"

#if QB_X86

QB_TARGET_BEGIN(QB_TARGET_AVX512)

QB_INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)((1u << n) - 1); } // n <= 16

// ---- ends of groups ---------------------------------------------------------------------------------

// Which two values of a group are looked for: least and greatest, or those with the greatest bits as
// unsigned and as signed integers. Constant in each copy of what follows.
enum ends { RANGE, BITS };

// The two of one group, or of several, spread over lanes.
struct extent {
    __m512 lo, hi;
};

QB_INLINE __m512 of_integers(__m512i x) { return _mm512_castsi512_ps(x); }
QB_INLINE __m512i integers(__m512 x) { return _mm512_castps_si512(x); }

QB_INLINE __m512 lower(__m512 a, __m512 b, const enum ends ends)
{
    return ends == RANGE ? _mm512_min_ps(a, b) : of_integers(_mm512_max_epu32(integers(a), integers(b)));
}

QB_INLINE __m512 upper(__m512 a, __m512 b, const enum ends ends)
{
    return ends == RANGE ? _mm512_max_ps(a, b) : of_integers(_mm512_max_epi32(integers(a), integers(b)));
}

// *bad becomes other than 0 (or -0) where a RANGE's a or b is not finite.
QB_INLINE struct extent extent_of_32(__m512 a, __m512 b, __m512 *bad, const enum ends ends)
{
    const __m512 zero = _mm512_setzero_ps();
    // 0 of either sign, but NaN where a or b has one or an infinity.
    if (ends == RANGE) *bad = _mm512_or_ps(*bad, _mm512_fmadd_ps(b, zero, _mm512_mul_ps(a, zero)));
    return (struct extent){lower(a, b, ends), upper(a, b, ends)};
}

// Of one group of len elements. What is taken first overlaps what the loop takes, so that nothing
// is left over; a group of less than sixteen is filled up with copies of its first element.
QB_INLINE struct extent extent_of(const float *x, size_t len, __m512 *bad, const enum ends ends)
{
    if (len < 16) {
        const __m512 v = _mm512_mask_loadu_ps(_mm512_set1_ps(*x), first_lanes(len), x);
        return extent_of_32(v, v, bad, ends);
    }
    const __m512 last = _mm512_loadu_ps(x + len - 16);
    struct extent e = extent_of_32(_mm512_loadu_ps(len < 32 ? x : x + len - 32), last, bad, ends);
    for (size_t i = 0; i + 32 < len; i += 32) {
        const struct extent f = extent_of_32(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16),
                                             bad, ends);
        e.lo = lower(e.lo, f.lo, ends);
        e.hi = upper(e.hi, f.hi, ends);
    }
    return e;
}

// The transposing reduction of sixteen groups: each step halves the lanes that a group takes and
// joins two registers, the lanes of p and q that meet being those of first_of and second_of. After
// steps 0 to 3 the groups are in the order 0 4 8 12, 2 6 10 14, 1 5 9 13, 3 7 11 15.
QB_INLINE __m512 first_of(__m512 p, __m512 q, const int step)
{
    return step == 0   ? _mm512_mask_blend_ps(0xFF00, p, q)
           : step == 1 ? _mm512_mask_blend_ps(0xF0F0, p, q)
           : step == 2 ? _mm512_mask_blend_ps(0xCCCC, p, q)
                       : _mm512_shuffle_ps(p, q, _MM_SHUFFLE(2, 0, 2, 0));
}

QB_INLINE __m512 second_of(__m512 p, __m512 q, const int step)
{
    const __m512i quarters = _mm512_setr_epi32(4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25,
                                               26, 27);
    return step == 0   ? _mm512_shuffle_f32x4(p, q, _MM_SHUFFLE(1, 0, 3, 2))
           : step == 1 ? _mm512_permutex2var_ps(p, quarters, q)
           : step == 2 ? _mm512_shuffle_ps(p, q, _MM_SHUFFLE(1, 0, 3, 2))
                       : _mm512_shuffle_ps(p, q, _MM_SHUFFLE(3, 1, 3, 1));
}

QB_INLINE struct extent join(struct extent a, struct extent b, const int step, const enum ends ends)
{
    return (struct extent){lower(first_of(a.lo, b.lo, step), second_of(a.lo, b.lo, step), ends),
                           upper(first_of(a.hi, b.hi, step), second_of(a.hi, b.hi, step), ends)};
}

QB_INLINE struct extent extent_of_2(const float *x, size_t group, __m512 *bad, const enum ends ends)
{
    const struct extent a = extent_of(x, group, bad, ends);
    return join(a, extent_of(x + group, group, bad, ends), 0, ends);
}

QB_INLINE struct extent extent_of_4(const float *x, size_t group, __m512 *bad, const enum ends ends)
{
    const struct extent a = extent_of_2(x, group, bad, ends);
    return join(a, extent_of_2(x + 2 * group, group, bad, ends), 1, ends);
}

QB_INLINE struct extent extent_of_8(const float *x, size_t group, __m512 *bad, const enum ends ends)
{
    const struct extent a = extent_of_4(x, group, bad, ends);
    return join(a, extent_of_4(x + 4 * group, group, bad, ends), 2, ends);
}

// In order.
QB_INLINE struct extent extent_of_16(const float *x, size_t group, __m512 *bad, const enum ends ends)
{
    const __m512i order = _mm512_setr_epi32(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
    const struct extent a = extent_of_8(x, group, bad, ends);
    const struct extent e = join(a, extent_of_8(x + 8 * group, group, bad, ends), 3, ends);
    return (struct extent){_mm512_permutexvar_ps(order, e.lo), _mm512_permutexvar_ps(order, e.hi)};
}

// Of one group, in every lane.
QB_INLINE struct extent extent_of_1(const float *x, size_t len, __m512 *bad, const enum ends ends)
{
    struct extent e = extent_of(x, len, bad, ends);
    for (int step = 0; step < 4; step++) e = join(e, e, step, ends);
    return e;
}

// ---- range ------------------------------------------------------------------------------------------

QB_INLINE int range(const float *x, size_t n, const size_t group, float *lo, float *hi)
{
    const __m512 zero = _mm512_setzero_ps(); // -0 + 0 = +0
    __m512 bad = zero;
    size_t i = 0;
    for (; group <= n / 16 && n - i >= 16 * group; i += 16 * group, lo += 16, hi += 16) {
        const struct extent e = extent_of_16(x + i, group, &bad, RANGE);
        _mm512_storeu_ps(lo, _mm512_add_ps(e.lo, zero));
        _mm512_storeu_ps(hi, _mm512_add_ps(e.hi, zero));
    }
    for (size_t len; i < n; i += len, lo++, hi++) {
        len = n - i < group ? n - i : group;
        const struct extent e = extent_of_1(x + i, len, &bad, RANGE);
        *lo = _mm512_cvtss_f32(_mm512_add_ps(e.lo, zero));
        *hi = _mm512_cvtss_f32(_mm512_add_ps(e.hi, zero));
    }
    return _mm512_test_epi32_mask(_mm512_castps_si512(bad), _mm512_set1_epi32(0x7FFFFFFF)) != 0;
}

int qb_range_avx512(const float *x, size_t n, size_t group, float *lo, float *hi)
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
QB_INLINE __m512 extreme_of(struct extent e, __m512i *most, __mmask16 *tied)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    const __m512i lo = _mm512_and_si512(integers(e.lo), magnitude);
    const __m512i hi = _mm512_and_si512(integers(e.hi), magnitude);
    // Groups of one sign have the same one twice; zeros of both become +0 below.
    const __mmask16 differ = _mm512_mask_cmpneq_epi32_mask(_mm512_test_epi32_mask(lo, lo),
                                                           integers(e.lo), integers(e.hi));
    *tied = _mm512_mask_cmpeq_epi32_mask(differ, lo, hi);
    *most = _mm512_max_epi32(*most, _mm512_max_epi32(lo, hi));
    const __m512 extreme = _mm512_mask_mov_ps(e.lo, _mm512_cmpgt_epi32_mask(hi, lo), e.hi);
    return _mm512_add_ps(extreme, _mm512_setzero_ps());
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
    __m512i most = _mm512_setzero_si512();
    __m512 unused = _mm512_setzero_ps();
    size_t i = 0;
    __mmask16 tied;
    for (; group <= n / 16 && n - i >= 16 * group; i += 16 * group, out += 16) {
        _mm512_storeu_ps(out, extreme_of(extent_of_16(x + i, group, &unused, BITS), &most, &tied));
        for (int k = 0; tied >> k; k++)
            if (tied >> k & 1) out[k] = first_of_most(x + i + (size_t)k * group, group, out[k]);
    }
    for (size_t len; i < n; i += len, out++) {
        len = n - i < group ? n - i : group;
        *out = _mm512_cvtss_f32(extreme_of(extent_of_1(x + i, len, &unused, BITS), &most, &tied));
        if (tied) *out = first_of_most(x + i, len, *out);
    }
    return _mm512_cmpgt_epi32_mask(most, _mm512_set1_epi32(0x7F7FFFFF)) != 0;
}

int qb_extremes_avx512(const float *x, size_t n, size_t group, float *out)
{
    switch (group) {
    case 8: return extremes(x, n, 8, out);
    case 16: return extremes(x, n, 16, out);
    case 32: return extremes(x, n, 32, out);
    default: return extremes(x, n, group, out);
    }
}

// ---- scales -----------------------------------------------------------------------------------------

int qb_scales_f16_avx512(float *d, size_t n, float *inv)
{
    const __m512 greatest = _mm512_set1_ps(0x1.fffffep127f);
    __mmask16 bad = 0;
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 some = n - i < 16 ? first_lanes(n - i) : 0xFFFF;
        const __m256i half = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(some, d + i), _MM_FROUND_TO_NEAREST_INT);
        const __m512 rounded = _mm512_cvtph_ps(half), inverse = _mm512_div_ps(_mm512_set1_ps(1.0f), rounded);
        const __mmask16 usable = _mm512_cmp_ps_mask(_mm512_abs_ps(inverse), greatest, _CMP_LE_OQ);
        _mm512_mask_storeu_ps(d + i, some, _mm512_maskz_mov_ps(usable, rounded));
        _mm512_mask_storeu_ps(inv + i, some, _mm512_maskz_mov_ps(usable, inverse));
        bad |= _mm512_cmp_ps_mask(_mm512_abs_ps(rounded), greatest, _CMP_NLE_UQ);
    }
    return bad != 0;
}

QB_TARGET_END

#endif

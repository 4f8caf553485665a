// SPDX-License-Identifier: Apache-2.0
// The steps of a search over segments side by side: moments eight lanes at a time, the rest in doubles, four.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

#include "fit_ymm.h"

QB_INLINE __m256d widened(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
QB_INLINE __m256d load(const double *p) { return _mm256_loadu_pd(p); }
QB_INLINE __m256d mul(__m256d a, __m256d b) { return _mm256_mul_pd(a, b); }
QB_INLINE __m256d add(__m256d a, __m256d b) { return _mm256_add_pd(a, b); }
QB_INLINE __m256d sub(__m256d a, __m256d b) { return _mm256_sub_pd(a, b); }
QB_INLINE __m256d twice(__m256d a) { return _mm256_add_pd(a, a); }

// Four of eight lanes.
QB_INLINE __m256d part(__m256 eight, size_t k)
{
    return _mm256_cvtps_pd(k % 8 ? _mm256_extractf128_ps(eight, 1) : _mm256_castps256_ps128(eight));
}

struct measures {
    __m256 lo, hi, weight, sum;
};

QB_INLINE void measure_step(struct measures *m, const float *x, const float *w, const int weighted)
{
    const __m256 v = _mm256_loadu_ps(x);
    m->lo = _mm256_min_ps(v, m->lo);
    m->hi = _mm256_max_ps(v, m->hi);
    if (weighted) m->weight = _mm256_add_ps(m->weight, _mm256_loadu_ps(w));
    m->sum = _mm256_add_ps(m->sum, weighted ? _mm256_mul_ps(_mm256_loadu_ps(w), v) : v);
}

// Both halves together, as in qb_fit_run_ymm. Without weights theirs are n ones.
QB_INLINE void measure(const float *x, const float *w, size_t n, struct qb_segments *s, const int weighted)
{
    const __m256 zero = _mm256_setzero_ps(), weight = weighted ? zero : _mm256_set1_ps((float)n);
    struct measures a = {zero, _mm256_loadu_ps(x), weight, zero}, b = {zero, _mm256_loadu_ps(x + 8), weight, zero};
    for (size_t i = 0; i < n * QB_LANES; i += QB_LANES) {
        measure_step(&a, x + i, weighted ? w + i : NULL, weighted);
        measure_step(&b, x + i + 8, weighted ? w + i + 8 : NULL, weighted);
    }
    QB_UNROLL
    for (size_t k = 0; k < QB_LANES; k += 4) {
        const struct measures *const m = k < 8 ? &a : &b;
        if (k % 8 == 0) {
            _mm256_storeu_ps(s->lo + k, m->lo);
            _mm256_storeu_ps(s->hi + k, m->hi);
        }
        _mm256_storeu_pd(s->weight + k, part(m->weight, k));
        _mm256_storeu_pd(s->inverse + k, _mm256_div_pd(_mm256_set1_pd(1.0), part(m->weight, k)));
        _mm256_storeu_pd(s->sum + k, part(m->sum, k));
        _mm256_storeu_pd(s->gain + k, _mm256_setzero_pd());
        _mm256_storeu_pd(s->d + k, _mm256_setzero_pd());
        _mm256_storeu_pd(s->m + k, _mm256_setzero_pd());
    }
}

void qb_measure_avx2(const float *x, const float *w, size_t n, struct qb_segments *s)
{
    if (w) measure(x, w, n, s, 1);
    else measure(x, NULL, n, s, 0);
}

QB_INLINE void fit(struct qb_sums_ymm sums[2], const float *x, const float *w, size_t n, const struct qb_lanes *ask,
                   const int has_min)
{
    if (w) qb_fit_run_ymm(sums, x, w, n, ask, has_min, 1, has_min);
    else qb_fit_run_ymm(sums, x, w, n, ask, has_min, 0, has_min);
}

QB_INLINE __m256d gain_of(__m256d d, __m256d m, __m256d l, __m256d ll, __m256d lx, __m256d sum, __m256d weight,
                          const int has_min)
{
    if (!has_min) return sub(twice(mul(d, lx)), mul(d, mul(d, ll)));
    const __m256d cross = twice(add(mul(d, lx), mul(m, sum)));
    return sub(cross, add(mul(d, add(mul(d, ll), twice(mul(m, l)))), mul(m, mul(m, weight))));
}

// *best = value where the mask is set.
QB_INLINE void keep(double *best, __m256d value, __m256d mask)
{
    _mm256_storeu_pd(best, _mm256_blendv_pd(load(best), value, mask));
}

QB_INLINE void propose(const float *x, const float *w, size_t n, const struct qb_lanes *ask, struct qb_segments *s,
                       const int has_min)
{
    struct qb_sums_ymm sums[2];
    fit(sums, x, w, n, ask, has_min);
    QB_UNROLL
    for (size_t k = 0; k < QB_LANES; k += 4) {
        const __m256d zero = _mm256_setzero_pd(), one = _mm256_set1_pd(1.0);
        const __m256d l = part(sums[k / 8].l, k), ll = part(sums[k / 8].ll, k), lv = part(sums[k / 8].lv, k);
        const __m256d weight = load(s->weight + k), sum = load(s->sum + k);
        const __m256d lx = has_min ? add(lv, mul(widened(ask->off + k), l)) : lv;
        __m256d d, m = zero;
        if (has_min) {
            const __m256d all = mul(weight, ll), spread = sub(all, mul(l, l)), least = sub(mul(sum, ll), mul(l, lx));
            const __m256d spreads = _mm256_cmp_pd(spread, mul(_mm256_set1_pd(QB_SPREAD), all), _CMP_GT_OQ);
            const __m256d below = _mm256_and_pd(_mm256_cmp_pd(least, zero, _CMP_LT_OQ), spreads);
            const __m256d no_level = _mm256_cmp_pd(ll, zero, _CMP_EQ_OQ);
            const __m256d inv = _mm256_div_pd(one, _mm256_blendv_pd(ll, spread, below));
            const __m256d both = sub(mul(weight, lx), mul(l, sum));
            d = _mm256_andnot_pd(no_level, mul(_mm256_blendv_pd(lx, both, below), inv));
            m = _mm256_and_pd(mul(least, inv), below);
            m = _mm256_blendv_pd(m, mul(_mm256_min_pd(sum, zero), load(s->inverse + k)), no_level);
        } else {
            d = mul(lx, _mm256_div_pd(one, ll));
        }
        const __m256d gain = gain_of(d, m, l, ll, lx, sum, weight, has_min);
        const __m256d least_gain = mul(_mm256_set1_pd(QB_BETTER), load(s->gain + k));
        const __m256d better = _mm256_cmp_pd(gain, least_gain, _CMP_GT_OQ);
        keep(s->gain + k, gain, better);
        keep(s->d + k, d, better);
        keep(s->m + k, m, better);
    }
}

void qb_propose_avx2(const float *x, const float *w, size_t n, const struct qb_lanes *ask, int has_min,
                     struct qb_segments *s)
{
    if (has_min) propose(x, w, n, ask, s, 1);
    else propose(x, w, n, ask, s, 0);
}

QB_INLINE void beside(const float *x, const float *w, size_t n, const struct qb_lanes *ask, const struct qb_units *u,
                      struct qb_segments *s, const int has_min)
{
    struct qb_sums_ymm sums[2];
    fit(sums, x, w, n, ask, has_min);
    QB_UNROLL
    for (size_t k = 0; k < QB_LANES; k += 4) {
        const __m256d l = part(sums[k / 8].l, k), ll = part(sums[k / 8].ll, k), lv = part(sums[k / 8].lv, k);
        const __m256d weight = load(s->weight + k), sum = load(s->sum + k), d = widened(ask->d + k);
        const __m256d lx = has_min ? add(lv, mul(widened(ask->off + k), l)) : lv;
        __m128 min = _mm_setzero_ps(), m = min;
        if (has_min) {
            const __m256d wanted = mul(sub(mul(d, l), sum), load(s->inverse + k));
            const __m128 steps = _mm_mul_ps(_mm256_cvtpd_ps(wanted), _mm_loadu_ps(u->inv_m + k));
            const __m128 legal = _mm_min_ps(_mm_max_ps(steps, min), _mm_set1_ps(u->top)); // a NaN becomes 0
            min = _mm_sub_ps(_mm_add_ps(legal, _mm_set1_ps(0x1.8p23f)), _mm_set1_ps(0x1.8p23f));
            m = _mm_xor_ps(_mm_mul_ps(_mm_loadu_ps(u->m + k), min), _mm_set1_ps(-0.0f));
        }
        const __m256d gain = gain_of(d, _mm256_cvtps_pd(m), l, ll, lx, sum, weight, has_min);
        const __m256d better = _mm256_cmp_pd(gain, load(s->gain + k), _CMP_GT_OQ);
        keep(s->gain + k, gain, better);
        // The mask of doubles, its even words, as one of floats.
        const __m256 words = _mm256_castpd_ps(better);
        const __m128 mask = _mm_shuffle_ps(_mm256_castps256_ps128(words), _mm256_extractf128_ps(words, 1), 0x88);
        _mm_storeu_ps(s->scale + k, _mm_blendv_ps(_mm_loadu_ps(s->scale + k), _mm_loadu_ps(u->scale + k), mask));
        _mm_storeu_ps(s->min + k, _mm_blendv_ps(_mm_loadu_ps(s->min + k), min, mask));
    }
}

void qb_beside_avx2(const float *x, const float *w, size_t n, const struct qb_lanes *ask, const struct qb_units *u,
                    int has_min, struct qb_segments *s)
{
    if (has_min) beside(x, w, n, ask, u, s, 1);
    else beside(x, w, n, ask, u, s, 0);
}

// ---- codebooks --------------------------------------------------------------------------------------------

struct tables {
    __m256i levels, first, second, top;
};

QB_INLINE __m256i in_both(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(p)); }

// Levels of four registers of values, as bytes: four of each register in turn, in either half.
QB_INLINE __m256i levels_of(const __m256 v[4], const struct tables *book)
{
    __m256i t[4];
    QB_UNROLL
    for (int j = 0; j < 4; j++) t[j] = _mm256_cvtps_epi32(_mm256_min_ps(v[j], _mm256_set1_ps(127.0f)));
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(t[0], t[1]), _mm256_packs_epi32(t[2], t[3]));
    const __m256i from_0 = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
    const __m256i range = _mm256_and_si256(_mm256_srli_epi16(from_0, 4), _mm256_set1_epi8(15));
    __m256i code = _mm256_shuffle_epi8(book->top, range);
    code = _mm256_add_epi8(code, _mm256_cmpgt_epi8(_mm256_shuffle_epi8(book->first, range), bytes));
    code = _mm256_add_epi8(code, _mm256_cmpgt_epi8(_mm256_shuffle_epi8(book->second, range), bytes));
    return _mm256_shuffle_epi8(book->levels, code);
}

QB_INLINE void book(const float *x, const float *w, size_t n, const float *inv, const struct qb_book *from, float *a,
                    float *b, const int weighted)
{
    const struct tables tables = {in_both(from->levels), in_both(from->first), in_both(from->second),
                                  in_both(from->top)};
    const __m256i first = _mm256_broadcastsi128_si256(_mm_setr_epi32(0x808080, 0x1808080, 0x2808080, 0x3808080));
    __m256i places[4]; // bytes go to the tops of words
    for (int j = 0; j < 4; j++) places[j] = _mm256_add_epi32(first, _mm256_set1_epi32(j << 26));
    __m256 sum_a[2], sum_b[2], by[2];
    for (int h = 0; h < 2; h++) {
        sum_a[h] = sum_b[h] = _mm256_setzero_ps();
        by[h] = _mm256_loadu_ps(inv + 8 * h);
    }
    for (size_t i = 0; i < n * QB_LANES; i += 2 * QB_LANES) {
        __m256 v[4];
        QB_UNROLL
        for (int j = 0; j < 4; j++) v[j] = _mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * j), by[j % 2]);
        const __m256i bytes = levels_of(v, &tables);
        QB_UNROLL
        for (int j = 0; j < 4; j++) {
            const __m256i wide = _mm256_srai_epi32(_mm256_shuffle_epi8(bytes, places[j]), 24);
            const __m256 level = _mm256_cvtepi32_ps(wide);
            const __m256 each = weighted ? _mm256_mul_ps(_mm256_loadu_ps(w + i + 8 * j), level) : level;
            sum_a[j % 2] = _mm256_add_ps(sum_a[j % 2], _mm256_mul_ps(each, _mm256_loadu_ps(x + i + 8 * j)));
            sum_b[j % 2] = _mm256_add_ps(sum_b[j % 2], _mm256_mul_ps(each, level));
        }
    }
    for (int h = 0; h < 2; h++) {
        _mm256_storeu_ps(a + 8 * h, sum_a[h]);
        _mm256_storeu_ps(b + 8 * h, sum_b[h]);
    }
}

void qb_book_avx2(const float *x, const float *w, size_t n, const float *inv, const struct qb_book *from, float *a,
                  float *b)
{
    if (w) book(x, w, n, inv, from, a, b, 1);
    else book(x, w, n, inv, from, a, b, 0);
}

void qb_book_codes_avx2(const float *x, size_t n, float inv, const float *middles, uint8_t *codes)
{
    for (size_t i = 0; i < n; i += 16) {
        const __m256 v0 = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inv));
        const __m256 v1 = _mm256_mul_ps(_mm256_loadu_ps(x + i + 8), _mm256_set1_ps(inv));
        __m256i c0 = _mm256_setzero_si256(), c1 = c0;
        for (int j = 0; j < 15; j++) {
            const __m256 middle = _mm256_broadcast_ss(middles + j);
            c0 = _mm256_sub_epi32(c0, _mm256_castps_si256(_mm256_cmp_ps(v0, middle, _CMP_GE_OQ)));
            c1 = _mm256_sub_epi32(c1, _mm256_castps_si256(_mm256_cmp_ps(v1, middle, _CMP_GE_OQ)));
        }
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(c0, c1), 0xD8);
        const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(codes + i), bytes);
    }
}

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// Floats to codes and back, sixteen at a time; ends are masked. Why these instructions:
//   vcvtph2ps, vcvtps2ph  round as defined; only NaN payloads need a blend
//   vminps                gives its second operand where one is NaN: the upper clamp passes NaN on
//   vcvtps2dq             rint; NaN and what int32 cannot hold become INT32_MIN, so that the
//                         saturating pack to words and one maximum are the lower clamp
//   vpermb                takes the low bytes of the words, and puts the pack's quarters in order
//   vpermps               spreads the parameters of several small groups over one register
#include "kernels.h"

#include "../base/target.h"

#if QB_X86

QB_TARGET_BEGIN(QB_TARGET_AVX512)

QB_INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)((1u << n) - 1); } // n <= 16

// ---- half precision ---------------------------------------------------------------------------------

QB_INLINE __m512i canonical_nans(__m512i h)
{
    const __m512i magnitude = _mm512_and_si512(h, _mm512_set1_epi16(0x7FFF));
    const __mmask32 nan = _mm512_cmpgt_epi16_mask(magnitude, _mm512_set1_epi16(0x7C00));
    return _mm512_mask_mov_epi16(h, nan, _mm512_set1_epi16(0x7E00));
}

void qb_widen_f16_avx512(const uint16_t *x, size_t n, float *out)
{
    for (; n >= 32; n -= 32, x += 32, out += 32) {
        const __m512i h = canonical_nans(_mm512_loadu_si512(x));
        _mm512_storeu_ps(out, _mm512_cvtph_ps(_mm512_castsi512_si256(h)));
        _mm512_storeu_ps(out + 16, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1)));
    }
    if (!n) return;
    const __mmask32 rest = ((__mmask32)1 << n) - 1;
    const __m512i h = canonical_nans(_mm512_maskz_loadu_epi16(rest, x));
    const __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(h));
    const __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1));
    _mm512_mask_storeu_ps(out, (__mmask16)rest, low);
    if (n > 16) _mm512_mask_storeu_ps(out + 16, (__mmask16)(rest >> 16), high);
}

QB_INLINE __m512i narrow_32(__m512 a, __m512 b)
{
    const __m256i low = _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
    const __m256i high = _mm512_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT);
    return canonical_nans(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
}

void qb_narrow_f16_avx512(const float *x, size_t n, uint16_t *out)
{
    for (; n >= 32; n -= 32, x += 32, out += 32)
        _mm512_storeu_si512(out, narrow_32(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)));
    if (!n) return;
    const __mmask32 rest = ((__mmask32)1 << n) - 1;
    const __m512 a = _mm512_maskz_loadu_ps((__mmask16)rest, x);
    const __m512 b = n > 16 ? _mm512_maskz_loadu_ps((__mmask16)(rest >> 16), x + 16) : a;
    _mm512_mask_storeu_epi16(out, rest, narrow_32(a, b));
}

QB_INLINE __m256i upper_halves(__m512 x)
{
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i u = _mm512_mask_mov_epi32(_mm512_castps_si512(x), nan,
                                            _mm512_set1_epi32(0x7FC00000));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)); // less one where even
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_add_epi32(u, half), 16));
}

void qb_narrow_bf16_avx512(const float *x, size_t n, uint16_t *out)
{
    for (; n >= 16; n -= 16, x += 16, out += 16)
        _mm256_storeu_si256((__m256i *)out, upper_halves(_mm512_loadu_ps(x)));
    const __mmask16 rest = first_lanes(n);
    if (n) _mm256_mask_storeu_epi16(out, rest, upper_halves(_mm512_maskz_loadu_ps(rest, x)));
}

// ---- parameters of groups ---------------------------------------------------------------------------

// Groups that a register holds several of go together: `count` of them, lane i being in the
// group lanes[i]. One group otherwise.
struct together {
    size_t count;
    __m512i lanes;
};

QB_INLINE struct together groups_together(size_t group)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const int shift = group == 2 ? 1 : group == 4 ? 2 : group == 8 ? 3 : group == 16 ? 4 : 0;
    if (group != (size_t)1 << shift) return (struct together){0, _mm512_setzero_si512()};
    return (struct together){16 >> shift, _mm512_srl_epi32(lane, _mm_cvtsi32_si128(shift))};
}

// One parameter of the groups of a register; of one group where t is NULL.
QB_INLINE __m512 parameter(const float *p, const struct together *t)
{
    if (!t) return _mm512_set1_ps(*p);
    return _mm512_permutexvar_ps(t->lanes, _mm512_maskz_loadu_ps(first_lanes(t->count), p));
}

// ---- encode -----------------------------------------------------------------------------------------

// One call: where each group's parameters are, and what all groups share. The flags are constants
// in each copy of encode: whether there are off and z.
struct encoder {
    int shifted, pointed;
    const float *off, *inv, *z;
    __m512 hi;
    __m512i lo; // as words
};

// The parameters of each lane.
struct step {
    __m512 off, inv, hi; // hi less z
    __m512i z;
};

QB_INLINE struct step step_of(const struct encoder *e, size_t g, const struct together *t)
{
    struct step s = {_mm512_setzero_ps(), parameter(e->inv + g, t), e->hi, _mm512_setzero_si512()};
    if (e->shifted) s.off = parameter(e->off + g, t);
    if (e->pointed) {
        const __m512 z = parameter(e->z + g, t);
        s.z = _mm512_cvtps_epi32(z);
        s.hi = _mm512_sub_ps(e->hi, z);
    }
    return s;
}

// Sixteen codes but for the lower bound: above it, or INT32_MIN and a bit. All bounds are integers,
// so that rint(v) + z <= hi may be min(v, hi - z) before the rounding.
QB_INLINE __m512i encode_16(const struct encoder *e, const struct step *s, __m512 v)
{
    if (e->shifted) v = _mm512_sub_ps(v, s->off);
    v = _mm512_min_ps(s->hi, _mm512_mul_ps(v, s->inv)); // NaN stays NaN
    const __m512i code = _mm512_cvtps_epi32(v);
    return e->pointed ? _mm512_add_epi32(code, s->z) : code;
}

// The bytes of 32 such codes.
QB_INLINE __m256i clamped(const struct encoder *e, __m512i a, __m512i b)
{
#define QB_FOUR(i) i, i + 2, i + 4, i + 6
    static const uint8_t order[64] = {QB_FOUR(0), QB_FOUR(16), QB_FOUR(32), QB_FOUR(48),
                                      QB_FOUR(8), QB_FOUR(24), QB_FOUR(40), QB_FOUR(56)};
#undef QB_FOUR
    const __m512i words = _mm512_max_epi16(_mm512_packs_epi32(a, b), e->lo);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi8(_mm512_loadu_si512(order), words));
}

// n counts what is left.
QB_INLINE void encode(const struct encoder *e, const float *x, size_t n, size_t group, uint8_t *out)
{
    const struct together t = groups_together(group);
    size_t g = 0;
    for (; t.count && n >= 32; n -= 32, x += 32, out += 32, g += 2 * t.count) {
        const struct step r = step_of(e, g, &t), s = step_of(e, g + t.count, &t);
        const __m512i a = encode_16(e, &r, _mm512_loadu_ps(x));
        const __m512i b = encode_16(e, &s, _mm512_loadu_ps(x + 16));
        _mm256_storeu_si256((__m256i *)out, clamped(e, a, b));
    }
    for (; n; g++) {
        const struct step s = step_of(e, g, NULL);
        size_t len = n < group ? n : group;
        n -= len;
        for (; len >= 32; len -= 32, x += 32, out += 32) {
            const __m512i a = encode_16(e, &s, _mm512_loadu_ps(x));
            const __m512i b = encode_16(e, &s, _mm512_loadu_ps(x + 16));
            _mm256_storeu_si256((__m256i *)out, clamped(e, a, b));
        }
        while (len) {
            const size_t some = len < 16 ? len : 16;
            const __m512i a = encode_16(e, &s, _mm512_maskz_loadu_ps(first_lanes(some), x));
            _mm_mask_storeu_epi8(out, first_lanes(some), _mm256_castsi256_si128(clamped(e, a, a)));
            len -= some, x += some, out += some;
        }
    }
}

void qb_encode_avx512(const float *x, size_t n, size_t group, const float *off, const float *inv,
                      const float *z, float lo, float hi, uint8_t *codes)
{
    const __m512 most = _mm512_set1_ps(hi);
    const __m512i least = _mm512_set1_epi16((short)lo);
    switch ((off != NULL) << 1 | (z != NULL)) {
#define X(k)                                                                                       \
    case k: {                                                                                      \
        const struct encoder e = {k >> 1 & 1, k & 1, off, inv, z, most, least};                    \
        encode(&e, x, n, group, codes);                                                            \
        break;                                                                                     \
    }
    X(0) X(1) X(2) X(3)
#undef X
    }
}

// ---- decode -----------------------------------------------------------------------------------------

// As in the encoder: whether there are z and m.
struct decoder {
    int pointed, based;
    const float *d, *z, *m;
};

// The parameters of each lane.
struct scale {
    __m512 d, z, m;
};

QB_INLINE struct scale scale_of(const struct decoder *e, size_t g, const struct together *t)
{
    struct scale s = {parameter(e->d + g, t), _mm512_setzero_ps(), _mm512_setzero_ps()};
    if (e->pointed) s.z = parameter(e->z + g, t);
    if (e->based) s.m = parameter(e->m + g, t);
    return s;
}

QB_INLINE __m512 decode_16(const struct decoder *e, const struct scale *s, __m128i codes)
{
    __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    if (e->pointed) v = _mm512_sub_ps(v, s->z);
    v = _mm512_mul_ps(s->d, v);
    return e->based ? _mm512_add_ps(v, s->m) : v;
}

QB_INLINE void decode(const struct decoder *e, const uint8_t *codes, size_t n, size_t group,
                      float *out)
{
    const struct together t = groups_together(group);
    size_t g = 0;
    for (; t.count && n >= 16; n -= 16, codes += 16, out += 16, g += t.count) {
        const struct scale s = scale_of(e, g, &t);
        _mm512_storeu_ps(out, decode_16(e, &s, _mm_loadu_si128((const __m128i *)codes)));
    }
    for (; n; g++) {
        const struct scale s = scale_of(e, g, NULL);
        size_t len = n < group ? n : group;
        n -= len;
        for (; len >= 32; len -= 32, codes += 32, out += 32) {
            _mm512_storeu_ps(out, decode_16(e, &s, _mm_loadu_si128((const __m128i *)codes)));
            _mm512_storeu_ps(out + 16,
                             decode_16(e, &s, _mm_loadu_si128((const __m128i *)(codes + 16))));
        }
        while (len) {
            const size_t some = len < 16 ? len : 16;
            const __m128i few = _mm_maskz_loadu_epi8(first_lanes(some), codes);
            _mm512_mask_storeu_ps(out, first_lanes(some), decode_16(e, &s, few));
            len -= some, codes += some, out += some;
        }
    }
}

void qb_decode_avx512(const uint8_t *codes, size_t n, size_t group, const float *d, const float *z,
                      const float *m, float *out)
{
    switch ((z != NULL) << 1 | (m != NULL)) {
#define X(k)                                                                                       \
    case k: {                                                                                      \
        const struct decoder e = {k >> 1 & 1, k & 1, d, z, m};                                     \
        decode(&e, codes, n, group, out);                                                          \
        break;                                                                                     \
    }
    X(0) X(1) X(2) X(3)
#undef X
    }
}

QB_TARGET_END

#endif

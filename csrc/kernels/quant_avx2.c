// SPDX-License-Identifier: Apache-2.0
// Floats to codes and back, eight at a time. Why these instructions:
//   vcvtph2ps, vcvtps2ph  round as defined; only NaN payloads need a blend
//   vminps                gives its second operand where one is NaN: the upper clamp passes NaN on
//   vfmsub                a subtraction (of a product with 1) where the multiplications run, since the
//                         pipes for sums are taken by vcvtps2dq
//   vcvtps2dq             rint; NaN and what int32 cannot hold become INT32_MIN, so that saturating
//                         packs and one byte maximum for 32 codes are the lower clamp
// A group's end is not a special case: its last eight may run into the next group, whose results
// are written later and replace the surplus. Only the last elements of all go through a copy.
#include "kernels.h"

#include "../base/float16.h"
#include "../base/target.h"

#if QB_X86

#include <string.h>

QB_TARGET_BEGIN(QB_TARGET_AVX2)

// ---- half precision ---------------------------------------------------------------------------------

// In halves, where sixteen take three instructions.
QB_INLINE __m256i canonical_nans(__m256i h)
{
    const __m256i magnitude = _mm256_and_si256(h, _mm256_set1_epi16(0x7FFF));
    const __m256i nan = _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(0x7C00));
    return _mm256_blendv_epi8(h, _mm256_set1_epi16(0x7E00), nan);
}

void qb_widen_f16_avx2(const uint16_t *x, size_t n, float *out)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        const __m256i h = canonical_nans(_mm256_loadu_si256((const __m256i *)(x + i)));
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm256_castsi256_si128(h)));
        _mm256_storeu_ps(out + i + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)));
    }
    for (; i < n; i++) out[i] = qb_f16_to_f32(x[i]);
}

void qb_narrow_f16_avx2(const float *x, size_t n, uint16_t *out)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        const __m128i a = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        const __m128i b = _mm256_cvtps_ph(_mm256_loadu_ps(x + i + 8), _MM_FROUND_TO_NEAREST_INT);
        const __m256i h = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
        _mm256_storeu_si256((__m256i *)(out + i), canonical_nans(h));
    }
    for (; i < n; i++) out[i] = qb_f32_to_f16(x[i]);
}

QB_INLINE __m256i upper_halves(__m256 x)
{
    const __m256 quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
    x = _mm256_blendv_ps(x, quiet, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i u = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)); // less one where even
    return _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
}

void qb_narrow_bf16_avx2(const float *x, size_t n, uint16_t *out)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        const __m256i a = upper_halves(_mm256_loadu_ps(x + i));
        const __m256i b = upper_halves(_mm256_loadu_ps(x + i + 8));
        const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b),
                                                        _MM_SHUFFLE(3, 1, 2, 0));
        _mm256_storeu_si256((__m256i *)(out + i), halves);
    }
    for (; i < n; i++) out[i] = qb_f32_to_bf16(x[i]);
}

// ---- parameters of groups ---------------------------------------------------------------------------

// Groups of 1, 2 and 4 go together, `count` of them to a register, lane i being in the group
// lanes[i]. count is 0 for other groups.
struct together {
    size_t count;
    __m256i lanes, first; // first: the mask of count lanes
};

QB_INLINE struct together groups_together(size_t group)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const int shift = group == 4 ? 2 : group == 2 ? 1 : 0;
    const size_t count = group == (size_t)1 << shift ? (size_t)8 >> shift : 0;
    return (struct together){count, _mm256_srl_epi32(lane, _mm_cvtsi32_si128(shift)),
                             _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane)};
}

// One parameter of the groups of a register; of one group where t is NULL.
QB_INLINE __m256 parameter(const float *p, const struct together *t)
{
    if (!t) return _mm256_broadcast_ss(p);
    return _mm256_permutevar8x32_ps(_mm256_maskload_ps(p, t->first), t->lanes);
}

// ---- encode -----------------------------------------------------------------------------------------

// One call: where each group's parameters are, and what all groups share. The flags are constants
// in each copy of encode: whether there are off and z, and whether lo < 0.
struct encoder {
    int shifted, pointed, negative;
    const float *off, *inv, *z;
    __m256 hi;
    __m256i lo; // as bytes
};

// The parameters of each lane.
struct step {
    __m256 off, inv, hi; // hi less z
    __m256i z;
};

QB_INLINE struct step step_of(const struct encoder *e, size_t g, const struct together *t)
{
    struct step s = {_mm256_setzero_ps(), parameter(e->inv + g, t), e->hi, _mm256_setzero_si256()};
    if (e->shifted) s.off = parameter(e->off + g, t);
    if (e->pointed) {
        const __m256 z = parameter(e->z + g, t);
        s.z = _mm256_cvtps_epi32(z);
        s.hi = _mm256_sub_ps(e->hi, z);
    }
    return s;
}

// Eight codes but for the lower bound: above it, or INT32_MIN and a bit. All bounds are integers,
// so that rint(v) + z <= hi may be min(v, hi - z) before the rounding.
QB_INLINE __m256i encode_8(const struct encoder *e, const struct step *s, const float *x)
{
    __m256 v = _mm256_loadu_ps(x);
    if (e->shifted) v = _mm256_fmsub_ps(v, _mm256_set1_ps(1), s->off);
    v = _mm256_min_ps(s->hi, _mm256_mul_ps(v, s->inv)); // NaN stays NaN
    const __m256i code = _mm256_cvtps_epi32(v);
    return e->pointed ? _mm256_add_epi32(code, s->z) : code;
}

QB_INLINE void store_8(const struct encoder *e, __m256i codes, uint8_t *out)
{
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes),
                                          _mm256_extracti128_si256(codes, 1));
    const __m128i lo = _mm256_castsi256_si128(e->lo);
    const __m128i bytes = e->negative ? _mm_max_epi8(_mm_packs_epi16(words, words), lo)
                                      : _mm_max_epu8(_mm_packus_epi16(words, words), lo);
    _mm_storel_epi64((__m128i *)out, bytes);
}

// 32 codes, eight of each step.
QB_INLINE void encode_32(const struct encoder *e, const struct step *s, const struct step *t,
                         const struct step *u, const struct step *v, const float *x, uint8_t *out)
{
    const __m256i a = _mm256_packs_epi32(encode_8(e, s, x), encode_8(e, t, x + 8));
    const __m256i b = _mm256_packs_epi32(encode_8(e, u, x + 16), encode_8(e, v, x + 24));
    const __m256i bytes = e->negative ? _mm256_max_epi8(_mm256_packs_epi16(a, b), e->lo)
                                      : _mm256_max_epu8(_mm256_packus_epi16(a, b), e->lo);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); // undoes the packs' halves
    _mm256_storeu_si256((__m256i *)out, _mm256_permutevar8x32_epi32(bytes, order));
}

QB_INLINE void encode_rest(const struct encoder *e, const struct step *s, const float *x, size_t n,
                           uint8_t *out)
{
    float padded[8] = {0};
    uint8_t codes[8];
    memcpy(padded, x, n * 4);
    store_8(e, encode_8(e, s, padded), codes);
    memcpy(out, codes, n);
}

// n counts what is left.
QB_INLINE void encode(const struct encoder *e, const float *x, size_t n, size_t group, uint8_t *out)
{
    const size_t eight = group == 8;
    size_t g = 0;
    for (; (eight || group == 16) && n >= 32; n -= 32, x += 32, out += 32, g += 2 + 2 * eight) {
        const struct step s = step_of(e, g, NULL), t = step_of(e, g + eight, NULL);
        const struct step u = step_of(e, g + 1 + eight, NULL),
                          v = step_of(e, g + 1 + 2 * eight, NULL);
        encode_32(e, &s, &t, &u, &v, x, out);
    }
    const struct together small = groups_together(group);
    for (; small.count && n >= 8; n -= 8, x += 8, out += 8, g += small.count) {
        const struct step s = step_of(e, g, &small);
        store_8(e, encode_8(e, &s, x), out);
    }
    for (; group % 32 == 0 && n >= group; n -= group, x += group, out += group, g++) {
        const struct step s = step_of(e, g, NULL);
        for (size_t i = 0; i < group; i += 32) encode_32(e, &s, &s, &s, &s, x + i, out + i);
    }
    for (; n; g++) {
        const struct step s = step_of(e, g, NULL);
        size_t len = n < group ? n : group;
        n -= len;
        for (; len >= 32; len -= 32, x += 32, out += 32) encode_32(e, &s, &s, &s, &s, x, out);
        while (len) {
            const size_t some = len < 8 ? len : 8;
            if (n + len >= 8) store_8(e, encode_8(e, &s, x), out);
            else encode_rest(e, &s, x, some, out);
            len -= some, x += some, out += some;
        }
    }
}

void qb_encode_avx2(const float *x, size_t n, size_t group, const float *off, const float *inv,
                    const float *z, float lo, float hi, uint8_t *codes)
{
    const __m256 most = _mm256_set1_ps(hi);
    const __m256i least = _mm256_set1_epi8((char)(int)lo);
    switch ((off != NULL) << 2 | (z != NULL) << 1 | (lo < 0)) {
#define X(k)                                                                                       \
    case k: {                                                                                      \
        const struct encoder e = {k >> 2 & 1, k >> 1 & 1, k & 1, off, inv, z, most, least};        \
        encode(&e, x, n, group, codes);                                                            \
        break;                                                                                     \
    }
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
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
    __m256 d, z, m;
};

QB_INLINE struct scale scale_of(const struct decoder *e, size_t g, const struct together *t)
{
    struct scale s = {parameter(e->d + g, t), _mm256_setzero_ps(), _mm256_setzero_ps()};
    if (e->pointed) s.z = parameter(e->z + g, t);
    if (e->based) s.m = parameter(e->m + g, t);
    return s;
}

QB_INLINE void decode_8(const struct decoder *e, const struct scale *s, const uint8_t *codes,
                        float *out)
{
    __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes)));
    if (e->pointed) v = _mm256_sub_ps(v, s->z);
    v = _mm256_mul_ps(s->d, v);
    _mm256_storeu_ps(out, e->based ? _mm256_add_ps(v, s->m) : v);
}

// 32 values, eight of each scale.
QB_INLINE void decode_32(const struct decoder *e, const struct scale *s, const struct scale *t,
                         const struct scale *u, const struct scale *v, const uint8_t *codes,
                         float *out)
{
    decode_8(e, s, codes, out);
    decode_8(e, t, codes + 8, out + 8);
    decode_8(e, u, codes + 16, out + 16);
    decode_8(e, v, codes + 24, out + 24);
}

QB_INLINE void decode_rest(const struct decoder *e, const struct scale *s, const uint8_t *codes,
                           size_t n, float *out)
{
    uint8_t padded[8] = {0};
    float values[8];
    memcpy(padded, codes, n);
    decode_8(e, s, padded, values);
    memcpy(out, values, n * 4);
}

QB_INLINE void decode(const struct decoder *e, const uint8_t *codes, size_t n, size_t group,
                      float *out)
{
    const size_t eight = group == 8;
    size_t g = 0;
    for (; (eight || group == 16) && n >= 32; n -= 32, codes += 32, out += 32, g += 2 + 2 * eight) {
        const struct scale s = scale_of(e, g, NULL), t = scale_of(e, g + eight, NULL);
        const struct scale u = scale_of(e, g + 1 + eight, NULL);
        const struct scale v = scale_of(e, g + 1 + 2 * eight, NULL);
        decode_32(e, &s, &t, &u, &v, codes, out);
    }
    const struct together small = groups_together(group);
    for (; small.count && n >= 8; n -= 8, codes += 8, out += 8, g += small.count) {
        const struct scale s = scale_of(e, g, &small);
        decode_8(e, &s, codes, out);
    }
    for (; n; g++) {
        const struct scale s = scale_of(e, g, NULL);
        size_t len = n < group ? n : group;
        n -= len;
        for (; len >= 32; len -= 32, codes += 32, out += 32)
            decode_32(e, &s, &s, &s, &s, codes, out);
        while (len) {
            const size_t some = len < 8 ? len : 8;
            if (n + len >= 8) decode_8(e, &s, codes, out);
            else decode_rest(e, &s, codes, some, out);
            len -= some, codes += some, out += some;
        }
    }
}

void qb_decode_avx2(const uint8_t *codes, size_t n, size_t group, const float *d, const float *z,
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

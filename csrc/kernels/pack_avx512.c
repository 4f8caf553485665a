// SPDX-License-Identifier: Apache-2.0
// Packing, 64 codes a step, with the byte permutations of VBMI.
//   unpack  vpermb (the b bytes of 8 codes into each word), vpmultishiftqb (each code to its byte)
//   pack    vpmaddubsw, vpmaddwd (2 and 4 codes side by side), vpsrlq + vpternlogq (8: odd
//           widths), vpermb
// Whole vectors are loaded and stored while they stay inside the extents; what follows is masked.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
enum { STEP = 64 };

// ---- tables: eight bytes for each of the eight words --------------------------------------------

#define EIGHT(item, b, w)                                                                          \
    item(b, w, 0) item(b, w, 1) item(b, w, 2) item(b, w, 3)                                        \
    item(b, w, 4) item(b, w, 5) item(b, w, 6) item(b, w, 7)
#define WORDS(item, b)                                                                            \
    EIGHT(item, b, 0) EIGHT(item, b, 1) EIGHT(item, b, 2) EIGHT(item, b, 3) EIGHT(item, b, 4)     \
    EIGHT(item, b, 5) EIGHT(item, b, 6) EIGHT(item, b, 7)

// Word w of 8 codes starts at byte w*b; the bytes after its b are masked off later.
#define SPREAD(b, w, i) ((w) * (b) + (i)) % 64,
#define SHIFT(b, w, i) (i) * (b),
// As many codes side by side as fill whole bytes are in a unit of 2 (four bits), 4 (two, six) or 8
// bytes and use its low ones: output byte j = 8w + i is byte j % used of unit j / used.
#define UNIT(b) ((b) == 4 ? 2 : (b) % 2 ? 8 : 4)
#define USED(b) (UNIT(b) * (b) / 8)
#define SQUEEZE(b, w, i) ((8 * (w) + (i)) / USED(b) * UNIT(b) + (8 * (w) + (i)) % USED(b)) % 64,

static const struct {
    uint8_t spread[STEP], shift[STEP], squeeze[STEP];
} tables[QB_MAX_BITS] = {
#define X(b) [b] = {{WORDS(SPREAD, b)}, {WORDS(SHIFT, b)}, {WORDS(SQUEEZE, b)}},
    QB_SUB_BYTE_WIDTHS(X)
#undef X
};

QB_TARGET_BEGIN(QB_TARGET_AVX512)

QB_INLINE __mmask64 first(size_t count) { return _bzhi_u64(~(uint64_t)0, (uint32_t)count); }

QB_INLINE size_t bytes_of(size_t codes, const int bits) { return (codes * (size_t)bits + 7) / 8; }

// How many steps of 8b packed bytes stay inside n codes' bytes, when each touches a whole vector.
QB_INLINE size_t whole_steps(size_t n, const int bits)
{
    const size_t bytes = n / 8 * (size_t)bits, step = 8 * (size_t)bits;
    const size_t steps = bytes < 64 ? 0 : (bytes - 64) / step + 1;
    return steps < n / STEP ? steps : n / STEP;
}

// ---- unpack -------------------------------------------------------------------------------------

QB_INLINE __m512i unpack_step(__m512i x, __m512i flips, __m512i subs, const int bits)
{
    if (bits == 8) return _mm512_sub_epi8(_mm512_xor_si512(x, flips), subs);
    x = _mm512_permutexvar_epi8(_mm512_loadu_si512(tables[bits].spread), x);
    x = _mm512_multishift_epi64_epi8(_mm512_loadu_si512(tables[bits].shift), x);
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    x = _mm512_ternarylogic_epi64(x, mask, flips, 0x6A); // (x & mask) ^ flips
    return _mm512_sub_epi8(x, subs);
}

QB_INLINE void unpack(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes,
                      const int bits)
{
    const __m512i flips = _mm512_set1_epi8((char)flip), subs = _mm512_set1_epi8((char)sub);
    const uint8_t *const whole = codes + whole_steps(n, bits) * STEP, *const end = codes + n;
    for (; codes < whole; codes += STEP, in += 8 * bits)
        _mm512_storeu_si512(codes, unpack_step(_mm512_loadu_si512(in), flips, subs, bits));
    for (; codes < end; codes += STEP, in += 8 * bits) {
        const size_t left = (size_t)(end - codes), count = left < STEP ? left : STEP;
        const __m512i x = _mm512_maskz_loadu_epi8(first(bytes_of(count, bits)), in);
        _mm512_mask_storeu_epi8(codes, first(count), unpack_step(x, flips, subs, bits));
        if (left <= STEP) break;
    }
}

// ---- pack ---------------------------------------------------------------------------------------

// 64 codes to the 8b low bytes of the result.
QB_INLINE __m512i pack_step(__m512i x, const int bits)
{
    if (bits == 8) return x;
    if (bits == 1) {
        const __mmask64 ones = _mm512_test_epi8_mask(x, _mm512_set1_epi8(1));
        return _mm512_castsi128_si512(_mm_cvtsi64_si128((int64_t)ones));
    }
    // The weights are the unsigned operand, since 2^7 is one of them; the codes are below 128.
    x = _mm512_and_si512(x, _mm512_set1_epi8((char)((1 << bits) - 1)));
    x = _mm512_maddubs_epi16(_mm512_set1_epi16((int16_t)(1 | 1 << (bits + 8))), x);
    if (bits != 4) x = _mm512_madd_epi16(x, _mm512_set1_epi32(1 | 1 << (2 * bits + 16)));
    if (UNIT(bits) == 8) {
        const __m512i low = _mm512_set1_epi64(((int64_t)1 << 4 * bits) - 1);
        const __m512i shifted = _mm512_srli_epi64(x, 32 - 4 * bits);
        x = _mm512_ternarylogic_epi64(x, shifted, low, 0xE4); // low ? x : shifted
    }
    return _mm512_permutexvar_epi8(_mm512_loadu_si512(tables[bits].squeeze), x);
}

// The bitwise or of the vector's integers of `width` bits.
QB_INLINE uint64_t or_lanes(__m512i x, const int width)
{
    const __m256i half = _mm256_or_si256(_mm512_castsi512_si256(x),
                                         _mm512_extracti64x4_epi64(x, 1));
    const __m128i y = _mm_or_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    uint64_t word = (uint64_t)_mm_cvtsi128_si64(_mm_or_si128(y, _mm_unpackhi_epi64(y, y)));
    for (int shift = 32; shift >= width; shift /= 2) word |= word >> shift;
    return word & ~(uint64_t)0 >> (64 - width);
}

QB_INLINE uint8_t pack(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, const int bits)
{
    const __m512i biases = _mm512_set1_epi8((char)bias);
    const uint8_t *const whole = codes + whole_steps(n, bits) * STEP, *const end = codes + n;
    __m512i seen = _mm512_setzero_si512();
    for (; codes < whole; codes += STEP, out += 8 * bits) {
        const __m512i x = _mm512_loadu_si512(codes);
        seen = _mm512_or_si512(seen, _mm512_add_epi8(x, biases));
        // The next step overwrites what is not this one's.
        _mm512_storeu_si512(out, pack_step(x, bits));
    }
    for (; codes < end; codes += STEP, out += 8 * bits) {
        const size_t left = (size_t)(end - codes), count = left < STEP ? left : STEP;
        const __m512i x = _mm512_maskz_loadu_epi8(first(count), codes);
        seen = _mm512_or_si512(seen, _mm512_maskz_add_epi8(first(count), x, biases));
        _mm512_mask_storeu_epi8(out, first(bytes_of(count, bits)), pack_step(x, bits));
        if (left <= STEP) break;
    }
    return (uint8_t)or_lanes(seen, 8);
}

// ---- narrow -------------------------------------------------------------------------------------

// Narrows whole vectors; returns how many codes that were.
QB_INLINE size_t narrow(const void *codes, size_t n, uint8_t bias, uint8_t *out, uint64_t *seen,
                        const int width)
{
    const size_t lanes = 512 / (size_t)width;
    const uint8_t *from = (const uint8_t *)codes;
    __m512i all = _mm512_setzero_si512();
    for (size_t i = 0; i < n / lanes; i++, from += 64, out += lanes) {
        const __m512i x = _mm512_loadu_si512(from);
        if (width == 16) {
            all = _mm512_or_si512(all, _mm512_add_epi16(x, _mm512_set1_epi16(bias)));
            _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi16_epi8(x));
        } else if (width == 32) {
            all = _mm512_or_si512(all, _mm512_add_epi32(x, _mm512_set1_epi32(bias)));
            _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(x));
        } else {
            all = _mm512_or_si512(all, _mm512_add_epi64(x, _mm512_set1_epi64(bias)));
            _mm_storel_epi64((__m128i *)out, _mm512_cvtepi64_epi8(x));
        }
    }
    *seen = or_lanes(all, width);
    return n / lanes * lanes;
}

// ---- the kernels --------------------------------------------------------------------------------

#define X(bits)                                                                                   \
    uint8_t qb_pack_u##bits##_avx512(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out)  \
    {                                                                                             \
        return pack(codes, n, bias, out, bits);                                                   \
    }                                                                                             \
    void qb_unpack_u##bits##_avx512(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub,       \
                                    uint8_t *codes)                                               \
    {                                                                                             \
        unpack(in, n, flip, sub, codes, bits);                                                    \
    }
QB_WIDTHS(X)
#undef X

#define NARROW(width)                                                                              \
    uint64_t qb_narrow_##width##_avx512(const void *codes, size_t n, uint8_t bias, uint8_t *out)   \
    {                                                                                              \
        uint64_t seen;                                                                             \
        const size_t done = narrow(codes, n, bias, out, &seen, width);                             \
        const uint##width##_t *const rest = (const uint##width##_t *)codes + done;                 \
        return done == n ? seen                                                                    \
                         : seen | qb_narrow_##width##_scalar(rest, n - done, bias, out + done);    \
    }
NARROW(16)
NARROW(32)
NARROW(64)
#undef NARROW

void qb_stream_avx512(const void *src, size_t bytes, void *dst)
{
    const uint8_t *from = (const uint8_t *)src;
    uint8_t *to = (uint8_t *)dst;
    const size_t skew = (size_t)(-(uintptr_t)to & 63), head = skew < bytes ? skew : bytes;
    memcpy(to, from, head);
    from += head;
    to += head;
    bytes -= head;
    for (; bytes >= 64; bytes -= 64, from += 64, to += 64)
        _mm512_stream_si512((__m512i *)to, _mm512_loadu_si512(from));
    memcpy(to, from, bytes);
}

void qb_fence_avx512(void) { _mm_sfence(); }

QB_TARGET_END
#endif

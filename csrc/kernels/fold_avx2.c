// SPDX-License-Identifier: Apache-2.0
// Codes of a row folded into planes. An octet of 1, 2 or 4 bits is a permutation of its bits, made of byte shuffles and
// exchanges of bit fields (and for single bits, a table of nibbles); other widths go by way of bytes.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

enum { OCTET = 32, STEP = 4 * OCTET, RUN = 8 * STEP }; // codes
enum { AHEAD = 4096 }; // bytes: rows lie one after another, and are often shorter than this

QB_INLINE __m256i load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
QB_INLINE void store(uint8_t *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }
QB_INLINE __m256i both(__m128i x) { return _mm256_broadcastsi128_si256(x); }

// ---- bytes --------------------------------------------------------------------------------------

// Words of 8 bytes (or their first `bytes`) to 4 octets, which are the words 0, 2, 1, 3.
QB_INLINE void store_words(__m256i x, uint8_t *out, size_t step, const size_t bytes)
{
    const __m128i even = _mm256_castsi256_si128(x), odd = _mm256_extracti128_si256(x, 1);
    const int64_t words[4] = {_mm_cvtsi128_si64(even), _mm_cvtsi128_si64(odd), _mm_extract_epi64(even, 1),
                              _mm_extract_epi64(odd, 1)};
    QB_UNROLL for (size_t i = 0; i < 4; i++) memcpy(out + i * step, &words[i], bytes);
}

// Nibbles of 4 octets: byte i of a lane has those of codes i and i + 16 of its octet. Their bits from `shift` on become
// a plane of pairs or of single bits.
QB_INLINE void fold_nibbles(const __m256i *x, uint8_t *out, size_t step, const int shift, const int width)
{
    const __m256i mask = _mm256_set1_epi8(width == 2 ? 0x33 : 0x11);
    const __m256i low = _mm256_srli_epi16(_mm256_unpacklo_epi64(x[0], x[1]), shift);
    const __m256i high = _mm256_srli_epi16(_mm256_unpackhi_epi64(x[0], x[1]), shift);
    const __m256i y = _mm256_or_si256(_mm256_and_si256(low, mask), _mm256_slli_epi16(_mm256_and_si256(high, mask), 2));
    if (width == 2) store_words(y, out, step, 8);
    else store_words(_mm256_or_si256(y, _mm256_srli_epi64(y, 31)), out, step, 4);
}

QB_INLINE void fold_step(const uint8_t *codes, uint8_t *out, const int bits)
{
    const size_t step = (size_t)bits * 4;
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low[2], high[2];
    QB_UNROLL for (size_t i = 0; i < 2; i++) {
        const __m256i a = load(codes + i * 2 * OCTET), b = load(codes + i * 2 * OCTET + OCTET);
        const __m256i first = _mm256_permute2x128_si256(a, b, 0x20), second = _mm256_permute2x128_si256(a, b, 0x31);
        low[i] = _mm256_or_si256(_mm256_and_si256(first, nibble),
                                 _mm256_slli_epi16(_mm256_and_si256(second, nibble), 4));
        high[i] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(first, 4), nibble),
                                  _mm256_andnot_si256(nibble, second));
        if (!(bits & 4)) continue;
        _mm_storeu_si128((__m128i *)(out + i * 2 * step), _mm256_castsi256_si128(low[i]));
        _mm_storeu_si128((__m128i *)(out + i * 2 * step + step), _mm256_extracti128_si256(low[i], 1));
    }
    const __m256i *const rest = bits & 4 ? high : low;
    if (bits & 2) fold_nibbles(rest, out + (bits & 4) * 4, step, 0, 2);
    if (bits & 1) fold_nibbles(rest, out + (bits & 6) * 4, step, bits & 2, 1);
}

QB_INLINE void fold_codes(const uint8_t *codes, size_t octets, uint8_t *out, const int bits)
{
    const size_t step = (size_t)bits * 4;
    for (; octets >= 4; octets -= 4, codes += STEP, out += 4 * step) fold_step(codes, out, bits);
    if (!octets) return;
    uint8_t last[STEP] = {0}, folded[STEP];
    memcpy(last, codes, octets * OCTET);
    fold_step(last, folded, bits);
    memcpy(out, folded, octets * step);
}

#define X(bits) case bits: fold_codes(codes, octets, out, bits); break;
void qb_fold_codes_avx2(const uint8_t *codes, size_t octets, int bits, uint8_t *out)
{
    switch (bits) {
    QB_SUB_BYTE_WIDTHS(X)
    default: memcpy(out, codes, octets * OCTET);
    }
}
#undef X

#define FOLD_BY_BYTES(bits)                                                                       \
    void qb_fold_u##bits##_avx2(const uint8_t *in, size_t octets, uint8_t flip, uint8_t *out)     \
    {                                                                                             \
        uint8_t codes[RUN];                                                                       \
        for (size_t n; octets; octets -= n, in += n * bits * 4, out += n * bits * 4) {            \
            n = octets < RUN / OCTET ? octets : RUN / OCTET;                                      \
            for (size_t i = 0; i < n * bits * 4; i += 64) QB_PREFETCH(in + i + AHEAD);            \
            qb_unpack_u##bits##_avx2(in, n * OCTET, flip, 0, codes);                              \
            fold_codes(codes, n, out, bits);                                                      \
        }                                                                                         \
    }
FOLD_BY_BYTES(3)
FOLD_BY_BYTES(5)
FOLD_BY_BYTES(6)
FOLD_BY_BYTES(7)

void qb_fold_u8_avx2(const uint8_t *in, size_t octets, uint8_t flip, uint8_t *out)
{
    const __m256i flips = _mm256_set1_epi8((char)flip);
    for (size_t i = 0; i < octets * OCTET; i += OCTET) {
        QB_PREFETCH(in + i + AHEAD);
        store(out + i, _mm256_xor_si256(load(in + i), flips));
    }
}

// ---- bits ---------------------------------------------------------------------------------------

// Exchanges the bits of `low` in each word with those `by` above them.
QB_INLINE __m256i exchange(__m256i x, const int by, const int low)
{
    const __m256i t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi32(x, by)), _mm256_set1_epi32(low));
    return _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi32(t, by)));
}

// Bytes i and i + 8 of an octet are byte i of units that lie 4 apart: nibbles change places between them.
QB_INLINE __m256i permute_4(__m256i x)
{
    const __m128i pairs = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    return exchange(_mm256_shuffle_epi8(x, both(pairs)), 4, 0x00F000F0);
}

// A byte is a unit. Every second one of them makes a word, a square of 4 by 4 pairs that is turned.
QB_INLINE __m256i permute_2(__m256i x)
{
    const __m128i words = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    return exchange(exchange(_mm256_shuffle_epi8(x, both(words)), 6, 0x00CC00CC), 12, 0x0000F0F0);
}

// A word is an octet: bit 4u + i goes to bit 8i + u, in two exchanges all but for the order within the bytes, where the
// low nibble's bits are to alternate with the high one's.
QB_INLINE __m256i permute_1(__m256i x)
{
    const __m256i spread = both(_mm_setr_epi8(0, 1, 4, 5, 16, 17, 20, 21, 64, 65, 68, 69, 80, 81, 84, 85));
    const __m256i nibble = _mm256_set1_epi8(15);
    x = exchange(exchange(x, 14, 0x0000CCCC), 7, 0x00AA00AA);
    const __m256i even = _mm256_shuffle_epi8(spread, _mm256_and_si256(x, nibble));
    const __m256i odd = _mm256_shuffle_epi8(spread, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
    return _mm256_or_si256(even, _mm256_add_epi8(odd, odd));
}

#define FOLD_BITS(bits, high)                                                                     \
    void qb_fold_u##bits##_avx2(const uint8_t *in, size_t octets, uint8_t flip, uint8_t *out)     \
    {                                                                                             \
        const __m256i flips = _mm256_set1_epi8((char)(flip ? high : 0));                          \
        const size_t bytes = octets * bits * 4;                                                   \
        size_t i = 0;                                                                             \
        for (; i + 32 <= bytes; i += 32) {                                                        \
            QB_PREFETCH(in + i + AHEAD);                                                          \
            store(out + i, _mm256_xor_si256(permute_##bits(load(in + i)), flips));                \
        }                                                                                         \
        if (i == bytes) return;                                                                   \
        uint8_t last[32] = {0};                                                                   \
        memcpy(last, in + i, bytes - i);                                                          \
        store(last, _mm256_xor_si256(permute_##bits(load(last)), flips));                         \
        memcpy(out + i, last, bytes - i);                                                         \
    }
FOLD_BITS(1, 0xFF)
FOLD_BITS(2, 0xAA)
FOLD_BITS(4, 0x88)

QB_TARGET_END
#endif

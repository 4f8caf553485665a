// SPDX-License-Identifier: Apache-2.0
// Codes folded into planes. An octet of 1, 2 or 4 bits is a permutation of its bits, made of byte shuffles and
// exchanges of bit fields (and for single bits, a table of nibbles). One of 3 bits becomes nibbles, and of 5, 6
// and 7 bits bytes, which are taken apart where rows lie side by side already.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

enum { OCTET = 32, STEP = 4 * OCTET, RUN = 4 * STEP }; // codes
enum { LINE = 4 * QB_LANES, BLOCK = 16 }; // bytes

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

// Four dwords of 4 rows turned, in each lane.
QB_INLINE void turn_words(__m256i *x)
{
    const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpackhi_epi32(x[0], x[1]);
    const __m256i c = _mm256_unpacklo_epi32(x[2], x[3]), d = _mm256_unpackhi_epi32(x[2], x[3]);
    x[0] = _mm256_unpacklo_epi64(a, c);
    x[1] = _mm256_unpackhi_epi64(a, c);
    x[2] = _mm256_unpacklo_epi64(b, d);
    x[3] = _mm256_unpackhi_epi64(b, d);
}

// An octet of 8 rows, a byte a code and 5 to 7 bits of it, to halves of the lines of its planes. flips: of the lines
// with the highest bits.
QB_INLINE void planes_of_bytes(const uint8_t *codes, size_t stride, __m256i flips, uint8_t *lines, const int bits)
{
    const __m256i low = _mm256_set1_epi8(15);
    __m256i x[8], rest[4]; // nibbles of the higher bits
    QB_UNROLL for (size_t r = 0; r < 4; r++) {
        const __m128i *const one = (const __m128i *)(codes + r * stride);
        const __m128i *const other = (const __m128i *)(codes + (r + 4) * stride);
        x[r] = _mm256_loadu2_m128i(other, one);
        x[r + 4] = _mm256_loadu2_m128i(other + 1, one + 1);
    }
    turn_words(x);
    turn_words(x + 4);
    QB_UNROLL for (size_t u = 0; u < 4; u++, lines += LINE) {
        const __m256i upper = _mm256_slli_epi16(_mm256_and_si256(x[u + 4], low), 4);
        store(lines, _mm256_or_si256(_mm256_and_si256(x[u], low), upper));
        rest[u] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(x[u], 4), low), _mm256_andnot_si256(low, x[u + 4]));
    }
    const __m256i pairs = _mm256_set1_epi8(0x33), singles = _mm256_set1_epi8(0x11);
    for (size_t u = 0; bits & 2 && u < 2; u++, lines += LINE) {
        const __m256i first = _mm256_and_si256(rest[u], pairs), second = _mm256_and_si256(rest[u + 2], pairs);
        const __m256i line = _mm256_or_si256(first, _mm256_slli_epi16(second, 2));
        store(lines, bits & 1 ? line : _mm256_xor_si256(line, flips));
    }
    if (!(bits & 1)) return;
    __m256i line = _mm256_setzero_si256();
    QB_UNROLL for (int u = 3; u >= 0; u--) {
        const __m256i one = _mm256_and_si256(_mm256_srli_epi16(rest[u], bits & 2), singles);
        line = _mm256_or_si256(one, _mm256_add_epi8(line, line));
    }
    store(lines, _mm256_xor_si256(line, flips));
}

// Rows by way of bytes, a run of each at a time.
QB_INLINE void fold_runs(const uint8_t *in, size_t stride, size_t octets, __m256i flips, qb_unpack_fn *unpack,
                         uint8_t *planes, const int bits)
{
    const size_t octet = (size_t)bits * 4, next = QB_LANES * stride; // the rows that will be prepared after these
    uint8_t codes[QB_LANES][RUN];
    for (size_t n; octets; octets -= n, in += n * octet) {
        n = octets < RUN / OCTET ? octets : RUN / OCTET;
        for (size_t row = 0; row < QB_LANES; row++) {
            for (size_t i = 0; i < n * octet; i += 64) QB_PREFETCH(in + row * stride + next + i);
            unpack(in + row * stride, n * OCTET, 0, 0, codes[row]);
        }
        for (size_t i = 0; i < n; i++, planes += octet * QB_LANES) {
            planes_of_bytes(codes[0] + i * OCTET, RUN, flips, planes, bits);
            planes_of_bytes(codes[8] + i * OCTET, RUN, flips, planes + LINE / 2, bits);
        }
    }
}

#define FOLD_RUNS(bits, high)                                                                     \
    void qb_fold_u##bits##_avx2(const uint8_t *in, size_t stride, size_t octets, uint8_t flip,    \
                                uint8_t *planes)                                                  \
    {                                                                                             \
        const __m256i flips = _mm256_set1_epi8((char)(flip ? high : 0));                          \
        fold_runs(in, stride, octets, flips, qb_unpack_u##bits##_avx2, planes, bits);             \
    }
FOLD_RUNS(5, 0xFF)
FOLD_RUNS(6, 0xAA)
FOLD_RUNS(7, 0xFF)

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

// ---- nibbles --------------------------------------------------------------------------------------

QB_INLINE __m256i bits_of(__m256i x, const int mask) { return _mm256_and_si256(x, _mm256_set1_epi8((char)mask)); }
QB_INLINE __m256i twice(__m256i x) { return _mm256_add_epi8(x, x); }

// An octet of 3 bits to nibbles, a word of 4 codes (2, 3, 0, 1) from each unit: units 0 4 2 6 1 5 3 7. A unit starts in
// the low or the high nibble of its first byte; its pairs of codes are shifted to a byte each.
QB_INLINE __m256i nibbles_of_3(__m256i x)
{
    const __m128i units = _mm_setr_epi8(0, 1, 6, 7, 3, 4, 9, 10, 1, 2, 7, 8, 4, 5, 10, 11);
    const __m256i first = both(_mm_setr_epi16(256, 256, 256, 256, 16, 16, 16, 16));
    const __m256i second = both(_mm_setr_epi16(1024, 1024, 1024, 1024, 64, 64, 64, 64));
    x = _mm256_shuffle_epi8(x, both(units));
    x = _mm256_or_si256(_mm256_and_si256(_mm256_mullo_epi16(x, first), _mm256_set1_epi16(0x3F00)),
                        _mm256_and_si256(_mm256_mulhi_epu16(x, second), _mm256_set1_epi16(0x3F)));
    return _mm256_add_epi8(x, bits_of(x, 0x38)); // the upper code moves by one
}

// Nibbles of a word 2 3 0 1 and of the next: each pair becomes a byte.
QB_INLINE __m256i turn_nibbles(__m256i x)
{
    const __m128i order = _mm_setr_epi8(1, 3, 0, 2, 5, 7, 4, 6, 9, 11, 8, 10, 13, 15, 12, 14);
    return exchange(_mm256_shuffle_epi8(x, both(order)), 4, 0x00F000F0);
}

// The nibbles of units 0 and 4, 2 and 6, 1 and 5, 3 and 7 of 8 rows, to their planes.
QB_INLINE void planes_of_3(__m256i *x)
{
    const __m256i even = _mm256_or_si256(bits_of(x[0], 0x33), _mm256_slli_epi16(bits_of(x[1], 0x33), 2));
    const __m256i odd = _mm256_or_si256(bits_of(x[2], 0x33), _mm256_slli_epi16(bits_of(x[3], 0x33), 2));
    const __m256i low = _mm256_or_si256(bits_of(x[0], 0x44), twice(bits_of(x[2], 0x44)));
    const __m256i high = _mm256_or_si256(bits_of(x[1], 0x44), twice(bits_of(x[3], 0x44)));
    x[0] = turn_nibbles(even);
    x[1] = turn_nibbles(odd);
    x[2] = turn_nibbles(_mm256_or_si256(_mm256_srli_epi16(low, 2), high));
}

// ---- rows side by side ----------------------------------------------------------------------------

// Bytes that a block takes of a row, of the 16 that are loaded.
#define BLOCK_OF(bits) ((size_t)((bits) == 3 ? 12 : BLOCK))

// A block of 8 rows, to halves of lines. Rows r and r + 4 share a register, so that no shuffle crosses its middle.
QB_INLINE void fold_half(const uint8_t *in, size_t stride, __m256i flips, uint8_t *lines, const int bits)
{
    __m256i x[4];
    QB_UNROLL for (size_t r = 0; r < 4; r++) {
        x[r] = _mm256_loadu2_m128i((const __m128i *)(in + (r + 4) * stride), (const __m128i *)(in + r * stride));
        x[r] = bits == 1   ? permute_1(x[r])
               : bits == 2 ? permute_2(x[r])
               : bits == 3 ? nibbles_of_3(x[r])
               : bits == 4 ? permute_4(x[r])
                           : x[r];
    }
    turn_words(x);
    if (bits == 3) planes_of_3(x);
    const __m256i first = bits == 3 ? _mm256_setzero_si256() : flips; // 3 bits: planes of the lower two
    store(lines, _mm256_xor_si256(x[0], first));
    store(lines + LINE, _mm256_xor_si256(x[1], first));
    store(lines + 2 * LINE, _mm256_xor_si256(x[2], flips));
    if (bits != 3) store(lines + 3 * LINE, _mm256_xor_si256(x[3], flips));
}

QB_INLINE void fold_block(const uint8_t *in, size_t stride, __m256i flips, uint8_t *lines, const int bits)
{
    fold_half(in, stride, flips, lines, bits);
    fold_half(in + 8 * stride, stride, flips, lines + LINE / 2, bits);
}

// Rows a power of two apart share a set of the first-level cache: 8 of them have their cache lines read at once.
QB_INLINE void fold_rows(const uint8_t *in, size_t stride, size_t octets, __m256i flips, uint8_t *planes,
                         const int bits)
{
    const size_t block = BLOCK_OF(bits), next = QB_LANES * stride; // the rows that will be prepared after these
    size_t left = octets * (size_t)bits * 4;
    for (; left >= 3 * block + BLOCK; left -= 4 * block, in += 4 * block, planes += 4 * block * QB_LANES)
        for (size_t half = 0; half < 2; half++) {
            const uint8_t *const rows = in + half * 8 * stride;
            for (size_t row = 0; row < 8; row++) QB_PREFETCH(rows + row * stride + next);
            for (size_t i = 0; i < 4; i++)
                fold_half(rows + i * block, stride, flips, planes + i * block * QB_LANES + half * (LINE / 2), bits);
        }
    for (; left >= BLOCK; left -= block, in += block, planes += block * QB_LANES)
        fold_block(in, stride, flips, planes, bits);
    if (!left) return;
    uint8_t last[QB_LANES][BLOCK] = {0}, lines[BLOCK * QB_LANES];
    for (size_t row = 0; row < QB_LANES; row++) memcpy(last[row], in + row * stride, left);
    fold_block(last[0], BLOCK, flips, lines, bits);
    memcpy(planes, lines, left * QB_LANES);
}

#define FOLD_ROWS(bits, high)                                                                     \
    void qb_fold_u##bits##_avx2(const uint8_t *in, size_t stride, size_t octets, uint8_t flip,    \
                                uint8_t *planes)                                                  \
    {                                                                                             \
        fold_rows(in, stride, octets, _mm256_set1_epi8((char)(flip ? high : 0)), planes, bits);   \
    }
FOLD_ROWS(1, 0xFF)
FOLD_ROWS(2, 0xAA)
FOLD_ROWS(3, 0xFF)
FOLD_ROWS(4, 0x88)
FOLD_ROWS(8, 0x80)

// ---- halves ---------------------------------------------------------------------------------------

// 8 elements of 16 rows. Rows r and r + 8 share a register: two squares of 8 by 8 are turned.
QB_INLINE void turn_halves(const uint8_t *rows, size_t stride, uint8_t *out)
{
    __m256i x[8], y[8];
    QB_UNROLL for (size_t r = 0; r < 8; r++)
        x[r] = _mm256_loadu2_m128i((const __m128i *)(rows + (r + 8) * stride), (const __m128i *)(rows + r * stride));
    QB_UNROLL for (size_t i = 0; i < 4; i++) {
        y[i] = _mm256_unpacklo_epi16(x[2 * i], x[2 * i + 1]);
        y[i + 4] = _mm256_unpackhi_epi16(x[2 * i], x[2 * i + 1]);
    }
    QB_UNROLL for (size_t i = 0; i < 8; i += 4) {
        x[i] = _mm256_unpacklo_epi32(y[i], y[i + 1]);
        x[i + 1] = _mm256_unpacklo_epi32(y[i + 2], y[i + 3]);
        x[i + 2] = _mm256_unpackhi_epi32(y[i], y[i + 1]);
        x[i + 3] = _mm256_unpackhi_epi32(y[i + 2], y[i + 3]);
    }
    QB_UNROLL for (size_t i = 0; i < 8; i += 2) {
        store(out + i * 32, _mm256_unpacklo_epi64(x[i], x[i + 1]));
        store(out + i * 32 + 32, _mm256_unpackhi_epi64(x[i], x[i + 1]));
    }
}

void qb_interleave_halves_avx2(const uint8_t *rows, size_t stride, size_t count, uint8_t *out)
{
    for (; count >= 8; count -= 8, rows += 16, out += 16 * QB_LANES) turn_halves(rows, stride, out);
    if (count) qb_interleave_halves_scalar(rows, stride, count, out);
}

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// Grid types to codes, 32 at a time: eight bytes of entries (or eight entries of iq3) go one to each 32-bit
// lane, shifts bring their fields to their bytes, vpshufb makes numbers of them, and 32 sign bits become a mask.
#include "kernels.h"

#include "../base/target.h"
#include "bytes.h"
#include "grids.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE __m256i all(int byte) { return _mm256_set1_epi8((char)byte); }

// Four entries of 8 fields of 2 bits: a field a byte.
QB_INLINE __m256i fields_of_2(uint32_t e0, uint32_t e1, uint32_t e2, uint32_t e3)
{
    const __m128i entries = _mm_cvtsi64_si128((long long)(e0 | e1 << 16 | (uint64_t)(e2 | e3 << 16) << 32));
    const __m256i v = _mm256_cvtepu8_epi32(entries), two = _mm256_or_si256(v, _mm256_slli_epi32(v, 6));
    return _mm256_and_si256(_mm256_or_si256(two, _mm256_slli_epi32(two, 12)), all(3));
}

// Eight entries of 4 fields of 3 bits.
QB_INLINE __m256i fields_of_3(__m128i entries)
{
    const __m256i v = _mm256_cvtepu16_epi32(entries);
    const __m256i six = _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi32(0x3F)),
                                        _mm256_and_si256(_mm256_slli_epi32(v, 10), _mm256_set1_epi32(0x3F0000)));
    return _mm256_and_si256(_mm256_or_si256(six, _mm256_slli_epi32(six, 5)), all(7));
}

// -1 in the bytes whose bit is set.
QB_INLINE __m256i mask_of(uint32_t bits)
{
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of);
    return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of);
}

// Four times seven signs, one in each byte, and eighth ones that make the number of minus signs even.
QB_INLINE uint32_t even_signs(uint32_t seven)
{
    uint32_t p = seven ^ seven >> 4; // the parities end up in the lowest bits
    p ^= p >> 2;
    p ^= p >> 1;
    return seven | (p & 0x01010101) << 7;
}

// Packed four times 7 bits to bytes.
QB_INLINE uint32_t sevens(uint32_t s)
{
    return (s & 0x7F) | (s << 1 & 0x7F00) | (s << 2 & 0x7F0000) | (s << 3 & 0x7F000000);
}

QB_INLINE __m256i look_up(__m256i fields, long long book)
{
    return _mm256_shuffle_epi8(_mm256_set1_epi64x(book), fields);
}

QB_INLINE void store_signed(__m256i magnitudes, uint32_t signs, int zero, uint8_t *codes)
{
    const __m256i mask = mask_of(signs);
    const __m256i numbers = _mm256_sub_epi8(_mm256_xor_si256(magnitudes, mask), mask);
    _mm256_storeu_si256((__m256i *)codes, _mm256_add_epi8(numbers, all(zero)));
}

// ---- iq2: 8 magnitudes an entry ----------------------------------------------------------------------

enum { IQ2 = 8 | 25 << 8 | 43 << 16 };

void qb_codes_iq2_xxs_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq2_xxs;
    for (; count--; b += 66) {
        for (const uint8_t *q = b + 2; q < b + 66; q += 8, codes += 32) {
            const __m256i fields = fields_of_2(grid[q[0]], grid[q[1]], grid[q[2]], grid[q[3]]);
            store_signed(look_up(fields, IQ2), even_signs(sevens(qb_u32(q + 4))), 64, codes);
        }
    }
}

void qb_codes_iq2_xs_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq2_xs;
    for (; count--; b += 74) {
        for (const uint8_t *q = b + 2; q < b + 66; q += 8, codes += 32) {
            uint64_t w;
            memcpy(&w, q, 8);
            const __m256i fields =
                fields_of_2(grid[w & 511], grid[w >> 16 & 511], grid[w >> 32 & 511], grid[w >> 48 & 511]);
            uint64_t signs = w >> 9 & 0x007F007F007F007F; // to neighbouring bytes
            signs = (signs | signs >> 8) & 0x0000FFFF0000FFFF;
            store_signed(look_up(fields, IQ2), even_signs((uint32_t)(signs | signs >> 16)), 64, codes);
        }
    }
}

void qb_codes_iq2_s_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq2_s;
    for (; count--; b += 82) {
        for (int ib = 0; ib < 8; ib++, codes += 32) {
            const uint8_t *const q = b + 2 + 4 * ib;
            const uint32_t high = (uint32_t)b[66 + ib] << 8;
            const __m256i fields = fields_of_2(grid[q[0] | (high & 0x300)], grid[q[1] | (high >> 2 & 0x300)],
                                               grid[q[2] | (high >> 4 & 0x300)], grid[q[3] | (high >> 6 & 0x300)]);
            store_signed(look_up(fields, IQ2), qb_u32(q + 32), 64, codes);
        }
    }
}

// ---- iq3: 4 magnitudes an entry ----------------------------------------------------------------------

void qb_codes_iq3_xxs_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq3_xxs;
    const long long magnitudes = 0x3E342C241C140C04; // 4 12 20 28 36 44 52 62
    for (; count--; b += 98) {
        for (int ib = 0; ib < 8; ib++, codes += 32) {
            const uint8_t *const q = b + 2 + 8 * ib;
            const __m128i entries = _mm_setr_epi16((short)grid[q[0]], (short)grid[q[1]], (short)grid[q[2]],
                                                   (short)grid[q[3]], (short)grid[q[4]], (short)grid[q[5]],
                                                   (short)grid[q[6]], (short)grid[q[7]]);
            const uint32_t signs = even_signs(sevens(qb_u32(b + 66 + 4 * ib)));
            store_signed(look_up(fields_of_3(entries), magnitudes), signs, 64, codes);
        }
    }
}

void qb_codes_iq3_s_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq3_s;
    const long long magnitudes = 0x0F0D0B0907050301;
    for (; count--; b += 110) {
        for (int ib = 0; ib < 8; ib++, codes += 32) {
            const uint8_t *const q = b + 2 + 8 * ib;
            const uint32_t high = (uint32_t)b[66 + ib] << 8;
#define ENTRY(k) (short)grid[q[k] | (high >> (k) & 0x100)]
            const __m128i entries =
                _mm_setr_epi16(ENTRY(0), ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6), ENTRY(7));
#undef ENTRY
            store_signed(look_up(fields_of_3(entries), magnitudes), qb_u32(b + 74 + 4 * ib), 16, codes);
        }
    }
}

// ---- iq1: 8 numbers -1, 0, 1 an entry, all moved by an eighth up or down -----------------------------

enum { IQ1 = 8 | 16 << 8 | 24 << 16 }; // in eighths, and 16

void qb_codes_iq1_s_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq1;
    for (; count--; b += 50) {
        for (int ib = 0; ib < 8; ib++, codes += 32) {
            const uint8_t *const q = b + 2 + 4 * ib;
            const uint32_t high = qb_u16(b + 34 + 2 * ib);
            const __m256i fields = fields_of_2(grid[q[0] | (high << 8 & 0x700)], grid[q[1] | (high << 5 & 0x700)],
                                               grid[q[2] | (high << 2 & 0x700)], grid[q[3] | (high >> 1 & 0x700)]);
            const __m256i moved = _mm256_add_epi8(look_up(fields, IQ1), all(high >> 15 ? -1 : 1));
            _mm256_storeu_si256((__m256i *)codes, moved);
        }
    }
}

void qb_codes_iq1_m_avx2(const uint8_t *b, size_t count, uint8_t *codes)
{
    const uint16_t *const grid = qb_grid_iq1;
    for (; count--; b += 56) {
        for (int ib = 0; ib < 8; ib++, codes += 32) {
            const uint8_t *const q = b + 4 * ib;
            const uint32_t high = qb_u16(b + 32 + 2 * ib);
            const __m256i fields = fields_of_2(grid[q[0] | (high << 8 & 0x700)], grid[q[1] | (high << 4 & 0x700)],
                                               grid[q[2] | (high & 0x700)], grid[q[3] | (high >> 4 & 0x700)]);
            // The fourth bit of each nibble to every bit of a byte: 1 or -1.
            const uint32_t down = (high >> 3 & 1) | (high << 1 & 0x100) | (high << 5 & 0x10000) | (high << 9 & 0x1000000);
            const __m256i mask = mask_of(down * 0xFF), move = _mm256_or_si256(mask, all(1));
            _mm256_storeu_si256((__m256i *)codes, _mm256_add_epi8(look_up(fields, IQ1), move));
        }
    }
}

// ---- parameters: a few multiplications for 256 codes ---------------------------------------------------

#define SCALAR(type)                                                                            \
    void qb_params_##type##_avx2(const uint8_t *b, size_t count, float *d, float *m)            \
    {                                                                                           \
        qb_params_##type##_scalar(b, count, d, m);                                              \
    }
SCALAR(iq1_s)
SCALAR(iq1_m)
SCALAR(iq2_xxs)
SCALAR(iq2_xs)
SCALAR(iq2_s)
SCALAR(iq3_xxs)
SCALAR(iq3_s)

QB_TARGET_END
#endif

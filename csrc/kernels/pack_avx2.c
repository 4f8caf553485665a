// SPDX-License-Identifier: Apache-2.0
// Packing, 32 codes a step. Byte shuffles bring the bytes that hold a code into a 16-bit lane, and
// multiplications by powers of two do what AVX2 lacks: shifts by a different count in each lane.
//   unpack  vpshufb, vpmulhuw (even codes, a right shift) and vpmullw (odd codes, a left shift)
//   pack    vpmaddubsw, vpmaddwd (2 and 4 codes side by side), vpsllvd + vpsrlq (8: odd widths),
//           vpshufb
// What is left when a step would touch bytes outside the extents goes to the scalar kernel.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
enum { STEP = 32 };

// ---- tables -------------------------------------------------------------------------------------

// Where code k of a step lies: bit k*b of the step's bytes. Up to 4 bits the 16 bytes of a step are
// in both lanes; above, the low lane *ends* with its 16 codes' 2b bytes, so that one load serves
// both.
#define BASE(b, k) ((b) > 4 ? ((k) < 16 ? 16 - 2 * (b) : -2 * (b)) : 0)
#define BYTE_AT(byte) ((byte) < 0 || (byte) > 15 ? 0x80 : (byte)) // 0x80: a zero
// Even codes are shifted right by 1..8 bits: those that start on a byte, from the byte before.
#define EVEN_BYTE(b, k) (((k) * (b) + 7) / 8 - 1 + BASE(b, k))
#define EVEN_SHIFT(b, k) ((k) * (b) - 8 * (((k) * (b) + 7) / 8 - 1))
#define ODD_BYTE(b, k) ((k) * (b) / 8 + BASE(b, k))
#define ODD_SHIFT(b, k) (8 - (k) * (b) % 8)

#define EVEN_PAIR(b, k) BYTE_AT(EVEN_BYTE(b, k)), BYTE_AT(EVEN_BYTE(b, k) + 1),
#define ODD_PAIR(b, k) BYTE_AT(ODD_BYTE(b, (k) + 1)), BYTE_AT(ODD_BYTE(b, (k) + 1) + 1),
#define EVEN_FACTOR(b, k) (uint16_t)(1 << (16 - EVEN_SHIFT(b, k))),
#define ODD_FACTOR(b, k) (uint16_t)(1 << ODD_SHIFT(b, (k) + 1)),
#define PAIRS(item, b)                                                                            \
    item(b, 0) item(b, 2) item(b, 4) item(b, 6) item(b, 8) item(b, 10) item(b, 12) item(b, 14)    \
    item(b, 16) item(b, 18) item(b, 20) item(b, 22) item(b, 24) item(b, 26) item(b, 28) item(b, 30)

static const struct {
    uint8_t even_bytes[STEP], odd_bytes[STEP];
    uint16_t even_factors[STEP / 2], odd_factors[STEP / 2];
} unpack_tables[QB_MAX_BITS] = {
#define X(b)                                                                                       \
    [b] = {{PAIRS(EVEN_PAIR, b)},                                                                  \
           {PAIRS(ODD_PAIR, b)},                                                                   \
           {PAIRS(EVEN_FACTOR, b)},                                                                \
           {PAIRS(ODD_FACTOR, b)}},
    QB_SUB_BYTE_WIDTHS(X)
#undef X
};

// Codes side by side in units of 4 bytes, or where 4 codes do not fill whole bytes of 8, use the
// unit's low bytes: byte i of a lane's 2b is byte i % used of unit i / used.
#define UNIT(b) ((b) % 2 ? 8 : 4)
#define USED(b) (UNIT(b) * (b) / 8)
#define SQUEEZED(b, i) ((i) < 2 * (b) ? (i) / USED(b) * UNIT(b) + (i) % USED(b) : 0x80)
#define SQUEEZED_LANE(b)                                                                           \
    SQUEEZED(b, 0), SQUEEZED(b, 1), SQUEEZED(b, 2), SQUEEZED(b, 3),                                \
    SQUEEZED(b, 4), SQUEEZED(b, 5), SQUEEZED(b, 6), SQUEEZED(b, 7),                                \
    SQUEEZED(b, 8), SQUEEZED(b, 9), SQUEEZED(b, 10), SQUEEZED(b, 11),                              \
    SQUEEZED(b, 12), SQUEEZED(b, 13), SQUEEZED(b, 14), SQUEEZED(b, 15)
static const uint8_t squeeze_tables[QB_MAX_BITS][16] = {
#define X(b) [b] = {SQUEEZED_LANE(b)},
    QB_SUB_BYTE_WIDTHS(X)
#undef X
};

// A shuffle by the 16 bytes from index 2b moves the first 2b bytes of a lane to its end.
static const uint8_t last_bytes[32] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
};

QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
QB_INLINE __m128i load_half(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
QB_INLINE void store(void *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }
QB_INLINE void store_half(void *p, __m128i x) { _mm_storeu_si128((__m128i *)p, x); }

// How many steps of 4b packed bytes stay inside n codes' bytes, when each touches `reach` bytes.
QB_INLINE size_t whole_steps(size_t n, size_t reach, const int bits)
{
    const size_t bytes = n / 8 * (size_t)bits, step = 4 * (size_t)bits;
    const size_t steps = bytes < reach ? 0 : (bytes - reach) / step + 1;
    return steps < n / STEP ? steps : n / STEP;
}

// ---- unpack -------------------------------------------------------------------------------------

// Bytes that load_step reads, from the first of the step's.
QB_INLINE size_t load_reach(const int bits)
{
    return bits == 8 ? 32 : bits > 4 ? 2 * (size_t)bits + 16 : bits == 3 ? 16 : 4 * (size_t)bits;
}

// The bytes of a step, as BASE says. Above 4 bits all but the first step also read bytes before it.
QB_INLINE __m256i load_step(const uint8_t *in, int first, const int bits)
{
    if (bits == 8) return load(in);
    if (bits > 4) {
        if (!first) return load(in + 2 * bits - 16);
        const __m128i low = _mm_shuffle_epi8(load_half(in), load_half(last_bytes + 2 * bits));
        return _mm256_set_m128i(load_half(in + 2 * bits), low);
    }
    int32_t four;
    int64_t eight;
    memcpy(&four, in, sizeof four);
    if (bits == 1) return _mm256_set1_epi32(four);
    memcpy(&eight, in, sizeof eight);
    if (bits == 2) return _mm256_set1_epi64x(eight);
    return _mm256_broadcastsi128_si256(load_half(in));
}

QB_INLINE __m256i unpack_step(__m256i x, const int bits)
{
    if (bits == 8) return x;
    const __m256i mask = _mm256_set1_epi16((int16_t)((1 << bits) - 1));
    const __m256i even = _mm256_shuffle_epi8(x, load(unpack_tables[bits].even_bytes));
    const __m256i odd = _mm256_shuffle_epi8(x, load(unpack_tables[bits].odd_bytes));
    const __m256i low = _mm256_mulhi_epu16(even, load(unpack_tables[bits].even_factors));
    const __m256i high = _mm256_mullo_epi16(odd, load(unpack_tables[bits].odd_factors));
    return _mm256_or_si256(_mm256_and_si256(low, mask),
                           _mm256_and_si256(high, _mm256_slli_epi16(mask, 8)));
}

// Unpacks the codes of all whole steps that stay inside the extents; returns how many that were.
// Called with constant zeros for flip and sub, it has two operations of eleven less.
QB_INLINE size_t unpack(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes,
                        const int bits)
{
    const __m256i flips = _mm256_set1_epi8((char)flip), subs = _mm256_set1_epi8((char)sub);
    const size_t steps = whole_steps(n, load_reach(bits), bits);
    for (size_t i = 0; i < steps; i++) {
        const __m256i x = unpack_step(load_step(in + i * 4 * (size_t)bits, i == 0, bits), bits);
        store(codes + i * STEP, _mm256_sub_epi8(_mm256_xor_si256(x, flips), subs));
    }
    return steps * STEP;
}

// ---- pack ---------------------------------------------------------------------------------------

// Bytes that pack_step writes.
QB_INLINE size_t store_reach(const int bits)
{
    return bits == 8 ? 32 : bits == 1 ? 4 : bits == 4 ? 16 : 2 * (size_t)bits + 16;
}

// Two codes to a word. The weights are the unsigned operand, since 2^7 is one of them; the codes are
// below 128.
QB_INLINE __m256i pairs(__m256i x, const int bits)
{
    x = _mm256_and_si256(x, _mm256_set1_epi8((char)((1 << bits) - 1)));
    return _mm256_maddubs_epi16(_mm256_set1_epi16((int16_t)(1 | 1 << (bits + 8))), x);
}

QB_INLINE void pack_step(__m256i x, uint8_t *out, const int bits)
{
    if (bits == 8) {
        store(out, x);
        return;
    }
    if (bits == 1) {
        const int32_t signs = _mm256_movemask_epi8(_mm256_slli_epi16(x, 7));
        memcpy(out, &signs, sizeof signs);
        return;
    }
    x = pairs(x, bits);
    if (bits == 4) {
        const __m256i bytes = _mm256_packus_epi16(x, x);
        store_half(out, _mm256_castsi256_si128(_mm256_permute4x64_epi64(bytes, 0x08)));
        return;
    }
    x = _mm256_madd_epi16(x, _mm256_set1_epi32(1 | 1 << (2 * bits + 16)));
    if (UNIT(bits) == 8) {
        x = _mm256_sllv_epi32(x, _mm256_set1_epi64x(32 - 4 * bits));
        x = _mm256_srli_epi64(x, 32 - 4 * bits);
    }
    x = _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(load_half(squeeze_tables[bits])));
    store_half(out, _mm256_castsi256_si128(x));
    store_half(out + 2 * bits, _mm256_extracti128_si256(x, 1));
}

// The bitwise or of the vector's integers of `width` bits.
QB_INLINE uint64_t or_lanes(__m256i x, const int width)
{
    const __m128i half = _mm_or_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    uint64_t word = (uint64_t)_mm_cvtsi128_si64(_mm_or_si128(half, _mm_unpackhi_epi64(half, half)));
    for (int shift = 32; shift >= width; shift /= 2) word |= word >> shift;
    return word & ~(uint64_t)0 >> (64 - width);
}

// Packs whole steps as unpack does; *seen is the bitwise or of their codes plus bias.
QB_INLINE size_t pack(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, uint8_t *seen,
                      const int bits)
{
    const __m256i biases = _mm256_set1_epi8((char)bias);
    const size_t steps = whole_steps(n, store_reach(bits), bits);
    __m256i all = _mm256_setzero_si256();
    size_t i = 0;
    for (; bits == 4 && steps - i >= 2; i += 2) { // whose pairs are bytes: two steps fill a vector
        const __m256i x = load(codes + i * STEP), y = load(codes + i * STEP + STEP);
        all = _mm256_or_si256(all, _mm256_add_epi8(x, biases));
        all = _mm256_or_si256(all, _mm256_add_epi8(y, biases));
        const __m256i bytes = _mm256_packus_epi16(pairs(x, bits), pairs(y, bits));
        store(out + i * 16, _mm256_permute4x64_epi64(bytes, _MM_SHUFFLE(3, 1, 2, 0)));
    }
    for (; i < steps; i++) {
        const __m256i x = load(codes + i * STEP);
        all = _mm256_or_si256(all, _mm256_add_epi8(x, biases));
        pack_step(x, out + i * 4 * (size_t)bits, bits);
    }
    *seen = (uint8_t)or_lanes(all, 8);
    return steps * STEP;
}

// ---- narrow -------------------------------------------------------------------------------------

QB_INLINE __m256i add_lanes(__m256i x, __m256i y, const int width)
{
    return width == 16   ? _mm256_add_epi16(x, y)
           : width == 32 ? _mm256_add_epi32(x, y)
                         : _mm256_add_epi64(x, y);
}

// 16 codes to words below 256. From 64 bits the lanes hold every second pair of codes, from 32 bits
// every second four: the order of the packing instructions, put right once by narrow_step.
QB_INLINE __m256i narrow_half(const __m256i *x, const int width)
{
    if (width == 16) return _mm256_and_si256(x[0], _mm256_set1_epi16(0xFF));
    __m256i a = x[0], b = x[1];
    if (width == 64) { // the low halves of two vectors
        a = _mm256_castps_si256(
            _mm256_shuffle_ps(_mm256_castsi256_ps(x[0]), _mm256_castsi256_ps(x[1]), 0x88));
        b = _mm256_castps_si256(
            _mm256_shuffle_ps(_mm256_castsi256_ps(x[2]), _mm256_castsi256_ps(x[3]), 0x88));
    }
    const __m256i low = _mm256_set1_epi32(0xFF);
    return _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
}

QB_INLINE __m256i narrow_step(const __m256i *x, const int width)
{
    const __m256i bytes = _mm256_packus_epi16(narrow_half(x, width),
                                              narrow_half(x + width / 16, width));
    if (width == 32)
        return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m256i halves = _mm256_permute4x64_epi64(bytes, 0xD8);
    if (width == 16) return halves;
    const __m128i pairs = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    return _mm256_shuffle_epi8(halves, _mm256_broadcastsi128_si256(pairs));
}

// Narrows whole steps; returns how many codes that were.
QB_INLINE size_t narrow(const void *codes, size_t n, uint8_t bias, uint8_t *out, uint64_t *seen,
                        const int width)
{
    const __m256i biases = width == 16   ? _mm256_set1_epi16(bias)
                           : width == 32 ? _mm256_set1_epi32(bias)
                                         : _mm256_set1_epi64x(bias);
    const uint8_t *from = (const uint8_t *)codes;
    __m256i all = _mm256_setzero_si256();
    for (size_t i = 0; i < n / STEP; i++, from += 4 * width) {
        __m256i x[8];
        for (int j = 0; j < width / 8; j++) {
            x[j] = load(from + 32 * j);
            all = _mm256_or_si256(all, add_lanes(x[j], biases, width));
        }
        store(out + i * STEP, narrow_step(x, width));
    }
    *seen = or_lanes(all, width);
    return n / STEP * STEP;
}

// ---- the kernels --------------------------------------------------------------------------------

#define X(bits)                                                                                    \
    uint8_t qb_pack_u##bits##_avx2(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out)     \
    {                                                                                              \
        uint8_t seen;                                                                              \
        const size_t done = pack(codes, n, bias, out, &seen, bits);                                \
        if (done == n) return seen;                                                                \
        return seen |                                                                              \
               qb_pack_u##bits##_scalar(codes + done, n - done, bias, out + done / 8 * bits);      \
    }                                                                                              \
    void qb_unpack_u##bits##_avx2(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub,          \
                                  uint8_t *codes)                                                  \
    {                                                                                              \
        const size_t done = flip | sub ? unpack(in, n, flip, sub, codes, bits)                     \
                                       : unpack(in, n, 0, 0, codes, bits);                         \
        if (done == n) return;                                                                     \
        qb_unpack_u##bits##_scalar(in + done / 8 * bits, n - done, flip, sub, codes + done);       \
    }
QB_WIDTHS(X)
#undef X

#define NARROW(width)                                                                              \
    uint64_t qb_narrow_##width##_avx2(const void *codes, size_t n, uint8_t bias, uint8_t *out)     \
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

void qb_stream_avx2(const void *src, size_t bytes, void *dst)
{
    const uint8_t *from = (const uint8_t *)src;
    uint8_t *to = (uint8_t *)dst;
    const size_t skew = (size_t)(-(uintptr_t)to & 63), head = skew < bytes ? skew : bytes;
    memcpy(to, from, head);
    from += head;
    to += head;
    bytes -= head;
    for (; bytes >= 64; bytes -= 64, from += 64, to += 64) { // whole lines only
        _mm256_stream_si256((__m256i *)to, load(from));
        _mm256_stream_si256((__m256i *)(to + 32), load(from + 32));
    }
    memcpy(to, from, bytes);
}

void qb_fence_avx2(void) { _mm_sfence(); }

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// The packing kernels that define the stream for all others. Eight codes of b bits fill exactly b
// bytes, so the stream is handled eight codes at a time: as the bytes of one 64-bit word, code 0
// lowest, squeezed together or spread apart in three steps of pairs, pairs of pairs and halves.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

// The word's `bytes` lowest bytes in memory, lowest first whatever the machine's byte order.
QB_INLINE uint64_t load_word(const uint8_t *in, size_t bytes)
{
    uint64_t word = 0;
    while (bytes) word = word << 8 | in[--bytes];
    return word;
}

QB_INLINE void store_word(uint64_t word, size_t bytes, uint8_t *out)
{
    for (; bytes; bytes--, word >>= 8) *out++ = (uint8_t)word;
}

QB_INLINE uint64_t all_bytes(uint8_t byte) { return byte * 0x0101010101010101u; }

// Byte by byte, modulo 256.
QB_INLINE uint64_t add_bytes(uint64_t x, uint64_t y)
{
    const uint64_t low = all_bytes(0x7F);
    return ((x & low) + (y & low)) ^ ((x ^ y) & ~low);
}

// Codes in bytes (no bit at or above `bits`) to codes side by side, and back.
QB_INLINE uint64_t squeeze(uint64_t x, const int bits)
{
    x = (x & 0x00FF00FF00FF00FFu) | (x & 0xFF00FF00FF00FF00u) >> (8 - bits);
    x = (x & 0x0000FFFF0000FFFFu) | (x & 0xFFFF0000FFFF0000u) >> (16 - 2 * bits);
    return (x & 0x00000000FFFFFFFFu) | x >> 32 << 4 * bits;
}

QB_INLINE uint64_t spread(uint64_t x, const int bits)
{
    const uint64_t half = ((uint64_t)1 << 4 * bits) - 1;
    const uint64_t pairs = (((uint64_t)1 << 2 * bits) - 1) * 0x0000000100000001u;
    const uint64_t codes = (((uint64_t)1 << bits) - 1) * 0x0001000100010001u;
    x = (x & half) | (x & ~half) << (32 - 4 * bits);
    x = (x & pairs) | (x & ~pairs) << (16 - 2 * bits);
    return (x & codes) | (x & ~codes) << (8 - bits);
}

QB_INLINE uint8_t pack(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, const int bits)
{
    const uint64_t mask = all_bytes((uint8_t)((1u << bits) - 1)), biases = all_bytes(bias);
    uint64_t seen = 0;
    for (; n >= 8; n -= 8, codes += 8, out += bits) {
        const uint64_t x = load_word(codes, 8);
        seen |= add_bytes(x, biases);
        store_word(squeeze(x & mask, bits), (size_t)bits, out);
    }
    if (n) {
        const uint64_t x = load_word(codes, n);
        seen |= add_bytes(x, biases >> (64 - 8 * n));
        store_word(squeeze(x & mask, bits), (n * (size_t)bits + 7) / 8, out);
    }
    for (int shift = 32; shift >= 8; shift /= 2) seen |= seen >> shift;
    return (uint8_t)seen;
}

QB_INLINE void unpack(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes,
                      const int bits)
{
    const uint64_t flips = all_bytes(flip), minus = all_bytes((uint8_t)-sub);
    for (; n >= 8; n -= 8, codes += 8, in += bits) {
        const uint64_t x = spread(load_word(in, (size_t)bits), bits);
        store_word(add_bytes(x ^ flips, minus), 8, codes);
    }
    const uint64_t x = spread(load_word(in, (n * (size_t)bits + 7) / 8), bits);
    store_word(add_bytes(x ^ flips, minus), n, codes);
}

#define X(bits)                                                                                   \
    uint8_t qb_pack_u##bits##_scalar(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out)  \
    {                                                                                             \
        return pack(codes, n, bias, out, bits);                                                   \
    }                                                                                             \
    void qb_unpack_u##bits##_scalar(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub,       \
                                    uint8_t *codes)                                               \
    {                                                                                             \
        unpack(in, n, flip, sub, codes, bits);                                                    \
    }
QB_WIDTHS(X)
#undef X

#define NARROW(width)                                                                             \
    uint64_t qb_narrow_##width##_scalar(const void *codes, size_t n, uint8_t bias, uint8_t *out)  \
    {                                                                                             \
        const uint##width##_t *const x = (const uint##width##_t *)codes;                          \
        uint##width##_t seen = 0;                                                                 \
        for (size_t i = 0; i < n; i++) {                                                          \
            seen |= (uint##width##_t)(x[i] + bias);                                               \
            out[i] = (uint8_t)x[i];                                                               \
        }                                                                                         \
        return seen;                                                                              \
    }
NARROW(16)
NARROW(32)
NARROW(64)
#undef NARROW

void qb_stream_scalar(const void *src, size_t bytes, void *dst) { memcpy(dst, src, bytes); }

void qb_fence_scalar(void) {}

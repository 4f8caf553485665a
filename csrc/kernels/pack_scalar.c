// SPDX-License-Identifier: Apache-2.0
// The definition of the dense LSB-first stream. Eight codes of b bits fill exactly b bytes, so the
// stream is handled eight codes, one 64-bit word, at a time; a tail goes through the same word.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

// Byte i of the word is bits [8i, 8i+8), whatever the machine's byte order.
QB_INLINE void store_word(uint64_t word, size_t bytes, uint8_t *out)
{
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(word >> 8 * i);
}

QB_INLINE uint64_t load_word(const uint8_t *in, size_t bytes)
{
    uint64_t word = 0;
    for (size_t i = 0; i < bytes; i++) word |= (uint64_t)in[i] << 8 * i;
    return word;
}

QB_INLINE uint8_t pack_codes(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, const int bits)
{
    const uint8_t mask = (uint8_t)((1u << bits) - 1);
    uint8_t seen = 0;
    for (size_t i = 0; i < n; i += 8) {
        const size_t count = n - i < 8 ? n - i : 8;
        uint64_t word = 0;
        for (size_t j = 0; j < count; j++) {
            seen |= (uint8_t)(codes[i + j] + bias);
            word |= (uint64_t)(codes[i + j] & mask) << j * (size_t)bits;
        }
        store_word(word, (count * (size_t)bits + 7) / 8, out);
        out += bits;
    }
    return seen;
}

QB_INLINE void unpack_codes(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes,
                            const int bits)
{
    const uint8_t mask = (uint8_t)((1u << bits) - 1);
    for (size_t i = 0; i < n; i += 8) {
        const size_t count = n - i < 8 ? n - i : 8;
        const uint64_t word = load_word(in, (count * (size_t)bits + 7) / 8);
        for (size_t j = 0; j < count; j++)
            codes[i + j] = (uint8_t)(((word >> j * (size_t)bits & mask) ^ flip) - sub);
        in += bits;
    }
}

#define X(bits)                                                                                   \
    uint8_t qb_pack_u##bits##_scalar(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out)  \
    {                                                                                             \
        return pack_codes(codes, n, bias, out, bits);                                             \
    }                                                                                             \
    void qb_unpack_u##bits##_scalar(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub,       \
                                    uint8_t *codes)                                               \
    {                                                                                             \
        unpack_codes(in, n, flip, sub, codes, bits);                                              \
    }
QB_WIDTHS(X)
#undef X

void qb_stream_scalar(const void *src, size_t bytes, void *dst) { memcpy(dst, src, bytes); }

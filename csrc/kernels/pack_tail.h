// SPDX-License-Identifier: Apache-2.0
// The definition of the dense LSB-first stream. Eight codes of b bits fill exactly b bytes, so the
// stream is handled eight codes, one 64-bit word, at a time. This is all of the scalar kernels, and what
// the others use for the codes that do not fill a vector.
#ifndef QB_PACK_TAIL_H
#define QB_PACK_TAIL_H

#include "../base/target.h"

#include <stddef.h>
#include <stdint.h>

// count <= 8 codes to ceil(count*bits/8) bytes. Byte i is bits [8i, 8i+8) of the word, whatever the
// machine's byte order.
QB_INLINE uint8_t qb_pack_word(const uint8_t *codes, const size_t count, uint8_t bias, uint8_t *out,
                               const int bits)
{
    const uint8_t mask = (uint8_t)((1u << bits) - 1);
    uint8_t seen = 0;
    uint64_t word = 0;
    for (size_t j = 0; j < count; j++) {
        seen |= (uint8_t)(codes[j] + bias);
        word |= (uint64_t)(codes[j] & mask) << j * (size_t)bits;
    }
    for (size_t i = 0; i < (count * (size_t)bits + 7) / 8; i++) out[i] = (uint8_t)(word >> 8 * i);
    return seen;
}

QB_INLINE void qb_unpack_word(const uint8_t *in, const size_t count, uint8_t flip, uint8_t sub,
                              uint8_t *codes, const int bits)
{
    const uint8_t mask = (uint8_t)((1u << bits) - 1);
    uint64_t word = 0;
    for (size_t i = 0; i < (count * (size_t)bits + 7) / 8; i++) word |= (uint64_t)in[i] << 8 * i;
    for (size_t j = 0; j < count; j++)
        codes[j] = (uint8_t)(((word >> j * (size_t)bits & mask) ^ flip) - sub);
}

QB_INLINE uint8_t qb_pack_tail(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, const int bits)
{
    uint8_t seen = 0;
    for (; n >= 8; n -= 8, codes += 8, out += bits) seen |= qb_pack_word(codes, 8, bias, out, bits);
    return seen | qb_pack_word(codes, n, bias, out, bits);
}

QB_INLINE void qb_unpack_tail(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes,
                              const int bits)
{
    for (; n >= 8; n -= 8, codes += 8, in += bits) qb_unpack_word(in, 8, flip, sub, codes, bits);
    qb_unpack_word(in, n, flip, sub, codes, bits);
}

#endif

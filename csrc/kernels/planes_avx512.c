// SPDX-License-Identifier: Apache-2.0
// Code planes a line at a time. 16-bit shifts serve bytes because what crosses over is masked off;
// vpternlogd masks and merges in one instruction (0xEA: c | (a & b)).
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

enum { LINE = 4 * QB_LANES, OCTET = 8 * LINE };

QB_INLINE __m512i moved(__m512i x, const int right)
{
    return right >= 0 ? _mm512_srli_epi16(x, (unsigned)right) : _mm512_slli_epi16(x, (unsigned)-right);
}

// Adds bits of a plane of `width` bits to 8 units: to [shift, shift + width) of their codes.
QB_INLINE void unpack_plane(const uint8_t *in, __m512i *u, const int shift, const int width)
{
    const __m512i mask = _mm512_set1_epi8((char)(((1 << width) - 1) << shift));
    QB_UNROLL for (int j = 0; j < 8; j++) {
        const __m512i x = moved(_mm512_loadu_si512(in + j % width * LINE), j / width * width - shift);
        u[j] = shift ? _mm512_ternarylogic_epi32(x, mask, u[j], 0xEA) : _mm512_and_si512(x, mask);
    }
}

#define X(bits)                                                                                   \
    static void unpack_u##bits(const uint8_t *in, size_t octets, uint8_t *lines)                  \
    {                                                                                             \
        for (; octets--; in += bits * LINE, lines += OCTET) {                                     \
            __m512i u[8];                                                                         \
            if (bits & 4) unpack_plane(in, u, 0, 4);                                              \
            if (bits & 2) unpack_plane(in + (bits & 4) * LINE, u, bits & 4, 2);                   \
            if (bits & 1) unpack_plane(in + (bits & 6) * LINE, u, bits & 6, 1);                   \
            QB_UNROLL for (int j = 0; j < 8; j++) _mm512_storeu_si512(lines + j * LINE, u[j]);    \
        }                                                                                         \
    }
QB_SUB_BYTE_WIDTHS(X)
#undef X

#define X(bits) case bits: unpack_u##bits(in, octets, lines); break;
void qb_planes_unpack_avx512(const uint8_t *in, size_t octets, int bits, uint8_t *lines)
{
    switch (bits) {
    QB_SUB_BYTE_WIDTHS(X)
    default: memcpy(lines, in, octets * OCTET);
    }
}
#undef X

void qb_look_up_avx512(const uint8_t *table, size_t n, uint8_t *codes)
{
    const __m512i entries = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    for (size_t i = 0; i < n; i += LINE)
        _mm512_storeu_si512(codes + i, _mm512_shuffle_epi8(entries, _mm512_loadu_si512(codes + i)));
}

QB_TARGET_END
#endif

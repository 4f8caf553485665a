// SPDX-License-Identifier: Apache-2.0
// Code planes with shifts, ands and ors alone: 16-bit shifts serve bytes because what crosses over is
// masked off. Half a line (32 bytes) is a register; the two halves never meet.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

enum { LINE = 4 * QB_LANES, HALF = LINE / 2 };

QB_INLINE __m256i load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
QB_INLINE void store(uint8_t *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }

// The 8 units of half an octet, from `bits` halves of lines LINE apart.
QB_INLINE void unpack_half(const uint8_t *in, uint8_t *lines, const int bits)
{
    __m256i u[8];
    int shift = 0;
    if (bits & 4) {
        const __m256i low = _mm256_set1_epi8(15);
        QB_UNROLL for (int j = 0; j < 4; j++) {
            const __m256i x = load(in + j * LINE);
            u[j] = _mm256_and_si256(x, low);
            u[j + 4] = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
        }
        in += 4 * LINE;
        shift = 4;
    }
    if (bits & 2) {
        const __m256i low = _mm256_set1_epi8((char)(3 << shift));
        QB_UNROLL for (int j = 0; j < 8; j++) {
            const __m256i x = load(in + j % 2 * LINE);
            const int by = j / 2 * 2 - shift;
            const __m256i moved = by >= 0 ? _mm256_srli_epi16(x, by) : _mm256_slli_epi16(x, -by);
            const __m256i two = _mm256_and_si256(moved, low);
            u[j] = shift ? _mm256_or_si256(u[j], two) : two;
        }
        in += 2 * LINE;
        shift += 2;
    }
    if (bits & 1) {
        const __m256i low = _mm256_set1_epi8((char)(1 << shift)), x = load(in);
        QB_UNROLL for (int j = 0; j < 8; j++) {
            const int by = j - shift;
            const __m256i moved = by >= 0 ? _mm256_srli_epi16(x, by) : _mm256_slli_epi16(x, -by);
            const __m256i one = _mm256_and_si256(moved, low);
            u[j] = shift ? _mm256_or_si256(u[j], one) : one;
        }
    }
    QB_UNROLL for (int j = 0; j < 8; j++) store(lines + j * LINE, u[j]);
}

#define X(bits)                                                                                   \
    static void unpack_u##bits(const uint8_t *in, size_t octets, uint8_t *lines)                  \
    {                                                                                             \
        for (; octets--; in += bits * LINE, lines += 8 * LINE) {                                  \
            unpack_half(in, lines, bits);                                                         \
            unpack_half(in + HALF, lines + HALF, bits);                                           \
        }                                                                                         \
    }
QB_SUB_BYTE_WIDTHS(X)
#undef X
#define X(bits) case bits: unpack_u##bits(in, octets, lines); break;
void qb_planes_unpack_avx2(const uint8_t *in, size_t octets, int bits, uint8_t *lines)
{
    switch (bits) {
    QB_SUB_BYTE_WIDTHS(X)
    default: memcpy(lines, in, octets * 8 * LINE);
    }
}
#undef X

void qb_look_up_avx2(const uint8_t *table, size_t n, uint8_t *codes)
{
    const __m256i entries = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    for (size_t i = 0; i < n; i += HALF) store(codes + i, _mm256_shuffle_epi8(entries, load(codes + i)));
}

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
// qb_pack, qb_unpack: rows of any integer dtype to and from packed bytes. One-byte codes go straight
// to the kernels; wider ones through a tile that stays in the first-level cache.
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../qbits.h"

#include <string.h>

enum { TILE = 4096 }; // codes; a multiple of 8, so that tiles of a row meet on a byte

// Outputs beyond this many bytes are written past the cache, which they would only flush.
static const size_t stream_bytes = (size_t)4 << 20;

static size_t code_bytes(int dtype)
{
    switch (dtype) {
    case QB_U8: case QB_I8: return 1;
    case QB_U16: case QB_I16: return 2;
    case QB_U32: case QB_I32: return 4;
    case QB_U64: case QB_I64: return 8;
    default: return 0;
    }
}

// Narrows n codes to bytes; returns nonzero if one of them plus bias does not fit `room` bits.
#define NARROW(name, type)                                                                        \
    static int name(const void *src, size_t n, int room, uint8_t bias, uint8_t *out)              \
    {                                                                                             \
        const type *codes = (const type *)src;                                                    \
        type seen = 0;                                                                            \
        for (size_t i = 0; i < n; i++) {                                                          \
            seen |= (type)(codes[i] + bias);                                                      \
            out[i] = (uint8_t)codes[i];                                                           \
        }                                                                                         \
        return seen >> room != 0;                                                                 \
    }
NARROW(narrow_16, uint16_t)
NARROW(narrow_32, uint32_t)
NARROW(narrow_64, uint64_t)

#define WIDEN(name, type, byte)                                                                   \
    static void name(const uint8_t *src, size_t n, void *dst)                                     \
    {                                                                                             \
        type *out = (type *)dst;                                                                  \
        for (size_t i = 0; i < n; i++) out[i] = (type)(byte)src[i];                               \
    }
WIDEN(widen_u16, uint16_t, uint8_t)
WIDEN(widen_u32, uint32_t, uint8_t)
WIDEN(widen_u64, uint64_t, uint8_t)
WIDEN(widen_s16, uint16_t, int8_t)
WIDEN(widen_s32, uint32_t, int8_t)
WIDEN(widen_s64, uint64_t, int8_t)

static int64_t load_code(const void *codes, int dtype, size_t i)
{
    switch (dtype) {
    case QB_U8: return ((const uint8_t *)codes)[i];
    case QB_I8: return ((const int8_t *)codes)[i];
    case QB_U16: return ((const uint16_t *)codes)[i];
    case QB_I16: return ((const int16_t *)codes)[i];
    case QB_U32: return ((const uint32_t *)codes)[i];
    case QB_I32: return ((const int32_t *)codes)[i];
    default: return ((const int64_t *)codes)[i];
    }
}

// The index of the first code outside [lo, hi] at or after `from`.
static size_t first_bad(const void *codes, int dtype, size_t from, size_t end, int64_t lo, int64_t hi)
{
    for (size_t i = from; i < end; i++) {
        const int64_t code = load_code(codes, dtype, i);
        if (code < lo || code > hi || (dtype == QB_U64 && code < 0)) return i;
    }
    return end;
}

int qb_pack(const void *codes, int dtype, size_t rows, size_t count, int bits, int is_signed,
            uint8_t *out, qb_fault *fault)
{
    const size_t width = code_bytes(dtype);
    if (!width || bits < 1 || bits > QB_MAX_BITS) return QB_ERR_ARGUMENT;
    size_t total;
    if (!qb_mul(rows, count, &total) || !qb_mul(total, width, &total)) return QB_ERR_SIZE;
    const struct qb_kernels *const k = qb_kernels_now();
    qb_pack_fn *const pack = k->pack[bits];
    const int64_t h = is_signed ? (int64_t)1 << (bits - 1) : 0;
    const int unsigned_source = dtype == QB_U8 || dtype == QB_U16 || dtype == QB_U32 || dtype == QB_U64;
    // Code + bias has no bit at or above `room` exactly when the code is in range. Where the source
    // and the codes differ in signedness, only the non-negative half that both share is legal.
    const uint8_t bias = unsigned_source ? 0 : (uint8_t)h;
    const int room = is_signed && unsigned_source            ? bits - 1
                     : !is_signed && dtype == QB_I8 && bits == 8 ? 7
                                                             : bits;
    const size_t row_bytes = qb_packed_bytes(count, bits);
    uint8_t tile[TILE];

    for (size_t r = 0; r < rows; r++, out += row_bytes) {
        for (size_t i = 0; i < count; i += TILE) {
            const size_t n = qb_min(count - i, width == 1 ? count : TILE), at = r * count + i;
            const uint8_t *const src = (const uint8_t *)codes + at * width;
            uint8_t *const dst = out + i / 8 * (size_t)bits;
            int bad;
            if (width == 1) {
                bad = pack(src, n, bias, dst) >> room != 0;
            } else {
                bad = width == 2   ? narrow_16(src, n, room, bias, tile)
                      : width == 4 ? narrow_32(src, n, room, bias, tile)
                                   : narrow_64(src, n, room, bias, tile);
                if (!bad) pack(tile, n, bias, dst);
            }
            if (bad && !fault) return QB_ERR_CODE_RANGE;
            if (bad) {
                fault->index = first_bad(codes, dtype, at, at + n, -h, ((int64_t)1 << bits) - 1 - h);
                fault->code = load_code(codes, dtype, fault->index);
                fault->value = dtype == QB_U64 ? (double)(uint64_t)fault->code : (double)fault->code;
                return QB_ERR_CODE_RANGE;
            }
            if (width == 1) break;
        }
    }
    return QB_OK;
}

int qb_unpack(const uint8_t *in, size_t row_bytes, size_t rows, size_t count, int bits, int is_signed,
              int dtype, void *out)
{
    const size_t width = code_bytes(dtype);
    if (!width || bits < 1 || bits > QB_MAX_BITS) return QB_ERR_ARGUMENT;
    if (row_bytes < qb_packed_bytes(count, bits) && rows) return QB_ERR_ARGUMENT;
    if (bits == 8 && dtype == QB_I8 && !is_signed) return QB_ERR_ARGUMENT;
    size_t total;
    if (!qb_mul(rows, count, &total) || !qb_mul(total, width, &total)) return QB_ERR_SIZE;
    const struct qb_kernels *const k = qb_kernels_now();
    qb_unpack_fn *const unpack = k->unpack[bits];
    const uint8_t h = is_signed ? (uint8_t)(1 << (bits - 1)) : 0;
    const int large = total > stream_bytes;
    uint8_t tile[TILE], wide[TILE * 8];

    for (size_t r = 0; r < rows; r++) {
        if (width == 1 && !large) {
            unpack(in + r * row_bytes, count, h, h, (uint8_t *)out + r * count);
            continue;
        }
        for (size_t i = 0; i < count; i += TILE) {
            const size_t n = qb_min(count - i, TILE);
            uint8_t *const dst = (uint8_t *)out + (r * count + i) * width;
            unpack(in + r * row_bytes + i / 8 * (size_t)bits, n, h, h, tile);
            void *const to = large ? (void *)wide : (void *)dst;
            if (width == 2) (is_signed ? widen_s16 : widen_u16)(tile, n, to);
            if (width == 4) (is_signed ? widen_s32 : widen_u32)(tile, n, to);
            if (width == 8) (is_signed ? widen_s64 : widen_u64)(tile, n, to);
            if (large) k->stream(width == 1 ? tile : wide, n * width, dst);
        }
    }
    return QB_OK;
}

// SPDX-License-Identifier: Apache-2.0
// qb_pack, qb_unpack: rows of any integer dtype to and from packed bytes. One-byte codes go
// straight to the kernels; wider ones through a tile that stays in the first-level cache.
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/threads.h"
#include "../qbits.h"

#include <string.h>

enum { TILE = 2048 }; // codes; a multiple of 8, so that the tiles of a row meet on a byte

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

// How rows x count codes are walked: `rows` whole rows at a time where they fit into `limit` codes, else
// `codes` codes of one row.
struct walk {
    size_t rows, codes;
};

static struct walk walk_of(size_t rows, size_t count, size_t limit)
{
    const struct walk parts = {1, limit}, wholes = {qb_min(rows, limit / count), count};
    return count > limit ? parts : wholes;
}

// Rows that end with a full byte and lie one after another are one long row.
static void join_rows(size_t *rows, size_t *count, int bits)
{
    if (*count % 8 * (size_t)bits % 8 != 0) return;
    *count *= *rows;
    *rows = 1;
}

// A call, or one thread's part of it.
struct packing {
    const struct qb_kernels *k;
    const uint8_t *from;
    uint8_t *to;
    int dtype, bits, is_signed;
    size_t width; // bytes of a code
    size_t rows, count, packed_bytes; // bytes from one packed row to the next
};

// The part-th of `parts`: rows, or where there is one only, codes of it from a full byte on.
static struct packing part_of(const struct packing *all, size_t part, size_t parts, int unpacking, size_t *first)
{
    struct packing p = *all;
    const int by_rows = all->rows > 1;
    const size_t n = by_rows ? all->rows : all->count, unit = by_rows ? 1 : TILE;
    const size_t start = qb_part_start(n, unit, part, parts), size = qb_part_start(n, unit, part + 1, parts) - start;
    const size_t packed = by_rows ? start * all->packed_bytes : qb_packed_bytes(start, all->bits);
    *first = by_rows ? start * all->count : start;
    p.from += unpacking ? packed : *first * all->width;
    p.to += unpacking ? *first * all->width : packed;
    if (by_rows) p.rows = size;
    if (!by_rows) p.count = size;
    return p;
}

static size_t parts_of(const struct packing *p)
{
    return qb_parts(p->rows * p->count * p->width, p->rows > 1 ? p->rows : qb_ceil_div(p->count, TILE));
}

// ---- pack -----------------------------------------------------------------------------------------

// Returns the index of the first code out of range, or SIZE_MAX.
static size_t pack_part(const struct packing *p)
{
    const struct qb_kernels *const k = p->k;
    const int64_t h = p->is_signed ? (int64_t)1 << (p->bits - 1) : 0;
    const int unsigned_source = p->dtype == QB_U8 || p->dtype == QB_U16 || p->dtype == QB_U32 || p->dtype == QB_U64;
    // Code + bias has no bit at or above `room` exactly when the code is in range. Where the source
    // and the codes differ in signedness, only the non-negative half that both share is legal.
    const uint8_t bias = unsigned_source ? 0 : (uint8_t)h;
    const int room = p->is_signed && unsigned_source                   ? p->bits - 1
                     : !p->is_signed && p->dtype == QB_I8 && p->bits == 8 ? 7
                                                                       : p->bits;
    const struct walk step = walk_of(p->rows, p->count, p->width == 1 ? SIZE_MAX : TILE);
    uint8_t tile[TILE];

    for (size_t r = 0; r < p->rows; r += step.rows) {
        const size_t m = qb_min(p->rows - r, step.rows);
        for (size_t i = 0; i < p->count; i += step.codes) {
            const size_t n = qb_min(p->count - i, step.codes), at = r * p->count + i;
            const uint8_t *bytes = p->from + at * p->width;
            uint64_t seen = 0;
            if (p->width > 1) {
                seen = (p->width == 2   ? k->narrow_16
                        : p->width == 4 ? k->narrow_32
                                        : k->narrow_64)(bytes, m * n, bias, tile);
                bytes = tile;
            }
            for (size_t j = 0; j < m; j++)
                seen |= k->pack[p->bits](bytes + j * n, n, bias,
                                         p->to + (r + j) * p->packed_bytes + i / 8 * (size_t)p->bits);
            if (seen >> room) return first_bad(p->from, p->dtype, at, at + m * n, -h, ((int64_t)1 << p->bits) - 1 - h);
        }
    }
    return SIZE_MAX;
}

struct pack_job {
    struct packing all;
    size_t bad[QB_MOST_THREADS]; // the first code out of range in each part
};

static void run_pack(void *context, size_t part, size_t parts)
{
    struct pack_job *const job = context;
    size_t first;
    const struct packing p = part_of(&job->all, part, parts, 0, &first);
    const size_t bad = pack_part(&p);
    job->bad[part] = bad == SIZE_MAX ? bad : first + bad;
}

int qb_pack(const void *codes, int dtype, size_t rows, size_t count, int bits, int is_signed,
            uint8_t *out, qb_fault *fault)
{
    const size_t width = code_bytes(dtype);
    if (!width || bits < 1 || bits > QB_MAX_BITS) return QB_ERR_ARGUMENT;
    size_t total;
    if (!qb_mul(rows, count, &total) || !qb_mul(total, width, &total)) return QB_ERR_SIZE;
    if (!total) return QB_OK;
    if (qb_overlap(codes, total, out, rows * qb_packed_bytes(count, bits))) return QB_ERR_ARGUMENT;
    join_rows(&rows, &count, bits);
    struct pack_job job;
    job.all = (struct packing){qb_kernels_now(), codes, out, dtype, bits, is_signed, width, rows, count,
                               qb_packed_bytes(count, bits)};
    const size_t parts = parts_of(&job.all);
    qb_parallel(parts, run_pack, &job);
    for (size_t i = 0; i < parts; i++) {
        if (job.bad[i] == SIZE_MAX) continue;
        if (!fault) return QB_ERR_CODE_RANGE;
        fault->index = job.bad[i];
        fault->code = load_code(codes, dtype, fault->index);
        fault->value = dtype == QB_U64 ? (double)(uint64_t)fault->code : (double)fault->code;
        return QB_ERR_CODE_RANGE;
    }
    return QB_OK;
}

// ---- unpack ---------------------------------------------------------------------------------------

static void unpack_part(const struct packing *p, int streamed)
{
    const struct qb_kernels *const k = p->k;
    const uint8_t h = p->is_signed ? (uint8_t)(1 << (p->bits - 1)) : 0;
    const size_t width = p->width;
    const struct walk step = walk_of(p->rows, p->count, width == 1 && !streamed ? SIZE_MAX : TILE);
    uint8_t tile[TILE], wide[TILE * 8];

    for (size_t r = 0; r < p->rows; r += step.rows) {
        const size_t m = qb_min(p->rows - r, step.rows);
        for (size_t i = 0; i < p->count; i += step.codes) {
            const size_t n = qb_min(p->count - i, step.codes);
            uint8_t *const dst = p->to + (r * p->count + i) * width;
            uint8_t *const bytes = width == 1 && !streamed ? dst : tile;
            for (size_t j = 0; j < m; j++)
                k->unpack[p->bits](p->from + (r + j) * p->packed_bytes + i / 8 * (size_t)p->bits, n, h, h, bytes + j * n);
            void *const to = streamed ? wide : dst;
            if (width == 2) (p->is_signed ? widen_s16 : widen_u16)(tile, m * n, to);
            if (width == 4) (p->is_signed ? widen_s32 : widen_u32)(tile, m * n, to);
            if (width == 8) (p->is_signed ? widen_s64 : widen_u64)(tile, m * n, to);
            if (streamed) k->stream(width == 1 ? tile : wide, m * n * width, dst);
        }
    }
    if (streamed) k->fence();
}

static void run_unpack(void *context, size_t part, size_t parts)
{
    const struct packing *const all = context;
    size_t first;
    const struct packing p = part_of(all, part, parts, 1, &first);
    unpack_part(&p, all->rows * all->count * all->width > QB_STREAM_BYTES);
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
    if (!total) return QB_OK;
    size_t in_bytes;
    if (!qb_mul(rows, row_bytes, &in_bytes)) return QB_ERR_SIZE;
    in_bytes -= row_bytes - qb_packed_bytes(count, bits);
    if (qb_overlap(in, in_bytes, out, total)) return QB_ERR_ARGUMENT;
    if (row_bytes == qb_packed_bytes(count, bits)) {
        join_rows(&rows, &count, bits);
        row_bytes = qb_packed_bytes(count, bits);
    }
    struct packing all = {qb_kernels_now(), in, out, dtype, bits, is_signed, width, rows, count, row_bytes};
    qb_parallel(parts_of(&all), run_unpack, &all);
    return QB_OK;
}

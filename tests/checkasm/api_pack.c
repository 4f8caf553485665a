// SPDX-License-Identifier: Apache-2.0
// qb_pack and qb_unpack: every integer dtype, rows of any length, which code is out of range.
#include "checkasm.h"

#include <string.h>

static struct buffer in, packed, out;

enum { DTYPES = 8, MAX_CODES = 20000 };
static const char *const dtype_names[DTYPES] = {"u8",  "i8",  "u16", "i16",
                                                "u32", "i32", "u64", "i64"};

static size_t width_of(int dtype) { return (size_t)1 << dtype / 2; }
static int dtype_signed(int dtype) { return dtype & 1; }

static void put(void *codes, int dtype, size_t i, int64_t code)
{
    switch (width_of(dtype)) {
    case 1: ((uint8_t *)codes)[i] = (uint8_t)code; break;
    case 2: ((uint16_t *)codes)[i] = (uint16_t)code; break;
    case 4: ((uint32_t *)codes)[i] = (uint32_t)code; break;
    default: ((uint64_t *)codes)[i] = (uint64_t)code; break;
    }
}

// The codes that both the dtype and the width can hold.
static int64_t least(int dtype, int bits, int is_signed)
{
    return is_signed && dtype_signed(dtype) ? -((int64_t)1 << (bits - 1)) : 0;
}

static int64_t greatest(int dtype, int bits, int is_signed)
{
    const int64_t top = ((int64_t)1 << (is_signed ? bits - 1 : bits)) - 1;
    return dtype == QB_I8 && top > 127 ? 127 : top;
}

static size_t row_bytes_of(size_t count, int bits) { return (count * (size_t)bits + 7) / 8; }

static unsigned bit_at(const uint8_t *row, size_t bit) { return row[bit / 8] >> bit % 8 & 1u; }

static int64_t code_at(const uint8_t *row, size_t i, int bits, int is_signed)
{
    int64_t code = 0;
    for (int b = 0; b < bits; b++) code |= (int64_t)bit_at(row, i * (size_t)bits + (size_t)b) << b;
    return is_signed && code >> (bits - 1) ? code - ((int64_t)1 << bits) : code;
}

struct shape {
    size_t rows, count;
    int bits, is_signed, dtype;
};

static struct shape any_shape(void)
{
    struct shape s = {1, 0, 1 + (int)ck_below(QB_MAX_BITS), (int)ck_below(2),
                      (int)ck_below(DTYPES)};
    switch (ck_below(4)) {
    case 0: s.count = ck_below(300), s.rows = ck_below(60); break;
    case 1: s.count = 1 + ck_below(9), s.rows = ck_below(2000); break;
    case 2: s.count = ck_below(MAX_CODES); break;
    default: s.count = 2000 + ck_below(100), s.rows = 1 + ck_below(8); break; // about a tile
    }
    ck_case("rows=%zu count=%zu bits=%d signed=%d %s", s.rows, s.count, s.bits, s.is_signed,
            dtype_names[s.dtype]);
    return s;
}

// Offsets keep the codes' own alignment.
static int offset_for(int dtype) { return (int)(ck_below(64) / width_of(dtype) * width_of(dtype)); }

static void fill_legal(void *codes, const struct shape *s)
{
    const int64_t lo = least(s->dtype, s->bits, s->is_signed),
                  hi = greatest(s->dtype, s->bits, s->is_signed);
    for (size_t i = 0; i < s->rows * s->count; i++)
        put(codes, s->dtype, i, lo + (int64_t)ck_below((size_t)(hi - lo + 1)));
}

static void pack_unpack_case(void)
{
    if (ck_skip()) return;
    const struct shape s = any_shape();
    const size_t n = s.rows * s.count, width = width_of(s.dtype),
                 row = row_bytes_of(s.count, s.bits);
    void *const codes = ck_place(&in, n * width, ck_below(2) ? CK_END : offset_for(s.dtype));
    fill_legal(codes, &s);
    uint8_t *bytes = (uint8_t *)ck_place(&packed, s.rows * row,
                                         ck_below(2) ? CK_END : (int)ck_below(64));
    qb_fault fault = {0, 0, 0};
    ck_same_u64(
        "pack", QB_OK,
        (uint64_t)qb_pack(codes, s.dtype, s.rows, s.count, s.bits, s.is_signed, bytes, &fault));
    ck_canaries(&packed);
    int good = 1;
    for (size_t r = 0; r < s.rows; r++) {
        for (size_t bit = s.count * (size_t)s.bits; bit < 8 * row; bit++)
            good &= !bit_at(bytes + r * row, bit);
        for (size_t i = 0; i < s.count; i++) {
            uint64_t want = 0, got = 0; // in the dtype's own bytes
            memcpy(&want, (const uint8_t *)codes + (r * s.count + i) * width, width);
            put(&got, s.dtype, 0, code_at(bytes + r * row, i, s.bits, s.is_signed));
            good &= want == got;
        }
    }
    ck_true("packed bits", good);
    if (s.bits == 8 && s.dtype == QB_I8 && !s.is_signed) return; // qb_unpack refuses

    // Back, from rows that lie further apart, with garbage in between.
    const size_t apart = row + ck_below(3);
    uint8_t *const loose = (uint8_t *)ck_place(&in, s.rows ? (s.rows - 1) * apart + row : 0,
                                               CK_END);
    ck_fill(loose, in.bytes);
    uint8_t first[MAX_CODES];
    memcpy(first, bytes, s.rows * row);
    for (size_t r = 0; r < s.rows; r++) memcpy(loose + r * apart, first + r * row, row);
    void *const back = ck_place(&out, n * width, ck_below(2) ? CK_END : offset_for(s.dtype));
    ck_same_u64(
        "unpack", QB_OK,
        (uint64_t)qb_unpack(loose, apart, s.rows, s.count, s.bits, s.is_signed, s.dtype, back));
    ck_canaries(&out);
    void *const want = ck_place(&packed, n * width, CK_END);
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.count; i++)
            put(want, s.dtype, r * s.count + i, code_at(first + r * row, i, s.bits, s.is_signed));
    ck_same("codes", want, back, n * width);
}

// The functions for a row of bytes are the general ones, and refuse sizes that do not fit.
static void bytes_case(void)
{
    if (ck_skip()) return;
    const int bits = 1 + (int)ck_below(QB_MAX_BITS), is_signed = (int)ck_below(2);
    const struct shape s = {1, ck_below(300), bits, is_signed, is_signed ? QB_I8 : QB_U8};
    const size_t row = row_bytes_of(s.count, bits);
    ck_case("count=%zu bits=%d signed=%d", s.count, bits, is_signed);
    uint8_t *const codes = (uint8_t *)ck_place(&in, s.count, CK_END);
    uint8_t *const bytes = (uint8_t *)ck_place(&packed, row, CK_END);
    uint8_t want[MAX_CODES], *const back = (uint8_t *)ck_place(&out, s.count, CK_END);
    fill_legal(codes, &s);
    memset(bytes, 0xA5, row);
    memcpy(want, bytes, row);
    ck_true("more than packed", qb_pack_bytes(codes, s.count, bits, is_signed, bytes, row + 1) != QB_OK);
    ck_true("less than packed", qb_pack_bytes(codes, s.count, bits, is_signed, bytes, row - 1) != QB_OK);
    ck_true("no bits", qb_pack_bytes(codes, s.count, 0, is_signed, bytes, 0) != QB_OK);
    ck_same("refused", want, bytes, row);
    qb_pack(codes, s.dtype, 1, s.count, bits, is_signed, want, NULL);
    ck_same_u64("pack", QB_OK, (uint64_t)qb_pack_bytes(codes, s.count, bits, is_signed, bytes, row));
    ck_same("packed", want, bytes, row);
    if (row) ck_true("too few", qb_unpack_bytes(bytes, row - 1, bits, is_signed, back, s.count) != QB_OK);
    ck_same_u64("unpack", QB_OK, (uint64_t)qb_unpack_bytes(bytes, row, bits, is_signed, back, s.count));
    ck_same("codes", codes, back, s.count);
}

// A code outside the range, and often a second one behind it: the first is reported.
static void fault_case(void)
{
    if (ck_skip()) return;
    const struct shape s = any_shape();
    const size_t n = s.rows * s.count;
    if (n == 0) return;
    void *const codes = ck_place(&in, n * width_of(s.dtype), CK_END);
    uint8_t *const bytes = (uint8_t *)ck_place(&packed, s.rows * row_bytes_of(s.count, s.bits),
                                               CK_END);
    fill_legal(codes, &s);
    const int64_t lo = least(s.dtype, s.bits, s.is_signed),
                  hi = greatest(s.dtype, s.bits, s.is_signed);
    const int top = 8 * (int)width_of(s.dtype) - dtype_signed(s.dtype); // bits without a sign
    int64_t bad[4];
    int kinds = 0;
    if (top > 62 || hi < ((int64_t)1 << top) - 1) {
        bad[kinds++] = hi + 1;
        bad[kinds++] = (int64_t)((uint64_t)1 << (top - 1)) | hi; // the highest bit the dtype has
    }
    if (dtype_signed(s.dtype) && (top == 63 || lo > -((int64_t)1 << top))) {
        bad[kinds++] = lo - 1;
        bad[kinds++] = top == 63 ? INT64_MIN : -((int64_t)1 << top);
    }
    if (kinds == 0) return; // eight bits: everything is legal
    int64_t code = bad[ck_below((size_t)kinds)];
    if (code >= lo && code <= hi) code = bad[0];
    const size_t at = ck_below(n);
    put(codes, s.dtype, at, code);
    if (at + 1 < n)
        put(codes, s.dtype, at + 1 + ck_below(n - at - 1), bad[ck_below((size_t)kinds)]);
    qb_fault fault = {0, 0, 0};
    const int status = qb_pack(codes, s.dtype, s.rows, s.count, s.bits, s.is_signed, bytes, &fault);
    ck_same_u64("status", QB_ERR_CODE_RANGE, (uint64_t)status);
    const int unasked = qb_pack(codes, s.dtype, s.rows, s.count, s.bits, s.is_signed, bytes, NULL);
    ck_same_u64("status without a fault", QB_ERR_CODE_RANGE, (uint64_t)unasked);
    ck_same_u64("index", at, fault.index);
    ck_same_u64("code", (uint64_t)code, (uint64_t)fault.code);
    ck_true("value", fault.value == (s.dtype == QB_U64 ? (double)(uint64_t)code : (double)code));
    ck_canaries(&packed);
}

// Outputs that are written past the cache.
static void large_case(int dtype, int bits, int skew)
{
    if (ck_skip()) return;
    static uint8_t *bytes, *out1, *out2;
    enum { COUNT = 600001, ROWS = 9, ROOM = COUNT * ROWS };
    if (!bytes) {
        bytes = (uint8_t *)ck_memory(ROOM);
        out1 = (uint8_t *)ck_memory((size_t)ROOM * 8 + 64);
        out2 = (uint8_t *)ck_memory((size_t)ROOM * 8 + 64);
    }
    const size_t width = width_of(dtype), row = row_bytes_of(COUNT, bits);
    uint8_t *const whole = out1 + (size_t)skew * width, *const rows = out2 + width;
    ck_case("%s bits=%d skew=%d", dtype_names[dtype], bits, skew);
    const uint8_t before = whole[(size_t)ROOM * width];
    const int status = qb_unpack(bytes, row, ROWS, COUNT, bits, dtype_signed(dtype), dtype, whole);
    ck_same_u64("status", QB_OK, (uint64_t)status);
    ck_same_u64("byte behind", before, whole[(size_t)ROOM * width]);
    for (size_t r = 0; r < ROWS; r++) // in pieces that are not large
        for (size_t i = 0; i < COUNT; i += 80000)
            qb_unpack(bytes + r * row + i / 8 * (size_t)bits, row, 1,
                      COUNT - i < 80000 ? COUNT - i : 80000, bits, dtype_signed(dtype), dtype,
                      rows + (r * COUNT + i) * width);
    ck_same("codes", rows, whole, ROOM * width);
}

static void check_arguments(void)
{
    uint8_t x[16] = {0};
    qb_fault fault;
    ck_same_u64("bits 0", QB_ERR_ARGUMENT, (uint64_t)qb_pack(x, QB_U8, 1, 8, 0, 0, x + 8, &fault));
    ck_same_u64("bits 9", QB_ERR_ARGUMENT, (uint64_t)qb_unpack(x, 9, 1, 8, 9, 0, QB_U16, x));
    ck_same_u64("floats", QB_ERR_ARGUMENT, (uint64_t)qb_pack(x, QB_F32, 1, 2, 4, 0, x + 8, &fault));
    ck_same_u64("i8 holds no u8", QB_ERR_ARGUMENT,
                (uint64_t)qb_unpack(x, 8, 1, 8, 8, 0, QB_I8, x + 8));
    ck_same_u64("row too short", QB_ERR_ARGUMENT,
                (uint64_t)qb_unpack(x, 2, 1, 8, 3, 0, QB_U8, x + 8));
    ck_same_u64("too large", QB_ERR_SIZE,
                (uint64_t)qb_pack(x, QB_U8, SIZE_MAX / 2, 3, 4, 0, x, &fault));
    ck_same_u64("too wide", QB_ERR_SIZE,
                (uint64_t)qb_pack(x, QB_I64, SIZE_MAX / 4, 1, 4, 0, x, &fault));
    ck_same_u64("nothing", QB_OK, (uint64_t)qb_pack(NULL, QB_U8, 0, 5, 4, 0, NULL, &fault));
    ck_same_u64("nothing", QB_OK, (uint64_t)qb_unpack(NULL, 0, 7, 0, 4, 0, QB_U8, NULL));
}

// Inputs and outputs that share a byte are refused, neighbours are not.
static void check_overlap(void)
{
    enum { COUNT = 24, BITS = 3, ROWS = 2, APART = 11, BYTES = COUNT * BITS / 8 };
    uint8_t x[300] = {0};
    uint8_t *const middle = x + 150;
    qb_fault fault;
    for (int shift = -60; shift <= 60; shift++) {
        ck_case("shift=%d", shift);
        uint8_t *const other = middle + shift;
        const int apart = other + ROWS * COUNT <= middle || other >= middle + ROWS * BYTES;
        ck_same_u64("pack", apart ? QB_OK : QB_ERR_ARGUMENT,
                    (uint64_t)qb_pack(other, QB_U8, ROWS, COUNT, BITS, 0, middle, &fault));
        // The gap behind the last row is nobody's.
        const int clear = other + ROWS * COUNT <= middle || other >= middle + APART + BYTES;
        ck_same_u64("unpack", clear ? QB_OK : QB_ERR_ARGUMENT,
                    (uint64_t)qb_unpack(middle, APART, ROWS, COUNT, BITS, 0, QB_U8, other));
        memset(x, 0, sizeof x);
    }
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    if (ck_kernel("pack_unpack"))
        for (int i = 0; i < 3000; i++) pack_unpack_case();
    if (ck_kernel("pack_fault"))
        for (int i = 0; i < 3000; i++) fault_case();
    if (ck_kernel("pack_bytes"))
        for (int i = 0; i < 2000; i++) bytes_case();
    if (ck_kernel("unpack_large"))
        for (int dtype = 0; dtype < DTYPES; dtype++)
            for (int bits = 3; bits <= 5; bits++) large_case(dtype, bits, bits);
    if (ck_kernel("pack_arguments")) check_arguments();
    if (ck_kernel("pack_overlap")) check_overlap();
}

// ---- benchmarks ---------------------------------------------------------------------------------

struct job {
    size_t rows, count;
    int bits, dtype;
    uint8_t *codes, *packed;
};

static void run_pack(void *context)
{
    const struct job *const j = (const struct job *)context;
    qb_fault fault;
    ck_use((uint64_t)qb_pack(j->codes, j->dtype, j->rows, j->count, j->bits, 0, j->packed, &fault));
}

static void run_unpack(void *context)
{
    const struct job *const j = (const struct job *)context;
    qb_unpack(j->packed, row_bytes_of(j->count, j->bits), j->rows, j->count, j->bits, 0, j->dtype,
              j->codes);
}

static void run_memcpy(void *context) // as many bytes as the codes have
{
    const struct job *const j = (const struct job *)context;
    memcpy(j->packed, j->codes, j->rows * j->count * width_of(j->dtype));
}

static void run_read(void *context)
{
    const struct job *const j = (const struct job *)context;
    const size_t bytes = j->rows * j->count * width_of(j->dtype) / 64 * 64;
    uint64_t sum[8] = {0};
    for (const uint8_t *p = j->codes; p < j->codes + bytes; p += 64)
        for (int i = 0; i < 8; i++) sum[i] |= ((const uint64_t *)p)[i];
    for (int i = 0; i < 8; i++) ck_use(sum[i]);
}

static void bench_shape(size_t rows, size_t count)
{
    static const int dtypes[] = {QB_U8, QB_U16, QB_I32, QB_I64};
    const size_t n = rows * count;
    uint8_t *const codes = (uint8_t *)ck_memory(n * 8), *const bytes = (uint8_t *)ck_memory(n);
    uint8_t *const spare = (uint8_t *)ck_memory(n * 8);
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        for (int bits = 3; bits <= 5; bits++) {
            struct job mine = {rows, count, bits, dtypes[d], codes, bytes}, copy = mine;
            copy.packed = spare;
            const struct ck_run unpack[] = {{"it", run_unpack, &mine},
                                            {"memcpy", run_memcpy, &copy}};
            const struct ck_run pack[] = {
                {"it", run_pack, &mine}, {"memcpy", run_memcpy, &copy}, {"read", run_read, &mine}};
            run_unpack(&mine); // legal codes
            if (ck_kernel("unpack_u%d_%s", bits, dtype_names[dtypes[d]])) {
                ck_case("%zux%zu", rows, count);
                ck_bench(n * width_of(dtypes[d]), unpack, 2);
            }
            if (ck_kernel("pack_u%d_%s", bits, dtype_names[dtypes[d]])) {
                ck_case("%zux%zu", rows, count);
                ck_bench(n * width_of(dtypes[d]), pack, 3);
            }
        }
    }
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    bench_shape(1, 64);
    bench_shape(1, 1 << 16);
    bench_shape(1 << 13, 5);
    bench_shape(1, 1 << 26);
}

const struct suite suite_api_pack = {"api_pack", SUITE_API, check, bench};

// SPDX-License-Identifier: Apache-2.0
// Family "lanes": parameters of 16 rows of blocks from their fields. The scalar kernels are held against those
// that read whole blocks, the others against scalar. Any bytes will do.
#include "checkasm.h"
#include "floats.h"

#include "../../csrc/formats/block_fields.h"

#include <string.h>

static struct buffer input, fields_memory, want, got, want_m, got_m;

enum { MOST = 9, MOST_SEGMENTS = 16 };

// Row by row, through the kernel of family "blocks".
static void naive_lanes(const struct qb_kernels *k, const qb_block_type *type, const uint8_t *blocks, size_t count,
                        float *d, float *m)
{
    const size_t segments = type->elements / type->format.group;
    for (size_t i = 0; i < count; i++) {
        for (size_t lane = 0; lane < QB_LANES; lane++) {
            float one_d[MOST_SEGMENTS], one_m[MOST_SEGMENTS];
            k->block_params[type->format.block](blocks + (lane * count + i) * type->bytes, 1, one_d, one_m);
            for (size_t s = 0; s < segments; s++) {
                d[(i * segments + s) * QB_LANES + lane] = one_d[s];
                if (m) m[(i * segments + s) * QB_LANES + lane] = one_m[s];
            }
        }
    }
}

static void lanes_case(const struct qb_kernels *ref, const struct qb_kernels *test, const qb_block_type *type,
                       size_t count, int from, int to)
{
    if (ck_skip()) return;
    const size_t lanes = count * (type->elements / type->format.group) * QB_LANES;
    const size_t bytes = count * qb_block_field_bytes(&type->format) * QB_LANES;
    const int has_min = type->format.zero == QB_ZERO_MIN;
    ck_case("blocks=%zu in=%d out=%d", count, from, to);
    uint8_t *const blocks = ck_place(&input, count * QB_LANES * type->bytes, CK_END);
    ck_fill(blocks, input.bytes);
    uint8_t *const fields = ck_place(&fields_memory, bytes, from);
    qb_block_take_fields(test, &type->format, blocks, count * type->bytes, QB_LANES, count, fields);
    float *const ad = place_floats(&want, lanes, CK_END), *const bd = place_floats(&got, lanes, to);
    float *const am = has_min ? place_floats(&want_m, lanes, CK_END) : NULL;
    float *const bm = has_min ? place_floats(&got_m, lanes, from) : NULL;
    if (ref == test) naive_lanes(ref, type, blocks, count, ad, am);
    else ref->block_lanes[type->format.block](fields, count, ad, am);
    test->block_lanes[type->format.block](fields, count, bd, bm);
    same_floats("d", ad, bd, lanes);
    ck_canaries(&got);
    if (!has_min) return;
    same_floats("m", am, bm, lanes);
    ck_canaries(&got_m);
}

// Folded codes of a row to codes, by way of the planes of 16 such rows.
static void unfold(const struct qb_kernels *k, const uint8_t *folded, size_t n, int bits, uint8_t *codes)
{
    uint8_t planes[QB_BLOCK_MAX * QB_LANES], lines[QB_BLOCK_MAX * QB_LANES];
    k->interleave(folded, 0, n / 8 * (size_t)bits, planes);
    k->planes_unpack(planes, n / 32, bits, lines);
    for (size_t i = 0; i < n; i++) codes[i] = lines[i / 4 * 4 * QB_LANES + i % 4];
}

// Taken apart and put together again.
static void apart_case(const struct qb_kernels *k, const qb_block_type *type)
{
    if (ck_skip()) return;
    ck_case("one block");
    const qb_format *const f = &type->format;
    uint8_t *const block = ck_place(&input, type->bytes, CK_END), *const back = ck_place(&got, type->bytes, CK_END);
    uint8_t *const fields = ck_place(&fields_memory, qb_block_field_bytes(f) * QB_LANES, CK_END);
    uint8_t *const folded = ck_place(&want, type->elements / 8 * (size_t)qb_block_stored_bits(f), CK_END);
    uint8_t codes[QB_BLOCK_MAX];
    const size_t lanes = 1 + ck_below(QB_LANES);
    ck_fill(block, type->bytes);
    qb_block_take_fields(k, f, block, 0, lanes, 1, fields);
    qb_block_fold(k, f, block, 0, type->elements, folded);
    unfold(k, folded, type->elements, qb_block_stored_bits(f), codes);
    memset(back, 0, type->bytes);
    qb_block_put_fields(f, fields, lanes - 1, back);
    qb_block_put_codes(f, codes, back);
    ck_same("block", block, back, type->bytes);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int block = QB_BLOCK_NONE + 1; block < QB_BLOCK_COUNT; block++) {
        const qb_block_type *const type = qb_block_type_of(block);
        if (!test->block_lanes[block] || !ck_kernel("lanes_%s", type->name)) continue;
        for (size_t count = 1; count <= MOST; count++) {
            lanes_case(ref, test, type, count, CK_END, CK_END);
            for (int i = 0; i < 8; i++) lanes_case(ref, test, type, count, (int)ck_below(64), 4 * (int)ck_below(16));
        }
        for (int i = 0; i < 50; i++) apart_case(test, type);
    }
}

const struct suite suite_lanes = {"lanes", QB_FAMILY_lanes, check, NULL};

// SPDX-License-Identifier: Apache-2.0
// Every kernel's signature and contract, once. The scalar file of a family *defines* the results;
// every other tier must equal it bit for bit. Kernels know nothing of threads, Python or files; they
// read and write exactly the extents stated here, ask no alignment (unless said) and no padding,
// allocate nothing, and never fail: whatever a caller can get wrong was checked above them.
//
// Names: qb_<kernel>_<isa>, or qb_<kernel>_u<bits>_<isa> where there is one per width.
#ifndef QB_KERNELS_H
#define QB_KERNELS_H

#include "../base/widths.h"
#include "../qbits.h"

#include <stddef.h>
#include <stdint.h>

// Rows (or groups) handled side by side by the lane kernels: one AVX-512 register of floats.
#define QB_LANES 16

// Longest run of elements whose integer sums are one exact int32: the cap of activation blocks.
#define QB_BLOCK_MAX 256

// ---- family "pack": dense LSB-first streams ------------------------------------------------------

// Packs the low `bits` bits of n codes into ceil(n*bits/8) bytes; unused high bits of the last byte
// are zero. Returns the bitwise or of (uint8_t)(codes[i] + bias) over all i (0 for n = 0): all codes
// were in range exactly when the result has no bit at or above `bits`. bias is 0 for unsigned codes,
// 2^(bits-1) for two's complement. The or may be gathered in any order, so it is the same everywhere.
typedef uint8_t qb_pack_fn(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out);

// Unpacks n codes from ceil(n*bits/8) bytes: codes[i] = (uint8_t)((code ^ flip) - sub).
// (0, 0) gives unsigned codes; (h, h) with h = 2^(bits-1) sign-extends; (h, 0) turns two's
// complement into offset binary.
typedef void qb_unpack_fn(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes);

// out[i] = the low byte of codes[i], n integers of 16, 32 or 64 bits (by name). Returns the bitwise or of
// (codes[i] + bias), modulo their width: the range check of pack, for wider codes.
typedef uint64_t qb_narrow_fn(const void *codes, size_t n, uint8_t bias, uint8_t *out);

// memcpy with stores that bypass the cache: for outputs larger than it. No overlap. After the last one
// comes a fence: only then are they ordered before what other threads may see next.
#define QB_STREAM_BYTES ((size_t)4 << 20) // outputs beyond this would only flush the cache
typedef void qb_stream_fn(const void *src, size_t bytes, void *dst);
typedef void qb_fence_fn(void);

// ---- family "params": what groups of floats are quantized by ---------------------------------------

// Elements in a run are cut into groups of `group` from its start; the last one may be short.
// G = ceil(n/group) is the number of groups. n >= 1, group >= 1 (possibly larger than n).

// lo[g], hi[g] = least and greatest value of each group, never -0.0 (a zero result is +0.0).
// Returns 0 if every x is finite; otherwise nonzero, and lo, hi hold anything.
typedef int qb_range_fn(const float *x, size_t n, size_t group, float *lo, float *hi);

// extreme[g] = the value of largest magnitude of each group, the first of them; +0.0 where all are zero.
// Returns as range does.
typedef int qb_extremes_fn(const float *x, size_t n, size_t group, float *extreme);

// Rounds scales, none of them a NaN, to half precision: d[i] = float(half(d[i])), inv[i] = 1 / d[i];
// both +0.0 where that division does not give a finite number. Returns nonzero if a d is infinite.
typedef int qb_scales_f16_fn(float *d, size_t n, float *inv);

// ---- family "quant": floats to codes and back ----------------------------------------------------

// Groups as above. A NaN made by arithmetic on these floats may have any payload and sign.

// IEEE half <-> float, and float to bfloat16 (the other way is a shift, base/float16.h). Narrowing rounds
// to nearest even, overflow gives infinity. A NaN becomes the canonical quiet one (0x7FC00000, 0x7E00,
// 0x7FC0), as in base/float16.h.
typedef void qb_widen_f16_fn(const uint16_t *x, size_t n, float *out);
typedef void qb_narrow_f16_fn(const float *x, size_t n, uint16_t *out);
typedef void qb_narrow_bf16_fn(const float *x, size_t n, uint16_t *out);

// codes[i] = (uint8_t)(int)clamp(rint((x[i] - off[g]) * inv[g]) + z[g], lo, hi), every operation
// rounded to float on its own, rint to nearest even; clamp(t) is first t > lo ? t : lo (so that a NaN
// gives lo), then t < hi ? t : hi. off or z may be NULL: all zeros, and faster. lo <= hi are integers
// that fit one signed or one unsigned byte, every z[g] is one in [0, 255].
typedef void qb_encode_fn(const float *x, size_t n, size_t group, const float *off, const float *inv,
                          const float *z, float lo, float hi, uint8_t *codes);

// out[i] = d[g] * ((float)codes[i] - z[g]), then + m[g] where m is not NULL; each operation rounded.
// z may be NULL: all zeros, and faster.
typedef void qb_decode_fn(const uint8_t *codes, size_t n, size_t group, const float *d, const float *z,
                          const float *m, float *out);

// ---- family "search": errors of candidate parameters -----------------------------------------------

// The search kernels work on QB_LANES groups side by side: element i of lane k is x[i*QB_LANES + k]
// (what the interleave kernel of family "matmul" makes of QB_LANES runs of floats).
// w (same shape) may be NULL: all ones. Per lane parameters:
struct qb_lanes {
    float off[QB_LANES], inv[QB_LANES]; // level = clamp(rint((x - off) * inv), lo, hi), as in encode
    float lo[QB_LANES], hi[QB_LANES];   // integers in [-128, 255], lo <= hi
    float d[QB_LANES], m[QB_LANES]; // value of a level = d * level + m, product and sum rounded
};

// Moments of the levels l against v = x - off, for a least-squares fit. For each lane, in index
// order: p = w*l (or l), sums l: p, ll: p*l, lv: p*v, every operation rounded to float, no fma; each
// run of QB_BLOCK_MAX elements is summed in float from zero and then added to the double total.
struct qb_moments {
    double l[QB_LANES], ll[QB_LANES], lv[QB_LANES];
};
typedef void qb_fit_fn(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                       struct qb_moments *out);

// err[k] = sum over i, in index order and in double, of (e*e)*w with e = (double)x - (double)y, y the
// float value of x's level (e*e alone where w is NULL).
typedef void qb_trial_fn(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                         double *err);

// Adds a tile to running error sums: lane i % QB_LANES gathers x*x and e*e in double (e = x - y, both
// widened first), so that tiles must be multiples of QB_LANES but for the last. Returns the tile's
// largest |e|, or infinity where a sum of e*e is NaN: so it is from the first NaN difference on.
struct qb_error_sums {
    double xx[QB_LANES], ee[QB_LANES];
};
typedef double qb_error_fn(const float *x, const float *y, size_t n, struct qb_error_sums *sums);

// ---- family "dot": quantized times quantized ------------------------------------------------------

// For each segment s of `seg` elements (1..QB_BLOCK_MAX; the last may be short):
// sums[3*s] = sum a*b, sums[3*s+1] = sum a, sums[3*s+2] = sum b; exact.
typedef void qb_dot_fn(const uint8_t *a, const uint8_t *b, size_t n, size_t seg, int32_t *sums);

// ---- family "operands": the two sides of a multiply, laid out for it ----------------------------

// Splits one activation block of n <= QB_BLOCK_MAX floats into `planes` (1..3) balanced base-256
// digits. top = 127, 0x7F7F or 0x7F7F7F; amax = largest |x| (as integer bits). If amax is not finite
// returns nonzero and leaves the outputs alone. If amax < 2^-100: *dx = 0, all digits 0. Otherwise
// *dx = amax / top, q = clamp(rint(x * (1.0f / *dx)), -top, top), and digit p (p = 0 is the lowest,
// each in [-128, 127]) goes to out[p*stride + i], so that q = sum of 256^p * digit p. sums[p]: of all digits p.
typedef int qb_split_fn(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx, int32_t *sums);

// Gathers QB_LANES rows of n bytes (row r at rows + r*stride) into units of 4: byte i of row r goes to
// lines[(i/4)*4*QB_LANES + r*4 + i%4]. Writes ceil(n/4)*4*QB_LANES bytes, the last unit filled with 0.
typedef void qb_interleave_fn(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines);

// ---- family "matmul": codes times activations ----------------------------------------------------

// QB_LANES rows of weights times `cols` columns of activations, over `segments` runs of k. Segment s
// covers units[s] units. Codes are unsigned bytes meaning code - z. For row r and column c, in segment
// order, with A_p = sum over the segment of (code - z) * digit p, exact in int32:
//   1 plane:  t = (float)A_0            2 planes: t = (float)(256*A_1 + A_0)
//   3 planes: t = fma(256, (float)(256*A_2 + A_1), (float)A_0)
//   acc = fma(d * dx, t, acc)           and then, where m is not NULL: acc = fma(m, dxsum, acc)
// A NaN may have any payload.
struct qb_panel {
    int bits; // codes are below 2^bits
    size_t segments;
    const uint32_t *units; // each in [1, QB_BLOCK_MAX / 4]
    const uint8_t *lines; // [sum of units][QB_LANES][4]
    const float *d;       // [segments][QB_LANES]
    const float *m;       // [segments][QB_LANES] or NULL
    const int32_t *z;     // [segments][QB_LANES], each in [0, 255]; or NULL: all are `zero`
    int zero;
    const uint8_t *ahead; // what will be read next: a hint to fetch `ahead_bytes` from there on;
    size_t ahead_bytes;   // for gemv, as many with each octet
    // For gemv only: codes of one bit that stand for 0 and 2; 16 codes that 4-bit indices stand for, or NULL (then z is
    // NULL too, and codes of 8 bits are zero - 127 .. zero + 127); and binary16 in place of d and m (half_m is NULL
    // where there is no m), half_step bytes from one segment to the next, or half_d is NULL.
    int doubled;
    const uint8_t *table;
    const uint8_t *half_d, *half_m;
    size_t half_step;
};
struct qb_activations {
    size_t cols;
    int planes;
    const int8_t *digits; // [sum of units][cols][planes][4], zero where a segment's last unit ends early
    const int32_t *sums;  // [segments][cols][planes]: sums of the digits, or where z is NULL, of -zero times them
    const float *dx;      // [segments][cols]
    const float *dxsum;   // [segments][cols]: dx * (float)(sum of q), rounded
    // For panel, where w->bits is no less than its wide_bits[planes] (else NULL): the digits in 16 bits,
    // [2 * sum of units][cols][words][2]. One plane has a word of digits, two one of 256*digit 1 + digit 0, three
    // digit 0 and 256*digit 2 + digit 1; 16 bits hold them.
    const int16_t *wide;
};
typedef void qb_panel_fn(const struct qb_panel *w, const struct qb_activations *x,
                         float *acc /* [cols][QB_LANES], added to */);

// wide_bits of each tier, of one plane and of more: codes of fewer bits are multiplied as bytes.
#define QB_WIDE_scalar {0, 9, 9, 9}
#define QB_WIDE_avx2 {0, 8, 1, 1}
#define QB_WIDE_avxvnni QB_WIDE_scalar
#define QB_WIDE_avx512 QB_WIDE_scalar

// ---- family "planes": codes of prepared matrices -------------------------------------------------

// Octets of code planes to 8 lines of QB_LANES units each: an octet of codes below 2^bits takes
// bits * 4 * QB_LANES bytes, laid out as planes_scalar.c says.
typedef void qb_planes_unpack_fn(const uint8_t *in, size_t octets, int bits, uint8_t *lines);

// codes[i] = table[codes[i]], n codes below 16, n a multiple of 4 * QB_LANES.
typedef void qb_look_up_fn(const uint8_t *table, size_t n, uint8_t *codes);

// ---- family "fold": rows on their way to panels ---------------------------------------------------

// 32 codes of one row, an octet of it, become 4 * bits bytes: fold_scalar.c says how. Interleaving QB_LANES such rows
// gives the planes. codes: below 2^bits, a byte each.
typedef void qb_fold_codes_fn(const uint8_t *codes, size_t octets, int bits, uint8_t *out);

// The planes of QB_LANES rows from dense streams, as unpacking with `flip` (0 or 2^(bits-1)) gives their codes: row r
// at in + r*stride. They take octets * bits * 4 * QB_LANES bytes.
typedef void qb_fold_fn(const uint8_t *in, size_t stride, size_t octets, uint8_t flip, uint8_t *planes);

// Elements of 2 bytes, `count` from each of QB_LANES rows (row r at rows + r*stride), to [count][QB_LANES].
typedef void qb_interleave_halves_fn(const uint8_t *rows, size_t stride, size_t count, uint8_t *out);

// ---- family "gemv": few activations ---------------------------------------------------------------

// As qb_panel_fn, for few columns: cols * planes <= QB_GEMV_WORDS, and one of them is 1 (or cols 0). w->lines holds the
// codes in code planes of w->bits bits (with a table, which is for 5 and 8 bits only, their indices in planes of 4
// bits). units[] are multiples of 8: segments are whole octets; or all are 4, an even number of them: half octets.
#define QB_GEMV_WORDS 4
typedef qb_panel_fn qb_gemv_fn;

// Up to how many columns of each tier, if the codes lie so, this family is the faster one, [planes][bits of the codes];
// last, of tables of 8 bits. Measured with AVX2 (Zen 4), where it saves laying the codes out as bytes; the others'
// are guesses.
enum { QB_ALL_COLUMNS = 0xFFFF, QB_BYTE_TABLE = QB_MAX_BITS + 1 };
#define QB_FEW_avx2                                                                               \
    {{0},                                                                                         \
     {0, QB_ALL_COLUMNS, QB_ALL_COLUMNS, 8, QB_ALL_COLUMNS, QB_ALL_COLUMNS, QB_ALL_COLUMNS, 3, 3, 12}, \
     {0, 12, 5, 3, 6, 4, 3, 1, 1, 3},                                                             \
     {0, QB_ALL_COLUMNS, 12, 6, QB_ALL_COLUMNS, 6, 4, 1, 1, 2}}
#define QB_FEW_avx512                                                                             \
    {{0}, {0, 12, 12, 12, 12, 8, 8, 8, 3, 4}, {0, 4, 4, 4, 4, 4, 4, 4, 1, 2}, {0, 4, 4, 4, 4, 2, 2, 2, 1, 1}}
#define QB_FEW_scalar QB_FEW_avx512
#define QB_FEW_avxvnni QB_FEW_avx512

// ---- families "blocks" and "grids": block types to codes and parameters -------------------------------

// Each block type has two kernels; formats/blocks.c lists the types, their sizes and what their codes
// mean. Both read `count` whole blocks that lie one after another, at any address, with any contents.

// Writes the codes of all elements: unsigned, below 2^bits (one-bit types: 0 and 2).
typedef void qb_block_codes_fn(const uint8_t *blocks, size_t count, uint8_t *codes);

// Writes d, and m for types that have a minimum (else it is left alone), of all segments. A NaN may have
// any payload and sign.
typedef void qb_block_params_fn(const uint8_t *blocks, size_t count, float *d, float *m);

// ---- family "lanes": parameters of 16 rows of blocks ------------------------------------------------------

// The same d and m, of 16 rows side by side: [count][segments of a block][QB_LANES]. fields: what a block holds
// beside its codes, [count][fields][QB_LANES], 16-bit ones first and little-endian (formats/block_fields.h). Types
// that are not taken apart have no such kernel.
typedef void qb_block_lanes_fn(const uint8_t *fields, size_t count, float *d, float *m);

#define QB_LANES_TYPES(X, isa)                                                                    \
    X(q1_0, isa) X(q2_0, isa) X(q4_0, isa) X(q4_1, isa) X(q5_0, isa) X(q5_1, isa) X(q8_0, isa)    \
    X(q2_K, isa) X(q3_K, isa) X(q4_K, isa) X(q5_K, isa) X(q6_K, isa) X(iq4_nl, isa)               \
    X(iq4_xs, isa) X(tq2_0, isa) X(mxfp4, isa) X(nvfp4, isa)

// The types by the family that decodes them: grids look codes up in large tables.
#define QB_BLOCKS_TYPES(X, isa)                                                                   \
    X(q1_0, isa) X(q2_0, isa) X(q4_0, isa) X(q4_1, isa) X(q5_0, isa) X(q5_1, isa) X(q8_0, isa)    \
    X(q8_1, isa) X(q2_K, isa) X(q3_K, isa) X(q4_K, isa) X(q5_K, isa) X(q6_K, isa) X(q8_K, isa)    \
    X(iq4_nl, isa) X(iq4_xs, isa) X(tq1_0, isa) X(tq2_0, isa) X(mxfp4, isa) X(nvfp4, isa)
#define QB_GRIDS_TYPES(X, isa)                                                                    \
    X(iq1_s, isa) X(iq1_m, isa) X(iq2_xxs, isa) X(iq2_xs, isa) X(iq2_s, isa) X(iq3_xxs, isa)      \
    X(iq3_s, isa)

// ---- family "super": searches of block types whose segments have integer scales ----------------------

// What is known of QB_LANES segments side by side (lanes as in family "search"), and the best so far.
struct qb_segments {
    float lo[QB_LANES], hi[QB_LANES];       // least value or 0, greatest value
    double weight[QB_LANES], sum[QB_LANES]; // of w and of w*x, as floats in index order (w NULL: ones)
    double inverse[QB_LANES];               // of weight
    double gain[QB_LANES], d[QB_LANES], m[QB_LANES]; // values d*level + m take `gain` off the squared error
    float scale[QB_LANES], min[QB_LANES];            // the integers in place of d and m
};

// Begins a search: fills in lo, hi, weight, sum and inverse; gain, d and m are 0. n <= QB_BLOCK_MAX here and below.
typedef void qb_measure_fn(const float *x, const float *w, size_t n, struct qb_segments *s);

// Levels whose variance is less than this part of their mean square are all the same: no minimum then, which
// would be made of rounding errors.
#define QB_SPREAD 0x1p-20
// A fit is better than another if it takes more off by this factor: what is less may be rounding of the sums.
#define QB_BETTER (1 + 0x1p-22)

// Fits the levels that `ask` assigns (off, inv, lo and hi; moments as qb_fit_fn has them) by least squares,
// without a minimum (off is then 0) or, has_min, with one below zero. Where that takes QB_BETTER times
// as much off as the best so far, it is the best. Every operation is rounded to double.
typedef void qb_propose_fn(const float *x, const float *w, size_t n, const struct qb_lanes *ask, int has_min,
                           struct qb_segments *s);

// The same for levels assigned with the scale ask->d = u->d * u->scale: finds the integer minimum in [0, top]
// that suits them best in units of u->m (has_min 0: none), and keeps both integers where they take more off.
struct qb_units {
    float m[QB_LANES], inv_m[QB_LANES], scale[QB_LANES], top;
};
typedef void qb_beside_fn(const float *x, const float *w, size_t n, const struct qb_lanes *ask,
                          const struct qb_units *u, int has_min, struct qb_segments *s);

// A codebook of 16 integers that ascend, for values t = clamp(rint(x * inv), -128, 127) (a NaN: 127): with
// r = (t + 128) / 16 the code is top[r], one less if t < first[r], and one less if t < second[r].
struct qb_book {
    int8_t levels[16], first[16], second[16];
    uint8_t top[16];
};

// Fits the levels of codes; n is even. For each lane, in index order: a = sum of (w*level)*x, b = sum of
// (w*level)*level, each operation rounded to float; w NULL: ones.
typedef void qb_book_fn(const float *x, const float *w, size_t n, const float *inv, const struct qb_book *book,
                        float *a, float *b);

// codes[i] = how many of the 15 middles are no more than x[i] * inv; n is a multiple of 16.
typedef void qb_book_codes_fn(const float *x, size_t n, float inv, const float *middles, uint8_t *codes);

// ---- family "nearest": points of grids --------------------------------------------------------------------

// A grid: `count` points of 8 values (`dims`), whose fields of 2 bits are 0, 1 or 2, or of 4 values of 3 bits each,
// the first lowest; in ascending order. Field l stands for levels[l], finite. start[h] .. start[h + 1]: the points
// whose upper half, entry >> 8 or entry >> 6, is h.
// For kernel nearby, the rounded values of a run have a number, digits of base 3 (8 values) or 8, the first lowest:
// clamp(rint((t - low) * per_step), 0, 2 or 7), a NaN 0, t = x * inv. nearby[QB_NEAR * number ..]: points that may be the
// nearest. values: the levels of all points, as bytes; nearby_values: those of 4 values by the places of nearby.
struct qb_grid {
    const uint16_t *points;
    unsigned count, dims, bits;
    float levels[8];
    uint16_t start[257];
    float low, per_step;
    const uint16_t *nearby;
    const int8_t *values, *nearby_values;
};
#define QB_NEAR 16

// For each of `runs` runs of `dims` values, the number of the point nearest to x * inv, with weights: that of the
// greatest sum of terms (w*level)*((t + t) - level), t = x*inv, and of equals the first. The terms f of 8 values are
// added as ((f0+f1) + (f2+f3)) + ((f4+f5) + (f6+f7)), those of 4 as (f0+f1) + (f2+f3). points: in, any points, the
// nearer the faster; out, what was found. And with g_i = w_i*level_i of it: a, b = the sums of g_i*x_i and
// g_i*level_i, of 8 first i with i + 4, then (s0+s2) + (s1+s3). Every operation is rounded to float. No term is NaN.
typedef void qb_nearest_fn(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                           uint16_t *points, float *a, float *b);

// The same among the points of nearby alone, the first in its order. The terms f of 8 values are added as
// ((f0+f4) + (f1+f5)) + ((f2+f6) + (f3+f7)) here. What points holds before does not matter.
typedef qb_nearest_fn qb_nearby_fn;

// ---- family "fixed": block types that are quantized by a fixed rule ------------------------------------

// Writes `count` blocks of finite floats: csrc/README.md has the rules. Returns how many blocks there are
// before the first that has an infinite scale, minimum or sum (count: there is none); what is written from
// that one on may be anything.
typedef size_t qb_block_encode_fn(const float *x, size_t count, uint8_t *blocks);

#define QB_FIXED_TYPES(X, isa)                                                                    \
    X(q1_0, isa) X(q2_0, isa) X(q4_0, isa) X(q4_1, isa) X(q5_0, isa) X(q5_1, isa) X(q8_0, isa)    \
    X(q8_1, isa) X(q8_K, isa) X(tq1_0, isa) X(tq2_0, isa) X(mxfp4, isa)

// ---- the table ------------------------------------------------------------------------------------

#define QB_FAMILIES(X) \
    X(pack)            \
    X(params)          \
    X(quant)           \
    X(search)          \
    X(dot)             \
    X(operands)        \
    X(matmul)          \
    X(planes)          \
    X(fold)            \
    X(gemv)            \
    X(blocks)          \
    X(grids)           \
    X(lanes)           \
    X(fixed)           \
    X(super)           \
    X(nearest)

struct qb_kernels {
#define X(family) const char *family##_isa; // the tier whose file serves this family here
    QB_FAMILIES(X)
#undef X
    qb_pack_fn *pack[QB_MAX_BITS + 1];
    qb_unpack_fn *unpack[QB_MAX_BITS + 1];
    qb_narrow_fn *narrow_16, *narrow_32, *narrow_64;
    qb_stream_fn *stream;
    qb_fence_fn *fence;
    qb_range_fn *range;
    qb_extremes_fn *extremes;
    qb_scales_f16_fn *scales_f16;
    qb_widen_f16_fn *widen_f16;
    qb_narrow_f16_fn *narrow_f16;
    qb_narrow_bf16_fn *narrow_bf16;
    qb_encode_fn *encode;
    qb_decode_fn *decode;
    qb_fit_fn *fit;
    qb_trial_fn *trial;
    qb_error_fn *error;
    qb_dot_fn *dot;
    qb_split_fn *split;
    qb_interleave_fn *interleave;
    qb_panel_fn *panel;
    int wide_bits[4];
    qb_planes_unpack_fn *planes_unpack;
    qb_look_up_fn *look_up;
    qb_fold_codes_fn *fold_codes;
    qb_fold_fn *fold[QB_MAX_BITS + 1];
    qb_interleave_halves_fn *interleave_halves;
    qb_gemv_fn *gemv;
    uint16_t gemv_columns[4][QB_BYTE_TABLE + 1];
    qb_measure_fn *measure;
    qb_propose_fn *propose;
    qb_beside_fn *beside;
    qb_book_fn *book;
    qb_book_codes_fn *book_codes;
    qb_nearest_fn *nearest;
    qb_nearby_fn *nearby;
    qb_block_codes_fn *block_codes[QB_BLOCK_COUNT]; // NULL: QB_BLOCK_NONE
    qb_block_params_fn *block_params[QB_BLOCK_COUNT];
    qb_block_lanes_fn *block_lanes[QB_BLOCK_COUNT]; // NULL: not taken apart
    qb_block_encode_fn *block_encode[QB_BLOCK_COUNT]; // NULL: types that are searched for, or never written
};

// What each family's file of one tier provides. Adding a kernel: one line here, one in the struct.
#define QB_PACK_WIDTH(bits, isa) qb_pack_fn qb_pack_u##bits##_##isa; qb_unpack_fn qb_unpack_u##bits##_##isa;
#define QB_DECLARE_pack(isa)                                                                      \
    QB_PACK_WIDTH(1, isa) QB_PACK_WIDTH(2, isa) QB_PACK_WIDTH(3, isa) QB_PACK_WIDTH(4, isa)       \
    QB_PACK_WIDTH(5, isa) QB_PACK_WIDTH(6, isa) QB_PACK_WIDTH(7, isa) QB_PACK_WIDTH(8, isa)       \
    qb_narrow_fn qb_narrow_16_##isa, qb_narrow_32_##isa, qb_narrow_64_##isa;                      \
    qb_stream_fn qb_stream_##isa; qb_fence_fn qb_fence_##isa;
#define QB_DECLARE_params(isa)                                                                    \
    qb_range_fn qb_range_##isa; qb_extremes_fn qb_extremes_##isa;                                 \
    qb_scales_f16_fn qb_scales_f16_##isa;
#define QB_DECLARE_quant(isa)                                                                     \
    qb_widen_f16_fn qb_widen_f16_##isa; qb_narrow_f16_fn qb_narrow_f16_##isa;                     \
    qb_narrow_bf16_fn qb_narrow_bf16_##isa;                                                       \
    qb_encode_fn qb_encode_##isa; qb_decode_fn qb_decode_##isa;
#define QB_DECLARE_search(isa)                                                                    \
    qb_fit_fn qb_fit_##isa; qb_trial_fn qb_trial_##isa; qb_error_fn qb_error_##isa;
#define QB_DECLARE_dot(isa) qb_dot_fn qb_dot_##isa;
#define QB_DECLARE_planes(isa)                                                                    \
    qb_planes_unpack_fn qb_planes_unpack_##isa; qb_look_up_fn qb_look_up_##isa;
#define QB_DECLARE_fold(isa)                                                                      \
    qb_fold_fn qb_fold_u1_##isa, qb_fold_u2_##isa, qb_fold_u3_##isa, qb_fold_u4_##isa,            \
        qb_fold_u5_##isa, qb_fold_u6_##isa, qb_fold_u7_##isa, qb_fold_u8_##isa;                   \
    qb_fold_codes_fn qb_fold_codes_##isa; qb_interleave_halves_fn qb_interleave_halves_##isa;
#define QB_DECLARE_gemv(isa) qb_gemv_fn qb_gemv_##isa;
#define QB_DECLARE_operands(isa) qb_split_fn qb_split_##isa; qb_interleave_fn qb_interleave_##isa;
#define QB_DECLARE_matmul(isa) qb_panel_fn qb_panel_##isa;
#define QB_BLOCK_DECLARE(type, isa)                                                               \
    qb_block_codes_fn qb_codes_##type##_##isa; qb_block_params_fn qb_params_##type##_##isa;
#define QB_DECLARE_blocks(isa) QB_BLOCKS_TYPES(QB_BLOCK_DECLARE, isa)
#define QB_LANES_DECLARE(type, isa) qb_block_lanes_fn qb_lanes_##type##_##isa;
#define QB_DECLARE_lanes(isa) QB_LANES_TYPES(QB_LANES_DECLARE, isa)
#define QB_DECLARE_grids(isa) QB_GRIDS_TYPES(QB_BLOCK_DECLARE, isa)
#define QB_DECLARE_super(isa)                                                                     \
    qb_measure_fn qb_measure_##isa; qb_propose_fn qb_propose_##isa; qb_beside_fn qb_beside_##isa; \
    qb_book_fn qb_book_##isa; qb_book_codes_fn qb_book_codes_##isa;
#define QB_DECLARE_nearest(isa) qb_nearest_fn qb_nearest_##isa; qb_nearby_fn qb_nearby_##isa;
#define QB_FIXED_DECLARE(type, isa) qb_block_encode_fn qb_encode_##type##_##isa;
#define QB_DECLARE_fixed(isa) QB_FIXED_TYPES(QB_FIXED_DECLARE, isa)

#define QB_TABLE_WIDTHS(kernel, isa)                                                              \
    {NULL, qb_##kernel##_u1_##isa, qb_##kernel##_u2_##isa, qb_##kernel##_u3_##isa,                \
     qb_##kernel##_u4_##isa, qb_##kernel##_u5_##isa, qb_##kernel##_u6_##isa,                      \
     qb_##kernel##_u7_##isa, qb_##kernel##_u8_##isa}
#define QB_TABLE_pack(isa)                                                                        \
    .pack_isa = #isa, .pack = QB_TABLE_WIDTHS(pack, isa), .unpack = QB_TABLE_WIDTHS(unpack, isa), \
    .narrow_16 = qb_narrow_16_##isa, .narrow_32 = qb_narrow_32_##isa,                             \
    .narrow_64 = qb_narrow_64_##isa, .stream = qb_stream_##isa, .fence = qb_fence_##isa,
#define QB_TABLE_params(isa)                                                                      \
    .params_isa = #isa, .range = qb_range_##isa, .extremes = qb_extremes_##isa,                   \
    .scales_f16 = qb_scales_f16_##isa,
#define QB_TABLE_quant(isa)                                                                       \
    .quant_isa = #isa, .widen_f16 = qb_widen_f16_##isa, .narrow_f16 = qb_narrow_f16_##isa,        \
    .narrow_bf16 = qb_narrow_bf16_##isa,                                                          \
    .encode = qb_encode_##isa, .decode = qb_decode_##isa,
#define QB_TABLE_search(isa)                                                                      \
    .search_isa = #isa, .fit = qb_fit_##isa, .trial = qb_trial_##isa, .error = qb_error_##isa,
#define QB_TABLE_dot(isa) .dot_isa = #isa, .dot = qb_dot_##isa,
#define QB_TABLE_planes(isa)                                                                      \
    .planes_isa = #isa, .planes_unpack = qb_planes_unpack_##isa, .look_up = qb_look_up_##isa,
#define QB_TABLE_fold(isa)                                                                        \
    .fold_isa = #isa, .fold = QB_TABLE_WIDTHS(fold, isa), .fold_codes = qb_fold_codes_##isa,     \
    .interleave_halves = qb_interleave_halves_##isa,
#define QB_TABLE_gemv(isa) .gemv_isa = #isa, .gemv = qb_gemv_##isa, .gemv_columns = QB_FEW_##isa,
#define QB_TABLE_operands(isa)                                                                    \
    .operands_isa = #isa, .split = qb_split_##isa, .interleave = qb_interleave_##isa,
#define QB_TABLE_matmul(isa) .matmul_isa = #isa, .panel = qb_panel_##isa, .wide_bits = QB_WIDE_##isa,
#define QB_BLOCK_TABLE(type, isa)                                                                 \
    .block_codes[QB_BLOCK_##type] = qb_codes_##type##_##isa,                                      \
    .block_params[QB_BLOCK_##type] = qb_params_##type##_##isa,
#define QB_TABLE_blocks(isa) .blocks_isa = #isa, QB_BLOCKS_TYPES(QB_BLOCK_TABLE, isa)
#define QB_LANES_TABLE(type, isa) .block_lanes[QB_BLOCK_##type] = qb_lanes_##type##_##isa,
#define QB_TABLE_lanes(isa) .lanes_isa = #isa, QB_LANES_TYPES(QB_LANES_TABLE, isa)
#define QB_TABLE_grids(isa) .grids_isa = #isa, QB_GRIDS_TYPES(QB_BLOCK_TABLE, isa)
#define QB_TABLE_super(isa)                                                                       \
    .super_isa = #isa, .measure = qb_measure_##isa, .propose = qb_propose_##isa, .beside = qb_beside_##isa, \
    .book = qb_book_##isa, .book_codes = qb_book_codes_##isa,
#define QB_TABLE_nearest(isa) .nearest_isa = #isa, .nearest = qb_nearest_##isa, .nearby = qb_nearby_##isa,
#define QB_FIXED_TABLE(type, isa) .block_encode[QB_BLOCK_##type] = qb_encode_##type##_##isa,
#define QB_TABLE_fixed(isa) .fixed_isa = #isa, QB_FIXED_TYPES(QB_FIXED_TABLE, isa)

#define X(family) QB_DECLARE_##family(scalar)
QB_FAMILIES(X)
#undef X
#define X(family) QB_DECLARE_##family(avx2) QB_DECLARE_##family(avx512)
QB_FAMILIES(X)
#undef X
QB_DECLARE_matmul(avxvnni) QB_DECLARE_gemv(avxvnni)

#endif

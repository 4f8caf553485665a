// SPDX-License-Identifier: Apache-2.0
//
// pyqbits: low-bit arithmetic. The one public header, and the text the Python binding is made from
// (everything between the two CDEF marks is fed to cffi, so it holds plain declarations only).
//
// Words. A *code* is an integer of b bits (1..8) standing for a value. *Packed* codes form a dense
// LSB-first stream: code k of a row occupies bits [k*b, k*b+b), bit n being bit n%8 of byte n/8; each
// row starts on a byte; the unused bits of its last byte are zero. A *group* is a run of consecutive
// elements of a row that share a scale (and a minimum or zero point).
//
// Conventions. Sizes are size_t, in elements unless the name says bytes. No pointer needs alignment
// beyond that of its type, and byte pointers none; nothing outside the stated extents is read or
// written. Inputs and outputs must not overlap (packing looks, and refuses). Functions that return int
// return QB_OK or an error of enum qb_status (text: qb_status_text). They may be called from any
// number of threads.
// Results are the same bits on every instruction set; the numerical definition is in csrc/README.md.
#ifndef QBITS_H
#define QBITS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// QBITS_CDEF_BEGIN

enum qb_status {
    QB_OK = 0,
    QB_ERR_MEMORY,          // an allocation failed
    QB_ERR_ARGUMENT,        // an argument outside its domain
    QB_ERR_SIZE,            // sizes whose product does not fit size_t
    QB_ERR_CODE_RANGE,      // a code does not fit its width; fault.index is the first one
    QB_ERR_NOT_FINITE,      // NaN or infinity in the input; fault.index is the first one
    QB_ERR_SCALE_RANGE,     // a group's scale or minimum overflows the scale type; fault.index: its first element
    QB_ERR_IMPORTANCE,      // a negative or non-finite importance; fault.index is the first one
    QB_ERR_ISA_UNKNOWN,     // no such tier in this build
    QB_ERR_ISA_UNSUPPORTED, // this machine cannot run that tier
};

// Where data was refused: the flat, row-major index of the element in the call's (rows, cols) input,
// and for codes and floats its value.
typedef struct {
    size_t index;
    double value;
    int64_t code;
} qb_fault;

enum qb_dtype {
    QB_U8, QB_I8, QB_U16, QB_I16, QB_U32, QB_I32, QB_U64, QB_I64, // codes
    QB_F32, QB_F16, QB_BF16, QB_F64,                              // values
};

enum qb_zero {
    QB_ZERO_NONE,  // symmetric: x = d * q, q in two's complement; one bit: x = -d or +d
    QB_ZERO_MIN,   // x = d * q + m, q unsigned, m of the scale's type
    QB_ZERO_POINT, // x = d * (q - z), q and z unsigned codes of the same width
};

enum qb_search {
    QB_SEARCH_RTN,  // round to nearest with the scale the range gives
    QB_SEARCH_MSE,  // least-squares fit over a grid of scales
    QB_SEARCH_BEST, // finer grid, refinement, neighbouring stored scales
};

// Published block types: rows of blocks that hold codes and parameters together, by the names of GGUF files.
enum qb_block {
    QB_BLOCK_NONE, // not a block type: an affine format
    QB_BLOCK_q1_0, QB_BLOCK_q2_0, QB_BLOCK_q4_0, QB_BLOCK_q4_1, QB_BLOCK_q5_0, QB_BLOCK_q5_1, QB_BLOCK_q8_0,
    QB_BLOCK_q8_1, QB_BLOCK_q2_K, QB_BLOCK_q3_K, QB_BLOCK_q4_K, QB_BLOCK_q5_K, QB_BLOCK_q6_K, QB_BLOCK_q8_K,
    QB_BLOCK_iq1_s, QB_BLOCK_iq1_m, QB_BLOCK_iq2_xxs, QB_BLOCK_iq2_xs, QB_BLOCK_iq2_s, QB_BLOCK_iq3_xxs,
    QB_BLOCK_iq3_s, QB_BLOCK_iq4_nl, QB_BLOCK_iq4_xs, QB_BLOCK_tq1_0, QB_BLOCK_tq2_0, QB_BLOCK_mxfp4,
    QB_BLOCK_nvfp4,
    QB_BLOCK_COUNT
};

enum qb_families {
    QB_FAMILY_pack,
    QB_FAMILY_params,
    QB_FAMILY_quant,
    QB_FAMILY_search,
    QB_FAMILY_dot,
    QB_FAMILY_operands,
    QB_FAMILY_matmul,
    QB_FAMILY_planes,
    QB_FAMILY_gemv,
    QB_FAMILY_blocks,
    QB_FAMILY_grids,
    QB_FAMILY_lanes,
    QB_FAMILY_fixed,
    QB_FAMILY_super,
    QB_FAMILY_nearest,
    QB_FAMILY_fold,
    QB_FAMILY_COUNT
};

const char *qb_version(void);
const char *qb_status_text(int status);

// ---- instruction sets -----------------------------------------------------------------------------
// Tiers are numbered from 0 (scalar), lowest first. The first use picks the best one the machine
// runs, or the one the environment variable PYQBITS_ISA names; qb_isa_init reports whether that
// name is good. qb_use_isa changes the tier for the whole process; running calls keep theirs.

int qb_isa_init(void);
int qb_isa_count(void);
const char *qb_isa_name(int isa);
const char *qb_isa_text(int isa);
int qb_isa_supported(int isa);
int qb_isa(void);
int qb_use_isa(int isa);
const char *qb_kernel_isa(int isa, int family); // the tier whose kernels serve a family on tier isa
void qb_cpu_brand(char *out49);                 // at most 48 bytes and a zero

// ---- threads --------------------------------------------------------------------------------------
// Large calls are cut over a pool of threads of the library's own, which is started by the first of
// them; results do not depend on it. Calls may come from many threads at once: one has the pool, the
// others run by themselves. A forked child starts without threads. The number starts as that of the
// CPUs this process may use, or the environment variable PYQBITS_NUM_THREADS; PYQBITS_SPIN_US (30) is
// how long idle threads look out for work before they sleep. No call waits for one to wake up: a thread that
// is through with its own part of a call takes over what others have not begun.

int qb_num_threads(void);
int qb_set_num_threads(int n); // 1 to 256

// ---- packing --------------------------------------------------------------------------------------

// Packs `rows` rows of `count` codes of an integer dtype (rows contiguous, one after another), each
// into ceil(count*bits/8) bytes of out. is_signed: codes in [-2^(bits-1), 2^(bits-1)), stored in
// two's complement modulo 2^bits; otherwise in [0, 2^bits). On QB_ERR_CODE_RANGE *fault (which may be
// NULL) names the first bad code and out holds anything.
int qb_pack(const void *codes, int dtype, size_t rows, size_t count, int bits, int is_signed,
            uint8_t *out, qb_fault *fault);

// The inverse. Rows of packed bytes start row_bytes apart (>= ceil(count*bits/8)). The dtype must
// hold the codes: 8 unsigned bits need more than QB_I8.
int qb_unpack(const uint8_t *in, size_t row_bytes, size_t rows, size_t count, int bits, int is_signed,
              int dtype, void *out);

// Both for one row of codes of a byte each, int8_t where is_signed and uint8_t where not. `size` is that
// of the packed bytes: packing refuses any but the one that the codes take, unpacking one that is less.
int qb_pack_bytes(const void *codes, size_t count, int bits, int is_signed, void *out, size_t size);
int qb_unpack_bytes(const void *in, size_t size, int bits, int is_signed, void *codes, size_t count);

// ---- quantized arrays -----------------------------------------------------------------------------

// An affine format. group: elements that share a scale; a row length it does not divide leaves a
// short last group. per_tensor: one scale for everything, group is ignored. scale: QB_F16, QB_BF16
// or QB_F32. block: QB_BLOCK_NONE; or a block type, whose qb_block_type holds the only legal values of
// all fields: the affine format that its codes and parameters are once they are decoded.
typedef struct {
    int bits;
    int zero;
    int scale;
    int per_tensor;
    size_t group;
    int block;
} qb_format;

// A block type: `elements` of a row lie in `bytes`. searches: bit s is set where qb_quantize takes search s.
typedef struct {
    const char *name;
    size_t elements, bytes;
    int searches;
    qb_format format;
} qb_block_type;
const qb_block_type *qb_block_type_of(int block); // NULL where there is none

// A quantized matrix: rows x cols elements, grouped along the columns, G = ceil(cols/group) groups a
// row. Block types: codes holds the rows of blocks, there is nothing else, and cols is a multiple of a
// block's elements. Others: codes holds rows of ceil(cols*bits/8) packed bytes. scales: [rows][G] of the scale type (one if
// per_tensor). mins: the same, QB_ZERO_MIN only. zeros: rows of ceil(G*bits/8) bytes of packed
// integer zero points (one byte if per_tensor), QB_ZERO_POINT only. All contiguous. The pointers are
// written by qb_quantize only.
typedef struct {
    qb_format format;
    size_t rows, cols;
    uint8_t *codes;
    void *scales;
    void *mins;
    uint8_t *zeros;
} qb_matrix;

// Floats to read: element (r, c) at data + r*row_stride + c*col_stride, strides in bytes.
typedef struct {
    const void *data;
    int dtype;
    size_t rows, cols;
    ptrdiff_t row_stride, col_stride;
} qb_floats;

// Quantizes x into `out`, whose sizes must agree with x's. importance: NULL, or non-negative float32
// weights, element (r, c) at importance[r*importance_stride + c] (stride 0: one row for all); a group
// whose weights are all zero counts as ones. zero_nonfinite: take NaN and infinity as 0 instead of
// refusing them. On error out's arrays hold anything.
int qb_quantize(const qb_floats *x, int search, const float *importance, size_t importance_stride,
                int zero_nonfinite, const qb_matrix *out, qb_fault *fault);

// Writes rows [first, first + rows) of q as floats (dtype QB_F32, QB_F16, QB_BF16 or QB_F64),
// contiguous. Narrowing rounds to nearest even.
int qb_dequantize(const qb_matrix *q, size_t first, size_t rows, int dtype, void *out);

// Dequantizes the `count` rows whose numbers are in `rows` (each < q->rows, else QB_ERR_ARGUMENT).
int qb_take(const qb_matrix *q, const int64_t *rows, size_t count, int dtype, void *out);

// Codes of rows [first, first + rows) as csrc/README.md's d*(q - z) has them: unsigned, offset binary where
// the format is symmetric, 0 and 2 where it has one bit.
int qb_codes(const qb_matrix *q, size_t first, size_t rows, uint8_t *out);

// Effective float32 parameters of rows [first, first+rows), [rows][G] (one if per_tensor): scales,
// and, where the format has them, minima and zero points. Any of the outputs may be NULL.
int qb_parameters(const qb_matrix *q, size_t first, size_t rows, float *scales, float *mins, float *zeros);

// ---- arithmetic -----------------------------------------------------------------------------------

// out(n, m) = sum over k of q(m, k) * x(n, k): x has N rows of K = q->cols activations, out element
// (n, m) is at out + n*out_n + m*out_m (in floats). planes: 1, 2 or 3 int8 digits an activation, i.e.
// "int8", "int16", "int24". A column with a NaN or infinity gives the quiet NaN 0x7FC00000.
int qb_matmul(const qb_matrix *q, const qb_floats *x, int planes, float *out, ptrdiff_t out_n,
              ptrdiff_t out_m);

// A matrix prepared for many multiplies: the same numbers, 16 rows side by side, in one block of bytes
// (csrc/formats/panels.h has the layout; 64-byte alignment is best). It serves every tier.
typedef struct {
    qb_format format;
    size_t rows, cols;
    const uint8_t *panels;
} qb_prepared;

// Bytes of its block; 0 where that does not fit size_t or the format is not legal.
size_t qb_prepared_bytes(const qb_format *format, size_t rows, size_t cols);

// Fills the block; q and panels must not overlap. And back: the identical bytes.
int qb_prepare(const qb_matrix *q, uint8_t *panels);
int qb_unprepare(const qb_prepared *p, const qb_matrix *out);

// The `count` rows whose numbers are in `rows`, as the packed rows of a matrix of as many.
int qb_prepared_rows(const qb_prepared *p, const int64_t *rows, size_t count, const qb_matrix *out);

// qb_matmul with the same results, bit for bit.
int qb_prepared_matmul(const qb_prepared *p, const qb_floats *x, int planes, float *out, ptrdiff_t out_n,
                       ptrdiff_t out_m);

// Both for n rows of float32 that lie one after another, into n rows of q->rows floats that do. They look
// whether out overlaps anything, and refuse it then.
int qb_matmul_rows(const qb_matrix *q, const void *x, size_t n, int planes, void *out);
int qb_prepared_matmul_rows(const qb_prepared *p, const void *x, size_t n, int planes, void *out);

// out[i] = dot product of row a_rows[i] of a and row b_rows[i] of b, float32. Both must have the same
// number of columns and the same group boundaries.
int qb_vecdot(const qb_matrix *a, const int64_t *a_rows, const qb_matrix *b, const int64_t *b_rows,
              size_t count, float *out);

// out(i, j) = dot product of row i of a and row j of b, as qb_vecdot gives it, at out + i*out_a + j*out_b
// (in floats).
int qb_products(const qb_matrix *a, const qb_matrix *b, float *out, ptrdiff_t out_a, ptrdiff_t out_b);

// Error of q against the x it stands for, in one pass, sums in double.
typedef struct {
    double sum_xx; // sum of x*x
    double sum_ee; // sum of (x - q)^2
    double max_abs;
    size_t max_index; // the first element with that error, row-major
} qb_error_report;
int qb_compare(const qb_floats *x, const qb_matrix *q, qb_error_report *report);

// QBITS_CDEF_END

#ifdef __cplusplus
}
#endif

#endif

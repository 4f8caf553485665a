// SPDX-License-Identifier: Apache-2.0
// Public functions again, for what lies plainly in memory. They take fewer arguments than the general
// ones, and check the sizes too: seen from an interpreter, each argument and each question costs about
// as much as the work of a small call.
#include "../base/checked.h"
#include "../formats/stored.h"
#include "../qbits.h"
#include "prepared.h"

// ---- packing ---------------------------------------------------------------------------------------

int qb_pack_bytes(const void *codes, size_t count, int bits, int is_signed, void *out, size_t size)
{
    if (bits < 1 || bits > 8) return QB_ERR_ARGUMENT;
    if (size != qb_packed_bytes(count, bits)) return QB_ERR_SIZE;
    return qb_pack(codes, is_signed ? QB_I8 : QB_U8, 1, count, bits, is_signed, out, NULL);
}

int qb_unpack_bytes(const void *in, size_t size, int bits, int is_signed, void *codes, size_t count)
{
    return qb_unpack(in, size, 1, count, bits, is_signed, is_signed ? QB_I8 : QB_U8, codes);
}

// ---- products --------------------------------------------------------------------------------------

// Whether some memory shares a byte with what a matrix is stored in.
static int touches(const qb_matrix *q, const void *out, size_t bytes)
{
    const size_t groups = qb_matrix_groups(q), all = q->format.per_tensor ? 1 : q->rows * groups;
    const size_t scales = all * (q->format.scale == QB_F32 ? 4 : 2);
    const size_t zeros = q->format.per_tensor ? 1 : q->rows * qb_packed_bytes(groups, q->format.bits);
    return qb_overlap(out, bytes, q->codes, q->rows * qb_stored_row_bytes(&q->format, q->cols)) ||
           (q->scales && qb_overlap(out, bytes, q->scales, scales)) ||
           (q->mins && qb_overlap(out, bytes, q->mins, scales)) ||
           (q->zeros && qb_overlap(out, bytes, q->zeros, zeros));
}

// n rows of floats as qb_floats. Refuses an `out` of n rows of m that overlaps them or is not aligned.
static int rows_of(const void *x, size_t n, size_t cols, const void *out, size_t m, qb_floats *floats)
{
    size_t x_bytes, out_bytes;
    if (!qb_mul(n, cols, &x_bytes) || !qb_mul(x_bytes, sizeof(float), &x_bytes)) return QB_ERR_SIZE;
    if (!qb_mul(n, m, &out_bytes) || !qb_mul(out_bytes, sizeof(float), &out_bytes)) return QB_ERR_SIZE;
    if ((uintptr_t)out % sizeof(float) || qb_overlap(x, x_bytes, out, out_bytes)) return QB_ERR_ARGUMENT;
    *floats = (qb_floats){x, QB_F32, n, cols, (ptrdiff_t)(cols * sizeof(float)), sizeof(float)};
    return QB_OK;
}

int qb_matmul_rows(const qb_matrix *q, const void *x, size_t n, int planes, void *out)
{
    qb_floats rows;
    const int status = rows_of(x, n, q->cols, out, q->rows, &rows);
    if (status) return status;
    if (touches(q, out, n * q->rows * sizeof(float))) return QB_ERR_ARGUMENT;
    return qb_matmul(q, &rows, planes, out, (ptrdiff_t)q->rows, 1);
}

int qb_prepared_matmul_rows(const qb_prepared *p, const void *x, size_t n, int planes, void *out)
{
    qb_floats rows;
    struct qb_panel_layout layout;
    const int unfit = qb_prepared_check(&p->format, p->rows, p->cols, &layout);
    const int status = unfit ? unfit : rows_of(x, n, p->cols, out, p->rows, &rows);
    if (status) return status;
    const size_t bytes = layout.bytes * qb_ceil_div(p->rows, QB_LANES);
    if (qb_overlap(out, n * p->rows * sizeof(float), p->panels, bytes)) return QB_ERR_ARGUMENT;
    return qb_prepared_multiply(p, &layout, &rows, planes, out, (ptrdiff_t)p->rows, 1);
}

// SPDX-License-Identifier: Apache-2.0
#include "floats.h"

#include "../base/checked.h"
#include "../base/float16.h"

#include <string.h>

enum { RUN = 256 }; // elements gathered at a time where x is strided or not aligned

size_t qb_float_bytes(int dtype)
{
    switch (dtype) {
    case QB_F16: case QB_BF16: return 2;
    case QB_F32: return 4;
    case QB_F64: return 8;
    default: return 0;
    }
}

static void widen(const struct qb_kernels *k, int dtype, const void *from, size_t n, float *out)
{
    if (dtype == QB_F32) memcpy(out, from, n * sizeof *out);
    if (dtype == QB_F16) k->widen_f16((const uint16_t *)from, n, out);
    if (dtype == QB_BF16)
        for (size_t i = 0; i < n; i++) out[i] = qb_bf16_to_f32(((const uint16_t *)from)[i]);
    if (dtype == QB_F64)
        for (size_t i = 0; i < n; i++) out[i] = (float)((const double *)from)[i];
}

// Copies n elements of one size, stride bytes apart, next to each other. A constant size makes each
// memcpy one load and one store.
static void gather(const char *from, ptrdiff_t stride, size_t size, size_t n, void *out)
{
    char *to = (char *)out;
    switch (size) {
    case 2:
        for (size_t i = 0; i < n; i++, from += stride) memcpy(to + 2 * i, from, 2);
        break;
    case 4:
        for (size_t i = 0; i < n; i++, from += stride) memcpy(to + 4 * i, from, 4);
        break;
    default:
        for (size_t i = 0; i < n; i++, from += stride) memcpy(to + 8 * i, from, 8);
        break;
    }
}

const float *qb_load_floats(const struct qb_kernels *k, const qb_floats *x, size_t row, size_t col, size_t n,
                            float *tile)
{
    const char *from = (const char *)x->data + (ptrdiff_t)row * x->row_stride + (ptrdiff_t)col * x->col_stride;
    const size_t size = qb_float_bytes(x->dtype);
    if (n == 0) return tile;
    if (x->col_stride == (ptrdiff_t)size && ((uintptr_t)from & (size - 1)) == 0) {
        if (x->dtype == QB_F32) return (const float *)from;
        widen(k, x->dtype, from, n, tile);
        return tile;
    }
    double run[RUN];
    for (size_t i = 0; i < n; i += RUN, from += RUN * x->col_stride) {
        const size_t count = qb_min(n - i, RUN);
        gather(from, x->col_stride, size, count, run);
        widen(k, x->dtype, run, count, tile + i);
    }
    return tile;
}

void qb_store_floats(const struct qb_kernels *k, const float *x, size_t n, int dtype, void *out)
{
    if (dtype == QB_F32) memcpy(out, x, n * sizeof *x);
    if (dtype == QB_F16) k->narrow_f16(x, n, (uint16_t *)out);
    if (dtype == QB_BF16) k->narrow_bf16(x, n, (uint16_t *)out);
    if (dtype == QB_F64)
        for (size_t i = 0; i < n; i++) ((double *)out)[i] = (double)x[i];
}

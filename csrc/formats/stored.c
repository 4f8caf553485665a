// SPDX-License-Identifier: Apache-2.0
#include "stored.h"

#include "../base/checked.h"
#include "../base/float16.h"
#include "blocks.h"

#include <string.h>

enum { RUN = 256 }; // zero points unpacked, and scales converted, at a time; a multiple of 8

int qb_matrix_check(const qb_matrix *q)
{
    const qb_format *const f = &q->format;
    if (f->block && !qb_block_legal(f, q->cols)) return QB_ERR_ARGUMENT;
    if (f->bits < 1 || f->bits > QB_MAX_BITS) return QB_ERR_ARGUMENT;
    if (f->zero != QB_ZERO_NONE && f->zero != QB_ZERO_MIN && f->zero != QB_ZERO_POINT) return QB_ERR_ARGUMENT;
    if (f->scale != QB_F16 && f->scale != QB_BF16 && f->scale != QB_F32) return QB_ERR_ARGUMENT;
    if (!f->per_tensor && f->group < 1) return QB_ERR_ARGUMENT;
    size_t elements, bytes;
    if (!qb_mul(q->rows, q->cols, &elements) || !qb_mul(elements, sizeof(double), &bytes)) return QB_ERR_SIZE;
    return QB_OK;
}

size_t qb_matrix_group(const qb_matrix *q)
{
    if (q->cols == 0) return 1;
    return q->format.per_tensor ? q->cols : qb_min(q->format.group, q->cols);
}

size_t qb_matrix_groups(const qb_matrix *q) { return qb_ceil_div(q->cols, qb_matrix_group(q)); }

size_t qb_stored_row_bytes(const qb_format *format, size_t cols)
{
    return format->block ? qb_block_bytes(format, cols) : qb_packed_bytes(cols, format->bits);
}

static int doubled(const qb_format *f) { return f->bits == 1 && f->zero == QB_ZERO_NONE; }

int qb_stored_bits(const qb_format *format) { return doubled(format) ? 2 : format->bits; }

uint8_t qb_stored_flip(const qb_format *format)
{
    return format->zero == QB_ZERO_NONE && format->bits > 1 ? (uint8_t)(1u << (format->bits - 1)) : 0;
}

int qb_stored_zero(const qb_format *format)
{
    if (format->block) return (int)qb_block_zero(format);
    return format->zero == QB_ZERO_NONE ? 1 << (format->bits - 1) : 0;
}

void qb_stored_codes(const struct qb_kernels *k, const qb_matrix *q, size_t row, size_t col, size_t n,
                     uint8_t *codes)
{
    const qb_format *const f = &q->format;
    if (f->block) {
        qb_block_codes(k, f, q->codes + row * qb_block_bytes(f, q->cols), col, n, codes);
        return;
    }
    const uint8_t *const from =
        q->codes + row * qb_packed_bytes(q->cols, f->bits) + qb_packed_bytes(col, f->bits);
    if (doubled(f)) {
        k->unpack[1](from, n, 0, 0, codes);
        for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(codes[i] * 2);
        return;
    }
    k->unpack[f->bits](from, n, qb_stored_flip(f), 0, codes);
}

static size_t scale_bytes(int scale) { return scale == QB_F32 ? 4 : 2; }

void qb_load_scales(const struct qb_kernels *k, int scale, const void *scales, size_t at, size_t n,
                        float *out)
{
    const uint8_t *const from = (const uint8_t *)scales + at * scale_bytes(scale);
    if (scale == QB_F32) {
        memcpy(out, from, n * 4);
        return;
    }
    uint16_t half[RUN]; // the storage need not be aligned
    for (size_t i = 0; i < n; i += RUN) {
        const size_t count = qb_min(n - i, RUN);
        memcpy(half, from + 2 * i, 2 * count);
        if (scale == QB_F16) {
            k->widen_f16(half, count, out + i);
        } else {
            for (size_t j = 0; j < count; j++) out[i + j] = qb_bf16_to_f32(half[j]);
        }
    }
}

void qb_store_scales(const struct qb_kernels *k, int scale, void *scales, size_t at, const float *x, size_t n)
{
    uint8_t *const to = (uint8_t *)scales + at * scale_bytes(scale);
    if (scale == QB_F32) {
        memcpy(to, x, n * 4);
        return;
    }
    qb_narrow_f16_fn *const narrow = scale == QB_F16 ? k->narrow_f16 : k->narrow_bf16;
    if (((uintptr_t)to & 1) == 0) {
        narrow(x, n, (uint16_t *)(void *)to);
        return;
    }
    uint16_t half[RUN];
    for (size_t i = 0; i < n; i += RUN) {
        const size_t count = qb_min(n - i, RUN);
        narrow(x + i, count, half);
        memcpy(to + 2 * i, half, 2 * count);
    }
}

void qb_round_scales(const struct qb_kernels *k, int scale, float *x, size_t n)
{
    if (scale == QB_F32) return;
    if (scale == QB_BF16) {
        for (size_t i = 0; i < n; i++) x[i] = qb_bf16_to_f32(qb_f32_to_bf16(x[i]));
        return;
    }
    uint16_t half[RUN];
    for (size_t i = 0; i < n; i += RUN) {
        const size_t count = qb_min(n - i, RUN);
        k->narrow_f16(x + i, count, half);
        k->widen_f16(half, count, x + i);
    }
}

static void load_zeros(const struct qb_kernels *k, const qb_matrix *q, size_t row, size_t first, size_t n,
                       float *z)
{
    const int bits = q->format.bits;
    const uint8_t *const packed = q->zeros + row * qb_packed_bytes(qb_matrix_groups(q), bits);
    uint8_t codes[RUN];
    const size_t end = first + n;
    for (size_t at = first / 8 * 8; at < end; at += RUN) {
        k->unpack[bits](packed + qb_packed_bytes(at, bits), qb_min(end - at, RUN), 0, 0, codes);
        const size_t from = at < first ? first : at, to = qb_min(end, at + RUN);
        for (size_t i = from; i < to; i++) z[i - first] = (float)codes[i - at];
    }
}

void qb_stored_params(const struct qb_kernels *k, const qb_matrix *q, size_t row, size_t first, size_t n,
                      float *d, float *z, float *m)
{
    const qb_format *const f = &q->format;
    if (n == 0) return;
    if (f->block) {
        qb_block_params(k, f, q->codes + row * qb_block_bytes(f, q->cols), first, n, d, m);
        const float zero = qb_block_zero(f);
        for (size_t i = 0; z && i < n; i++) z[i] = zero;
        return;
    }
    // One for the whole tensor: read that one, then repeat it.
    const size_t count = f->per_tensor ? 1 : n;
    if (f->per_tensor) row = first = 0;
    const size_t at = f->per_tensor ? 0 : row * qb_matrix_groups(q) + first;
    if (d) qb_load_scales(k, f->scale, q->scales, at, count, d);
    if (m && f->zero == QB_ZERO_MIN) qb_load_scales(k, f->scale, q->mins, at, count, m);
    if (z && f->zero == QB_ZERO_POINT) load_zeros(k, q, row, first, count, z);
    if (z && f->zero != QB_ZERO_POINT) {
        const float offset = f->zero == QB_ZERO_MIN ? 0.0f : (float)(1 << (f->bits - 1));
        for (size_t i = 0; i < n; i++) z[i] = offset;
    }
    for (size_t i = count; i < n; i++) {
        if (d) d[i] = d[0];
        if (m && f->zero == QB_ZERO_MIN) m[i] = m[0];
        if (z) z[i] = z[0];
    }
}

// SPDX-License-Identifier: Apache-2.0
// Size arithmetic that says when it does not fit, instead of wrapping.
#ifndef QB_CHECKED_H
#define QB_CHECKED_H

#include <stddef.h>
#include <stdint.h>

// *out = a * b; returns 0 if the product does not fit.
static inline int qb_mul(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) return 0;
    *out = a * b;
    return 1;
}

// Bytes of `count` packed codes: ceil(count * bits / 8) without forming count * bits.
static inline size_t qb_packed_bytes(size_t count, int bits)
{
    return count / 8 * (size_t)bits + (count % 8 * (size_t)bits + 7) / 8;
}

static inline size_t qb_ceil_div(size_t a, size_t b) { return a / b + (a % b != 0); }

static inline size_t qb_min(size_t a, size_t b) { return a < b ? a : b; }

// Whether two stretches of memory share a byte.
static inline int qb_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    const uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return a_bytes && b_bytes && x < y + b_bytes && y < x + a_bytes;
}

#endif

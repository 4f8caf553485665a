// SPDX-License-Identifier: Apache-2.0
// The packing kernels that define the stream for all others; the text is in pack_tail.h.
#include "kernels.h"
#include "pack_tail.h"

#include <string.h>

#define X(bits)                                                                                   \
    uint8_t qb_pack_u##bits##_scalar(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out)  \
    {                                                                                             \
        return qb_pack_tail(codes, n, bias, out, bits);                                           \
    }                                                                                             \
    void qb_unpack_u##bits##_scalar(const uint8_t *in, size_t n, uint8_t flip, uint8_t sub,       \
                                    uint8_t *codes)                                               \
    {                                                                                             \
        qb_unpack_tail(in, n, flip, sub, codes, bits);                                            \
    }
QB_WIDTHS(X)
#undef X

void qb_stream_scalar(const void *src, size_t bytes, void *dst) { memcpy(dst, src, bytes); }

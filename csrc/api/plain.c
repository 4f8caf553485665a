// SPDX-License-Identifier: Apache-2.0
// Public functions again, for what lies plainly in memory. They take fewer arguments than the general
// ones, and check the sizes too: seen from an interpreter, each argument and each question costs about
// as much as the work of a small call.
#include "../base/checked.h"
#include "../qbits.h"

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

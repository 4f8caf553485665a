// SPDX-License-Identifier: Apache-2.0
#include "packer.h"

#include "../base/checked.h"

#include <string.h>

void qb_packer_open(struct qb_packer *p, const struct qb_kernels *k, int bits, uint8_t *out)
{
    p->pack = k->pack[bits];
    p->bits = bits;
    p->out = out;
    p->fill = 0;
}

uint8_t *qb_packer_room(struct qb_packer *p) { return p->codes + p->fill; }

void qb_packer_add(struct qb_packer *p, size_t n)
{
    const size_t all = p->fill + n, whole = all / 8 * 8;
    p->pack(p->codes, whole, 0, p->out);
    p->out += whole / 8 * (size_t)p->bits;
    p->fill = all - whole;
    memmove(p->codes, p->codes + whole, p->fill);
}

void qb_packer_end_row(struct qb_packer *p)
{
    p->pack(p->codes, p->fill, 0, p->out);
    p->out += qb_packed_bytes(p->fill, p->bits);
    p->fill = 0;
}

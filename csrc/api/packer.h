// SPDX-License-Identifier: Apache-2.0
// Codes on their way to a packed row, in runs of any length.
#ifndef QB_PACKER_H
#define QB_PACKER_H

#include "../kernels/kernels.h"

enum { QB_PACKER_ROOM = 8192 };

struct qb_packer {
    qb_pack_fn *pack;
    int bits;
    uint8_t *out;
    size_t fill;
    uint8_t codes[QB_PACKER_ROOM + 8];
};

void qb_packer_open(struct qb_packer *p, const struct qb_kernels *k, int bits, uint8_t *out);
uint8_t *qb_packer_room(struct qb_packer *p);      // for QB_PACKER_ROOM codes
void qb_packer_add(struct qb_packer *p, size_t n); // those n just written there
void qb_packer_end_row(struct qb_packer *p);       // the next row starts on the next byte

#endif

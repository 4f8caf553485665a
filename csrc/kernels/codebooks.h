// SPDX-License-Identifier: Apache-2.0
// The tables of 16 that block types with nibbles look their codes up in (ggml's), as unsigned effective codes.
#ifndef QB_CODEBOOKS_H
#define QB_CODEBOOKS_H

#include <stdint.h>

// -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, and 128
static const uint8_t qb_iq4[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

// twice the values of E2M1, and 16; no -0
static const uint8_t qb_fp4[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

#endif

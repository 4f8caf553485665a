// SPDX-License-Identifier: Apache-2.0
#ifndef CHECKASM_PLANES_H
#define CHECKASM_PLANES_H

#include <stddef.h>
#include <stdint.h>

// Octets of lines (16 units of 4 codes) to code planes, bit by bit.
void planes_of_lines(const uint8_t *lines, size_t octets, int bits, uint8_t *out);

#endif

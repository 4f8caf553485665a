// SPDX-License-Identifier: Apache-2.0
// Block types taken apart: the codes, which a prepared matrix keeps in planes, and the fields beside them, which
// it keeps as they are, so that it can be put together again byte for byte. Types that look their codes up in
// large tables, the one that packs five codes into a byte and those that hold sums of their codes are not taken
// apart: all that they are is one field.
#ifndef QB_BLOCK_FIELDS_H
#define QB_BLOCK_FIELDS_H

#include "blocks.h"

// Bits of a stored code: those of the effective code, or of its index in a table of 16. 0: not taken apart.
int qb_block_stored_bits(const qb_format *format);

// The effective codes of a type whose stored codes are indices; NULL for others.
const uint8_t *qb_block_table(const qb_format *format);

// Bytes of a block that hold no codes; of a type that is not taken apart, all of them.
size_t qb_block_field_bytes(const qb_format *format);

// How many parameters a block has, where they are all its fields and binary16; 0 for other types.
int qb_block_halves(const qb_format *format);

// Stored codes of elements [col, col + n) of a row, multiples of the block, folded for planes (family "fold"); n is at
// most QB_FOLD_MOST.
enum { QB_FOLD_MOST = 4096 };
void qb_block_fold(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t col, size_t n,
                   uint8_t *out);

// The fields of `count` blocks of up to 16 rows, laid side by side: [count][fields][16], 16-bit ones first. Lanes
// without a row are left alone.
void qb_block_take_fields(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t row_bytes,
                          size_t rows, size_t count, uint8_t *fields);

// The fields of one block back from lane `lane` of 16.
void qb_block_put_fields(const qb_format *format, const uint8_t *fields, size_t lane, uint8_t *block);

// Writes the stored codes of a block to it, whose other bits are left alone; they must be zero where codes are.
void qb_block_put_codes(const qb_format *format, const uint8_t *codes, uint8_t *block);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "panels.h"

#include "block_fields.h"

// Units of n elements of one group.
static size_t units_of(size_t n)
{
    return n / QB_BLOCK_MAX * (QB_BLOCK_MAX / 4) + qb_ceil_div(n % QB_BLOCK_MAX, 4);
}

static size_t padded(size_t bytes) { return qb_ceil_div(bytes, 64) * 64; }

int qb_panel_layout(const qb_format *format, size_t rows, size_t cols, struct qb_panel_layout *out)
{
    const size_t step = format->per_tensor ? cols : qb_min(format->group, cols), group = step ? step : 1;
    const size_t groups = qb_ceil_div(cols, group), panels = qb_ceil_div(rows, QB_LANES);
    const size_t scale = format->scale == QB_F32 ? 4 : 2;
    size_t total;
    // No part of a panel takes more than this, whatever the format.
    if (!qb_mul(cols, QB_LINE * 4, &total) || !qb_mul(total + 1024, panels, &total)) return 0;
    out->cut = (struct qb_cut){cols, group};
    out->groups = groups;
    out->units = cols / group * units_of(group) + units_of(cols % group);
    out->bits = format->block ? qb_block_stored_bits(format) : format->bits;
    out->fields = format->block ? QB_LANES * qb_block_field_bytes(format) : 0;
    out->scales_bytes = padded(format->block ? cols / qb_block_type_of(format->block)->elements * out->fields
                                             : groups * QB_LANES * scale);
    out->zeros_bytes = format->zero == QB_ZERO_POINT && !format->block ? padded(groups * 2 * (size_t)format->bits) : 0;
    out->mins = out->scales_bytes;
    out->zeros = out->mins + (format->zero == QB_ZERO_MIN && !format->block ? out->scales_bytes : 0);
    out->codes = out->zeros + out->zeros_bytes;
    out->bytes = out->codes + qb_ceil_div(out->units, QB_OCTET) * (size_t)out->bits * QB_LINE;
    return 1;
}

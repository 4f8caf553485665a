// SPDX-License-Identifier: Apache-2.0
// Reading ahead, for the kernels of family "gemv".
#ifndef QB_AHEAD_H
#define QB_AHEAD_H

#include "kernels.h"

#include "../base/target.h"

// With an octet of `planes` lines: fetches what will be read. A line more than those, for the parameters.
QB_INLINE const uint8_t *fetch_ahead(const uint8_t *ahead, const int planes, size_t step)
{
    QB_UNROLL for (int i = 0; i <= planes; i++) QB_PREFETCH(ahead + i * 4 * QB_LANES);
    return ahead + step;
}

#endif

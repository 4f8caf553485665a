// SPDX-License-Identifier: Apache-2.0
// What kernels of family "gemv" share on every tier: reading ahead, and where parameters are.
#ifndef QB_GEMV_H
#define QB_GEMV_H

#include "kernels.h"

#include "../base/target.h"

// With an octet of `planes` lines: fetches what will be read. A line more than those, for the parameters.
QB_INLINE const uint8_t *fetch_ahead(const uint8_t *ahead, const int planes, size_t step)
{
    QB_UNROLL for (int i = 0; i <= planes; i++) QB_PREFETCH(ahead + i * 4 * QB_LANES);
    return ahead + step;
}

// Where the parameters of the next segment are, `step` bytes after those of this one; and whether d and m are
// binary16, and there are m and z.
struct ends {
    const uint8_t *d, *m;
    size_t step;
    int halves, with_m, with_z;
};

QB_INLINE struct ends ends_of(const struct qb_panel *w)
{
    struct ends e = {(const uint8_t *)w->d, (const uint8_t *)w->m, 4 * QB_LANES, w->half_d != NULL, 0, w->z != NULL};
    if (e.halves) {
        e.d = w->half_d;
        e.m = w->half_m;
        e.step = w->half_step;
    }
    e.with_m = e.m != NULL;
    return e;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// Grids with what their kernels look up, made when they are first asked for.
#ifndef QB_NEIGHBOURS_H
#define QB_NEIGHBOURS_H

#include "../kernels/kernels.h"

// One for each set of levels; those of QB_GRID_IQ1_DOWN have the points of QB_GRID_IQ1.
enum qb_grid_place {
    QB_GRID_IQ1, QB_GRID_IQ1_DOWN, QB_GRID_IQ2_XXS, QB_GRID_IQ2_XS, QB_GRID_IQ2_S, QB_GRID_IQ3_XXS, QB_GRID_IQ3_S,
    QB_GRID_PLACES
};

// plain: the grid's points, count, dims, bits and levels, always the same for a place.
const struct qb_grid *qb_grid_complete(enum qb_grid_place place, const struct qb_grid *plain);

#endif

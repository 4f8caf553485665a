// SPDX-License-Identifier: Apache-2.0
// The neighbours of a number are the points whose digits are nearest to its own, by the sum of squared differences, of
// equals the first: halves of a number add up, so two lookups give each distance.
#include "neighbours.h"

#include "../base/atomic.h"
#include "../base/os.h"

#include <string.h>

enum {
    EIGHTS = 6561, FOURS = 4096, // numbers
    HALF_EIGHTS = 81, HALF_FOURS = 64,
    POINTS = 2048, POINTS_OF_4 = 512, // at most
    GRIDS_OF_8 = QB_GRID_IQ3_XXS, GRIDS_OF_4 = QB_GRID_PLACES - QB_GRID_IQ3_XXS
};

static uint16_t near_8[GRIDS_OF_8][EIGHTS * QB_NEAR], near_4[GRIDS_OF_4][FOURS * QB_NEAR];
static int8_t values_8[GRIDS_OF_8][POINTS * 8], values_4[GRIDS_OF_4][POINTS_OF_4 * 4];
static int8_t nearby_values_4[GRIDS_OF_4][FOURS * QB_NEAR * 4];
static struct qb_grid grids[QB_GRID_PLACES];
static qb_atomic_int ready[QB_GRID_PLACES];
static qb_mutex mutex = QB_MUTEX_INIT;
static int forks; // whether the mutex is made anew in a forked child

static unsigned digits_to_number(unsigned fields, unsigned count, unsigned bits, unsigned base)
{
    unsigned number = 0;
    for (unsigned i = count; i-- > 0;) number = number * base + (fields >> bits * i & ((1u << bits) - 1));
    return number;
}

// Of two halves, by their numbers.
static uint8_t distance(unsigned a, unsigned b, unsigned count, unsigned base)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < count; i++, a /= base, b /= base) {
        const int apart = (int)(a % base) - (int)(b % base);
        sum += (unsigned)(apart * apart);
    }
    return (uint8_t)sum;
}

static void find_neighbours(const struct qb_grid *grid, uint16_t *nearby)
{
    const unsigned digits = grid->dims / 2, base = grid->dims == 8 ? 3 : 8;
    const unsigned halves = grid->dims == 8 ? HALF_EIGHTS : HALF_FOURS;
    uint8_t apart[HALF_EIGHTS][HALF_EIGHTS], low[POINTS], high[POINTS];
    for (unsigned i = 0; i < halves; i++)
        for (unsigned j = 0; j < halves; j++) apart[i][j] = distance(i, j, digits, base);
    for (unsigned p = 0; p < grid->count; p++) {
        low[p] = (uint8_t)digits_to_number(grid->points[p], digits, grid->bits, base);
        high[p] = (uint8_t)digits_to_number(grid->points[p] >> grid->bits * digits, digits, grid->bits, base);
    }
    for (unsigned number = 0; number < halves * halves; number++, nearby += QB_NEAR) {
        const uint8_t *const from_low = apart[number % halves], *const from_high = apart[number / halves];
        unsigned found = 0, distances[QB_NEAR];
        for (unsigned p = 0; p < grid->count; p++) {
            const unsigned d = (unsigned)from_low[low[p]] + from_high[high[p]];
            if (found == QB_NEAR && d >= distances[QB_NEAR - 1]) continue;
            unsigned at = found < QB_NEAR ? found++ : QB_NEAR - 1;
            for (; at > 0 && distances[at - 1] > d; at--) {
                distances[at] = distances[at - 1];
                nearby[at] = nearby[at - 1];
            }
            distances[at] = d;
            nearby[at] = (uint16_t)p;
        }
    }
}

static void find_values(const struct qb_grid *grid, int8_t *values)
{
    for (unsigned p = 0; p < grid->count; p++)
        for (unsigned i = 0; i < grid->dims; i++)
            *values++ = (int8_t)grid->levels[grid->points[p] >> grid->bits * i & ((1u << grid->bits) - 1)];
}

static void complete(enum qb_grid_place place, struct qb_grid *g)
{
    const unsigned half = g->dims * g->bits / 2, levels = g->dims == 8 ? 3 : 8;
    for (unsigned p = 0; p < g->count; p++) g->start[(g->points[p] >> half) + 1]++;
    for (unsigned h = 0; h < 1u << half; h++) g->start[h + 1] = (uint16_t)(g->start[h + 1] + g->start[h]);
    g->low = g->levels[0];
    g->per_step = (float)(levels - 1) / (g->levels[levels - 1] - g->low);
    if (g->dims == 8) {
        uint16_t *const nearby = near_8[place == QB_GRID_IQ1_DOWN ? QB_GRID_IQ1 : place];
        if (place != QB_GRID_IQ1_DOWN) find_neighbours(g, nearby);
        g->nearby = nearby;
        g->values = values_8[place];
        find_values(g, values_8[place]);
    } else {
        const unsigned i = place - QB_GRID_IQ3_XXS;
        find_neighbours(g, near_4[i]);
        find_values(g, values_4[i]);
        for (unsigned j = 0; j < FOURS * QB_NEAR; j++)
            memcpy(nearby_values_4[i] + 4 * j, values_4[i] + 4 * near_4[i][j], 4);
        g->nearby = near_4[i];
        g->values = values_4[i];
        g->nearby_values = nearby_values_4[i];
    }
}

static void begin_anew(void) { qb_mutex_init(&mutex); }

const struct qb_grid *qb_grid_complete(enum qb_grid_place place, const struct qb_grid *plain)
{
    if (qb_atomic_load(&ready[place])) return &grids[place];
    qb_mutex_lock(&mutex);
    if (!forks) qb_at_fork_child(begin_anew);
    forks = 1;
    if (!qb_atomic_load(&ready[place])) {
        grids[place] = *plain;
        complete(place, &grids[place]);
        qb_atomic_store(&ready[place], 1);
    }
    qb_mutex_unlock(&mutex);
    return &grids[place];
}

// SPDX-License-Identifier: Apache-2.0
// Defines the parameters of 16 rows of block types side by side.
#include "kernels.h"

#include "../base/target.h"

#define WIDEN(half, n, out) qb_widen_f16_scalar(half, n, out)
#include "lanes.h"

QB_LANES_KERNELS(scalar)

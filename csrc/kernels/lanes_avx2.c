// SPDX-License-Identifier: Apache-2.0
// Parameters of 16 rows of block types side by side, for 8 lanes.
#include "bytes.h"
#include "kernels.h"

#include "../base/target.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

#define WIDEN(half, n, out) qb_widen_f16_avx2(half, n, out)
#include "lanes.h"

QB_LANES_KERNELS(avx2)

QB_TARGET_END
#endif

// SPDX-License-Identifier: Apache-2.0
#ifndef QB_DISPATCH_H
#define QB_DISPATCH_H

#include "../kernels/kernels.h"
#include "isa.h"

// The complete table of one tier. Tiers the machine cannot run have one too; nobody calls them.
const struct qb_kernels *qb_kernels_of(enum qb_isa_id isa);

// The table in force. A call into the library loads it once and uses that pointer to its end, in
// every worker, so that a change of tier in between cannot tear it.
const struct qb_kernels *qb_kernels_now(void);

#endif

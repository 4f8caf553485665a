// SPDX-License-Identifier: Apache-2.0
// A small thread pool. Work is cut into parts by whoever has it, in a way that no result depends on;
// the pool only runs them. No thread exists before the first call that wants two.
#ifndef QB_THREADS_H
#define QB_THREADS_H

#include <stddef.h>

enum { QB_MOST_THREADS = 256 };

// How many parts to cut `bytes` of traffic (or what takes as long) into, at most `pieces` and QB_MOST_THREADS: 1 where
// waking others would cost more than it gains, else a few for each thread, for one to take what another is late with.
size_t qb_parts(size_t bytes, size_t pieces);

// Runs task(context, part, parts) for every part, on as many threads as there are where the pool is free (the caller's
// among them), else one after another here: a call from within a task, or from a second thread meanwhile, is correct
// and does not wait. Each thread starts with parts of its own, the same ones in every call, and goes on with what others
// have not begun. Returns when all are done. Workers have the default floating-point environment.
typedef void qb_task_fn(void *context, size_t part, size_t parts);
void qb_parallel(size_t parts, qb_task_fn *task, void *context);

// The part-th of `parts` near equal runs of [0, n), each starting at a multiple of `unit`.
size_t qb_part_start(size_t n, size_t unit, size_t part, size_t parts);

#endif

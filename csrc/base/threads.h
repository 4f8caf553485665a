// SPDX-License-Identifier: Apache-2.0
// A small thread pool. Work is cut into parts by whoever has it, in a way that no result depends on;
// the pool only runs them. No thread exists before the first call that wants two.
#ifndef QB_THREADS_H
#define QB_THREADS_H

#include <stddef.h>

enum { QB_MOST_THREADS = 256 };

// How many threads to cut `bytes` of traffic (or what takes as long) into, at most `pieces`: 1 where
// waking others would cost more than it gains.
size_t qb_parts(size_t bytes, size_t pieces);

// Runs task(context, part, parts) for every part, each on a thread of its own where the pool is free
// (the caller's among them), else one after another here: a call from within a task, or from a second
// thread meanwhile, is correct and does not wait. Nor does the caller wait for a thread that has not begun its
// part: it runs that too. Returns when all are done. Workers have the default floating-point environment.
typedef void qb_task_fn(void *context, size_t part, size_t parts);
void qb_parallel(size_t parts, qb_task_fn *task, void *context);

// The part-th of `parts` near equal runs of [0, n), each starting at a multiple of `unit`.
size_t qb_part_start(size_t n, size_t unit, size_t part, size_t parts);

#endif

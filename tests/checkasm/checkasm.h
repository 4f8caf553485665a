// SPDX-License-Identifier: Apache-2.0
// The harness that holds every kernel of every tier against the scalar one, after dav1d's checkasm.
//
// To add a suite: a file with `const struct suite suite_<name> = {...}` and its name in SUITES
// below. A check of one kernel looks like this:
//
//     static struct buffer in, want, got;                       // static: mapped at first use
//     if (!ck_kernel("foo_u%d", bits)) return;                  // names it; 0: not asked for
//     for (...) {
//         ck_case("n=%zu offset=%d", n, offset);                // printed if anything goes wrong
//         uint8_t *const x = ck_place(&in, n, CK_END);          // ends at an unreadable page
//         uint8_t *const a = ck_place(&want, n, CK_END);        // extents hold garbage,
//         uint8_t *const b = ck_place(&got, n, offset);         //   each buffer its own
//         ck_fill(x, n);
//         ref->foo(x, n, a);
//         test->foo(x, n, b);
//         ck_same("out", a, b, n);                              // equal bytes, or a hex diff
//         ck_same_u64("result", ra, rb);
//         ck_canaries(&got);                                    // nothing written around it
//     }
#ifndef CHECKASM_H
#define CHECKASM_H

#include "dispatch.h"
#include "qbits.h"

#include <stddef.h>
#include <stdint.h>

// One line per suite, in the order they run.
#define SUITES(X) X(cpu) X(pack) X(params) X(quant) X(search) X(dot) X(operands) X(matmul) \
    X(planes) X(fold) X(gemv) X(blocks) X(grids) X(lanes) X(fixed) X(super) X(nearest) X(api_pack) X(api_matmul) X(api_prepared) X(threads)

// What a suite is run for, beside QB_FAMILY_<name>: the kernel family, once per tier that has a
// file of its own for it (a tier that borrows the one below is not tested twice).
enum {
    SUITE_ONCE = -1, // once; ref and test are both the scalar table
    SUITE_API = -2,  // for each tier that runs here, which is then in force (qb_use_isa)
};

struct suite {
    const char *name; // for --test
    int family;
    // ref: the scalar table. test: the tier under test, possibly ref itself: then compare with
    // something independent, since the scalar kernels define the results for all others.
    void (*check)(const struct qb_kernels *ref, const struct qb_kernels *test);
    void (*bench)(const struct qb_kernels *ref, const struct qb_kernels *test); // may be NULL
};
#define X(name) extern const struct suite suite_##name;
SUITES(X)
#undef X

// ---- names, random numbers ----------------------------------------------------------------------

// Names the kernel that is checked from here on, and restarts the random numbers from the seed and
// that name, so that it sees the same ones alone (--function) as in a full run. Returns 0 if the
// command line asked for other kernels only.
int ck_kernel(const char *format, ...) __attribute__((format(printf, 1, 2)));

// 1 where the next case is left out: --one-in N does so with all but every N-th, at random; for emulators
// and sanitizers. `if (ck_skip()) return;` at the head of what checks one case.
int ck_skip(void);

// Describes the case that runs next.
void ck_case(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t ck_random(void);
size_t ck_below(size_t n);             // uniform in [0, n), n >= 1
void ck_fill(void *p, size_t bytes);   // random bytes

// ---- buffers between guard pages ----------------------------------------------------------------

enum { CK_CAPACITY = 1 << 19 }; // the largest extent of one buffer, in bytes

struct buffer {
    uint8_t *map; // first usable byte; an unreadable page lies before it and another one at its end
    uint8_t *at;  // the extent in use
    size_t bytes;
    uint8_t fill;
};

// The last byte of the extent is the last before the guard page.
#define CK_END (-1)

// Makes room for an extent of `bytes`, `offset` bytes behind the guard page at the start, or flush
// with the one at the end (CK_END). The extent is filled with garbage, its surroundings with
// canaries.
void *ck_place(struct buffer *b, size_t bytes, int offset);

// ---- verdicts -----------------------------------------------------------------------------------

// Each is one check: counts, reports a failure with kernel, tier, case and seed, returns 1 if good.
int ck_same(const char *what, const void *want, const void *got, size_t bytes);
int ck_same_u64(const char *what, uint64_t want, uint64_t got);
int ck_true(const char *what, int good);
int ck_canaries(const struct buffer *b);

// ---- benchmarks ---------------------------------------------------------------------------------

// Times runs[0..count) in interleaved rounds. Prints the median time of runs[0], its rate for
// `bytes` moved, and the ratio (speed of runs[0] over its speed) of each other one.
struct ck_run {
    const char *name;
    void (*run)(void *context);
    void *context;
};
void ck_bench(size_t bytes, const struct ck_run *runs, int count);

// Memory to time on: random bytes, on huge pages where the machine has them, each block at another
// offset from a page (equal ones slow memcpy and kernels down by chance). Kept until the end of the
// program.
void *ck_memory(size_t bytes);

// Keeps the compiler from dropping a benchmark whose result nobody reads.
void ck_use(uint64_t value);

#endif

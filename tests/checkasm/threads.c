// SPDX-License-Identifier: Apache-2.0
// The thread pool: every part once, whoever calls it: nested, from several threads, in a forked child.
// And how long a hand-over takes, to workers that spin and to workers that sleep.
#define _GNU_SOURCE
#include "checkasm.h"

#include "atomic.h"
#include "os.h"
#include "threads.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PARTS = 16 };

static void count_part(void *context, size_t part, size_t parts)
{
    (void)parts;
    ((int *)context)[part]++;
}

static int all_once(size_t parts)
{
    int counts[PARTS] = {0}, good = 1;
    qb_parallel(parts, count_part, counts);
    for (size_t i = 0; i < PARTS; i++) good &= counts[i] == (i < parts);
    return good;
}

static void nested_part(void *context, size_t part, size_t parts)
{
    (void)parts;
    ((int *)context)[part] = all_once(5);
}

// Part 4 of 8, where another thread's share begins, is through when all others are: whoever has it, the rest of its
// share must be taken over.
struct slow {
    qb_atomic_int done;
    int waited;
};

static void slow_part(void *context, size_t part, size_t parts)
{
    struct slow *const slow = context;
    const uint64_t limit = qb_now_us() + 10000000;
    while (part == 4 && qb_atomic_load(&slow->done) < (int)parts - 1 && qb_now_us() < limit) qb_yield();
    if (part == 4) slow->waited = qb_atomic_load(&slow->done) == (int)parts - 1;
    qb_atomic_add(&slow->done, 1);
}

// Each call finds the workers at another point of spinning, falling asleep and waking.
static void check_gaps(void)
{
    for (int gap = 0; gap < 200; gap++) {
        const uint64_t end = qb_now_us() + (uint64_t)gap;
        while (qb_now_us() < end) {}
        ck_true("parts after a while", all_once((size_t)gap % PARTS + 1));
    }
}

static void *caller(void *context)
{
    for (int i = 0; i < 200; i++) *(int *)context &= all_once((size_t)i % PARTS + 1);
    return NULL;
}

static void check_callers(void)
{
    pthread_t threads[3];
    int good[3] = {1, 1, 1};
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, caller, &good[i]);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) ck_true("a caller's parts", good[i]);
}

// Forks with another thread inside the pool or not; the child uses it and leaves.
static void check_fork(int busy)
{
    pthread_t thread;
    int good = 1, status = 0;
    if (busy) pthread_create(&thread, NULL, caller, &good);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60); // instead of hanging
        _exit(all_once(8) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    if (busy) pthread_join(thread, NULL);
    ck_true("the child's parts", WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void check_parts(void)
{
    for (size_t n = 0; n < 70; n++)
        for (size_t unit = 1; unit < 20; unit += 3)
            for (size_t parts = 1; parts < 9; parts++) {
                size_t end = 0;
                for (size_t p = 0; p < parts; p++) {
                    const size_t start = qb_part_start(n, unit, p, parts);
                    ck_true("a part starts where the last one ends, on a unit",
                            start >= end && (start == n || start % unit == 0));
                    end = start;
                }
                ck_same_u64("the end", n, qb_part_start(n, unit, parts, parts));
            }
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    const int before = qb_num_threads();
    if (ck_kernel("part_start")) check_parts();
    for (int n = 1; n <= 4; n++) {
        if (!ck_kernel("parallel_%d", n)) continue;
        ck_case("threads=%d", n);
        ck_same_u64("set", QB_OK, (uint64_t)qb_set_num_threads(n));
        for (int i = 0; i < 300; i++) ck_true("parts", all_once((size_t)i % PARTS + 1));
        int nested[4] = {0};
        qb_parallel(4, nested_part, nested);
        for (int i = 0; i < 4; i++) ck_true("nested parts", nested[i]);
        check_gaps();
        for (int i = 0; n > 1 && i < 50; i++) {
            struct slow slow = {QB_ATOMIC_INIT(0), 0};
            qb_parallel(8, slow_part, &slow);
            ck_true("all parts but the slow one", slow.waited && qb_atomic_load(&slow.done) == 8);
        }
        check_callers();
        for (int i = 0; i < 6; i++) check_fork(i & 1);
    }
    qb_set_num_threads(before);
}

// ---- benchmark ------------------------------------------------------------------------------------

static void nothing(void *context, size_t part, size_t parts)
{
    (void)context;
    ck_use(part + parts);
}

// Part 0 is over when part 1 has begun, which then the caller does not take back; or after a second, where no
// worker could be had.
static void meet(void *context, size_t part, size_t parts)
{
    qb_atomic_int *const met = context;
    const uint64_t limit = qb_now_us() + 1000000;
    qb_atomic_store(met, part == 1 || qb_atomic_load(met));
    for (unsigned i = 1; part == 0 && parts > 1 && !qb_atomic_load(met); i++) {
        qb_pause();
        if (i % 1024 == 0 && qb_now_us() > limit) break;
    }
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Regions of two parts, begun `gap_us` after the end of the one before: there and back.
static void bench_region(const char *name, qb_task_fn *task, int gap_us, size_t count)
{
    enum { MOST = 20000 };
    static double ns[MOST];
    if (!ck_kernel("%s", name)) return;
    for (size_t i = 0; i < count; i++) {
        const double wake = now_ns() + gap_us * 1e3;
        if (gap_us > 100) usleep((useconds_t)gap_us);
        while (now_ns() < wake) {}
        qb_atomic_int met = QB_ATOMIC_INIT(0);
        const double start = now_ns();
        qb_parallel(2, task, &met);
        ns[i] = now_ns() - start;
    }
    qsort(ns, count, sizeof *ns, by_size);
    printf("%-12s gap %5d us: least %6.0f ns, quarter within %6.0f, half within %6.0f, nine tenths within %6.0f\n",
           name, gap_us, ns[0], ns[count / 4], ns[count / 2], ns[count * 9 / 10]);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    const int before = qb_num_threads();
    qb_set_num_threads(2);
    bench_region("handed_hot", meet, 0, 20000);
    bench_region("handed_warm", meet, 10, 10000);
    bench_region("handed_cold", meet, 2000, 500);
    bench_region("empty_cold", nothing, 2000, 500); // the caller takes the other part back
    qb_set_num_threads(1);
    bench_region("alone", nothing, 0, 20000); // both parts here: what the clock and the calls take
    qb_set_num_threads(before);
}
#else
#define bench NULL
static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
}
#endif

const struct suite suite_threads = {"threads", SUITE_ONCE, check, bench};

// SPDX-License-Identifier: Apache-2.0
// The pool: workers wait for a round number to change, spinning for a while (a hand-over then costs a
// fraction of a microsecond) and sleeping after (a wake-up costs tens). One caller at a time owns it.
#include "threads.h"

#include "../qbits.h"
#include "atomic.h"
#include "checked.h"
#include "fpenv.h"
#include "os.h"

#include <stdlib.h>

// Two functions are seen from outside the extension module: tools that limit threads look for them there.
#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#elif defined(__GNUC__)
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

// Below this much traffic (some microseconds of work) a part is not worth handing over.
static const size_t least_bytes = (size_t)128 << 10;

static struct {
    qb_atomic_int owned;   // a caller is inside qb_parallel with workers
    qb_atomic_int round;   // workers start their part when it changes
    qb_atomic_int running; // workers that have not finished this round
    qb_atomic_int sleepers;
    qb_atomic_int stop;
    qb_atomic_int wanted; // threads, the caller's included; 0: not asked yet
    qb_atomic_int spin_us;
    int workers;
    qb_thread threads[QB_MOST_THREADS];
    qb_mutex mutex;
    qb_condition wake;
    qb_task_fn *task;
    void *context;
    size_t parts;
} pool = {.mutex = QB_MUTEX_INIT, .wake = QB_CONDITION_INIT, .spin_us = QB_ATOMIC_INIT(30)};

static int positive_env(const char *name, int fallback)
{
    const char *const text = getenv(name);
    char *end;
    const long value = text ? strtol(text, &end, 10) : 0;
    return text && *text && *end == 0 && value >= 0 && value <= 1000000 ? (int)value : fallback;
}

EXPORTED int qb_num_threads(void)
{
    int n = qb_atomic_load(&pool.wanted);
    if (n == 0) {
        n = positive_env("PYQBITS_NUM_THREADS", 0);
        if (n < 1) n = qb_usable_cpus();
        n = n > QB_MOST_THREADS ? QB_MOST_THREADS : n;
        qb_atomic_store(&pool.spin_us, positive_env("PYQBITS_SPIN_US", 30));
        qb_atomic_store(&pool.wanted, n);
    }
    return n;
}

EXPORTED int qb_set_num_threads(int n)
{
    if (n < 1 || n > QB_MOST_THREADS) return QB_ERR_ARGUMENT;
    qb_num_threads();
    qb_atomic_store(&pool.wanted, n);
    return QB_OK;
}

// Waits until the round is no longer `seen`.
static void await_round(int seen)
{
    const uint64_t limit = qb_now_us() + (uint64_t)qb_atomic_load(&pool.spin_us);
    for (unsigned i = 1; qb_atomic_load(&pool.round) == seen; i++) {
        qb_pause();
        if (i % 64 == 0 && qb_now_us() >= limit) break;
    }
    if (qb_atomic_load(&pool.round) != seen) return;
    qb_mutex_lock(&pool.mutex);
    qb_atomic_add(&pool.sleepers, 1); // before the last look: qb_parallel looks at it after its change
    while (qb_atomic_load(&pool.round) == seen) qb_condition_wait(&pool.wake, &pool.mutex);
    qb_atomic_add(&pool.sleepers, -1);
    qb_mutex_unlock(&pool.mutex);
}

static void work(int index, int seen)
{
    qb_fpenv_enter();
    for (;;) {
        await_round(seen);
        seen++;
        if (qb_atomic_load(&pool.stop)) return;
        if ((size_t)index < pool.parts) pool.task(pool.context, (size_t)index, pool.parts);
        qb_atomic_add(&pool.running, -1);
    }
}

static struct start {
    int index, seen;
} starts[QB_MOST_THREADS];

static QB_THREAD_RESULT run_worker(void *argument)
{
    const struct start *const start = argument;
    work(start->index, start->seen);
    return 0;
}

// In the child of a fork only the forking thread exists: the pool starts anew, whatever state another
// thread had it in.
static void forget_threads(void)
{
    pool.workers = 0;
    qb_mutex_init(&pool.mutex);
    qb_condition_init(&pool.wake);
    qb_atomic_store(&pool.running, 0);
    qb_atomic_store(&pool.sleepers, 0);
    qb_atomic_store(&pool.owned, 0);
}

static void start_round(void)
{
    qb_atomic_store(&pool.running, pool.workers);
    qb_atomic_add(&pool.round, 1);
    if (qb_atomic_load(&pool.sleepers) == 0) return;
    qb_mutex_lock(&pool.mutex);
    qb_condition_wake_all(&pool.wake);
    qb_mutex_unlock(&pool.mutex);
}

// Ends the workers before the library's memory goes away. A pool that is in use is left alone.
static void stop_threads(void)
{
    if (qb_atomic_exchange(&pool.owned, 1)) return;
    qb_atomic_store(&pool.stop, 1);
    start_round();
    for (int i = 0; i < pool.workers; i++) qb_thread_join(pool.threads[i]);
    pool.workers = 0;
}

// Has `count` workers, or as many as can be had. Only the owner calls it.
static void have_workers(int count)
{
    static int registered;
    if (!registered) {
        registered = 1;
        qb_at_fork_child(forget_threads);
        atexit(stop_threads);
    }
    for (; pool.workers < count; pool.workers++) {
        struct start *const start = &starts[pool.workers];
        *start = (struct start){pool.workers + 1, qb_atomic_load(&pool.round)};
        if (qb_thread_start(&pool.threads[pool.workers], run_worker, start) != 0) return;
    }
}

void qb_parallel(size_t parts, qb_task_fn *task, void *context)
{
    const size_t most = (size_t)qb_num_threads();
    size_t handed = 0; // parts 1..handed run on workers
    if (parts > 1 && most > 1 && !qb_atomic_exchange(&pool.owned, 1)) {
        have_workers((int)qb_min(parts, most) - 1);
        handed = qb_min((size_t)pool.workers, parts - 1);
        if (handed) {
            pool.task = task;
            pool.context = context;
            pool.parts = parts;
            start_round();
        } else {
            qb_atomic_store(&pool.owned, 0);
        }
    }
    task(context, 0, parts);
    for (size_t part = handed + 1; part < parts; part++) task(context, part, parts);
    if (!handed) return;
    for (unsigned i = 1; qb_atomic_load(&pool.running); i++) {
        if (i % 1024) {
            qb_pause();
        } else { // a worker may be waiting for this very CPU
            qb_yield();
        }
    }
    qb_atomic_store(&pool.owned, 0);
}

size_t qb_parts(size_t bytes, size_t pieces)
{
    if (bytes < 2 * least_bytes || pieces < 2) return 1;
    const size_t most = qb_min((size_t)qb_num_threads(), bytes / least_bytes);
    return qb_min(most, pieces);
}

size_t qb_part_start(size_t n, size_t unit, size_t part, size_t parts)
{
    const size_t units = qb_ceil_div(n, unit), each = units / parts, extra = units % parts;
    return qb_min(n, (part * each + qb_min(part, extra)) * unit);
}

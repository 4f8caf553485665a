// SPDX-License-Identifier: Apache-2.0
// The pool: each worker waits for parts offered to it, spinning for a while (a hand-over then costs a fraction
// of a microsecond) and sleeping after (a wake-up costs tens). A caller who is through with its own part takes
// back what no worker has begun, so that a call never waits for one to wake. One caller at a time owns the pool.
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

// Whether a part waits for a worker: whoever sets it back to 0 runs the part. On a line of its own.
struct offer {
    qb_atomic_int open;
    char apart[64 - sizeof(qb_atomic_int)];
};

static struct {
    qb_atomic_int owned;   // a caller is inside qb_parallel with workers
    qb_atomic_int running; // parts offered and not done yet
    qb_atomic_int sleepers;
    qb_atomic_int stop;
    qb_atomic_int wanted; // threads, the caller's included; 0: not asked yet
    qb_atomic_int spin_us;
    int workers; // worker i is offered part i + 1
    qb_thread threads[QB_MOST_THREADS];
    struct offer offers[QB_MOST_THREADS];
    qb_mutex mutex;
    qb_condition wake;
    unsigned calls; // to wake up
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

static int take(size_t worker) { return qb_atomic_exchange(&pool.offers[worker].open, 0); }

// Looks out for a part for as long as workers spin. Whether there is one.
static int spin_for_part(size_t worker)
{
    const uint64_t limit = qb_now_us() + (uint64_t)qb_atomic_load(&pool.spin_us);
    do {
        for (int i = 0; i < 64; i++) {
            if (qb_atomic_load(&pool.offers[worker].open) && take(worker)) return 1;
            qb_pause();
        }
    } while (!qb_atomic_load(&pool.stop) && qb_now_us() < limit);
    return 0;
}

static void sleep_for_call(size_t worker)
{
    qb_mutex_lock(&pool.mutex);
    qb_atomic_add(&pool.sleepers, 1); // before the last look: offer_parts looks at it after its offers
    const unsigned seen = pool.calls;
    while (pool.calls == seen && !qb_atomic_add(&pool.offers[worker].open, 0) && !qb_atomic_load(&pool.stop))
        qb_condition_wait(&pool.wake, &pool.mutex);
    qb_atomic_add(&pool.sleepers, -1);
    qb_mutex_unlock(&pool.mutex);
}

static QB_THREAD_RESULT run_worker(void *argument)
{
    const size_t worker = (size_t)((struct offer *)argument - pool.offers);
    qb_fpenv_enter();
    while (!qb_atomic_load(&pool.stop)) {
        if (spin_for_part(worker)) {
            pool.task(pool.context, worker + 1, pool.parts);
            qb_atomic_add(&pool.running, -1);
        } else {
            sleep_for_call(worker);
        }
    }
    return 0;
}

// In the child of a fork only the forking thread exists: the pool starts anew, whatever state another
// thread had it in.
static void forget_threads(void)
{
    pool.workers = 0;
    qb_mutex_init(&pool.mutex);
    qb_condition_init(&pool.wake);
    for (size_t i = 0; i < QB_MOST_THREADS; i++) qb_atomic_store(&pool.offers[i].open, 0);
    qb_atomic_store(&pool.sleepers, 0);
    qb_atomic_store(&pool.owned, 0);
}

// With the mutex, which it gives back.
static void wake_sleepers(void)
{
    pool.calls++;
    qb_mutex_unlock(&pool.mutex);
    qb_condition_wake_all(&pool.wake);
}

static void offer_parts(size_t count)
{
    qb_atomic_store(&pool.running, (int)count);
    for (size_t i = 0; i < count; i++) qb_atomic_exchange(&pool.offers[i].open, 1);
    // Who has the mutex is just falling asleep or waking: not worth waiting for, since offers are taken back.
    if (qb_atomic_add(&pool.sleepers, 0) && qb_mutex_try_lock(&pool.mutex)) wake_sleepers();
}

// Ends the workers before the library's memory goes away. A pool that is in use is left alone.
static void stop_threads(void)
{
    if (qb_atomic_exchange(&pool.owned, 1)) return;
    qb_atomic_store(&pool.stop, 1);
    qb_mutex_lock(&pool.mutex);
    wake_sleepers();
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
    for (; pool.workers < count; pool.workers++)
        if (qb_thread_start(&pool.threads[pool.workers], run_worker, &pool.offers[pool.workers]) != 0) return;
}

void qb_parallel(size_t parts, qb_task_fn *task, void *context)
{
    const size_t most = (size_t)qb_num_threads();
    size_t offered = 0; // parts 1..offered
    if (parts > 1 && most > 1 && !qb_atomic_exchange(&pool.owned, 1)) {
        have_workers((int)qb_min(parts, most) - 1);
        offered = qb_min((size_t)pool.workers, parts - 1);
        if (offered) {
            pool.task = task;
            pool.context = context;
            pool.parts = parts;
            offer_parts(offered);
        } else {
            qb_atomic_store(&pool.owned, 0);
        }
    }
    task(context, 0, parts);
    for (size_t part = offered + 1; part < parts; part++) task(context, part, parts);
    if (!offered) return;
    for (size_t worker = offered; worker-- > 0;) {
        if (!take(worker)) continue;
        task(context, worker + 1, parts);
        qb_atomic_add(&pool.running, -1);
    }
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

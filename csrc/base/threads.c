// SPDX-License-Identifier: Apache-2.0
// The pool: each worker waits for a share of the parts to be offered to it, spinning for a while (a hand-over then
// costs a fraction of a microsecond) and sleeping after (a wake-up costs tens). Whoever is through with its own share
// takes parts of the others', so that no call waits for a worker to wake, nor for a slower processor longer than one
// part takes. One caller at a time owns the pool.
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

enum { SHARE = 4 }; // parts for each thread, if they are worth it

// The parts of a worker, or of the caller. On a line of its own.
struct share {
    qb_atomic_int offered; // to a worker, who sets it back to 0 when it comes
    qb_atomic_int taken;   // parts that somebody runs or has run, or more
    char apart[64 - 2 * sizeof(qb_atomic_int)];
};

static struct {
    qb_atomic_int owned;   // a caller is inside qb_parallel with workers
    qb_atomic_int running; // shares offered whose workers are not through
    qb_atomic_int sleepers;
    qb_atomic_int stop;
    qb_atomic_int wanted; // threads, the caller's included; 0: not asked yet
    qb_atomic_int spin_us;
    int workers;
    qb_thread threads[QB_MOST_THREADS];
    struct share shares[QB_MOST_THREADS]; // the caller's, and those of workers 0, 1, ...
    qb_mutex mutex;
    qb_condition wake;
    unsigned calls; // to wake up
    qb_task_fn *task;
    void *context;
    size_t parts, sharers;
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

// Looks before it writes, since a line that is only read stays with everybody.
static int accept(struct share *share)
{
    return qb_atomic_load(&share->offered) && qb_atomic_exchange(&share->offered, 0);
}

// Looks out for a share for as long as workers spin. Whether it comes.
static int spin_for_share(struct share *share)
{
    const uint64_t limit = qb_now_us() + (uint64_t)qb_atomic_load(&pool.spin_us);
    do {
        for (int i = 0; i < 64; i++) {
            if (accept(share)) return 1;
            qb_pause();
        }
    } while (!qb_atomic_load(&pool.stop) && qb_now_us() < limit);
    return 0;
}

static void sleep_for_call(struct share *share)
{
    qb_mutex_lock(&pool.mutex);
    qb_atomic_add(&pool.sleepers, 1); // before the last look: offer_shares looks at it after its offers
    const unsigned seen = pool.calls;
    while (pool.calls == seen && !qb_atomic_add(&share->offered, 0) && !qb_atomic_load(&pool.stop))
        qb_condition_wait(&pool.wake, &pool.mutex);
    qb_atomic_add(&pool.sleepers, -1);
    qb_mutex_unlock(&pool.mutex);
}

// Runs what is left of a share, then of those that follow it.
static void run_parts(size_t own)
{
    for (size_t i = 0; i < pool.sharers; i++) {
        const size_t at = (own + i) % pool.sharers;
        const size_t start = qb_part_start(pool.parts, 1, at, pool.sharers);
        const size_t count = qb_part_start(pool.parts, 1, at + 1, pool.sharers) - start;
        qb_atomic_int *const taken = &pool.shares[at].taken;
        for (size_t n; (size_t)qb_atomic_load(taken) < count && (n = (size_t)qb_atomic_add(taken, 1)) < count;)
            pool.task(pool.context, start + n, pool.parts);
    }
}

static QB_THREAD_RESULT run_worker(void *argument)
{
    struct share *const share = argument;
    qb_fpenv_enter();
    while (!qb_atomic_load(&pool.stop)) {
        if (spin_for_share(share)) {
            run_parts((size_t)(share - pool.shares));
            qb_atomic_add(&pool.running, -1);
        } else {
            sleep_for_call(share);
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
    for (size_t i = 0; i < QB_MOST_THREADS; i++) qb_atomic_store(&pool.shares[i].offered, 0);
    qb_atomic_store(&pool.sleepers, 0);
    qb_atomic_store(&pool.owned, 0);
}

// Who has the mutex is just falling asleep or waking, which takes less time than to sleep for it.
static void wake_sleepers(void)
{
    int tries = 100;
    while (!qb_mutex_try_lock(&pool.mutex) && --tries) qb_pause();
    if (!tries) qb_mutex_lock(&pool.mutex);
    pool.calls++;
    qb_mutex_unlock(&pool.mutex);
    qb_condition_wake_all(&pool.wake);
}

static void offer_shares(size_t sharers)
{
    qb_atomic_store(&pool.running, (int)sharers - 1);
    for (size_t i = 0; i < sharers; i++) qb_atomic_store(&pool.shares[i].taken, 0);
    for (size_t i = 1; i < sharers; i++) qb_atomic_exchange(&pool.shares[i].offered, 1);
    if (qb_atomic_add(&pool.sleepers, 0)) wake_sleepers();
}

// Ends the workers before the library's memory goes away. A pool that is in use is left alone.
static void stop_threads(void)
{
    if (qb_atomic_exchange(&pool.owned, 1)) return;
    qb_atomic_store(&pool.stop, 1);
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
        if (qb_thread_start(&pool.threads[pool.workers], run_worker, &pool.shares[pool.workers + 1]) != 0) return;
}

// Whether the caller has the pool, with workers for as many shares as parts and threads allow.
static int own_pool(size_t parts)
{
    const size_t most = qb_min(parts, (size_t)qb_num_threads());
    if (most < 2 || qb_atomic_exchange(&pool.owned, 1)) return 0;
    have_workers((int)most - 1);
    pool.sharers = qb_min(most, (size_t)pool.workers + 1);
    return 1;
}

void qb_parallel(size_t parts, qb_task_fn *task, void *context)
{
    if (!own_pool(parts)) {
        for (size_t part = 0; part < parts; part++) task(context, part, parts);
        return;
    }
    pool.task = task;
    pool.context = context;
    pool.parts = parts;
    offer_shares(pool.sharers);
    run_parts(0);
    for (size_t i = 1; i < pool.sharers; i++)
        if (accept(&pool.shares[i])) qb_atomic_add(&pool.running, -1); // too late
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
    const size_t threads = (size_t)qb_num_threads(), worth = qb_min(pieces, bytes / least_bytes);
    if (worth < 2 || threads < 2) return 1;
    const size_t share = qb_min(SHARE, QB_MOST_THREADS / threads);
    return worth < threads ? worth : qb_min(share, worth / threads) * threads;
}

size_t qb_part_start(size_t n, size_t unit, size_t part, size_t parts)
{
    const size_t units = qb_ceil_div(n, unit), each = units / parts, extra = units % parts;
    return qb_min(n, (part * each + qb_min(part, extra)) * unit);
}

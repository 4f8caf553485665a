// SPDX-License-Identifier: Apache-2.0
// What the thread pool needs of the operating system: POSIX or Windows.
#ifndef QB_OS_H
#define QB_OS_H

#include "target.h"

#include <stdint.h>

#if defined(_WIN32)
#include <windows.h>
typedef HANDLE qb_thread;
typedef SRWLOCK qb_mutex;
typedef CONDITION_VARIABLE qb_condition;
#define QB_MUTEX_INIT SRWLOCK_INIT
#define QB_CONDITION_INIT CONDITION_VARIABLE_INIT
#define QB_THREAD_RESULT DWORD WINAPI
typedef LPTHREAD_START_ROUTINE qb_thread_fn;
#else
#include <pthread.h>
typedef pthread_t qb_thread;
typedef pthread_mutex_t qb_mutex;
typedef pthread_cond_t qb_condition;
#define QB_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
#define QB_CONDITION_INIT PTHREAD_COND_INITIALIZER
#define QB_THREAD_RESULT void *
typedef void *(*qb_thread_fn)(void *);
#endif

int qb_thread_start(qb_thread *thread, qb_thread_fn run, void *argument); // 0, or an error
void qb_thread_join(qb_thread thread);
void qb_at_fork_child(void (*run)(void)); // nothing where there is no fork

void qb_mutex_init(qb_mutex *mutex);
void qb_mutex_lock(qb_mutex *mutex);
int qb_mutex_try_lock(qb_mutex *mutex); // whether it has it now
void qb_mutex_unlock(qb_mutex *mutex);
void qb_condition_init(qb_condition *condition);
void qb_condition_wait(qb_condition *condition, qb_mutex *mutex);
void qb_condition_wake_all(qb_condition *condition);

uint64_t qb_now_us(void);
void qb_yield(void); // this CPU to whoever waits for it

// CPUs this process may use: its affinity, and the quota of its control group where there is one.
int qb_usable_cpus(void);

// Tells the processor that this is a spin loop.
static inline void qb_pause(void)
{
#if QB_X86
    _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("yield");
#endif
}

#endif

// SPDX-License-Identifier: Apache-2.0
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE // sched_getaffinity
#endif
#include "os.h"

#if defined(_WIN32)

int qb_thread_start(qb_thread *thread, qb_thread_fn run, void *argument)
{
    *thread = CreateThread(NULL, 0, run, argument, 0, NULL);
    return *thread == NULL;
}
void qb_thread_join(qb_thread thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
void qb_at_fork_child(void (*run)(void)) { (void)run; }
void qb_mutex_init(qb_mutex *mutex) { InitializeSRWLock(mutex); }
void qb_mutex_lock(qb_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
int qb_mutex_try_lock(qb_mutex *mutex) { return TryAcquireSRWLockExclusive(mutex) != 0; }
void qb_mutex_unlock(qb_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }
void qb_condition_init(qb_condition *condition) { InitializeConditionVariable(condition); }
void qb_condition_wait(qb_condition *condition, qb_mutex *mutex)
{
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}
void qb_condition_wake_all(qb_condition *condition) { WakeAllConditionVariable(condition); }

void qb_yield(void) { SwitchToThread(); }

uint64_t qb_now_us(void)
{
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (uint64_t)((double)count.QuadPart * 1e6 / (double)frequency.QuadPart);
}

int qb_usable_cpus(void)
{
    DWORD_PTR mine, all;
    int n = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all)) return 1;
    for (; mine; mine &= mine - 1) n++;
    return n ? n : 1;
}

#else

#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int qb_thread_start(qb_thread *thread, qb_thread_fn run, void *argument)
{
    return pthread_create(thread, NULL, run, argument);
}
void qb_thread_join(qb_thread thread) { pthread_join(thread, NULL); }
void qb_at_fork_child(void (*run)(void)) { pthread_atfork(NULL, NULL, run); }
void qb_mutex_init(qb_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
void qb_mutex_lock(qb_mutex *mutex) { pthread_mutex_lock(mutex); }
int qb_mutex_try_lock(qb_mutex *mutex) { return pthread_mutex_trylock(mutex) == 0; }
void qb_mutex_unlock(qb_mutex *mutex) { pthread_mutex_unlock(mutex); }
void qb_condition_init(qb_condition *condition) { pthread_cond_init(condition, NULL); }
void qb_condition_wait(qb_condition *condition, qb_mutex *mutex) { pthread_cond_wait(condition, mutex); }
void qb_condition_wake_all(qb_condition *condition) { pthread_cond_broadcast(condition); }

void qb_yield(void) { sched_yield(); }

uint64_t qb_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

// CPUs' worth of time that a control group allows: quota / period, rounded up; 0 where unlimited.
static int quota_cpus(void)
{
    long long quota = 0, period = 0;
    int found = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r"); // version 2: "max 100000" or "150000 100000"
    if (file) {
        found = fscanf(file, "%lld %lld", &quota, &period) == 2;
        fclose(file);
    } else if ((file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
        found = fscanf(file, "%lld", &quota) == 1;
        fclose(file);
        file = found ? fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r") : NULL;
        found = file && fscanf(file, "%lld", &period) == 1;
        if (file) fclose(file);
    }
    if (!found || quota <= 0 || period <= 0) return 0;
    return (int)((quota + period - 1) / period);
}

int qb_usable_cpus(void)
{
    int n = 0;
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
    if (n < 1) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    const int quota = quota_cpus();
    if (quota && quota < n) n = quota;
    return n < 1 ? 1 : n;
}

#endif

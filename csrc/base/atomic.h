// SPDX-License-Identifier: Apache-2.0
// The one kind of atomic the library needs, on compilers with and without <stdatomic.h>.
#ifndef QB_ATOMIC_H
#define QB_ATOMIC_H

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
typedef volatile long qb_atomic_int;
#define QB_ATOMIC_INIT(value) value
static __inline int qb_atomic_load(qb_atomic_int *a) { return (int)_InterlockedOr(a, 0); }
static __inline void qb_atomic_store(qb_atomic_int *a, int v) { _InterlockedExchange(a, v); }
static __inline int qb_atomic_exchange(qb_atomic_int *a, int v) { return (int)_InterlockedExchange(a, v); }
static __inline int qb_atomic_add(qb_atomic_int *a, int v) { return (int)_InterlockedExchangeAdd(a, v); }
#else
#include <stdatomic.h>
typedef atomic_int qb_atomic_int;
#define QB_ATOMIC_INIT(value) value
static inline int qb_atomic_load(qb_atomic_int *a)
{
    return atomic_load_explicit(a, memory_order_acquire);
}
static inline void qb_atomic_store(qb_atomic_int *a, int v)
{
    atomic_store_explicit(a, v, memory_order_release);
}
// The old value; these two order everything before and after them.
static inline int qb_atomic_exchange(qb_atomic_int *a, int v) { return atomic_exchange(a, v); }
static inline int qb_atomic_add(qb_atomic_int *a, int v) { return atomic_fetch_add(a, v); }
#endif

#endif

// SPDX-License-Identifier: Apache-2.0
// Which tiers can run here. A tier needs its CPUID bits *and* the operating system's word, in XCR0,
// that it saves the registers: without the second, AVX-512 code dies on CPUs that advertise it.
#include "cpu.h"

#include "../qbits.h"
#include "atomic.h"
#include "isa.h"

#include <string.h>

#define ALL(word, bits) (((word) & (bits)) == (bits))

#if QB_X86
// The dot product in 8 lanes, or its twin with another encoding.
static int has_avxvnni(const struct qb_cpuid *id)
{
#if defined(QB_EVEX_TWIN)
    return ALL(id->leaf7_ebx, 1u << 16 | 1u << 31) && ALL(id->leaf7_ecx, 1u << 11) && ALL(id->xcr0, 0xe6);
#else
    return ALL(id->leaf7_1_eax, 1u << 4);
#endif
}
#endif

uint32_t qb_isa_mask_from(const struct qb_cpuid *id)
{
    uint32_t mask = 1u << QB_ISA_scalar;
#if QB_X86
    enum { FMA = 1 << 12, POPCNT = 1 << 23, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
    enum { BMI1 = 1 << 3, AVX2 = 1 << 5, BMI2 = 1 << 8, LZCNT = 1 << 5 };
    enum { F = 1 << 16, DQ = 1 << 17, BW = 1 << 30, VBMI = 1 << 1, VNNI = 1 << 11 };
    const uint32_t vl = 1u << 31;
    enum { YMM_STATE = 0x6, ZMM_STATE = 0xe6 };
    if (id->max_leaf < 7 || !ALL(id->leaf1_ecx, FMA | POPCNT | OSXSAVE | AVX | F16C)) return mask;
    if (!ALL(id->leaf7_ebx, BMI1 | AVX2 | BMI2) || !ALL(id->ext1_ecx, LZCNT)) return mask;
    if (!ALL(id->xcr0, YMM_STATE)) return mask;
    mask |= 1u << QB_ISA_avx2;
    if (has_avxvnni(id)) mask |= 1u << QB_ISA_avxvnni;
    if (!ALL(id->leaf7_ebx, F | DQ | BW | vl) || !ALL(id->leaf7_ecx, VBMI | VNNI)) return mask;
    if (!ALL(id->xcr0, ZMM_STATE)) return mask;
    mask |= 1u << QB_ISA_avx512;
#else
    (void)id;
#endif
    return mask;
}

#if QB_X86
#if defined(_MSC_VER)
#include <intrin.h>
static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    __cpuidex((int *)r, (int)leaf, (int)sub);
}
static uint64_t xgetbv(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    __cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]);
}
static uint64_t xgetbv(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((uint64_t)hi << 32) | lo;
}
#endif
#endif

static uint32_t look(void)
{
    struct qb_cpuid id = {0};
#if QB_X86
    uint32_t r[4];
    cpuid(0, 0, r);
    id.max_leaf = r[0];
    cpuid(1, 0, r);
    id.leaf1_ecx = r[2];
    if (id.max_leaf >= 7) {
        cpuid(7, 0, r);
        id.leaf7_ebx = r[1];
        id.leaf7_ecx = r[2];
        if (r[0] >= 1) {
            cpuid(7, 1, r);
            id.leaf7_1_eax = r[0];
        }
    }
    cpuid(0x80000000u, 0, r);
    if (r[0] >= 0x80000001u) {
        cpuid(0x80000001u, 0, r);
        id.ext1_ecx = r[2];
    }
    if (id.leaf1_ecx & (1u << 27)) id.xcr0 = xgetbv();
#endif
    return qb_isa_mask_from(&id);
}

uint32_t qb_isa_mask(void)
{
    static qb_atomic_int known; // CPUID is slow under a hypervisor; scalar's bit makes it nonzero
    int mask = qb_atomic_load(&known);
    if (mask == 0) {
        mask = (int)look();
        qb_atomic_store(&known, mask);
    }
    return (uint32_t)mask;
}

void qb_cpu_brand(char *out49)
{
    memset(out49, 0, 49);
#if QB_X86
    uint32_t r[4];
    cpuid(0x80000000u, 0, r);
    if (r[0] < 0x80000004u) return;
    for (uint32_t i = 0; i < 3; i++) {
        cpuid(0x80000002u + i, 0, r);
        memcpy(out49 + 16 * i, r, 16);
    }
#endif
}

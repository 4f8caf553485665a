// SPDX-License-Identifier: Apache-2.0
// One constant table per tier, one atomic index. The rows below are the support matrix: each names,
// per family, the tier whose file serves it (kernels/<family>_<isa>.c); a tier without a file of its
// own names the one below.
#include "dispatch.h"

#include "../qbits.h"
#include "atomic.h"
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

static const struct qb_kernels tables[QB_ISA_COUNT] = {
    [QB_ISA_scalar] = {
        QB_TABLE_pack(scalar)
        QB_TABLE_params(scalar)
        QB_TABLE_quant(scalar)
        QB_TABLE_search(scalar)
        QB_TABLE_dot(scalar)
        QB_TABLE_operands(scalar)
        QB_TABLE_matmul(scalar)
        QB_TABLE_planes(scalar)
        QB_TABLE_fold(scalar)
        QB_TABLE_gemv(scalar)
        QB_TABLE_blocks(scalar)
        QB_TABLE_grids(scalar)
        QB_TABLE_lanes(scalar)
        QB_TABLE_fixed(scalar)
        QB_TABLE_super(scalar)
        QB_TABLE_nearest(scalar)
    },
#if QB_X86
    [QB_ISA_avx2] = {
        QB_TABLE_pack(avx2)
        QB_TABLE_params(avx2)
        QB_TABLE_quant(avx2)
        QB_TABLE_search(avx2)
        QB_TABLE_dot(avx2)
        QB_TABLE_operands(avx2)
        QB_TABLE_matmul(avx2)
        QB_TABLE_planes(avx2)
        QB_TABLE_fold(avx2)
        QB_TABLE_gemv(avx2)
        QB_TABLE_blocks(avx2)
        QB_TABLE_grids(avx2)
        QB_TABLE_lanes(avx2)
        QB_TABLE_fixed(avx2)
        QB_TABLE_super(avx2)
        QB_TABLE_nearest(avx2)
    },
    [QB_ISA_avxvnni] = {
        QB_TABLE_pack(avx2)
        QB_TABLE_params(avx2)
        QB_TABLE_quant(avx2)
        QB_TABLE_search(avx2)
        QB_TABLE_dot(avx2)
        QB_TABLE_operands(avx2)
        QB_TABLE_matmul(avxvnni)
        QB_TABLE_planes(avx2)
        QB_TABLE_fold(avx2)
        QB_TABLE_gemv(avxvnni)
        QB_TABLE_blocks(avx2)
        QB_TABLE_grids(avx2)
        QB_TABLE_lanes(avx2)
        QB_TABLE_fixed(avx2)
        QB_TABLE_super(avx2)
        QB_TABLE_nearest(avx2)
    },
    [QB_ISA_avx512] = {
        QB_TABLE_pack(avx512)
        QB_TABLE_params(avx512)
        QB_TABLE_quant(avx512)
        QB_TABLE_search(avx512)
        QB_TABLE_dot(avx512)
        QB_TABLE_operands(avx512)
        QB_TABLE_matmul(avx512)
        QB_TABLE_planes(avx512)
        QB_TABLE_fold(avx2)
        QB_TABLE_gemv(avx512)
        QB_TABLE_blocks(avx2)
        QB_TABLE_grids(avx2)
        QB_TABLE_lanes(avx2)
        QB_TABLE_fixed(avx2)
        QB_TABLE_super(avx2)
        QB_TABLE_nearest(avx2)
    },
#endif
};

static const char *const names[QB_ISA_COUNT] = {
#define X(name, text) [QB_ISA_##name] = #name,
    QB_ISAS(X)
#undef X
};

static const char *const texts[QB_ISA_COUNT] = {
#define X(name, text) [QB_ISA_##name] = text,
    QB_ISAS(X)
#undef X
};

// -1 until the first use: then the best tier of the machine, or the one PYQBITS_ISA names. Two
// threads that race here compute the same value.
static qb_atomic_int current = QB_ATOMIC_INIT(-1);

static int best_isa(void)
{
    const uint32_t mask = qb_isa_mask();
    int best = QB_ISA_scalar;
    for (int i = 0; i < QB_ISA_COUNT; i++)
        if (mask >> i & 1) best = i;
    return best;
}

static int find_isa(const char *name)
{
    for (int i = 0; i < QB_ISA_COUNT; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static int start_isa(void)
{
    const char *forced = getenv("PYQBITS_ISA");
    if (!forced || !*forced) return best_isa();
    const int isa = find_isa(forced);
    // An impossible wish is reported by qb_isa_init(); without that call the safe tier runs.
    return isa >= 0 && (qb_isa_mask() >> isa & 1) ? isa : QB_ISA_scalar;
}

int qb_isa_init(void)
{
    const char *forced = getenv("PYQBITS_ISA");
    if (!forced || !*forced) return QB_OK;
    const int isa = find_isa(forced);
    if (isa < 0) return QB_ERR_ISA_UNKNOWN;
    return qb_isa_supported(isa) ? QB_OK : QB_ERR_ISA_UNSUPPORTED;
}

int qb_isa(void)
{
    int isa = qb_atomic_load(&current);
    if (isa < 0) {
        isa = start_isa();
        qb_atomic_store(&current, isa);
    }
    return isa;
}

int qb_isa_count(void) { return QB_ISA_COUNT; }

const char *qb_isa_name(int isa) { return isa >= 0 && isa < QB_ISA_COUNT ? names[isa] : NULL; }

const char *qb_isa_text(int isa) { return isa >= 0 && isa < QB_ISA_COUNT ? texts[isa] : NULL; }

int qb_isa_supported(int isa)
{
    return isa >= 0 && isa < QB_ISA_COUNT && (qb_isa_mask() >> isa & 1);
}

int qb_use_isa(int isa)
{
    if (isa < 0 || isa >= QB_ISA_COUNT) return QB_ERR_ISA_UNKNOWN;
    if (!qb_isa_supported(isa)) return QB_ERR_ISA_UNSUPPORTED;
    qb_atomic_store(&current, isa);
    return QB_OK;
}

const char *qb_kernel_isa(int isa, int family)
{
    if (isa < 0 || isa >= QB_ISA_COUNT) return NULL;
    switch (family) {
#define X(name) case QB_FAMILY_##name: return tables[isa].name##_isa;
        QB_FAMILIES(X)
#undef X
    default: return NULL;
    }
}

const struct qb_kernels *qb_kernels_of(enum qb_isa_id isa) { return &tables[isa]; }

const struct qb_kernels *qb_kernels_now(void) { return &tables[qb_isa()]; }

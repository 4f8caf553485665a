// SPDX-License-Identifier: Apache-2.0
// The decision which tiers run, on CPUID and XCR0 words that no machine here has.
#include "checkasm.h"
#include "cpu.h"

#define SCALAR (1u << QB_ISA_scalar)
#if QB_X86
#define AVX2 (SCALAR | 1u << QB_ISA_avx2)
#define AVX512 (AVX2 | 1u << QB_ISA_avx512)
#if defined(QB_EVEX_TWIN)
#define VNNI_BY(evex, vex) (evex)
#else
#define VNNI_BY(evex, vex) (vex)
#endif
// The tier avxvnni, where the machine has the instruction in its EVEX and in its VEX form.
#define VNNI(evex, vex) (VNNI_BY(evex, vex) ? 1u << QB_ISA_avxvnni : 0)

// A machine that has everything.
static const struct qb_cpuid everything = {7, ~0u, ~0u, ~0u, ~0u, ~0u, ~(uint64_t)0};

// Clears one bit of one word; `field` is an index into the words below.
static struct qb_cpuid without(int field, int bit)
{
    struct qb_cpuid id = everything;
    uint32_t *const words[] = {&id.leaf1_ecx, &id.leaf7_ebx, &id.leaf7_ecx, &id.ext1_ecx, &id.leaf7_1_eax};
    if (field < 5) *words[field] &= ~(1u << bit);
    else id.xcr0 &= ~((uint64_t)1 << bit);
    return id;
}

static void check_bits(void)
{
    // {field, bit, what is left without it}: every feature a tier's target string asks for.
    static const struct {
        int field, bit;
        uint32_t left;
    } needs[] = {
        {0, 12, SCALAR}, {0, 23, SCALAR}, {0, 27, SCALAR},                 // FMA POPCNT OSXSAVE
        {0, 28, SCALAR}, {0, 29, SCALAR},                                  // AVX F16C
        {1, 3, SCALAR},  {1, 5, SCALAR},  {1, 8, SCALAR},  {3, 5, SCALAR}, // BMI AVX2 LZCNT
        {5, 1, SCALAR},  {5, 2, SCALAR},                                   // SSE, YMM state
        {1, 16, AVX2 | VNNI(0, 1)}, {1, 17, AVX2 | VNNI(1, 1)},            // F DQ
        {1, 30, AVX2 | VNNI(1, 1)}, {1, 31, AVX2 | VNNI(0, 1)},            // BW VL
        {2, 1, AVX2 | VNNI(1, 1)},  {2, 11, AVX2 | VNNI(0, 1)},            // VBMI VNNI
        {4, 4, AVX512 | VNNI(1, 0)},                                       // AVX-VNNI
        {5, 5, AVX2 | VNNI(0, 1)},  {5, 6, AVX2 | VNNI(0, 1)}, {5, 7, AVX2 | VNNI(0, 1)}, // opmask, ZMM
    };
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        ck_case("field %d bit %d", needs[i].field, needs[i].bit);
        const struct qb_cpuid id = without(needs[i].field, needs[i].bit);
        ck_same_u64("mask", needs[i].left, qb_isa_mask_from(&id));
    }
}

static void check_machines(void)
{
    static const struct {
        const char *text;
        struct qb_cpuid id;
        uint32_t mask;
    } machines[] = {
        {"everything", {7, ~0u, ~0u, ~0u, ~0u, ~0u, ~(uint64_t)0}, AVX512 | VNNI(1, 1)},
        {"nothing", {0, 0, 0, 0, 0, 0, 0}, SCALAR},
        {"features without leaf 7", {6, ~0u, ~0u, ~0u, ~0u, ~0u, ~(uint64_t)0}, SCALAR},
        {"AVX-512 machine, system without AVX", {13, ~0u, ~0u, ~0u, ~0u, ~0u, 0}, SCALAR},
        {"AVX-512 machine, system saves YMM only", {13, ~0u, ~0u, ~0u, 0, ~0u, 0x7}, AVX2},
        {"AVX-512 machine, system saves ZMM", {13, ~0u, ~0u, ~0u, 0, ~0u, 0xe7}, AVX512 | VNNI(1, 0)},
        {"Skylake server: no VBMI, no VNNI", {22, ~0u, 0xd19ffffb, 0, 0, ~0u, 0xe7}, AVX2},
        {"Cascade Lake: VNNI, no VBMI", {22, ~0u, 0xd19ffffb, 0x800, 0, ~0u, 0xe7}, AVX2 | VNNI(1, 0)},
        {"Alder Lake: AVX-VNNI alone", {32, ~0u, 0x239c27eb, 0x98c007ac, 0x1c30, ~0u, 0x7}, AVX2 | VNNI(0, 1)},
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        ck_case("%s", machines[i].text);
        ck_same_u64("mask", machines[i].mask, qb_isa_mask_from(&machines[i].id));
    }
}
#endif

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    if (!ck_kernel("isa_mask")) return;
    const struct qb_cpuid nothing = {0};
    ck_case("nothing");
    ck_same_u64("mask", SCALAR, qb_isa_mask_from(&nothing));
#if QB_X86
    check_bits();
    check_machines();
#endif
    ck_case("this machine");
    for (int isa = 0; isa < qb_isa_count(); isa++)
        ck_same_u64("supported", qb_isa_mask() >> isa & 1, (uint64_t)qb_isa_supported(isa));
    char brand[49 + 1];
    brand[49] = 0x55;
    qb_cpu_brand(brand);
    ck_true("the brand ends in a zero", brand[48] == 0 && brand[49] == 0x55);
}

const struct suite suite_cpu = {"cpu", SUITE_ONCE, check, NULL};

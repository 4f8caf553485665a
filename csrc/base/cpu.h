// SPDX-License-Identifier: Apache-2.0
#ifndef QB_CPU_H
#define QB_CPU_H

#include <stdint.h>

// The words of CPUID and XCR0 that decide the tiers; a plain struct, so that a test can invent one.
struct qb_cpuid {
    uint32_t max_leaf;
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx, leaf7_ecx;
    uint32_t leaf7_1_eax; // leaf 7, subleaf 1; 0 where there is none
    uint32_t ext1_ecx; // leaf 0x80000001
    uint64_t xcr0;     // 0 where OSXSAVE is off
};

// Bit i is set when tier i (enum qb_isa_id) can run, given these words. Scalar always can.
uint32_t qb_isa_mask_from(const struct qb_cpuid *id);

// The same for the machine this runs on.
uint32_t qb_isa_mask(void);

#endif

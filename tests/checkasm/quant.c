// SPDX-License-Identifier: Apache-2.0
// Family "quant". The scalar kernels are held against the definition computed in double and rounded
// after every operation (which is the float operation), the others against scalar.
#include "checkasm.h"
#include "floats.h"

#include <math.h>
#include <string.h>

static struct buffer in, params[4], want, got;

// ---- half precision ---------------------------------------------------------------------------------

static void widen_case(const struct qb_kernels *ref, const struct qb_kernels *test,
                       const uint16_t *x, size_t n, int at)
{
    float *const a = place_floats(&want, n, CK_END);
    float *const b = place_floats(&got, n, at);
    if (ref == test)
        for (size_t i = 0; i < n; i++) a[i] = half_value(x[i]);
    else ref->widen_f16(x, n, a);
    test->widen_f16(x, n, b);
    ck_same("floats", a, b, n * 4);
    ck_canaries(&got);
}

static void narrow_case(const struct qb_kernels *ref, const struct qb_kernels *test, float *x,
                        size_t n, int at, int bf16)
{
    const int no_ties = !bf16 && ref != test && halves_round_up();
    for (size_t i = 0; no_ties && i < n; i++)
        if (isfinite(x[i])) x[i] = float_of(bits_of(x[i]) | 1);
    uint16_t *const a = place_halves(&want, n, CK_END);
    uint16_t *const b = place_halves(&got, n, at);
    if (ref == test)
        for (size_t i = 0; i < n; i++) a[i] = bf16 ? nearest_bf16(x[i]) : nearest_half(x[i]);
    else (bf16 ? ref->narrow_bf16 : ref->narrow_f16)(x, n, a);
    (bf16 ? test->narrow_bf16 : test->narrow_f16)(x, n, b);
    ck_same("halves", a, b, n * 2);
    ck_canaries(&got);
}

static void check_widen(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (size_t n = 0; n <= SHORT; n++) {
        for (int at = CK_END; at < 64; at++) {
            if (ck_skip()) continue;
            ck_case("n=%zu out=%d", n, at);
            uint16_t *const x = place_halves(&in, n, at & 1 ? CK_END : at);
            ck_fill(x, n * 2);
            widen_case(ref, test, x, n, at);
        }
    }
    enum { CHUNK = 1 << 12 };
    uint16_t *const x = place_halves(&in, CHUNK, CK_END);
    for (unsigned first = 0; first < 1 << 16; first += CHUNK) {
        if (ck_skip()) continue;
        ck_case("all halves, from %u", first);
        for (unsigned i = 0; i < CHUNK; i++) x[i] = (uint16_t)(first + i);
        widen_case(ref, test, x, CHUNK, CK_END);
    }
}

static void check_narrow(const struct qb_kernels *ref, const struct qb_kernels *test, int bf16)
{
    for (size_t n = 0; n <= SHORT; n++) {
        for (int at = CK_END; at < 64; at++) {
            if (ck_skip()) continue;
            ck_case("n=%zu out=%d", n, at);
            float *const x = place_floats(&in, n, at & 1 ? CK_END : at);
            fill_floats(x, n, (enum floats)(at & 3));
            narrow_case(ref, test, x, n, at, bf16);
        }
    }
    // Every value of the upper bits, which the result can hold, with dropped bits around a tie.
    enum { CHUNK = 1 << 12 };
    const int dropped = bf16 ? 16 : 13;
    const uint32_t tie = 1u << (dropped - 1), all = 2 * tie - 1;
    const uint32_t lower[8] = {0, 1, tie - 1, tie, tie + 1, tie + tie / 2, all, tie / 2};
    float *const x = place_floats(&in, CHUNK, CK_END);
    for (uint32_t first = 0; first < 8u << (32 - dropped); first += CHUNK) {
        if (ck_skip()) continue;
        ck_case("upper bits from %05x", (unsigned)(first >> 3));
        for (uint32_t i = 0; i < CHUNK; i++)
            x[i] = float_of((first + i) >> 3 << dropped | lower[i & 7]);
        narrow_case(ref, test, x, CHUNK, CK_END, bf16);
    }
}

// ---- encode -----------------------------------------------------------------------------------------

static double rint_even(double t)
{
    if (!(fabs(t) < 0x1p40)) return t;
    const double below = floor(t), part = t - below;
    return part < 0.5 || (part == 0.5 && fmod(below, 2) == 0) ? below : below + 1;
}

static void naive_encode(const float *x, size_t n, size_t group, const float *off, const float *inv,
                         const float *z, float lo, float hi, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) {
        const size_t g = i / group;
        const float v = (float)((double)x[i] - (double)(off ? off[g] : 0));
        const double t = rint_even((double)(float)((double)v * (double)inv[g])) +
                         (double)(z ? z[g] : 0);
        codes[i] = (uint8_t)(int)(!(t >= (double)lo) ? lo : t >= (double)hi ? hi : (float)t);
    }
}

static void encode_kind(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                        size_t group, int at, enum floats kind, int with)
{
    if (ck_skip()) return;
    const size_t groups = (n + group - 1) / group;
    float *const x = place_floats(&in, n, at);
    const float *const off = with & 1 ? place_params(&params[0], groups, kind) : NULL;
    float *const inv = place_params(&params[1], groups, kind);
    float *const z = with & 2 ? place_params(&params[2], groups, kind) : NULL;
    for (size_t g = 0; z && g < groups; g++) z[g] = (float)ck_below(256);
    fill_floats(x, n, kind);
    const int least = with & 4 ? -128 : 0, p = (int)ck_below(256), q = (int)ck_below(256);
    const int full = with & 8;
    const float lo = (float)(least + (full ? 0 : p < q ? p : q));
    const float hi = (float)(least + (full ? 255 : p < q ? q : p));
    ck_case("n=%zu group=%zu at=%d floats=%d with=%d lo=%g hi=%g", n, group, at, kind, with,
            (double)lo, (double)hi);
    uint8_t *const a = (uint8_t *)ck_place(&want, n, CK_END);
    uint8_t *const b = (uint8_t *)ck_place(&got, n, at);
    if (ref == test) naive_encode(x, n, group, off, inv, z, lo, hi, a);
    else ref->encode(x, n, group, off, inv, z, lo, hi, a);
    test->encode(x, n, group, off, inv, z, lo, hi, b);
    ck_same("codes", a, b, n);
    ck_canaries(&got);
}

static void encode_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                        size_t group, int at)
{
    for (int kind = 0; kind < FLOATS_KINDS; kind++)
        for (int i = 0; i < 3; i++)
            encode_kind(ref, test, n, group, at, (enum floats)kind, (int)ck_below(16));
}

// Every float's upper 20 bits, through steps of several sizes.
static void check_encode_sweep(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    static const float steps[6] = {1, -1, 0.5f, 0x1p-126f, 0x1p100f, 7.3f};
    enum { CHUNK = 1 << 12 };
    float *const x = place_floats(&in, CHUNK, CK_END);
    uint8_t *const a = (uint8_t *)ck_place(&want, CHUNK, CK_END);
    uint8_t *const b = (uint8_t *)ck_place(&got, CHUNK, 0);
    for (uint32_t first = 0; first < 1u << 20; first += CHUNK) {
        if (ck_skip()) continue;
        const uint32_t lower = (uint32_t)ck_random() & 0xFFF;
        const float inv = steps[ck_below(6)], zero = (float)ck_below(256),
                    lo = ck_below(2) ? 0.0f : -128.0f;
        ck_case("upper bits from %05x, lower %03x, inv %g, z %g", (unsigned)first, (unsigned)lower,
                (double)inv, (double)zero);
        for (uint32_t i = 0; i < CHUNK; i++) x[i] = float_of((first + i) << 12 | lower);
        if (ref == test) naive_encode(x, CHUNK, CHUNK, NULL, &inv, &zero, lo, lo + 255, a);
        else ref->encode(x, CHUNK, CHUNK, NULL, &inv, &zero, lo, lo + 255, a);
        test->encode(x, CHUNK, CHUNK, NULL, &inv, &zero, lo, lo + 255, b);
        ck_same("codes", a, b, CHUNK);
    }
}

// ---- decode -----------------------------------------------------------------------------------------

static void naive_decode(const uint8_t *codes, size_t n, size_t group, const float *d,
                         const float *z, const float *m, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const size_t g = i / group;
        const float level = (float)((double)codes[i] - (double)(z ? z[g] : 0));
        out[i] = (float)((double)d[g] * (double)level);
        if (m) out[i] = (float)((double)out[i] + (double)m[g]);
    }
}

static void decode_kind(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                        size_t group, int at, enum floats kind, int with)
{
    if (ck_skip()) return;
    ck_case("n=%zu group=%zu at=%d floats=%d with=%d", n, group, at, kind, with);
    const size_t groups = (n + group - 1) / group;
    uint8_t *const codes = (uint8_t *)ck_place(&in, n, at);
    const float *const d = place_params(&params[0], groups, kind);
    const float *const z = with & 1 ? place_params(&params[1], groups, kind) : NULL;
    const float *const m = with & 2 ? place_params(&params[2], groups, kind) : NULL;
    ck_fill(codes, n);
    float *const a = place_floats(&want, n, CK_END);
    float *const b = place_floats(&got, n, at);
    if (ref == test) naive_decode(codes, n, group, d, z, m, a);
    else ref->decode(codes, n, group, d, z, m, a);
    test->decode(codes, n, group, d, z, m, b);
    same_floats("values", a, b, n);
    ck_canaries(&got);
}

static void decode_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                        size_t group, int at)
{
    for (int kind = 0; kind < FLOATS_KINDS; kind++)
        decode_kind(ref, test, n, group, at, (enum floats)kind, (int)ck_below(4));
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("widen_f16")) check_widen(ref, test);
    if (ck_kernel("narrow_f16")) check_narrow(ref, test, 0);
    if (ck_kernel("narrow_bf16")) check_narrow(ref, test, 1);
    if (ck_kernel("encode")) for_each_shape(ref, test, encode_case);
    if (ck_kernel("encode_sweep")) check_encode_sweep(ref, test);
    if (ck_kernel("decode")) for_each_shape(ref, test, decode_case);
}

// ---- benchmarks -------------------------------------------------------------------------------------

enum { BENCH = 1 << 14 }; // 64 KiB of floats: in the second level of cache

struct job {
    const struct qb_kernels *k;
    size_t group;
    float *x, *lo, *hi, *inv, *z, *out;
    uint16_t *half;
    uint8_t *codes;
    int with; // bits: off or m, z, negative codes
};

static void run_widen(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->widen_f16(j->half, BENCH, j->out);
}

static void run_narrow(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->narrow_f16(j->x, BENCH, j->half);
}

static void run_narrow_bf16(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->narrow_bf16(j->x, BENCH, j->half);
}

static void run_encode(void *context)
{
    const struct job *const j = (const struct job *)context;
    const float lo = j->with & 4 ? -8.0f : 0.0f;
    j->k->encode(j->x, BENCH, j->group, j->with & 1 ? j->lo : NULL, j->inv,
                 j->with & 2 ? j->z : NULL, lo, lo + 15, j->codes);
}

static void run_decode(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->decode(j->codes, BENCH, j->group, j->inv, j->with & 2 ? j->z : NULL,
                 j->with & 1 ? j->lo : NULL, j->out);
}

static void run_memcpy(void *context)
{
    const struct job *const j = (const struct job *)context;
    memcpy(j->out, j->x, BENCH * 4);
}

static void run_read(void *context) // the least a kernel that reads everything can cost
{
    const struct job *const j = (const struct job *)context;
    uint64_t sum[8] = {0}, word[8];
    for (size_t i = 0; i < BENCH; i += 16) {
        memcpy(word, j->x + i, 64);
        for (int k = 0; k < 8; k++) sum[k] |= word[k];
    }
    ck_use(sum[0] | sum[1] | sum[2] | sum[3] | sum[4] | sum[5] | sum[6] | sum[7]);
}

static void bench_one(const struct qb_kernels *ref, struct job *mine, void (*run)(void *))
{
    struct job base = *mine;
    base.k = ref;
    ck_case("group=%zu", mine->group);
    const struct ck_run runs[] = {{"it", run, mine},
                                  {"scalar", run, &base},
                                  {"memcpy", run_memcpy, mine},
                                  {"read", run_read, mine}};
    ck_bench(BENCH * 4, runs, 4);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    struct job j = {test, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0};
    float **const floats[] = {&j.x, &j.lo, &j.hi, &j.inv, &j.z, &j.out};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        *floats[i] = (float *)ck_memory(BENCH * 4);
        fill_floats(*floats[i], BENCH, FLOATS_NORMAL);
    }
    j.half = (uint16_t *)ck_memory(BENCH * 2);
    j.codes = (uint8_t *)ck_memory(BENCH);
    if (ck_kernel("widen_f16")) bench_one(ref, &j, run_widen);
    if (ck_kernel("narrow_f16")) bench_one(ref, &j, run_narrow);
    if (ck_kernel("narrow_bf16")) bench_one(ref, &j, run_narrow_bf16);
    static const size_t groups[] = {32, 64, 128, BENCH, 16, 8, 48, 20, 5, 1};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        j.group = groups[i];
        j.with = 4;
        if (ck_kernel("encode")) bench_one(ref, &j, run_encode);
        j.with = 1;
        if (ck_kernel("encode_off")) bench_one(ref, &j, run_encode);
        if (ck_kernel("decode_m")) bench_one(ref, &j, run_decode);
        j.with = 2;
        if (ck_kernel("encode_z")) bench_one(ref, &j, run_encode);
        if (ck_kernel("decode_z")) bench_one(ref, &j, run_decode);
    }
}

const struct suite suite_quant = {"quant", QB_FAMILY_quant, check, bench};

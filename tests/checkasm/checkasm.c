// SPDX-License-Identifier: Apache-2.0
// Command line, guard pages, random numbers, verdicts and timing. See checkasm.h.
#define _GNU_SOURCE
#include "checkasm.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const struct suite *const suites[] = {
#define X(name) &suite_##name,
    SUITES(X)
#undef X
};
enum { SUITE_COUNT = sizeof suites / sizeof *suites };

static struct {
    const char *test, *function, *isa_filter; // NULL: all
    int one_in; // cases run, at random
    uint64_t seed, random;
    const char *suite, *isa;
    char kernel[64], text[160];
    long checks, failures, kernel_failures, kernels;
    volatile uint64_t sink;
} ck;

// ---- names, random numbers ----------------------------------------------------------------------

int ck_kernel(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ck.kernel, sizeof ck.kernel, format, args);
    va_end(args);
    ck.text[0] = 0;
    ck.kernel_failures = 0;
    if (ck.function && !strstr(ck.kernel, ck.function)) return 0;
    ck.random = ck.seed;
    for (const char *c = ck.kernel; *c; c++) ck.random = (ck.random ^ (uint8_t)*c) * 0x100000001B3u;
    ck.kernels++;
    return 1;
}

void ck_case(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ck.text, sizeof ck.text, format, args);
    va_end(args);
}

uint64_t ck_random(void) // splitmix64
{
    uint64_t z = ck.random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

int ck_skip(void) { return ck.one_in > 1 && ck_below((size_t)ck.one_in) != 0; }

size_t ck_below(size_t n) { return (size_t)(ck_random() % n); }

void ck_fill(void *p, size_t bytes)
{
    uint8_t *const to = (uint8_t *)p;
    for (size_t i = 0; i < bytes; i += 8) {
        const uint64_t r = ck_random();
        memcpy(to + i, &r, bytes - i < 8 ? bytes - i : 8);
    }
}

// ---- buffers between guard pages ----------------------------------------------------------------

enum { CANARY = 128, ROOM = CK_CAPACITY + (1 << 16) }; // bytes watched on either side; whole pages

// The watched bytes around the extent, where the buffer has them.
static void surroundings(const struct buffer *b, uint8_t **from, uint8_t **to)
{
    uint8_t *const end = b->map + ROOM;
    *from = b->at - b->map < CANARY ? b->map : b->at - CANARY;
    *to = end - (b->at + b->bytes) < CANARY ? end : b->at + b->bytes + CANARY;
}

static uint8_t canary(const uint8_t *p) { return (uint8_t)(0xC3 ^ (uintptr_t)p * 29); }

static void map_buffer(struct buffer *b)
{
    static uint8_t next_fill = 0x11;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *const p = (uint8_t *)mmap(NULL, ROOM + 2 * page, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) ||
        mprotect(p + page + ROOM, page, PROT_NONE)) {
        perror("checkasm: mmap");
        exit(2);
    }
    b->map = p + page;
    b->fill = next_fill;
    next_fill = (uint8_t)(next_fill + 0x2B);
}

void *ck_place(struct buffer *b, size_t bytes, int offset)
{
    if (!b->map) map_buffer(b);
    if (bytes > CK_CAPACITY || offset > ROOM - CK_CAPACITY) {
        fprintf(stderr, "checkasm: %s asks for %zu bytes of a buffer\n", ck.kernel, bytes);
        exit(2);
    }
    b->at = offset < 0 ? b->map + ROOM - bytes : b->map + offset;
    b->bytes = bytes;
    uint8_t *from, *to;
    surroundings(b, &from, &to);
    for (uint8_t *p = from; p < b->at; p++) *p = canary(p);
    memset(b->at, b->fill, bytes);
    for (uint8_t *p = b->at + bytes; p < to; p++) *p = canary(p);
    return b->at;
}

// ---- verdicts -----------------------------------------------------------------------------------

// Counts the failure; returns 1 if it should be described (the first few of each kernel are).
static int failed(const char *what)
{
    ck.failures++;
    if (++ck.kernel_failures > 4) return 0;
    printf("FAILED %s %s: %s (%s) --test %s --isa %s --function %s --seed %llu --one-in %d\n", ck.isa,
           ck.kernel, what, ck.text, ck.suite, ck.isa, ck.kernel, (unsigned long long)ck.seed, ck.one_in);
    return 1;
}

static void hex_line(const char *name, const uint8_t *row, const uint8_t *other, size_t from,
                     size_t to)
{
    printf("    %6zu %s ", from, name);
    for (size_t i = from; i < to; i++) printf(row[i] == other[i] ? " %02x " : "[%02x]", row[i]);
    printf("\n");
}

int ck_same(const char *what, const void *want, const void *got, size_t bytes)
{
    const uint8_t *const a = (const uint8_t *)want, *const b = (const uint8_t *)got;
    ck.checks++;
    if (bytes == 0 || memcmp(a, b, bytes) == 0) return 1;
    if (!failed(what)) return 0;
    for (size_t i = 0, shown = 0; i < bytes && shown < 4; i += 16) {
        const size_t end = bytes - i < 16 ? bytes : i + 16;
        if (memcmp(a + i, b + i, end - i) == 0) continue;
        hex_line("want", a, b, i, end);
        hex_line("got ", b, a, i, end);
        shown++;
    }
    return 0;
}

int ck_same_u64(const char *what, uint64_t want, uint64_t got)
{
    ck.checks++;
    if (want == got) return 1;
    if (failed(what))
        printf("    want %#llx got %#llx\n", (unsigned long long)want, (unsigned long long)got);
    return 0;
}

int ck_true(const char *what, int good)
{
    ck.checks++;
    if (!good) failed(what);
    return good;
}

int ck_canaries(const struct buffer *b)
{
    uint8_t *from, *to;
    surroundings(b, &from, &to);
    ck.checks++;
    for (const uint8_t *p = from; p < to; p++) {
        if (p == b->at) p += b->bytes;
        if (p == to) break;
        if (*p == canary(p)) continue;
        if (failed("written outside its extent"))
            printf("    at byte %td of an extent of %zu\n", p - b->at, b->bytes);
        return 0;
    }
    return 1;
}

static void on_signal(int number)
{
    printf("CRASHED %s %s: signal %d%s (%s) --test %s --isa %s --function %s --seed %llu --one-in %d\n",
           ck.isa, ck.kernel, number, number == SIGILL ? ", an instruction this machine lacks" : "",
           ck.text, ck.suite, ck.isa, ck.kernel, (unsigned long long)ck.seed, ck.one_in);
    fflush(stdout);
    _exit(3);
}

// ---- benchmarks ---------------------------------------------------------------------------------

enum { ROUNDS = 21, MAX_RUNS = 8 };

void *ck_memory(size_t bytes)
{
    enum { HUGE = 2 << 20, STAGGER = 1088 };
    static size_t blocks;
    const size_t offset = blocks++ * STAGGER % 4096, size = bytes + offset + HUGE;
    uint8_t *const p = (uint8_t *)mmap(NULL, size, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("checkasm: mmap");
        exit(2);
    }
    uint8_t *const at = p + (HUGE - (uintptr_t)p % HUGE) + offset;
#ifdef MADV_HUGEPAGE
    madvise(p, size, MADV_HUGEPAGE);
#endif
    ck_fill(at, bytes);
    return at;
}

void ck_use(uint64_t value) { ck.sink += value; }

// Processor time, so that what else the machine runs costs the measurement less.
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_run(const struct ck_run *r, long times)
{
    const double start = now();
    for (long i = 0; i < times; i++) r->run(r->context);
    return (now() - start) / (double)times;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

void ck_bench(size_t bytes, const struct ck_run *runs, int count)
{
    double ns[MAX_RUNS][ROUNDS], ratio[ROUNDS];
    long times[MAX_RUNS];
    for (int r = 0; r < count; r++) { // one sample of about 50 us each
        times[r] = 1;
        while (times[r] < 1 << 24 && time_run(&runs[r], times[r]) * (double)times[r] < 5e4)
            times[r] *= 2;
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int r = 0; r < count; r++) ns[r][round] = time_run(&runs[r], times[r]);
    printf("%-8s %-20s %-14s", ck.isa, ck.kernel, ck.text);
    char others[256] = "";
    for (int r = 1; r < count; r++) {
        for (int round = 0; round < ROUNDS; round++) ratio[round] = ns[r][round] / ns[0][round];
        const size_t used = strlen(others);
        snprintf(others + used, sizeof others - used, "  x %s %6.2f", runs[r].name, median(ratio));
    }
    const double time = median(ns[0]);
    printf(" %11.0f ns %7.2f GB/s%s\n", time, (double)bytes / time, others);
}

// ---- command line -------------------------------------------------------------------------------

static const char usage[] =
    "usage: checkasm [--test SUITE] [--function TEXT] [--isa TIER] [--seed N]\n"
    "                [--one-in N] [--quick] [--bench | --list]\n"
    "Holds every kernel of every tier this machine runs against the scalar one, bit for bit.\n"
    "--function TEXT  only kernels whose name contains TEXT\n"
    "--one-in N       one case in N, at random\n"
    "--quick          one case in 16\n"
    "--bench          time instead of check: median ns, GB/s, ratios to references\n"
    "--list           suites and the tiers they would run for\n";

static int wanted(const struct suite *s, int isa)
{
    if (ck.test && strcmp(ck.test, s->name) != 0) return 0;
    if (s->family == SUITE_ONCE) return isa == QB_ISA_scalar;
    if (ck.isa_filter && strcmp(ck.isa_filter, qb_isa_name(isa)) != 0) return 0;
    if (!qb_isa_supported(isa)) return 0;
    return s->family < 0 || strcmp(qb_kernel_isa(isa, s->family), qb_isa_name(isa)) == 0;
}

static void run(const struct suite *s, int isa, int bench)
{
    const long checks = ck.checks, failures = ck.failures, kernels = ck.kernels;
    const double start = now();
    ck.suite = s->name;
    ck.isa = qb_isa_name(isa);
    if (s->family == SUITE_API) qb_use_isa(isa);
    const struct qb_kernels *const ref = qb_kernels_of(QB_ISA_scalar);
    const struct qb_kernels *const test = qb_kernels_of((enum qb_isa_id)isa);
    (bench ? s->bench : s->check)(ref, test);
    if (bench || ck.kernels == kernels) return;
    printf("%-8s %-8s %3ld kernels %9ld checks %6.2f s  %s\n", ck.isa, s->name,
           ck.kernels - kernels, ck.checks - checks, (now() - start) * 1e-9,
           ck.failures == failures ? "ok" : "FAILED");
    fflush(stdout);
}

static const char *value_of(int argc, char **argv, int *i)
{
    if (++*i < argc) return argv[*i];
    fputs(usage, stderr);
    exit(2);
}

static void check_names(void)
{
    int known = !ck.test;
    for (int s = 0; s < SUITE_COUNT; s++) known |= ck.test && strcmp(ck.test, suites[s]->name) == 0;
    if (!known) fprintf(stderr, "checkasm: no suite '%s', see --list\n", ck.test);
    int runs = !ck.isa_filter;
    for (int isa = 0; isa < qb_isa_count(); isa++)
        runs |= ck.isa_filter && strcmp(ck.isa_filter, qb_isa_name(isa)) == 0 &&
                qb_isa_supported(isa);
    if (!runs) fprintf(stderr, "checkasm: this machine runs no tier '%s'\n", ck.isa_filter);
    if (!known || !runs) exit(2);
}

int main(int argc, char **argv)
{
    int bench = 0, list = 0;
    ck.one_in = 1;
    const char *seed = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--test") == 0) ck.test = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--function") == 0) ck.function = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--isa") == 0) ck.isa_filter = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--seed") == 0) seed = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--quick") == 0) ck.one_in = 16;
        else if (strcmp(argv[i], "--one-in") == 0) ck.one_in = atoi(value_of(argc, argv, &i));
        else if (strcmp(argv[i], "--bench") == 0) bench = 1;
        else if (strcmp(argv[i], "--list") == 0) list = 1;
        else return fputs(usage, stderr), 2;
    }
    check_names();
    ck.seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_signal);

    for (int s = 0; s < SUITE_COUNT; s++) {
        for (int isa = 0; isa < qb_isa_count(); isa++) {
            if (!wanted(suites[s], isa) || (bench && !suites[s]->bench)) continue;
            if (list) printf("%-8s %s\n", suites[s]->name, qb_isa_name(isa));
            else run(suites[s], isa, bench);
        }
    }
    if (bench || list) return 0;
    printf("checkasm: %ld checks of %ld kernels, %ld failures, seed %llu\n", ck.checks, ck.kernels,
           ck.failures, (unsigned long long)ck.seed);
    return ck.failures != 0;
}

/* Few rows times a large matrix, on the cores of a CPU.

   A decoded token is one row through every weight of a model, and a window of drafts is two to nine, so what
   they take is the time of reading the weights. A matrix library copies them into panels first, or leaves all of
   them to one core. Here each is read once, in the order in which it lies in memory, by all cores.

   A sum is added up in one order, however many rows there are: the rows of a window have the bits of single rows.

   Stands in for `cblas_sgemm` of the library under MLX, which gets all else. Argument lists and numbers are those
   of cblas.h. Compiled on the machine that it runs on, by engine/few_rows.py. */

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "few_rows.h"

enum {
    MOST_THREADS = 16,
    PARTS_A_THREAD = 4,
    ALIGNED = 4,            /* parts begin at a multiple of so many columns, or tiles */
    LEAST_SHARED = 1 << 16, /* weights; for fewer no other core is called */
    AHEAD = 1024,           /* floats that are asked for so long before their turn */
    SPINS = 4000,           /* looks at whether there is work, before a thread sleeps */
    SPINS_A_YIELD = 64,
};

Gemm *library;
static int helpers;
static uint32_t parts = PARTS_A_THREAD;
static pthread_mutex_t is_shared = PTHREAD_MUTEX_INITIALIZER;

/* The product that all work at. Its parts are given out by one number, which holds that of the product above that
   of the next part: whoever comes too late for a product can't take a part of the next one by mistake. */
static Product shared;
static _Atomic uint64_t ticket;
static _Atomic uint32_t product_number;
static _Atomic uint32_t parts_done;
static _Atomic int asleep;

/* All rows times some columns; `count` and `columns` are known where this is compiled. */
INLINE void block(const Product *p, const int count, int first, const int columns) {
    const float *weights = (const float *)p->weights + (long)first * p->weight_stride;
    const long ahead = columns > 1 ? (long)columns * p->weight_stride : AHEAD;
    Vector sum[count][columns];
    for (int r = 0; r < count; r++)
        for (int c = 0; c < columns; c++) sum[r][c] = (Vector){0};
    for (int k = 0; k < p->length; k += LANES) {
        Vector weight[columns];
        for (int c = 0; c < columns; c++) {
            const float *at = weights + (long)c * p->weight_stride + k;
            __builtin_prefetch(at + ahead);
            weight[c] = *(const Vector *)at;
        }
        for (int r = 0; r < count; r++) {
            Vector row = *(const Vector *)(p->rows + (long)r * p->row_stride + k);
            for (int c = 0; c < columns; c++) sum[r][c] += row * weight[c];
        }
    }
    for (int r = 0; r < count; r++)
        for (int c = 0; c < columns; c++) p->out[(long)r * p->out_stride + first + c] = total(sum[r][c]);
}

#define OF_ROWS(COUNT, COLUMNS)                                                  \
    case COUNT:                                                                  \
        for (; at + COLUMNS <= end; at += COLUMNS) block(p, COUNT, at, COLUMNS); \
        for (; at < end; at++) block(p, COUNT, at, 1);                           \
        break;

/* Columns `at` up to `end`. How many at a time was measured: more streams of weights hide more of memory's delay,
   which outweighs that some sums then leave their registers. */
static void span(const Product *p, int at, int end) {
    switch (p->count) {
        OF_ROWS(1, 4)
#ifdef __AVX512F__
        OF_ROWS(2, 8)
        OF_ROWS(3, 8)
        OF_ROWS(4, 8)
        OF_ROWS(5, 8)
        OF_ROWS(6, 6)
        OF_ROWS(7, 5)
        OF_ROWS(8, 5)
        OF_ROWS(9, 5)
#else
        OF_ROWS(2, 6)
        OF_ROWS(3, 6)
        OF_ROWS(4, 6)
        OF_ROWS(5, 6)
        OF_ROWS(6, 6)
        OF_ROWS(7, 4)
        OF_ROWS(8, 4)
        OF_ROWS(9, 4)
#endif
    }
}

static int begin_of(const Product *p, uint32_t part) {
    if (part == parts) return p->units;
    return (int)((long)p->units * part / parts / ALIGNED * ALIGNED);
}

static void take_parts(void) {
    uint64_t next = atomic_load(&ticket);
    while ((uint32_t)next < parts) {
        if (!atomic_compare_exchange_weak(&ticket, &next, next + 1)) continue;
        Product p = shared;
        uint32_t part = (uint32_t)next;
        p.span(&p, begin_of(&p, part), begin_of(&p, part + 1));
        atomic_fetch_add(&parts_done, 1);
        next = atomic_load(&ticket);
    }
}

static void rest(int spins) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    if (spins % SPINS_A_YIELD == SPINS_A_YIELD - 1) sched_yield();
}

static void sleep_until_it_is_not(uint32_t seen) {
    atomic_fetch_add(&asleep, 1);
    syscall(SYS_futex, &product_number, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
    atomic_fetch_sub(&asleep, 1);
}

static void *help(void *unused) {
    uint32_t seen = 0;
    for (;;) {
        for (int spins = 0; atomic_load(&product_number) == seen; spins++) {
            if (spins < SPINS)
                rest(spins);
            else
                sleep_until_it_is_not(seen);
        }
        seen = atomic_load(&product_number);
        take_parts();
    }
    return unused;
}

static void share(const Product *p) {
    uint32_t number = atomic_load(&product_number) + 1;
    shared = *p;
    atomic_store(&parts_done, 0);
    atomic_store(&ticket, (uint64_t)number << 32);
    atomic_store(&product_number, number);
    if (atomic_load(&asleep)) syscall(SYS_futex, &product_number, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
    take_parts();
    for (int spins = 0; atomic_load(&parts_done) < parts; spins++) rest(spins);
}

void multiply(const Product *p, int is_large) {
    if (!helpers || !is_large || pthread_mutex_trylock(&is_shared)) {
        p->span(p, 0, p->units);
        return;
    }
    share(p);
    pthread_mutex_unlock(&is_shared);
}

/* Called once, before any product: with the `cblas_sgemm` that gets all else, and how many threads multiply, the
   calling one among them. */
SHOWN void few_rows_begin(Gemm *of_library, int threads) {
    library = of_library;
    for (int i = 1; i < threads && i < MOST_THREADS; i++) {
        pthread_t helper;
        if (pthread_create(&helper, 0, help, 0)) return;
        pthread_detach(helper);
        helpers++;
        parts += PARTS_A_THREAD;
    }
}

SHOWN void cblas_sgemm(int order, int a_is, int b_is, int m, int n, int k, float alpha, const float *a, int lda,
                       const float *b, int ldb, float beta, float *c, int ldc) {
    int is_usual = order == ROW_MAJOR && a_is == PLAIN && b_is == TRANSPOSED && alpha == 1 && beta == 0;
    if (is_usual && multiply_packed(m, n, k, a, lda, b, ldb, c, ldc)) return;
    if (!is_usual || m < 1 || m > MOST_ROWS || k % LANES) {
        library(order, a_is, b_is, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    Product product = {
        .span = span,
        .rows = a,
        .out = c,
        .row_stride = lda,
        .out_stride = ldc,
        .count = m,
        .units = n,
        .length = k,
        .weights = b,
        .weight_stride = ldb,
    };
    multiply(&product, (long)n * k >= LEAST_SHARED);
}

/* What products of few rows have in common, whatever their weights are. */

#pragma once

#include <stdint.h>

#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
enum { MOST_ROWS = 9 };

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef void Gemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                  int);

/* To be called from outside the library that this is compiled to. */
#define SHOWN __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
/* For a number of turns known where this is compiled: what they index then stays in registers. */
#define EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < count; i++)

/* The sum of all lanes. */
INLINE float total(Vector sum) {
    union {
        Vector vector;
        float lane[LANES];
    } all = {sum};
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) all.lane[i] += all.lane[i + half];
    return all.lane[0];
}

/* out[r][c] = sum of rows[r][k] * weights[c][k] */
typedef struct Product Product;
struct Product {
    /* Computes some of the units: columns, or tiles of them. */
    void (*span)(const Product *, int unit, int end);
    const float *rows;
    float *out;
    int row_stride, out_stride;
    int count, units, length;
    const void *weights;
    int weight_stride;
    const float *sums;
};

/* Of the library under MLX; gets what is not of few rows. */
extern Gemm *library;

/* Does a product, with all cores if it is large. */
void multiply(const Product *, int is_large);

/* Does what MLX asks for if the weights are packed ones that are held; returns whether it did. */
int multiply_packed(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float *c, int ldc);

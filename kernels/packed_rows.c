/* Rows times packed weights, on the cores of a CPU.

   Packed weights are a quarter or an eighth of what plain ones are, and are read once for all rows of a window, so a
   window takes hardly longer than a row. MLX's own product unpacks them anew for each row, on one core.

   Weights lie in tiles: of LANES columns the words for the same inputs lie side by side, so that a lane is a column,
   and scales and biases alike. With n columns, inputs by groups, and words of 32 / bits inputs each:

       words  [n / LANES][inputs * bits / 32][LANES]
       scales [n / LANES][inputs / group][LANES], biases alike

   MLX has no way to be given a product but `cblas_sgemm`, which is given plain weights: [n][inputs] floats. Where they
   begin tells that they are none, but words that are held here.

   A sum is added up in one order, however many rows there are: the rows of a window have the bits of single rows. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "few_rows.h"

enum {
    MOST_HELD = 4096,
    MOST_INPUTS = 1 << 17,
    TOLD_BY = 16,
    MOST_TILES = 4,         /* that are multiplied at once */
    AHEAD = 512,            /* words that are asked for so long before their turn */
    LEAST_SHARED = 1 << 18, /* weights; for fewer no other core is called */
    LEAST_UNPACKED = 48,    /* rows; fewer are multiplied a window at a time */
    PANEL = 1 << 18,        /* floats that are unpacked at once for the library */
    LEAST_AT_ONCE = 8,      /* tiles of those */
};

typedef uint32_t Words __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES), aligned(4)));

typedef struct {
    const uint32_t *words;
    const float *scales, *biases;
    int columns, inputs, group, bits;
    uint32_t first[TOLD_BY]; /* words: what lies there later is told from them */
    int is_leaving;
} Packed;

/* All that are held, by where their words lie. */
static Packed held[MOST_HELD];
static int held_count;
static pthread_rwlock_t held_lock = PTHREAD_RWLOCK_INITIALIZER;

/* The place of words, or the one before which they would lie. */
static int place_of(const void *words) {
    int low = 0, high = held_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((uintptr_t)held[middle].words < (uintptr_t)words)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int is_the_same(const Packed *packed) {
    return !memcmp(packed->first, packed->words, sizeof packed->first);
}

static void let_leave(void) {
    int kept = 0;
    for (int at = 0; at < held_count; at++)
        if (!held[at].is_leaving) held[kept++] = held[at];
    held_count = kept;
}

SHOWN int packed_rows_lanes(void) { return LANES; }

/* Holds weights in tiles from now on, which must stay where they are; returns whether they can be. */
SHOWN int packed_rows_hold(const uint32_t *words, const float *scales, const float *biases, int columns,
                           int inputs, int group, int bits) {
    int is_known = (bits == 4 || bits == 8) && (group == 32 || group == 64 || group == 128);
    if (!is_known || columns % LANES || inputs % group || inputs > MOST_INPUTS) return 0;
    pthread_rwlock_wrlock(&held_lock);
    let_leave();
    int place = place_of(words);
    int has_room = held_count < MOST_HELD && !(place < held_count && held[place].words == words);
    if (has_room) {
        memmove(held + place + 1, held + place, (held_count - place) * sizeof(Packed));
        held[place] = (Packed){words, scales, biases, columns, inputs, group, bits, {0}, 0};
        memcpy(held[place].first, words, sizeof held[place].first);
        held_count++;
    }
    pthread_rwlock_unlock(&held_lock);
    return has_room;
}

/* Says that nobody asks for products with weights any more. Those that were asked for may still be to come, so
   the weights are held until others are. */
SHOWN void packed_rows_release(const uint32_t *words) {
    pthread_rwlock_wrlock(&held_lock);
    int place = place_of(words);
    if (place < held_count && held[place].words == words) held[place].is_leaving = 1;
    pthread_rwlock_unlock(&held_lock);
}

static int find(const void *words, Packed *found) {
    pthread_rwlock_rdlock(&held_lock);
    int place = place_of(words);
    int is_there = place < held_count && held[place].words == words && is_the_same(held + place);
    if (is_there) *found = held[place];
    pthread_rwlock_unlock(&held_lock);
    return is_there;
}

/* The whole numbers of one input of each column. */
INLINE Vector numbers(Words words, int place, const int bits) {
#ifdef __AVX512F__
    if (bits == 4) { /* A look into a table heeds the last four bits alone. */
        const Vector table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        return __builtin_shuffle(table, (Integers)(words >> (4 * place)));
    }
#endif
    return __builtin_convertvector((Integers)(words >> (bits * place) & ((1u << bits) - 1)), Vector);
}

/* All rows times some tiles; `count`, `tiles` and `bits` are known where this is compiled.

   Of a group first the whole numbers are multiplied; scale and bias come after:
   y += scale * sum(q x) + bias * sum(x). */
INLINE void block(const Product *p, const int count, int tile, const int tiles, const int bits) {
    const Packed *packed = p->weights;
    const int each = 32 / bits, words_a_group = packed->group / each;
    const int groups = p->length / packed->group;
    const long words_a_tile = (long)groups * words_a_group * LANES, scales_a_tile = (long)groups * LANES;
    const uint32_t *words = packed->words + tile * words_a_tile;
    const float *scales = packed->scales + tile * scales_a_tile, *biases = packed->biases + tile * scales_a_tile;
    Vector sum[MOST_ROWS][MOST_TILES];
    EACH(r, count) EACH(t, tiles) sum[r][t] = (Vector){0};
    for (int g = 0; g < groups; g++) {
        Vector part[MOST_ROWS][MOST_TILES];
        EACH(r, count) EACH(t, tiles) part[r][t] = (Vector){0};
        const float *rows = p->rows + g * packed->group;
        for (int k = 0; k < words_a_group; k++, words += LANES, rows += each) {
            Words some[MOST_TILES];
            EACH(t, tiles) {
                __builtin_prefetch(words + t * words_a_tile + AHEAD);
                some[t] = *(const Words *)(words + t * words_a_tile);
            }
            EACH(i, each) {
                Vector weight[MOST_TILES];
                EACH(t, tiles) weight[t] = numbers(some[t], i, bits);
                EACH(r, count) {
                    Vector row = rows[(long)r * p->row_stride + i] - (Vector){0};
                    EACH(t, tiles) part[r][t] += row * weight[t];
                }
            }
        }
        EACH(t, tiles) {
            Vector scale = *(const Vector *)(scales + t * scales_a_tile + g * LANES);
            Vector bias = *(const Vector *)(biases + t * scales_a_tile + g * LANES);
            EACH(r, count) {
                sum[r][t] += part[r][t] * scale;
                sum[r][t] += p->sums[r * groups + g] * bias;
            }
        }
    }
    EACH(r, count) EACH(t, tiles) {
        *(Vector *)(p->out + (long)r * p->out_stride + (tile + t) * LANES) = sum[r][t];
    }
}

#define OF_ROWS(COUNT, TILES)                                                    \
    case COUNT:                                                                  \
        for (; at + TILES <= end; at += TILES) block(p, COUNT, at, TILES, bits); \
        for (; at < end; at++) block(p, COUNT, at, 1, bits);                     \
        break;

/* Tiles `at` up to `end`; how many at a time was measured. */
INLINE void span_of(const Product *p, int at, int end, const int bits) {
    switch (p->count) {
        OF_ROWS(1, 4)
        OF_ROWS(2, 4)
        OF_ROWS(3, 3)
        OF_ROWS(4, 3)
        OF_ROWS(5, 2)
        OF_ROWS(6, 2)
        OF_ROWS(7, 1)
        OF_ROWS(8, 1)
        OF_ROWS(9, 1)
    }
}

static void span_4(const Product *p, int at, int end) { span_of(p, at, end, 4); }
static void span_8(const Product *p, int at, int end) { span_of(p, at, end, 8); }

/* Rows as `cblas_sgemm` is given them, and where to. */
typedef struct {
    const float *rows;
    float *out;
    int row_stride, out_stride;
} Ends;

static void few(const Packed *packed, int count, Ends ends) {
    int groups = packed->inputs / packed->group;
    float sums[count * groups];
    for (int i = 0; i < count * groups; i++) {
        const float *rows = ends.rows + (long)(i / groups) * ends.row_stride + i % groups * packed->group;
        Vector sum = {0};
        for (int k = 0; k < packed->group; k += LANES) sum += *(const Vector *)(rows + k);
        sums[i] = total(sum);
    }
    Product product = {
        .span = packed->bits == 4 ? span_4 : span_8,
        .rows = ends.rows,
        .out = ends.out,
        .row_stride = ends.row_stride,
        .out_stride = ends.out_stride,
        .count = count,
        .units = packed->columns / LANES,
        .length = packed->inputs,
        .weights = packed,
        .sums = sums,
    };
    multiply(&product, (long)packed->columns * packed->inputs >= LEAST_SHARED);
}

/* Some tiles as floats: [inputs][tiles * LANES]. */
INLINE void unpack_of(const Packed *packed, int tile, int tiles, float *to, const int bits) {
    const int each = 32 / bits;
    const int words_a_group = packed->group / each, words_a_tile = packed->inputs / each;
    const int groups = packed->inputs / packed->group;
    const long stride = (long)tiles * LANES;
    for (int k = 0; k < words_a_tile; k++, to += each * stride) {
        for (int t = 0; t < tiles; t++) {
            long scales_at = ((long)(tile + t) * groups + k / words_a_group) * LANES;
            Words some = *(const Words *)(packed->words + ((long)(tile + t) * words_a_tile + k) * LANES);
            Vector scale = *(const Vector *)(packed->scales + scales_at);
            Vector bias = *(const Vector *)(packed->biases + scales_at);
            EACH(i, each) *(Vector *)(to + i * stride + t * LANES) = numbers(some, i, bits) * scale + bias;
        }
    }
}

static void unpack(const Packed *packed, int tile, int tiles, float *to) {
    if (packed->bits == 4)
        unpack_of(packed, tile, tiles, to, 4);
    else
        unpack_of(packed, tile, tiles, to, 8);
}

/* Room for so many floats, which a thread keeps; 0 where there is none. */
static float *room(long size) {
    static _Thread_local float *kept;
    static _Thread_local long kept_size;
    if (size > kept_size) {
        free(kept);
        kept = malloc(sizeof(float) * size);
        kept_size = kept ? size : 0;
    }
    return kept;
}

/* Many rows: some columns at a time are unpacked for the library. Returns whether there was room for them. */
static int by_library(const Packed *packed, int count, Ends ends) {
    int tiles = packed->columns / LANES, at_once = PANEL / (packed->inputs * LANES);
    if (at_once < LEAST_AT_ONCE) at_once = LEAST_AT_ONCE;
    if (at_once > tiles) at_once = tiles;
    float *panel = room((long)packed->inputs * at_once * LANES);
    if (!panel) return 0;
    for (int at = 0; at < tiles; at += at_once) {
        int some = tiles - at < at_once ? tiles - at : at_once, width = some * LANES;
        unpack(packed, at, some, panel);
        library(ROW_MAJOR, PLAIN, PLAIN, count, width, packed->inputs, 1, ends.rows, ends.row_stride, panel, width,
                0, ends.out + at * LANES, ends.out_stride);
    }
    return 1;
}

int multiply_packed(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float *c, int ldc) {
    Packed packed;
    if (!find(b, &packed) || n != packed.columns || k != packed.inputs || ldb != k) return 0;
    Ends ends = {a, c, lda, ldc};
    if (m >= LEAST_UNPACKED && by_library(&packed, m, ends)) return 1;
    for (int left = m; left > 0; left -= MOST_ROWS) {
        few(&packed, left < MOST_ROWS ? left : MOST_ROWS, ends);
        ends.rows += (long)MOST_ROWS * lda;
        ends.out += (long)MOST_ROWS * ldc;
    }
    return 1;
}

/* Fully connected int8 layers for microcontrollers; included by a generated model only.
 *
 * A layer is y = clamp(round(acc * scale) + zero_point), acc = bias + sum(weights * x), with the
 * input's zero point already in the bias. The generator (asd/embedded/codegen.py) packs the
 * weights for each kernel, proves that no sum can leave its range, and says with
 * ASD_DOUBLE_ROUNDING how to round:
 *
 *   single  one rounding, to the nearest, ties to even, of the float32 product of the float32
 *           values of acc and scale: the bytes of LiteRT's default kernels (XNNPACK). Where there
 *           is no float unit the same result comes from integers.
 *   double  a doubling high multiply that rounds, then a right shift that rounds: the bytes of
 *           TFLite Micro and CMSIS-NN.
 *
 * Kernels, by the target's own macros (or -DASD_KERNEL=...):
 *   ASD_PLAIN  C99, everywhere; the compiler's vectors do well on it
 *   ASD_MLAL   Armv7-M (Cortex-M3): two multiply-accumulates in one 32 x 32 + 64 bit instruction
 *   ASD_DSP    Arm DSP extension (Cortex-M4, M7, M33): three instructions for four
 *              multiply-accumulates
 *   ASD_PAIRS  Armv6-M, Armv8-M Baseline (Cortex-M0+, M23), RV32: two multiply-accumulates in a
 *              multiplication of 32 bits; on RV32 ASD_PLAIN where the weights are too large for it
 *   ASD_MVE    Arm MVE (Cortex-M55, M85): sixteen multiply-accumulates an instruction
 * ASD_PLAIN and ASD_MLAL are in this file, the others in kernels_*.h. A layer that ASD_DSP cannot
 * hold runs through ASD_PLAIN: `packed` is 0.
 */
#ifndef ASD_KERNELS_H
#define ASD_KERNELS_H

#include <stdint.h>
#include <string.h>

/* -Ofast and -ffast-math would divide by multiplying, which moves ties, and forget what is not a
 * number. From here to the end of the file floats are what C says, whatever the options. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-fast-math", "no-unsafe-math-optimizations", "no-finite-math-only", \
                     "no-reciprocal-math", "no-associative-math", "fp-contract=off")
#elif defined(__clang__) && (defined(__x86_64__) || defined(__i386__))
#pragma float_control(precise, on)
#elif defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "add -fno-fast-math for this file: its bytes need floats as C has them"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

typedef struct {
    const void *weights;   /* packed for ASD_KERNEL, or int8 row by row where packed is 0 */
    const int32_t *bias;   /* as many as the kernel reads, in its units */
    const uint32_t *scale; /* [outputs or 1]: the bits of a float32; double rounding: q, 31 bits;
                              ASD_PACKED_ROWS: two constants of the layer */
#if ASD_DOUBLE_ROUNDING
    const int8_t *shift; /* [outputs or 1]: left where positive */
#endif
    uint16_t inputs, outputs;
    int8_t zero_point, low; /* of the output; low: the least, -128 where nothing is cut off */
    uint8_t per_channel;    /* whether there is a scale for each row, in all layers or none */
    uint8_t packed;         /* 0: not; ASD_DSP: parts of the columns, and one; ASD_PAIRS: columns of
                               a group */
#if ASD_STEPS
    const int8_t *table; /* [256] or NULL: an output's successor, by the output as uint8 */
    int8_t high;         /* the largest output */
#endif
} asd_layer;

/* ---------------------------------------------------------------- from acc to int8 */

/* Of what is hardly ever called, and would take the registers of what is. */
#if defined(__GNUC__)
#define ASD_APART __attribute__((noinline))
#else
#define ASD_APART
#endif

static inline int8_t asd_clamp(int32_t value, int32_t low)
{
    return (int8_t)(value < low ? low : value > 127 ? 127 : value);
}

/* 1.5 * 2^23: a float in +-2^22 added to it is rounded to an integer, ties to even. */
#define ASD_MAGIC 12582912.0f

static inline int32_t asd_nearest(float value)
{
    int32_t bits;
    value += ASD_MAGIC;
    memcpy(&bits, &value, sizeof bits);
    return bits - 0x4B400000;
}

#if ASD_DOUBLE_ROUNDING

static inline int8_t asd_requantise(const asd_layer *layer, uint32_t row, int32_t acc)
{
    uint32_t i = layer->per_channel ? row : 0;
    int32_t shift = layer->shift[i];
    int32_t left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    int64_t product = (int64_t)(int32_t)((uint32_t)acc << left) * (int32_t)layer->scale[i];
    int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    int32_t mask = (int32_t)(((uint32_t)1 << right) - 1);
    int32_t rest = high & mask, threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return asd_clamp((high >> right) + (rest > threshold ? 1 : 0) + layer->zero_point, layer->low);
}

#else

#if ASD_FLOAT_UNIT

static inline int8_t asd_requantise(const asd_layer *layer, uint32_t row, int32_t acc)
{
    float scale, value, low = (float)(layer->low - layer->zero_point);
    float high = (float)(127 - layer->zero_point);
    memcpy(&scale, &layer->scale[layer->per_channel ? row : 0], sizeof scale);
    value = (float)acc * scale;
    value = value < low ? low : value > high ? high : value;
    return (int8_t)(asd_nearest(value) + layer->zero_point);
}

#else

/* x / 2^shift to the nearest, ties to even; shift 0..63. */
static inline uint64_t asd_shift_to_even(uint64_t x, uint32_t shift)
{
    uint64_t half = shift ? (uint64_t)1 << (shift - 1) : 0, rest;
    if (shift == 0) {
        return x;
    }
    rest = x & ((half << 1) - 1);
    x >>= shift;
    return x + (rest > half || (rest == half && (x & 1)) ? 1 : 0);
}

static inline uint32_t asd_bits_over_24(uint64_t x)
{
    uint32_t over = 0;
    while (x >> (24 + over)) {
        over++;
    }
    return over;
}

/* round(float(acc) * float), as float32 hardware does it; |result| is cut at 2^23. */
static ASD_APART int32_t asd_scale_exactly(int32_t acc, uint32_t float_bits)
{
    uint64_t x = acc < 0 ? (uint64_t)(-(int64_t)acc) : (uint64_t)acc;
    uint64_t mantissa = (float_bits & 0x7FFFFF) | 0x800000;
    int32_t exponent = (int32_t)(float_bits >> 23) - 150;
    uint32_t over = asd_bits_over_24(x);
    x = asd_shift_to_even(x, over) * mantissa;
    exponent += (int32_t)over;
    over = asd_bits_over_24(x);
    x = asd_shift_to_even(x, over);
    exponent += (int32_t)over;
    if (x == 0 || exponent < -62) {
        return 0;
    }
    x = exponent > 0 ? 0x800000 : asd_shift_to_even(x, (uint32_t)-exponent);
    return acc < 0 ? -(int32_t)x : (int32_t)x;
}

/* acc * mantissa / 2^18, too small by less than 2, for a mantissa of 24 bits and |acc| below
 * ASD_HIGH_LIMIT. Where a core multiplies 32 by 32 bits to 32 bits only, by halves: what the two
 * right shifts drop is less than 2 / 4, and the last drops less than 1. */
#ifndef ASD_SHORT_MULTIPLY
#define ASD_SHORT_MULTIPLY (ASD_KERNEL == ASD_PAIRS && ASD_PAIRS_IN_THUMB)
#endif
#if ASD_SHORT_MULTIPLY
#define ASD_HIGH_LIMIT ((int32_t)1 << 23)
static inline int32_t asd_high(int32_t acc, uint32_t mantissa)
{
    uint32_t upper = mantissa >> 8, high = (uint32_t)(acc >> 16) * upper << 8;
    high += ((uint32_t)acc & 0xFFFF) * upper >> 8;
    return (int32_t)(high + (uint32_t)(acc * (int32_t)(mantissa & 0xFF) >> 16)) >> 2;
}
#else
#define ASD_HIGH_LIMIT ((int32_t)1 << 24)
static inline int32_t asd_high(int32_t acc, uint32_t mantissa)
{
    return (int32_t)((int64_t)(acc * 128) * (int32_t)(mantissa << 7) >> 32);
}
#endif

/* The same in a few instructions, but where the result is so near a tie that the float32
 * product's own rounding, which moves a result within +-256 by at most 2^-16, could decide, or
 * what asd_high drops: its result has `shift` fractional bits. */
static inline int8_t asd_requantise(const asd_layer *layer, uint32_t row, int32_t acc)
{
    uint32_t bits = layer->scale[layer->per_channel ? row : 0];
    uint32_t shift = 132 - (bits >> 23);
    if (shift - 4 <= 20 && acc < ASD_HIGH_LIMIT && acc > -ASD_HIGH_LIMIT) {
        uint32_t window = (((uint32_t)1 << shift) >> 16) + 1 + ASD_SHORT_MULTIPLY;
        int32_t high = asd_high(acc, (bits & 0x7FFFFF) | 0x800000);
        high += (int32_t)((uint32_t)1 << (shift - 1));
        uint32_t rest = ((uint32_t)high + window) & (((uint32_t)1 << shift) - 1);
        if (rest >= 2 * window) {
            return asd_clamp((high >> shift) + layer->zero_point, layer->low);
        }
    }
    return asd_clamp(asd_scale_exactly(acc, bits) + layer->zero_point, layer->low);
}

#endif /* ASD_FLOAT_UNIT */
#endif /* ASD_DOUBLE_ROUNDING */

static inline int32_t asd_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b); /* wraps, as the reference kernels do */
}

/* Not known to the compiler as what it is: it would reckon with registers that are not used. */
#if defined(__clang__)
#define ASD_ASSEMBLY __attribute__((naked, noinline))
#else
#define ASD_ASSEMBLY __attribute__((naked, noinline, noipa))
#endif

/* ---------------------------------------------------------------- plain: any layer, any target */

/* Columns are unrolled by hand, eight at a time, as with one a loop an in-order core spends half
 * its time counting; and kept in order, as gcc would load all of them first and, with too few
 * registers to hold them, store them again. */
#if (defined(__riscv) || defined(__arm__)) && defined(__GNUC__)
#define ASD_IN_ORDER __asm__ volatile("" ::: "memory");
#else
#define ASD_IN_ORDER
#endif

#if ASD_KERNEL != ASD_MVE && !ASD_ALL_PACKED
/* weights: int8, row by row; bias: of the sum over weights * x */
static void asd_plain(const asd_layer *layer, const int8_t *x, int8_t *y)
{
    const int8_t *w = (const int8_t *)layer->weights;
    uint32_t n = layer->inputs, row = 0, j;
    for (; row < (layer->outputs & ~3U); row += 4, w += 3 * n) {
        const int8_t *p = x, *end = x + (n & ~7U), *w1 = w + n, *w2 = w1 + n, *w3 = w2 + n;
        int32_t a = 0, b = 0, c = 0, d = 0;
#define ASD_COLUMN(i)    \
    a += w[i] * p[i];    \
    b += w1[i] * p[i];   \
    c += w2[i] * p[i];   \
    d += w3[i] * p[i];   \
    ASD_IN_ORDER
        for (; p != end; p += 8, w += 8, w1 += 8, w2 += 8, w3 += 8) {
            ASD_COLUMN(0) ASD_COLUMN(1) ASD_COLUMN(2) ASD_COLUMN(3)
            ASD_COLUMN(4) ASD_COLUMN(5) ASD_COLUMN(6) ASD_COLUMN(7)
        }
        for (end = x + n; p != end; p++, w++, w1++, w2++, w3++) {
            ASD_COLUMN(0)
        }
#undef ASD_COLUMN
        y[row] = asd_requantise(layer, row, asd_add(a, layer->bias[row]));
        y[row + 1] = asd_requantise(layer, row + 1, asd_add(b, layer->bias[row + 1]));
        y[row + 2] = asd_requantise(layer, row + 2, asd_add(c, layer->bias[row + 2]));
        y[row + 3] = asd_requantise(layer, row + 3, asd_add(d, layer->bias[row + 3]));
    }
    for (; row < layer->outputs; row++) {
        int32_t acc = 0;
        for (j = 0; j < n; j++) {
            acc += *w++ * x[j];
        }
        y[row] = asd_requantise(layer, row, asd_add(acc, layer->bias[row]));
    }
}
#endif

#if ASD_KERNEL == ASD_MLAL

/* ---------------------------------------------------------------- Armv7-M
 * A word holds a column of four rows: bytes w0 + 128, w1, w2 + 128, w3. Masked with 0xFF0000FF it
 * is, as a signed number, (w0 + 128) + 2^24 * w3, so one multiply-accumulate by x adds to two
 * sums; turned by 16 bits, (w2 + 128) + 2^24 * w1. The lower sums have 24 bits, which is enough
 * for 256 columns of any values; then they are added up. 128 * sum(x) is taken off at the end. */
#define ASD_MLAL_COLUMNS 256

static inline int32_t asd_low24(int64_t sum)
{
    return (int32_t)((uint32_t)sum << 8) >> 8;
}

/* Columns up to `end` of x to p and q. By hand, as gcc finds the instruction at -O2 only. */
static inline const uint32_t *asd_mlal_columns(const uint32_t *w, const int8_t *x,
                                               const int8_t *end, int64_t *p, int64_t *q)
{
    const uint32_t mask = 0xFF0000FF;
    const int8_t *eights = x + ((uint32_t)(end - x) & ~7U);
#if defined(__arm__) && defined(__thumb2__) && defined(__GNUC__)
    if (x != eights) {
        uint32_t w0, w1, part;
        int32_t value;
        __asm__(".macro asd_column word\n"
                "  ldrsb %[value], [%[x]], #1\n"
                "  and %[part], \\word, %[mask]\n"
                "  smlal %Q[p], %R[p], %[part], %[value]\n"
                "  and \\word, %[mask], \\word, ror #16\n"
                "  smlal %Q[q], %R[q], \\word, %[value]\n"
                ".endm\n"
                "1:\n"
                ".rept 4\n"
                "  ldrd %[w0], %[w1], [%[w]], #8\n"
                "  asd_column %[w0]\n"
                "  asd_column %[w1]\n"
                ".endr\n"
                "  cmp %[x], %[eights]\n"
                "  bne 1b\n"
                ".purgem asd_column\n"
                : [p] "+r"(*p), [q] "+r"(*q), [w] "+r"(w), [x] "+r"(x), [w0] "=&r"(w0),
                  [w1] "=&r"(w1), [part] "=&r"(part), [value] "=&r"(value)
                : [mask] "r"(mask), [eights] "r"(eights)
                : "cc", "memory");
    }
#else
    (void)eights;
#endif
    for (; x != end; x++) {
        uint32_t word = *w++;
        *p += (int64_t)(int32_t)(word & mask) * *x;
        word = (word >> 16) | (word << 16);
        *q += (int64_t)(int32_t)(word & mask) * *x;
    }
    return w;
}

static void asd_packed(const asd_layer *layer, const int8_t *x, int8_t *y, uint32_t *unused)
{
    const uint32_t *w = (const uint32_t *)layer->weights;
    uint32_t n = layer->inputs, row, i, j;
    int32_t sum = 0;
    (void)unused;
    for (i = 0; i < n; i++) {
        sum += x[i];
    }
    for (row = 0; row < layer->outputs; row += 4) {
        int32_t acc[4] = {-128 * sum, 0, -128 * sum, 0};
        for (i = 0; i < n; i += ASD_MLAL_COLUMNS) {
            uint32_t end = n - i < ASD_MLAL_COLUMNS ? n : i + ASD_MLAL_COLUMNS;
            int64_t p = 0, q = 0;
            w = asd_mlal_columns(w, x + i, x + end, &p, &q);
            acc[0] += asd_low24(p);
            acc[3] += (int32_t)((p - asd_low24(p)) >> 24);
            acc[2] += asd_low24(q);
            acc[1] += (int32_t)((q - asd_low24(q)) >> 24);
        }
        for (j = 0; j < 4 && row + j < layer->outputs; j++) {
            y[row + j] = asd_requantise(layer, row + j, asd_add(acc[j], layer->bias[row + j]));
        }
    }
}
#endif

#if ASD_KERNEL == ASD_PAIRS && ASD_ANY_PACKED
#include "kernels_pairs.h"
#endif

#if ASD_KERNEL == ASD_DSP && ASD_ANY_PACKED
#include "kernels_dsp.h"
#endif

#if ASD_KERNEL == ASD_MVE
#include "kernels_mve.h"
#endif

#include "kernels_bytes.h"

/* ---------------------------------------------------------------- a chain of layers */

/* scratch, 8-byte aligned: two hidden vectors of `width` bytes, then what ASD_DSP or
 * ASD_PAIRS expands. */
static void asd_run(const asd_layer *layer, uint32_t n, uint32_t width, const int8_t *input,
                    int8_t *output, void *scratch)
{
    int8_t *hidden = (int8_t *)scratch;
    const int8_t *x = input;
    uint32_t i;
    for (i = 0; i < n; i++, layer++) {
        int8_t *y = i + 1 == n ? output : hidden + (i & 1 ? width : 0);
        if (asd_copied(layer, x, y)) {
        } else
#if ASD_KERNEL == ASD_MVE
        asd_mve(layer, x, y);
#elif ASD_ALL_PACKED
        asd_packed(layer, x, y, (uint32_t *)(void *)(hidden + 2 * width));
#elif ASD_KERNEL == ASD_PLAIN || !ASD_ANY_PACKED
        asd_plain(layer, x, y);
#else
        if (layer->packed) {
            asd_packed(layer, x, y, (uint32_t *)(void *)(hidden + 2 * width));
        } else {
            asd_plain(layer, x, y);
        }
#endif
        asd_step(layer, y);
        x = y;
    }
}

#endif /* ASD_KERNELS_H */

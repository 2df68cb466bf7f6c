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
 *              multiplication of 32 bits
 *   ASD_MVE    Arm MVE (Cortex-M55, M85): sixteen multiply-accumulates an instruction
 * A layer that a kernel's range does not allow runs through ASD_PLAIN: `packed` is 0.
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
    const int32_t *bias;   /* [outputs, rounded up to 4 where packed], in the kernel's units */
    const uint32_t *scale; /* [outputs or 1]: the bits of a float32; double rounding: q 31 bits */
#if ASD_DOUBLE_ROUNDING
    const int8_t *shift; /* [outputs or 1]: left where positive */
#endif
    uint16_t inputs, outputs;
    int8_t zero_point, low; /* of the output; low: -128, or zero_point where there is a ReLU */
    uint8_t per_channel, packed;
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

#if ASD_KERNEL == ASD_PAIRS
#include "kernels_pairs.h"
#endif

#if ASD_KERNEL == ASD_DSP

/* ---------------------------------------------------------------- Arm DSP extension
 * A word holds four columns of a row as the halfwords 256 * w1 + w0 and 256 * w3 + w2. The input
 * stands twice: A = (x1 - 127, x3 - 127) and X = (256 * x0 - A1, 256 * x2 - A3), which fit 16
 * bits. Then SMLAD(word, A) + SMLAD(SXTB16(word), X) is 256 times the sum over w0 * x0,
 * w1 * (x1 - 127), w2 * x2, w3 * (x3 - 127); the 127s are in the bias. Four rows share the loads
 * of the input.
 *
 * Sums that may need more than 32 bits are made of several parts of the columns, each of which
 * the generator proves to fit: `packed` is the number of parts plus one, and `bias` holds for
 * every four rows what each part begins with, four by four, then their biases in units of acc. */
#include <arm_acle.h>

/* What asd_dsp_... goes through; it changes none of it. In the order in which it loads them. */
typedef struct {
    int8_t *y;
    const int32_t *bias;
    uint32_t blocks;        /* of four rows */
    const uint32_t *scale;  /* or, of packed rows, what is added to the scales' bits */
    uint32_t zero_point;    /* in both halves; ASD_DSP_HALVES: 128 more */
    uint32_t factor;        /* of packed rows: of the high half of a bias */
    const uint32_t *x;      /* expanded */
    const uint32_t *end;    /* of x */
    uint32_t entry;         /* where to enter the loop over 8 * ASD_DSP_UNROLL columns */
    const uint32_t *w;
} asd_dsp_state;

/* Groups of eight columns in the loop. Models with a scale a row have more constants; their loop is
 * shorter by what these take. */
#define ASD_DSP_UNROLL (ASD_SCALES == ASD_PACKED_ROWS && ASD_FLOAT_UNIT ? 4 : 8)
#define ASD_DSP_GROUP_BYTES 108 /* of code: 27 instructions */

/* `first` is done once, `next` at the start of each block of four rows, to load r4-r7, the sums'
 * first values, and `output` at its end; the state is in r3 (y), r8 (bias), r9 (blocks), r10
 * (scale), r11 (zero_point), r12 (factor) and lr (x), and on the stack. */
#define ASD_DSP_FUNCTION(name, first, next, output)                                       \
    ASD_ASSEMBLY static void name(__attribute__((unused)) const asd_dsp_state *state)     \
    {                                                                                     \
        __asm__ volatile(                                                                 \
            /* Two words of x, a and x, with a word of each of four rows: 16 products. */ \
            ".macro asd_columns4 a, x\n"                                                  \
            "  ldmia r0!, {r8-r11}\n"                                                     \
            "  smlad r4, r8, \\a, r4\n"                                                   \
            "  smlad r5, r9, \\a, r5\n"                                                   \
            "  smlad r6, r10, \\a, r6\n"                                                  \
            "  smlad r7, r11, \\a, r7\n"                                                  \
            "  sxtb16 r8, r8\n"                                                           \
            "  sxtb16 r9, r9\n"                                                           \
            "  sxtb16 r10, r10\n"                                                         \
            "  sxtb16 r11, r11\n"                                                         \
            "  smlad r4, r8, \\x, r4\n"                                                   \
            "  smlad r5, r9, \\x, r5\n"                                                   \
            "  smlad r6, r10, \\x, r6\n"                                                  \
            "  smlad r7, r11, \\x, r7\n"                                                  \
            ".endm\n"                                                                     \
            "  push {r4-r11, lr}\n"                                                       \
            "  ldrd r4, r5, [r0, #28]\n" /* end, entry */                                 \
            "  ldmia r0, {r3, r8-r12, lr}\n"                                              \
            "  ldr r0, [r0, #36]\n" /* w */                                               \
            "  adr r6, 2f\n"                                                              \
            "  add r5, r5, r6\n"                                                          \
            "  push {r4, r5}\n"                                                           \
            "  push {r3, r8-r12, lr}\n" first                                             \
            "1:\n" next                                                                   \
            "  mov r1, lr\n"                                                              \
            "  ldr pc, [sp, #32]\n"                                                       \
            ".balign 4\n"                                                                 \
            "2:\n" /* r0 w, r1 x, r4-r7 four sums */                                      \
            ".rept %c0\n"                                    \
            "  ldmia r1!, {r2, r3, r12, lr}\n"                                            \
            "  asd_columns4 r2, r3\n"                                                     \
            "  asd_columns4 r12, lr\n"                                                    \
            ".endr\n"                                                                     \
            "  ldr r8, [sp, #28]\n"                                                       \
            "  cmp r1, r8\n"                                                              \
            "  bne 2b\n"                                                                  \
            "  ldmia sp, {r3, r8-r12, lr}\n" output                                       \
            "  subs r9, r9, #1\n"                                                         \
            "  bne 1b\n"                                                                  \
            "  add sp, sp, #36\n"                                                         \
            "  pop {r4-r11, pc}\n"                                                        \
            ".purgem asd_columns4\n" ::"i"(ASD_DSP_UNROLL));                              \
    }

#if ASD_DOUBLE_ROUNDING || !ASD_FLOAT_UNIT || ASD_SPLIT
/* The four sums themselves, for asd_requantise. */
ASD_DSP_FUNCTION(asd_dsp_sums, "",
                 "  ldmia r8!, {r4-r7}\n"
                 "  stmia sp, {r3, r8, r9}\n",
                 "  stmia r3!, {r4-r7}\n"
                 "  str r3, [sp]\n")
#endif

#if !ASD_DOUBLE_ROUNDING && ASD_FLOAT_UNIT

#if ASD_SCALES == ASD_ONE_SCALE
#define ASD_DSP_FIRST "  vldr s4, [r10]\n"
#define ASD_DSP_NEXT           \
    "  ldmia r8!, {r4-r7}\n"   \
    "  stmia sp, {r3, r8, r9}\n"
#define ASD_DSP_MULTIPLY          \
    "  vmul.f32 s0, s0, s4\n"     \
    "  vmul.f32 s1, s1, s4\n"     \
    "  vmul.f32 s2, s2, s4\n"     \
    "  vmul.f32 s3, s3, s4\n"
#else
#define ASD_DSP_FIRST ""
#define ASD_DSP_MULTIPLY          \
    "  vmul.f32 s0, s0, s4\n"     \
    "  vmul.f32 s1, s1, s5\n"     \
    "  vmul.f32 s2, s2, s6\n"     \
    "  vmul.f32 s3, s3, s7\n"
#if ASD_SCALES == ASD_PACKED_ROWS
/* Six words for four rows: bits 21 to 6 of the biases in two; then four of a scale's bits above
 * the layer's least, 26 of them, over bits 5 to 0 of the bias. */
#define ASD_DSP_NEXT                                                                           \
    "  ldmia r8!, {r1, r2, r4, r5, r7, r11}\n" /* of biases 0, 1; rows 0, 2, 3; biases 2, 3; 1 */ \
    "  stmia sp, {r3, r8, r9}\n"                                                               \
    "  add r3, r10, r2, lsr #6\n"                                                              \
    "  add r9, r10, r11, lsr #6\n"                                                             \
    "  vmov s4, s5, r3, r9\n"                                                                  \
    "  add r3, r10, r4, lsr #6\n"                                                              \
    "  add r9, r10, r5, lsr #6\n"                                                              \
    "  vmov s6, s7, r3, r9\n"                                                                  \
    "  smulbb r6, r7, r12\n"                                                                   \
    "  smultb r7, r7, r12\n"                                                                   \
    "  bfi r6, r4, #8, #6\n"                                                                   \
    "  bfi r7, r5, #8, #6\n"                                                                   \
    "  smulbb r4, r1, r12\n"                                                                   \
    "  smultb r5, r1, r12\n"                                                                   \
    "  bfi r4, r2, #8, #6\n"                                                                   \
    "  bfi r5, r11, #8, #6\n"
#else
#define ASD_DSP_NEXT             \
    "  ldmia r8!, {r4-r7}\n"     \
    "  vldmia r10!, {s4-s7}\n"   \
    "  stmia sp, {r3, r8-r10}\n"
#endif
#endif

/* The four sums are 256 * acc. FPSCR rounds to nearest, ties to even, as it does from reset. */
#define ASD_DSP_ROUND                 \
    "  vmov s0, s1, r4, r5\n"         \
    "  vmov s2, s3, r6, r7\n"         \
    "  vcvt.f32.s32 s0, s0, #8\n"     \
    "  vcvt.f32.s32 s1, s1, #8\n"     \
    "  vcvt.f32.s32 s2, s2, #8\n"     \
    "  vcvt.f32.s32 s3, s3, #8\n"     \
    ASD_DSP_MULTIPLY                  \
    "  vcvtr.s32.f32 s0, s0\n"        \
    "  vcvtr.s32.f32 s1, s1\n"        \
    "  vcvtr.s32.f32 s2, s2\n"        \
    "  vcvtr.s32.f32 s3, s3\n"        \
    "  vmov r4, r5, s0, s1\n"         \
    "  vmov r6, r7, s2, s3\n"

#if ASD_NARROW && defined(__ARM_FEATURE_UNALIGNED)
/* The generator proves that the products fit 16 bits. */
#define ASD_DSP_HALVES 1
#define ASD_DSP_STORE                 \
    "  pkhbt r4, r4, r6, lsl #16\n"   \
    "  pkhbt r5, r5, r7, lsl #16\n"   \
    "  qadd16 r4, r4, r11\n"          \
    "  qadd16 r5, r5, r11\n"          \
    "  usat16 r4, #8, r4\n"           \
    "  usat16 r5, #8, r5\n"           \
    "  orr r4, r4, r5, lsl #8\n"      \
    "  eor r4, r4, #0x80808080\n"     \
    "  str r4, [r3], #4\n"
#else
#define ASD_DSP_HALVES 0
#define ASD_DSP_STORE            \
    "  sxth r11, r11\n"          \
    "  qadd r4, r4, r11\n"       \
    "  qadd r5, r5, r11\n"       \
    "  qadd r6, r6, r11\n"       \
    "  qadd r7, r7, r11\n"       \
    "  ssat r4, #8, r4\n"        \
    "  ssat r5, #8, r5\n"        \
    "  ssat r6, #8, r6\n"        \
    "  ssat r7, #8, r7\n"        \
    "  strb r4, [r3], #1\n"      \
    "  strb r5, [r3], #1\n"      \
    "  strb r6, [r3], #1\n"      \
    "  strb r7, [r3], #1\n"
#endif

ASD_DSP_FUNCTION(asd_dsp_bytes, ASD_DSP_FIRST, ASD_DSP_NEXT,
                 ASD_DSP_ROUND ASD_DSP_STORE)
#endif

/* Four values of x to A and X. */
static inline void asd_expand4(const int8_t *x, uint32_t *expanded)
{
    uint32_t word, odd;
    memcpy(&word, x, sizeof word);
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    odd = (uint32_t)__ssub16((int16x2_t)odd, 0x007F007F);
    expanded[0] = odd;
    expanded[1] = (uint32_t)__ssub16((int16x2_t)((word << 8) & 0xFF00FF00), (int16x2_t)odd);
}

/* n values of x, then zeros up to a multiple of eight; returns the end. */
static uint32_t *asd_expand(const int8_t *x, uint32_t n, uint32_t *expanded)
{
    const int8_t *end = x + (n & ~7U);
    for (; x != end; x += 8, expanded += 4) {
        asd_expand4(x, expanded);
        asd_expand4(x + 4, expanded + 2);
    }
    if (!ASD_WHOLE && (n & 7)) {
        int8_t last[8] = {0};
        memcpy(last, x, n & 7);
        asd_expand4(last, expanded);
        asd_expand4(last + 4, expanded + 2);
        expanded += 4;
    }
    return expanded;
}

/* From where on x and w are read, and where the loop is entered, for n columns, a multiple of 8. */
static inline void asd_dsp_columns(asd_dsp_state *state, const uint32_t *x, uint32_t n)
{
    uint32_t left = n / 8 % ASD_DSP_UNROLL;
    state->x = x;
    state->end = x + n / 2;
    state->entry = (left ? ASD_DSP_UNROLL - left : 0) * ASD_DSP_GROUP_BYTES + 1; /* 1: Thumb */
}

#if ASD_DOUBLE_ROUNDING || !ASD_FLOAT_UNIT || ASD_SPLIT

/* Whole rows, or the parts of rows that are split. */
static void asd_dsp_by_sums(const asd_layer *layer, asd_dsp_state *state, int8_t *y)
{
    const uint32_t *x = state->x;
    uint32_t columns = (uint32_t)(state->end - x) * 2, row, i;
    uint32_t parts = layer->packed - 1U, part = columns, most = 4;
    if (ASD_SPLIT && parts > 0) {
        part = (columns / 8 + parts - 1) / parts * 8;
        most = 1;
    }
    for (row = 0; row < layer->outputs; row += 4 * most) {
        int32_t sums[16];
        uint32_t rows = layer->outputs - row < 4 * most ? layer->outputs - row : 4 * most;
        state->blocks = (rows + 3) / 4;
        if (ASD_SPLIT && parts > 0) {
            int32_t total[4] = {0, 0, 0, 0};
            uint32_t at;
            for (at = 0; at < columns; at += part, state->bias += 4) {
                uint32_t n = columns - at < part ? columns - at : part;
                asd_dsp_columns(state, x + at / 2, n);
                state->y = (int8_t *)sums;
                asd_dsp_sums(state);
                state->w += n;
                for (i = 0; i < 4; i++) {
                    total[i] = asd_add(total[i], sums[i] >> 8);
                }
            }
            for (i = 0; i < 4; i++) {
                sums[i] = asd_add(total[i], *state->bias++);
            }
        } else {
            state->y = (int8_t *)sums;
            asd_dsp_sums(state);
            state->bias += 4 * state->blocks;
            state->w += columns * state->blocks;
            for (i = 0; i < rows; i++) {
                sums[i] >>= 8;
            }
        }
        for (i = 0; i < rows; i++) {
            y[row + i] = asd_requantise(layer, row + i, sums[i]);
        }
    }
}
#endif

#if !ASD_DOUBLE_ROUNDING && ASD_FLOAT_UNIT

static void asd_dsp_by_bytes(const asd_layer *layer, asd_dsp_state *state, int8_t *y)
{
    uint32_t row = layer->outputs & ~3U, j;
    state->scale = layer->scale;
    state->zero_point = (uint32_t)(layer->zero_point + (ASD_DSP_HALVES ? 128 : 0)) * 0x10001U;
    state->y = y;
    state->blocks = row / 4;
#if ASD_SCALES == ASD_PACKED_ROWS
    state->scale = (const uint32_t *)(uintptr_t)layer->scale[0];
    state->factor = 1U << 14;
#endif
    if (ASD_WHOLE || row) {
        asd_dsp_bytes(state);
    }
    if (!ASD_WHOLE && row < layer->outputs) {
        int8_t last[4];
        state->bias += ASD_SCALES == ASD_PACKED_ROWS ? row / 4 * 6 : row;
        state->scale += ASD_SCALES == ASD_ROWS ? row : 0;
        state->w += row / 4 * (uint32_t)(state->end - state->x) * 2;
        state->y = last;
        state->blocks = 1;
        asd_dsp_bytes(state);
        memcpy(y + row, last, layer->outputs - row);
    }
    for (j = 0; ASD_CLAMPED && layer->low > -128 && j < layer->outputs; j++) {
        y[j] = y[j] < layer->low ? layer->low : y[j];
    }
}
#endif

static void asd_packed(const asd_layer *layer, const int8_t *x, int8_t *y, uint32_t *expanded)
{
    asd_dsp_state state;
    const uint32_t *end = asd_expand(x, layer->inputs, expanded);
    asd_dsp_columns(&state, expanded, (uint32_t)(end - expanded) * 2);
    state.w = (const uint32_t *)layer->weights;
    state.bias = layer->bias;
#if ASD_DOUBLE_ROUNDING || !ASD_FLOAT_UNIT
    asd_dsp_by_sums(layer, &state, y);
#elif ASD_SPLIT
    if (layer->packed > 1) {
        asd_dsp_by_sums(layer, &state, y);
    } else {
        asd_dsp_by_bytes(layer, &state, y);
    }
#else
    asd_dsp_by_bytes(layer, &state, y);
#endif
}
#endif

#if ASD_KERNEL == ASD_MVE
#include "kernels_mve.h"
#endif

/* ---------------------------------------------------------------- a float as int8 */

static inline int8_t asd_quantise(float value, float scale, int32_t zero_point)
{
    float q = value / scale, low = (float)(-128 - zero_point), high = (float)(127 - zero_point);
    q = q > low ? q < high ? q : high : low; /* not a number: low */
    return (int8_t)(asd_nearest(q) + zero_point);
}

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
#if ASD_KERNEL == ASD_MVE
        asd_mve(layer, x, y);
#elif ASD_ALL_PACKED
        asd_packed(layer, x, y, (uint32_t *)(void *)(hidden + 2 * width));
#elif ASD_KERNEL == ASD_PLAIN
        asd_plain(layer, x, y);
#else
        if (layer->packed) {
            asd_packed(layer, x, y, (uint32_t *)(void *)(hidden + 2 * width));
        } else {
            asd_plain(layer, x, y);
        }
#endif
        x = y;
    }
}

#endif /* ASD_KERNELS_H */

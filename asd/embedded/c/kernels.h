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
 *   ASD_DSP    Arm DSP extension with a float unit (Cortex-M4F, M7, M33): three instructions for
 *              four multiply-accumulates
 *   ASD_MVE    Arm MVE (Cortex-M55, M85): sixteen multiply-accumulates an instruction
 * A layer that a kernel's range does not allow runs through ASD_PLAIN: `packed` is 0.
 */
#ifndef ASD_KERNELS_H
#define ASD_KERNELS_H

#include <stdint.h>
#include <string.h>

/* Float arithmetic that is exactly float32, and not slower than integers. */
#ifdef ASD_FLOAT_UNIT
#elif (defined(__ARM_FP) && (__ARM_FP & 4)) || defined(__aarch64__) || defined(__x86_64__) || \
    defined(_M_X64) || (defined(__riscv_flen) && __riscv_flen >= 32)
#define ASD_FLOAT_UNIT 1
#else
#define ASD_FLOAT_UNIT 0
#endif

typedef struct {
    const void *weights;   /* packed for ASD_KERNEL, or int8 row by row where packed is 0 */
    const int32_t *bias;   /* [outputs, rounded up to 4 where packed], in the kernel's units */
    const uint32_t *scale; /* [outputs or 1]: the bits of a float32; double rounding: q 31 bits */
    const int8_t *shift;   /* [outputs or 1]: double rounding only: left where positive */
    uint16_t inputs, outputs;
    int8_t zero_point, low; /* of the output; low: -128, or zero_point where there is a ReLU */
    uint8_t per_channel, packed;
#if ASD_STEPS
    const int8_t *table; /* [256] or NULL: an output's successor, by the output as uint8 */
    int8_t high;         /* the largest output */
#endif
} asd_layer;

/* ---------------------------------------------------------------- from acc to int8 */

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
    int32_t high = (int32_t)((product + (INT64_C(1) << 30)) >> 31);
    int32_t mask = (int32_t)((UINT32_C(1) << right) - 1);
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
    uint64_t half = shift ? UINT64_C(1) << (shift - 1) : 0, rest;
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
static int32_t asd_scale_exactly(int32_t acc, uint32_t float_bits)
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

/* The same in a few instructions, but where the result is so near a tie that the float32
 * product's own rounding, which moves a result within +-256 by at most 2^-16, could decide. With
 * |acc| < 2^24, the high word of acc * 2^7 times a mantissa of 31 bits has `shift` fractional
 * bits; what the low word holds is less than one unit of it. */
static inline int8_t asd_requantise(const asd_layer *layer, uint32_t row, int32_t acc)
{
    uint32_t bits = layer->scale[layer->per_channel ? row : 0];
    uint32_t shift = 132 - (bits >> 23);
    if (shift - 4 <= 20 && acc < (1 << 24) && acc > -(1 << 24)) {
        uint32_t window = ((UINT32_C(1) << shift) >> 16) | 1;
        int32_t mantissa = (int32_t)(((bits & 0x7FFFFF) | 0x800000) << 7);
        int64_t product = (int64_t)(int32_t)((uint32_t)acc << 7) * mantissa;
        int32_t high = (int32_t)(product >> 32) + (int32_t)(UINT32_C(1) << (shift - 1));
        uint32_t rest = ((uint32_t)high + window) & ((UINT32_C(1) << shift) - 1);
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
 * sums; turned by 16 bits, (w2 + 128) + 2^24 * w1. The sums of w0 and w2 have 24 bits, which the
 * generator proves to be enough; 128 * sum(x) is taken off before. */
static inline int32_t asd_low24(int64_t sum)
{
    return (int32_t)((uint32_t)sum << 8) >> 8;
}

static void asd_packed(const asd_layer *layer, const int8_t *x, int8_t *y, uint32_t *unused)
{
    const uint32_t *w = (const uint32_t *)layer->weights, mask = 0xFF0000FF;
    uint32_t n = layer->inputs, row, i, j;
    int32_t sum = 0;
    (void)unused;
    for (i = 0; i < n; i++) {
        sum += x[i];
    }
    for (row = 0; row < layer->outputs; row += 4) {
        int64_t p = -128 * (int64_t)sum, q = p;
        int32_t acc[4];
        const int8_t *v = x, *end = x + (n & ~7U);
#define ASD_COLUMN(i)                                                    \
    {                                                                    \
        uint32_t word = w[i];                                            \
        int32_t value = v[i];                                            \
        p += (int64_t)(int32_t)(word & mask) * value;                    \
        word = (word >> 16) | (word << 16);                              \
        q += (int64_t)(int32_t)(word & mask) * value;                    \
        ASD_IN_ORDER                                                     \
    }
        for (; v != end; v += 8, w += 8) {
            ASD_COLUMN(0) ASD_COLUMN(1) ASD_COLUMN(2) ASD_COLUMN(3)
            ASD_COLUMN(4) ASD_COLUMN(5) ASD_COLUMN(6) ASD_COLUMN(7)
        }
        for (end = x + n; v != end; v++, w++) {
            ASD_COLUMN(0)
        }
#undef ASD_COLUMN
        acc[0] = asd_low24(p);
        acc[3] = (int32_t)((p - acc[0]) >> 24);
        acc[2] = asd_low24(q);
        acc[1] = (int32_t)((q - acc[2]) >> 24);
        for (j = 0; j < 4 && row + j < layer->outputs; j++) {
            y[row + j] = asd_requantise(layer, row + j, asd_add(acc[j], layer->bias[row + j]));
        }
    }
}
#endif

#if ASD_KERNEL == ASD_DSP

/* ---------------------------------------------------------------- Arm DSP extension
 * A word holds four columns of a row as the halfwords 256 * w1 + w0 and 256 * w3 + w2. The input
 * stands twice: A = (x1 - 127, x3 - 127) and X = (256 * x0 - A1, 256 * x2 - A3), which fit 16
 * bits. Then SMLAD(word, A) + SMLAD(SXTB16(word), X) is 256 times the sum over w0 * x0,
 * w1 * (x1 - 127), w2 * x2, w3 * (x3 - 127); the 127s are in the bias. Four rows share the loads
 * of the input. */
#include <arm_acle.h>

#if ASD_DOUBLE_ROUNDING
/* The four sums themselves, for asd_requantise. */
#define ASD_DSP_OUTPUT "  stmia r10!, {r4-r7}\n"
#else
/* The four sums are 256 * acc. FPSCR rounds to nearest, ties to even, as it does from reset. */
#define ASD_DSP_OUTPUT                   \
    "  vldmia r3, {s4-s7}\n"             \
    "  add r3, r3, r8\n"                 \
    "  vmov s0, s1, r4, r5\n"            \
    "  vmov s2, s3, r6, r7\n"            \
    "  vcvt.f32.s32 s0, s0, #8\n"        \
    "  vcvt.f32.s32 s1, s1, #8\n"        \
    "  vcvt.f32.s32 s2, s2, #8\n"        \
    "  vcvt.f32.s32 s3, s3, #8\n"        \
    "  vmul.f32 s0, s0, s4\n"            \
    "  vmul.f32 s1, s1, s5\n"            \
    "  vmul.f32 s2, s2, s6\n"            \
    "  vmul.f32 s3, s3, s7\n"            \
    "  vcvtr.s32.f32 s0, s0\n"           \
    "  vcvtr.s32.f32 s1, s1\n"           \
    "  vcvtr.s32.f32 s2, s2\n"           \
    "  vcvtr.s32.f32 s3, s3\n"           \
    "  vmov r4, r5, s0, s1\n"            \
    "  vmov r6, r7, s2, s3\n"            \
    "  qadd r4, r4, r9\n"                \
    "  qadd r5, r5, r9\n"                \
    "  qadd r6, r6, r9\n"                \
    "  qadd r7, r7, r9\n"                \
    "  ssat r4, #8, r4\n"                \
    "  ssat r5, #8, r5\n"                \
    "  ssat r6, #8, r6\n"                \
    "  ssat r7, #8, r7\n"                \
    "  strb r4, [r10], #1\n"             \
    "  strb r5, [r10], #1\n"             \
    "  strb r6, [r10], #1\n"             \
    "  strb r7, [r10], #1\n"
#endif

/* What asd_dsp_layer goes through; it changes the pointers. In the order in which it loads them. */
typedef struct {
    const uint32_t *scale; /* four float32 */
    uint32_t scale_step;   /* bytes to the next four */
    int32_t zero_point;
    int8_t *y;
    uint32_t blocks; /* of four rows */
    const int32_t *bias;
    const uint32_t *x; /* expanded */
    const uint32_t *w;
    const uint32_t *ends[2]; /* of x: of its whole 64 columns, and of all */
} asd_dsp_state;

/* Not known to the compiler as what it is: it would reckon with registers that are not used. */
#if defined(__clang__)
#define ASD_ASSEMBLY __attribute__((naked, noinline))
#else
#define ASD_ASSEMBLY __attribute__((naked, noinline, noipa))
#endif

ASD_ASSEMBLY static void asd_dsp_layer(__attribute__((unused)) asd_dsp_state *state)
{
    __asm__ volatile(
    /* Two words of x, \\a and \\x, with a word of each of four rows: 16 multiply-accumulates. */
    ".macro asd_columns4 a, x\n"
    "  ldmia r0!, {r8-r11}\n"
    "  smlad r4, r8, \\a, r4\n"
    "  smlad r5, r9, \\a, r5\n"
    "  smlad r6, r10, \\a, r6\n"
    "  smlad r7, r11, \\a, r7\n"
    "  sxtb16 r8, r8\n"
    "  sxtb16 r9, r9\n"
    "  sxtb16 r10, r10\n"
    "  sxtb16 r11, r11\n"
    "  smlad r4, r8, \\x, r4\n"
    "  smlad r5, r9, \\x, r5\n"
    "  smlad r6, r10, \\x, r6\n"
    "  smlad r7, r11, \\x, r7\n"
    ".endm\n"
    ".macro asd_columns8\n"
    "  ldmia r1!, {r2, r3, r12, lr}\n"
    "  asd_columns4 r2, r3\n"
    "  asd_columns4 r12, lr\n"
    ".endm\n"
    "  push {r0, r4-r11, lr}\n"
    "  mov r2, r0\n"
    "  ldrd r4, r5, [r0, #32]\n" /* ends */
    "  ldrd r8, r0, [r0, #24]\n" /* x, w */
    "  push {r4, r5}\n"
    "  mov r1, r8\n"
    "  ldr r3, [r2, #20]\n" /* bias */
    "  ldmia r3!, {r4-r7}\n"
    "  str r3, [r2, #20]\n"
    "1:\n" /* a block: r0 w, r1 x, r4-r7 four sums */
    "  ldr r8, [sp]\n"
    "  cmp r1, r8\n"
    "  beq 3f\n"
    "2:\n"
    ".rept 8\n"
    "  asd_columns8\n"
    ".endr\n"
    "  ldr r8, [sp]\n"
    "  cmp r1, r8\n"
    "  bne 2b\n"
    "3:\n"
    "  ldr r8, [sp, #4]\n"
    "  cmp r1, r8\n"
    "  beq 5f\n"
    "4:\n"
    "  asd_columns8\n"
    "  ldr r8, [sp, #4]\n"
    "  cmp r1, r8\n"
    "  bne 4b\n"
    "5:\n"
    "  ldr r2, [sp, #8]\n"
    "  ldmia r2, {r3, r8-r12, lr}\n" /* scale, step, zero point, y, blocks, bias, x */
    ASD_DSP_OUTPUT
    "  subs r11, r11, #1\n"
    "  beq 6f\n"
    "  ldmia r12!, {r4-r7}\n"
    "  mov r1, lr\n"
    "  stmia r2, {r3, r8-r12, lr}\n"
    "  b 1b\n"
    "6:\n"
    "  add sp, sp, #12\n"
    "  pop {r4-r11, pc}\n"
    ".purgem asd_columns4\n"
    ".purgem asd_columns8\n");
}

/* Four values of x to A and X. */
static inline void asd_expand4(uint32_t word, uint32_t *expanded)
{
    uint32_t odd = (word >> 8) | (word << 24);
    odd = (uint32_t)__ssub16(__sxtb16((int8x4_t)odd), 0x007F007F);
    expanded[0] = odd;
    expanded[1] = (uint32_t)__ssub16((int16x2_t)((word << 8) & 0xFF00FF00), (int16x2_t)odd);
}

/* n values of x, then zeros up to `columns`; returns the end. */
static uint32_t *asd_expand(const int8_t *x, uint32_t n, uint32_t columns, uint32_t *expanded)
{
    uint32_t i, word;
    for (i = 0; i + 4 <= n; i += 4, expanded += 2) {
        memcpy(&word, x + i, sizeof word);
        asd_expand4(word, expanded);
    }
    for (; i < columns; i += 4, expanded += 2) {
        word = 0;
        if (i < n) {
            memcpy(&word, x + i, n - i);
        }
        asd_expand4(word, expanded);
    }
    return expanded;
}

static void asd_packed(const asd_layer *layer, const int8_t *x, int8_t *y, uint32_t *expanded)
{
    uint32_t columns = (layer->inputs + 7U) & ~7U, row = 0, j;
    asd_dsp_state state = {0};
    state.bias = layer->bias;
    state.x = expanded;
    state.w = (const uint32_t *)layer->weights;
    state.ends[0] = expanded + (columns & ~63U) / 2;
    state.ends[1] = asd_expand(x, layer->inputs, columns, expanded);
#if ASD_DOUBLE_ROUNDING
    for (; row < layer->outputs; row += 4) {
        int32_t acc[4];
        state.blocks = 1;
        state.y = (int8_t *)acc;
        asd_dsp_layer(&state);
        state.bias = layer->bias + row + 4;
        state.w += columns;
        for (j = 0; j < 4 && row + j < layer->outputs; j++) {
            y[row + j] = asd_requantise(layer, row + j, acc[j] >> 8);
        }
    }
#else
    {
        uint32_t tensor_scale[4], last_scale[4] = {0};
        int8_t last[4];
        tensor_scale[0] = tensor_scale[1] = tensor_scale[2] = tensor_scale[3] = layer->scale[0];
        state.scale = layer->per_channel ? layer->scale : tensor_scale;
        state.scale_step = layer->per_channel ? sizeof tensor_scale : 0;
        state.zero_point = layer->zero_point;
        state.y = y;
        state.blocks = layer->outputs / 4;
        if (state.blocks) {
            asd_dsp_layer(&state);
            row = 4U * (layer->outputs / 4U);
        }
        if (row < layer->outputs) {
            state.bias = layer->bias + row;
            state.w = (const uint32_t *)layer->weights + row / 4 * columns;
            if (layer->per_channel) {
                memcpy(last_scale, layer->scale + row, 4U * (layer->outputs - row));
                state.scale = last_scale;
            }
            state.blocks = 1;
            state.y = last;
            asd_dsp_layer(&state);
            memcpy(y + row, last, layer->outputs - row);
        }
        for (j = 0; layer->low > -128 && j < layer->outputs; j++) {
            y[j] = y[j] < layer->low ? layer->low : y[j];
        }
    }
#endif
}
#endif

#if ASD_KERNEL == ASD_MVE

/* ---------------------------------------------------------------- Arm MVE: int8, row by row */
#include <arm_mve.h>

static void asd_mve(const asd_layer *layer, const int8_t *x, int8_t *y)
{
    const int8_t *w = (const int8_t *)layer->weights;
    int32_t n = layer->inputs, row, i;
    for (row = 0; row < layer->outputs; row += 4) {
        int32_t rows = layer->outputs - row < 4 ? layer->outputs - row : 4;
        /* Rows that are not there are read again as the last one. */
        const int8_t *r0 = w, *r1 = rows > 1 ? r0 + n : r0, *r2 = rows > 2 ? r1 + n : r1;
        const int8_t *r3 = rows > 3 ? r2 + n : r2;
        int32_t a = 0, b = 0, c = 0, d = 0;
        const int8_t *p = x;
        i = n & 15;
        if (n >= 16) {
            /* By hand: gcc 12 finds neither the loop nor the addressing. */
            int32_t count = n >> 4;
            __asm__("dls lr, %[count]\n"
                    "1:\n\t"
                    "vldrb.u8 q0, [%[p]], #16\n\t"
                    "vldrb.u8 q1, [%[r0]], #16\n\t"
                    "vmlava.s8 %[a], q0, q1\n\t"
                    "vldrb.u8 q1, [%[r1]], #16\n\t"
                    "vmlava.s8 %[b], q0, q1\n\t"
                    "vldrb.u8 q1, [%[r2]], #16\n\t"
                    "vmlava.s8 %[c], q0, q1\n\t"
                    "vldrb.u8 q1, [%[r3]], #16\n\t"
                    "vmlava.s8 %[d], q0, q1\n\t"
                    "le lr, 1b"
                    : [p] "+r"(p), [r0] "+r"(r0), [r1] "+r"(r1), [r2] "+r"(r2), [r3] "+r"(r3),
                      [a] "+Te"(a), [b] "+Te"(b), [c] "+Te"(c), [d] "+Te"(d)
                    : [count] "r"(count)
                    : "lr", "q0", "q1", "memory");
        }
        if (i > 0) {
            mve_pred16_t tail = vctp8q((uint32_t)i);
            int8x16_t v = vldrbq_z_s8(p, tail);
            a = vmladavaq_s8(a, v, vldrbq_z_s8(r0, tail));
            b = vmladavaq_s8(b, v, vldrbq_z_s8(r1, tail));
            c = vmladavaq_s8(c, v, vldrbq_z_s8(r2, tail));
            d = vmladavaq_s8(d, v, vldrbq_z_s8(r3, tail));
        }
        w += rows * n;
#if ASD_DOUBLE_ROUNDING
        {
            const int32_t acc[4] = {a, b, c, d};
            for (i = 0; i < rows; i++) {
                uint32_t j = (uint32_t)(row + i);
                y[j] = asd_requantise(layer, j, asd_add(acc[i], layer->bias[j]));
            }
        }
#else
        {
            mve_pred16_t some = vctp32q((uint32_t)rows);
            int32x4_t acc = vsetq_lane_s32(a, vdupq_n_s32(b), 0);
            float32x4_t scale = vreinterpretq_f32_u32(
                layer->per_channel ? vldrwq_z_u32(layer->scale + row, some)
                                   : vdupq_n_u32(layer->scale[0]));
            acc = vsetq_lane_s32(c, acc, 2);
            acc = vsetq_lane_s32(d, acc, 3);
            acc = vaddq_s32(acc, vldrwq_z_s32(layer->bias + row, some));
            acc = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), scale));
            acc = vqaddq_n_s32(acc, layer->zero_point);
            acc = vmaxq_s32(acc, vdupq_n_s32(layer->low));
            acc = vminq_s32(acc, vdupq_n_s32(127));
            vstrbq_p_s32(y + row, acc, some);
        }
#endif
    }
}
#endif

#include "kernels_bytes.h"

/* ---------------------------------------------------------------- a chain of layers */

/* scratch, 8-byte aligned: two hidden vectors of `width` bytes, then what ASD_DSP expands. */
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
#elif ASD_KERNEL == ASD_PLAIN
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

/* ASD_MVE: int8, row by row; included by kernels.h only.
 *
 * Four rows at a time share the loads of x. Their sums begin with the bias, and become four values
 * of y in a vector, with constants that stay in registers. */
#ifndef ASD_KERNELS_MVE_H
#define ASD_KERNELS_MVE_H

#define ASD_MVE_CLAMPED          \
    "  vqadd.s32 q0, q0, q2\n"   \
    "  vmax.s32 q0, q0, q3\n"    \
    "  vmin.s32 q0, q0, q4\n"    \
    "  vstrb.32 q0, [r7], #4\n"
#define ASD_MVE_IN_VECTORS (ASD_DOUBLE_ROUNDING || (__ARM_FEATURE_MVE & 2))
#if ASD_DOUBLE_ROUNDING
/* A right shift that rounds takes ties up; away from zero, as they have to go, once 1 is taken
 * off what is below zero, if there is a right shift at all. */
#define ASD_MVE_OUTPUT            \
    "  ldr r1, [r9, #48]\n"       \
    "  vldrb.s32 q1, [r1]\n"      \
    "  add r1, r1, lr, lsr #2\n"  \
    "  str r1, [r9, #48]\n"       \
    "  vmov.i32 q5, #0\n"         \
    "  vmax.s32 q6, q1, q5\n"     \
    "  vmin.s32 q1, q1, q5\n"     \
    "  vshl.s32 q0, q0, q6\n"     \
    "  vldrw.u32 q6, [r12]\n"     \
    "  vqrdmulh.s32 q0, q0, q6\n" \
    "  vand q5, q0, q1\n"         \
    "  vshr.s32 q5, q5, #31\n"    \
    "  vqadd.s32 q0, q0, q5\n"    \
    "  vrshl.s32 q0, q0, q1\n" ASD_MVE_CLAMPED
#define ASD_MVE_SAVED "{d8-d13}"
#elif ASD_MVE_IN_VECTORS
#define ASD_MVE_OUTPUT           \
    "  vldrw.u32 q1, [r12]\n"    \
    "  vcvt.f32.s32 q0, q0\n"    \
    "  vmul.f32 q0, q0, q1\n"    \
    "  vcvtn.s32.f32 q0, q0\n" ASD_MVE_CLAMPED
#define ASD_MVE_SAVED "{d8-d9}"
#else
/* The four sums themselves, for asd_requantise. */
#define ASD_MVE_OUTPUT "  vstrw.32 q0, [r7], #16\n"
#define ASD_MVE_SAVED "{d8-d9}"
#endif

/* What asd_mve_layer goes through; it changes w and shift. The comments are their places. */
typedef struct {
    const int8_t *x;           /* 0 */
    uint32_t stride;           /* 4: from a row to the next; 0: four times the same row */
    uint32_t whole, rest;      /* 8, 12: columns, in 64s, and those after them */
    uint32_t over;             /* 16: what the loads of the rest go past the end of a row */
    const int8_t *w;           /* 20 */
    const int32_t *bias;       /* 24 */
    void *y;                   /* 28 */
    const uint32_t *scale;     /* 32: of four rows */
    uint32_t scale_step;       /* 36: bytes to the next four */
    const int32_t *end;        /* 40: of the biases */
    const int32_t *clamp;      /* 44: zero point, least */
    const int8_t *shift;       /* 48: of four rows */
} asd_mve_state;

ASD_ASSEMBLY static void asd_mve_layer(__attribute__((unused)) asd_mve_state *state)
{
    __asm__ volatile(
        /* 16 columns of four rows. */
        ".macro asd_columns16\n"
        "  vldrb.u8 q0, [r1], #16\n"
        "  vldrb.u8 q1, [r3], #16\n"
        "  vmlava.s8 r0, q0, q1\n"
        "  vldrb.u8 q1, [r5], #16\n"
        "  vmlava.s8 r2, q0, q1\n"
        "  vldrb.u8 q1, [r11], #16\n"
        "  vmlava.s8 r4, q0, q1\n"
        "  vldrb.u8 q1, [r8], #16\n"
        "  vmlava.s8 r6, q0, q1\n"
        ".endm\n"
        "  push {r4-r11, lr}\n"
        "  vpush " ASD_MVE_SAVED "\n"
        "  mov r9, r0\n"
        "  ldrd r8, r10, [r9, #20]\n" /* w, bias */
        "  ldrd r7, r12, [r9, #28]\n" /* y, scale */
        "  ldr r0, [r9, #44]\n"
        "  ldrd r0, r1, [r0]\n"
        "  vdup.32 q2, r0\n"
        "  vdup.32 q3, r1\n"
        "  vmov.i32 q4, #127\n"
        "1:\n" /* a block of four rows: r8 w, r10 bias, r7 y, r12 scale */
        "  ldrd r1, lr, [r9]\n"
        "  ldrd r0, r2, [r10], #8\n"
        "  ldrd r4, r6, [r10], #8\n"
        "  mov r3, r8\n"
        "  add r5, r3, lr\n"
        "  add r11, r5, lr\n"
        "  add r8, r11, lr\n"
        "  ldr lr, [r9, #8]\n"
        "  wls lr, lr, 3f\n"
        "2:\n"
        "  asd_columns16\n"
        "  asd_columns16\n"
        "  asd_columns16\n"
        "  asd_columns16\n"
        "  le lr, 2b\n"
        "3:\n"
        "  ldr lr, [r9, #12]\n"
        "  wlstp.8 lr, lr, 5f\n"
        "4:\n"
        "  asd_columns16\n"
        "  letp lr, 4b\n"
        "  ldr lr, [r9, #16]\n"
        "  sub r8, r8, lr\n"
        "5:\n"
        "  vmov q0[2], q0[0], r0, r4\n"
        "  vmov q0[3], q0[1], r2, r6\n"
        "  ldrd lr, r0, [r9, #36]\n" /* scale_step, end */
        ASD_MVE_OUTPUT
        "  add r12, r12, lr\n"
        "  cmp r10, r0\n"
        "  bne 1b\n"
        "  str r8, [r9, #20]\n"
        "  vpop " ASD_MVE_SAVED "\n"
        "  pop {r4-r11, pc}\n"
        ".purgem asd_columns16\n");
}

#if !ASD_MVE_IN_VECTORS
#include <arm_mve.h>

/* Of four sums at once, as asd_requantise, which serves where one of them is near a tie. */
static void asd_mve_requantise(const asd_layer *layer, uint32_t row, const int32_t *sums, int8_t *y)
{
    int32x4_t acc = vld1q_s32(sums);
    uint32x4_t scale =
        layer->per_channel ? vld1q_u32(layer->scale + row) : vdupq_n_u32(layer->scale[0]);
    uint32x4_t shift = vsubq_u32(vdupq_n_u32(132), vshrq_n_u32(scale, 23));
    uint32x4_t unit = vshlq_u32(vdupq_n_u32(1), vreinterpretq_s32_u32(shift)), window, rest;
    int32x4_t mantissa = vreinterpretq_s32_u32(
        vshlq_n_u32(vorrq_u32(vbicq_u32(scale, vdupq_n_u32(0xFF800000U)), vdupq_n_u32(0x800000U)),
                    7));
    int32x4_t high = vmulhq_s32(vshlq_n_s32(acc, 7), mantissa);
    mve_pred16_t sure;
    uint32_t i;
    high = vaddq_s32(high, vreinterpretq_s32_u32(vshrq_n_u32(unit, 1)));
    window = vorrq_u32(vshrq_n_u32(unit, 16), vdupq_n_u32(1));
    rest = vandq_u32(vaddq_u32(vreinterpretq_u32_s32(high), window), vsubq_n_u32(unit, 1));
    sure = vcmpcsq_u32(rest, vshlq_n_u32(window, 1));
    sure = vcmpcsq_m_u32(vdupq_n_u32(20), vsubq_n_u32(shift, 4), sure);
    sure = vcmphiq_m_u32(vdupq_n_u32(1U << 24), vreinterpretq_u32_s32(vabsq_s32(acc)), sure);
    if (sure != 0xFFFF) {
        for (i = 0; i < 4; i++) {
            y[i] = asd_requantise(layer, row + i, sums[i]);
        }
        return;
    }
    acc = vshlq_s32(high, vnegq_s32(vreinterpretq_s32_u32(shift)));
    acc = vmaxq_s32(vqaddq_n_s32(acc, layer->zero_point), vdupq_n_s32(layer->low));
    vstrbq_s32(y, vminq_s32(acc, vdupq_n_s32(127)));
}
#endif

static void asd_mve(const asd_layer *layer, const int8_t *x, int8_t *y)
{
    uint32_t outputs = layer->outputs, row, rows, i;
    const int32_t clamp[2] = {layer->zero_point, layer->low};
    int32_t four[4]; /* biases, then sums or values of y */
    uint32_t scale[4] = {0};
    int8_t shift[4] = {0};
    asd_mve_state state;
    state.x = x;
    state.whole = layer->inputs / 64U;
    state.rest = layer->inputs & 63U;
    state.over = (0U - layer->inputs) & 15U;
    state.w = (const int8_t *)layer->weights;
    state.clamp = clamp;
    for (row = 0; row < outputs; row += rows) {
        /* All blocks of four rows, then each row that is left, as four times the same. */
        rows = outputs - row < 4 ? 1 : ASD_MVE_IN_VECTORS ? (outputs - row) & ~3U : 4;
        state.stride = rows > 1 ? layer->inputs : 0;
        state.bias = layer->bias + row;
        state.end = state.bias + rows;
        state.y = rows > 1 && ASD_MVE_IN_VECTORS ? (void *)(y + row) : four;
        state.scale = layer->scale + row;
        state.scale_step = sizeof scale;
#if ASD_DOUBLE_ROUNDING
        state.shift = layer->shift + row;
#endif
        if (rows == 1) {
            four[0] = four[1] = four[2] = four[3] = layer->bias[row];
            state.bias = four;
            state.end = four + 4;
        }
        if (ASD_MVE_IN_VECTORS && (rows == 1 || !layer->per_channel)) {
            for (i = 0; i < 4; i++) {
                scale[i] = layer->scale[layer->per_channel ? row : 0];
#if ASD_DOUBLE_ROUNDING
                shift[i] = layer->shift[layer->per_channel ? row : 0];
#endif
            }
            state.scale = scale;
            state.scale_step = 0;
            state.shift = shift;
        }
        asd_mve_layer(&state);
#if !ASD_MVE_IN_VECTORS
        if (rows == 4) {
            asd_mve_requantise(layer, row, four, y + row);
        } else {
            y[row] = asd_requantise(layer, row, four[0]);
        }
#endif
        if (ASD_MVE_IN_VECTORS && rows == 1) {
            memcpy(y + row, four, 1);
        }
    }
}

#endif

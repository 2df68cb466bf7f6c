/* What ASD_DSP does for four rows at a time, by hand; included by kernels_dsp.h only. */
#ifndef ASD_KERNELS_DSP_INNER_H
#define ASD_KERNELS_DSP_INNER_H

/* What asd_dsp_... goes through; it changes none of it. In the order in which it loads them. */
typedef struct {
    int8_t *y;
    const int32_t *bias;
    uint32_t blocks;       /* of four rows */
    const uint32_t *scale; /* or, of packed rows, what is added to the scales' bits */
    uint32_t zero_point;   /* in both halves; ASD_DSP_HALVES: 128 more */
    uint32_t factor;       /* of packed rows: of a bias' upper bits, and what is added to it */
    const uint32_t *x;     /* expanded */
    const uint32_t *end;   /* of x */
    uint32_t entry;        /* where to enter the loop over 8 * ASD_DSP_UNROLL columns */
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
/* Six words for four rows: two of the biases' upper 16 bits, above a middle that is in r12 with the
 * factor; then four of a scale's bits above the layer's least, over the ASD_LOW_BITS lower bits of
 * a bias. In the order in which registers are free: biases 0 and 1; rows 0, 2, 3; biases 2 and 3;
 * row 1. */
#define ASD_DSP_TEXT2(x) #x
#define ASD_DSP_TEXT(x) ASD_DSP_TEXT2(x)
#define ASD_DSP_LOW ASD_DSP_TEXT(ASD_LOW_BITS) "\n"
#define ASD_DSP_NEXT                            \
    "  ldmia r8!, {r1, r2, r4, r5, r7, r11}\n"  \
    "  stmia sp, {r3, r8, r9}\n"                \
    "  add r3, r10, r2, lsr #" ASD_DSP_LOW      \
    "  add r9, r10, r11, lsr #" ASD_DSP_LOW     \
    "  vmov s4, s5, r3, r9\n"                   \
    "  add r3, r10, r4, lsr #" ASD_DSP_LOW      \
    "  add r9, r10, r5, lsr #" ASD_DSP_LOW      \
    "  vmov s6, s7, r3, r9\n"                   \
    "  smlabb r6, r7, r12, r12\n"               \
    "  smlatb r7, r7, r12, r12\n"               \
    "  bfi r6, r4, #8, #" ASD_DSP_LOW           \
    "  bfi r7, r5, #8, #" ASD_DSP_LOW           \
    "  smlabb r4, r1, r12, r12\n"               \
    "  smlatb r5, r1, r12, r12\n"               \
    "  bfi r4, r2, #8, #" ASD_DSP_LOW           \
    "  bfi r5, r11, #8, #" ASD_DSP_LOW
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

#endif /* ASD_KERNELS_DSP_INNER_H */

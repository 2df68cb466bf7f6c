/* Which kernels the target can run; -DASD_KERNEL=... overrides. */
#ifndef ASD_KERNELS_SELECT_H
#define ASD_KERNELS_SELECT_H

#define ASD_PLAIN 0
#define ASD_MLAL 1
#define ASD_DSP 2
#define ASD_MVE 3
#define ASD_PAIRS 4

/* ASD_PAIRS in assembly, which needs more memory: Armv6-M, Armv8-M Baseline. */
#if defined(__thumb__) && !defined(__thumb2__) && defined(__ARM_ARCH_PROFILE) && \
    __ARM_ARCH_PROFILE == 'M' && !defined(__ARM_BIG_ENDIAN)
#define ASD_PAIRS_IN_THUMB 1
#else
#define ASD_PAIRS_IN_THUMB 0
#endif

/* Where ASD_PLAIN has registers enough for its sums, and may cost less than ASD_PAIRS: RV32. */
#ifdef __riscv
#define ASD_PAIRS_MAY_LOSE 1
#else
#define ASD_PAIRS_MAY_LOSE 0
#endif

#ifndef ASD_KERNEL
#if defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)
#define ASD_KERNEL ASD_MVE
#elif defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)
#define ASD_KERNEL ASD_DSP
#elif defined(__arm__) && defined(__thumb2__)
#define ASD_KERNEL ASD_MLAL
#elif ASD_PAIRS_IN_THUMB || (defined(__riscv_mul) && __riscv_xlen == 32)
#define ASD_KERNEL ASD_PAIRS
#else
#define ASD_KERNEL ASD_PLAIN
#endif
#endif

/* Float arithmetic that is exactly float32, and not slower than integers. */
#ifdef ASD_FLOAT_UNIT
#elif (defined(__ARM_FP) && (__ARM_FP & 4)) || defined(__aarch64__) || defined(__x86_64__) || \
    defined(_M_X64) || (defined(__riscv_flen) && __riscv_flen >= 32)
#define ASD_FLOAT_UNIT 1
#else
#define ASD_FLOAT_UNIT 0
#endif

/* How scales stand: one a layer; a float32 a row; packed with the biases, see
 * kernels_dsp_inner.h. */
#define ASD_ONE_SCALE 0
#define ASD_ROWS 1
#define ASD_PACKED_ROWS 2

#endif

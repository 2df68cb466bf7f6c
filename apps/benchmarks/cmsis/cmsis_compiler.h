/* What CMSIS-DSP's float32 functions need of CMSIS-Core, with gcc. */
#ifndef CMSIS_COMPILER_H
#define CMSIS_COMPILER_H

#include <arm_acle.h>
#include <stdint.h>

#define __STATIC_FORCEINLINE __attribute__((always_inline)) static inline
#define __STATIC_INLINE static inline
#define __ASM __asm__
#define __WEAK __attribute__((weak))
#define __ALIGNED(x) __attribute__((aligned(x)))
#define __CLZ(x) ((uint8_t)((x) ? __builtin_clz(x) : 32))
#define __PKHBT(a, b, shift) (((a) & 0xFFFF) | ((uint32_t)(b) << (shift) & 0xFFFF0000))
#define __ROR __ror
#define __SSAT __ssat
#define __QADD __qadd
#define __QSUB __qsub
#define __QADD8 __qadd8
#define __QSUB8 __qsub8
#define __QADD16 __qadd16
#define __QSUB16 __qsub16
#define __SHADD16 __shadd16
#define __SHSUB16 __shsub16
#define __QASX __qasx
#define __QSAX __qsax
#define __SHASX __shasx
#define __SHSAX __shsax
#define __SMUAD __smuad
#define __SMUADX __smuadx
#define __SMUSD __smusd
#define __SMUSDX __smusdx
#define __SMLAD __smlad
#define __SMLADX __smladx
#define __SMLSDX __smlsdx
#define __SMLALD __smlald
#define __SMLALDX __smlaldx
#define __SXTB16 __sxtb16

#endif

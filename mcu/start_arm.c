/* Start of a Cortex-M0+, M3, M4, M7, M23, M33 or M55: vector table, memory, FPU, then main. */

#include <stdint.h>

#include "semihosting.h"

/* Symbols of board.ld. */
extern uint32_t data_start[], data_end[], bss_start[], bss_end[], stack_top[];
extern const uint32_t data_load[];

int main(void);
void reset(void);
void fault(void);
void fault_report(const uint32_t *frame);

#define CCR (*(volatile uint32_t *)0xE000ED14u)   /* configuration and control */
#define CCR_LOB (1u << 19)                        /* loop and branch cache, Armv8.1-M */
#define CPACR (*(volatile uint32_t *)0xE000ED88u) /* coprocessor access */
#define CPACR_CP10_CP11 (0xFu << 20)              /* FPU and MVE, full access */

enum { N_SYSTEM_EXCEPTIONS = 15 }; /* 1 reset to 15 SysTick; no interrupt is ever enabled */

typedef struct {
    uint32_t *stack;
    void (*handlers[N_SYSTEM_EXCEPTIONS])(void);
} vector_table;

__attribute__((used, section(".start"))) const vector_table vectors = {
    stack_top,
    {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
     fault, fault},
};

void reset(void)
{
    /* First: the compiler may use FPU and MVE registers from here on. */
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= CPACR_CP10_CP11;
#endif
#ifdef __ARM_FEATURE_MVE
    CCR |= CCR_LOB;
#endif
    __asm__ volatile("dsb\n\tisb" ::: "memory");

    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++)
        *to = *from++;
    for (uint32_t *to = bss_start; to < bss_end; to++)
        *to = 0;
    semihosting_exit(main());
}

/* Passes on where the core has saved its registers: r0-r3, r12, lr, pc, xpsr. */
__attribute__((naked)) void fault(void)
{
    __asm__("mov r0, sp\n\tb fault_report");
}

__attribute__((used)) void fault_report(const uint32_t *frame)
{
    uint32_t exception;
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    semihosting_fault(exception, frame[6]);
}

/* Start of an RV32 core in machine mode: memory, trap vector, then main. */

#include <stdint.h>

#include "semihosting.h"

/* Symbols of board.ld. */
extern uint32_t data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_load[];

int main(void);
void start(void);
void trap(void); /* below */

#define FS_INITIAL (1u << 13)

/* gp before anything that the linker may have relaxed to be relative to it. */
__asm__(".section .start, \"ax\"\n"
        ".globl reset\n"
        "reset:\n"
        ".option push\n"
        ".option norelax\n"
        "    la gp, __global_pointer$\n"
        ".option pop\n"
        "    la sp, stack_top\n"
        "    j start\n"
        /* A fault may have spoilt the stack; mtvec keeps its two lowest bits for the mode. */
        ".balign 4\n"
        "trap:\n"
        "    la sp, stack_top\n"
        "    csrr a0, mcause\n"
        "    csrr a1, mepc\n"
        "    j semihosting_fault\n"
        ".text\n");

__attribute__((used)) void start(void)
{
    __asm__ volatile("csrw mtvec, %0" : : "r"(trap));
#ifdef __riscv_flen
    /* Before anything that the compiler may do with them: the float registers, off from reset
       (mstatus.FS), and how they round: to nearest, ties to even. */
    __asm__ volatile("csrs mstatus, %0\n\tfscsr x0" : : "r"(FS_INITIAL));
#endif

    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++)
        *to = *from++;
    for (uint32_t *to = bss_start; to < bss_end; to++)
        *to = 0;
    semihosting_exit(main());
}

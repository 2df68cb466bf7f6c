/* Test firmware: runs the model over every window of input.bin, writes output.bin and report.txt.

   input.bin   n x MODEL_INPUTS int8      read through semihosting, as the other two
   output.bin  n x MODEL_OUTPUTS int8
   report.txt  lines "key value"; see write_report

   It counts instructions, not cycles: under QEMU's -icount shift=N every instruction takes 2^N ns
   of virtual time, and the board's counter reads that time. */

#include <stdint.h>

#include "model.h"
#include "semihosting.h"
#include "testing.h"

enum { WINDOWS_PER_CALL = 64 }; /* of the host's files; 80 KB of RAM for 640 in and out */

typedef void run_function(const int8_t *input, int8_t *output, void *scratch);

typedef struct {
    uint32_t windows;
    uint32_t instructions_min, instructions_max; /* of one inference */
    uint32_t stack_bytes;
} figures;

extern uint32_t stack_limit[]; /* lowest address of the stack; of board.ld */

static int8_t inputs[WINDOWS_PER_CALL * MODEL_INPUTS] __attribute__((aligned(8)));
static int8_t outputs[WINDOWS_PER_CALL * MODEL_OUTPUTS] __attribute__((aligned(8)));
static uint64_t scratch[MODEL_SCRATCH_BYTES / 8 + 1]; /* + 1: never of size 0 */

/* ---- Instructions ---- */

/* In assembly, so that their instructions are known: */
run_function one_instruction, known_instructions;
uint32_t *stack_pointer(void); /* the caller's, with which a function called there begins */

enum { KNOWN_INSTRUCTIONS = 1 + 2 * 200 + 1 };

#if defined(__riscv)

__asm__(".text\n"
        "one_instruction:\n"
        "    ret\n"
        "known_instructions:\n"
        "    li t0, 200\n"
        "1:  addi t0, t0, -1\n"
        "    bnez t0, 1b\n"
        "    ret\n"
        "stack_pointer:\n"
        "    mv a0, sp\n"
        "    ret\n");

#else

__asm__(".text\n"
        ".syntax unified\n"
        ".thumb\n"
        ".balign 4\n"
        ".thumb_func\n"
        "one_instruction:\n"
        "    bx lr\n"
        ".thumb_func\n"
        "known_instructions:\n"
        "    movs r3, #200\n"
        "1:  subs r3, #1\n"
        "    bne 1b\n"
        "    bx lr\n"
        ".thumb_func\n"
        "stack_pointer:\n"
        "    mov r0, sp\n"
        "    bx lr\n");

#endif

/* volatile: the compiler cannot know who is called, so that every call costs the same. */
static run_function *volatile measured;

/* Instructions between the two readings. Ticks are cut off, by less than one each, and at the
   shifts of boards/ an instruction is one tick or more than twenty: rounding gives it exactly.
   The 32 bits of the counter last for 167 million instructions or more.

   Checked on all six machines with QEMU 7.2 against its own log of every instruction (-singlestep
   -d exec,nochain): the lines between model_run's first instruction and its return are as many
   as the counter says. main checks a known loop on every start. */
static __attribute__((noinline)) uint32_t count(const int8_t *input, int8_t *output)
{
    run_function *run = measured;
    const uint32_t before = counter();
    run(input, output, scratch);
    return instructions_since(before);
}

/* Instructions of a function from its first to its return, without those of calling it and of
   reading the counter: they are what is counted with a function of one instruction. */
static uint32_t instructions_of(run_function *run, const int8_t *input, int8_t *output)
{
    measured = one_instruction;
    const uint32_t overhead = count(input, output) - 1;
    measured = run;
    return count(input, output) - overhead;
}

/* ---- Stack ---- */

enum { PAINT = 0x5AC3A53C };

/* Bytes of stack that model_run needs. Below this function's own stack nothing is in use, as
   there are no interrupts; it is painted, and what the model has written over is counted.
   volatile: no call of memset, whose stack would be taken for the model's. */
static __attribute__((noinline)) uint32_t stack_of_model(const int8_t *input, int8_t *output)
{
    volatile uint32_t *const limit = stack_limit;
    volatile uint32_t *const top = stack_pointer();
    for (volatile uint32_t *word = limit; word < top; word++)
        *word = PAINT;
    model_run(input, output, scratch);
    volatile uint32_t *lowest = limit;
    while (lowest < top && *lowest == PAINT)
        lowest++;
    if (lowest == limit)
        fail("the model's stack is larger than the memory that is left for it\n");
    return (uint32_t)(top - lowest) * (uint32_t)sizeof *lowest;
}

/* ---- Report ---- */

static void write_report(const figures *f)
{
    const int report = must_open("report.txt", SEMIHOSTING_WRITE);
    write_text(report, "kernel " MODEL_KERNEL "\n");
    write_number(report, "inputs", MODEL_INPUTS);
    write_number(report, "outputs", MODEL_OUTPUTS);
    write_number(report, "windows", f->windows);
    write_number(report, "instructions_min", f->instructions_min);
    write_number(report, "instructions_max", f->instructions_max);
    write_number(report, "stack_bytes", f->stack_bytes);
    write_number(report, "scratch_bytes", MODEL_SCRATCH_BYTES);
    must_close(report);
}

/* Runs the windows that were read; the first of all also for its stack. */
static void run_windows(uint32_t n, figures *f)
{
    for (uint32_t i = 0; i < n; i++) {
        const int8_t *input = inputs + i * MODEL_INPUTS;
        int8_t *output = outputs + i * MODEL_OUTPUTS;
        if (f->windows == 0)
            f->stack_bytes = stack_of_model(input, output);
        const uint32_t instructions = instructions_of(model_run, input, output);
        if (f->windows == 0 || instructions < f->instructions_min)
            f->instructions_min = instructions;
        if (instructions > f->instructions_max)
            f->instructions_max = instructions;
        f->windows++;
    }
}

int main(void)
{
    start_counter();
    if (instructions_of(known_instructions, inputs, outputs) != KNOWN_INSTRUCTIONS)
        fail("the counter does not count instructions; start QEMU with the row's -icount shift\n");

    const int input = must_open("input.bin", SEMIHOSTING_READ);
    const int output = must_open("output.bin", SEMIHOSTING_WRITE);
    figures f = {0, 0, 0, 0};
    size_t bytes;
    while ((bytes = semihosting_read(input, inputs, sizeof inputs)) != 0) {
        const uint32_t n = (uint32_t)(bytes / MODEL_INPUTS);
        if (bytes % MODEL_INPUTS != 0)
            fail("input.bin is not whole windows of the model's inputs\n");
        run_windows(n, &f);
        must_write(output, outputs, n * (size_t)MODEL_OUTPUTS);
    }
    if (f.windows == 0)
        fail("input.bin is empty\n");
    must_close(output);
    write_report(&f);
    return 0;
}

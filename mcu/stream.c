/* Test firmware: the stream over all of samples.bin, into results.bin.

   samples.bin  int16, read through semihosting
   results.bin  a model_stream_result for each hop
   report.txt   lines "key value": instructions of a poll and of a push, bytes of memory

   It counts instructions as firmware.c does, but with those of the call. */

#include <stdint.h>

#include "model_stream.h"
#include "semihosting.h"
#include "testing.h"

/* Samples that are pushed at once, of which there is room for a hop; what unused stack holds. */
enum { PIECE = MODEL_HOP < 61 ? MODEL_HOP : 61, PAINT = 0x5AC3A53C };

typedef struct {
    uint32_t most, least, push; /* instructions; least: with a window */
} figures;

extern uint32_t stack_limit[]; /* lowest address of the stack; of board.ld */

static model_stream stream;
static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];

static inline volatile uint32_t *stack_pointer(void)
{
    uint32_t *pointer;
#if defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
#else
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
#endif
    return pointer;
}

/* Polls until there is nothing to do. */
static void poll_all(int output, figures *f)
{
    for (;;) {
        model_stream_result result;
        const uint32_t before = counter();
        const int some = model_stream_poll(&stream, &result, work);
        const uint32_t instructions = instructions_since(before);
        if (!some)
            return;
        if (instructions > f->most)
            f->most = instructions;
        if (result.windows > 0 && instructions < f->least)
            f->least = instructions;
        must_write(output, &result, sizeof result);
    }
}

static void feed(int input, int output, figures *f)
{
    int16_t samples[PIECE];
    size_t bytes;
    while ((bytes = semihosting_read(input, samples, sizeof samples)) != 0) {
        const uint32_t n = (uint32_t)(bytes / sizeof *samples);
        const uint32_t before = counter();
        const uint32_t taken = model_stream_push(&stream, samples, n, 1, 0);
        const uint32_t instructions = instructions_since(before);
        if (taken != n)
            fail("the stream has dropped samples\n");
        if (instructions > f->push)
            f->push = instructions;
        poll_all(output, f);
    }
}

int main(void)
{
    volatile uint32_t *const top = stack_pointer();
    volatile uint32_t *lowest = stack_limit;
    figures f = {0, UINT32_MAX, 0};
    start_counter();
    model_stream_init(&stream);
    const int input = must_open("samples.bin", SEMIHOSTING_READ);
    const int output = must_open("results.bin", SEMIHOSTING_WRITE);
    for (volatile uint32_t *word = stack_limit; word < top; word++)
        *word = PAINT;
    feed(input, output, &f);
    while (lowest < top && *lowest == PAINT)
        lowest++;
    must_close(output);

    const int report = must_open("report.txt", SEMIHOSTING_WRITE);
    write_number(report, "instructions_max", f.most);
    write_number(report, "instructions_min", f.least);
    write_number(report, "push_instructions", f.push);
    write_number(report, "stream_bytes", (uint32_t)MODEL_STREAM_BYTES);
    write_number(report, "work_bytes", (uint32_t)MODEL_STREAM_WORK_BYTES);
    write_number(report, "stack_bytes", (uint32_t)(top - lowest) * (uint32_t)sizeof *lowest);
    must_close(report);
    return 0;
}

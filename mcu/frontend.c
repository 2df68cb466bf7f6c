/* Test firmware: the log-mel levels of every frame of samples.bin, into levels.bin.

   samples.bin  int16, read through semihosting; frame t starts at sample t * MODEL_HOP
   levels.bin   frames x MODEL_MELS model_level
   report.txt   lines "key value": instructions_max, instructions_min of a frame, with those of the
                call; stack_bytes of the first; work_bytes

   The samples go through a ring of one frame, so that a frame is in two parts. */

#include <stdint.h>

#include "model_frontend.h"
#include "semihosting.h"
#include "testing.h"

extern uint32_t stack_limit[]; /* lowest address of the stack; of board.ld */

static int16_t ring[MODEL_FFT];
static model_level levels[MODEL_MELS];
static uint64_t work[MODEL_FRONTEND_BYTES / 8];

enum { PAINT = 0x5AC3A53C, UNPAINTED_BYTES = 256 };

/* What the front end writes below the stack of its caller. */
static uint32_t stack_of_frame(uint32_t at)
{
    volatile uint32_t here;
    const uintptr_t end = (uintptr_t)&here - UNPAINTED_BYTES; /* below this function's own */
    volatile uint32_t *word = stack_limit, *const top = (volatile uint32_t *)end;
    while (word < top)
        *word++ = PAINT;
    model_log_mel(ring + at, MODEL_FFT - at, ring, levels, work);
    word = stack_limit;
    while (word < top && *word == PAINT)
        word++;
    return (uint32_t)(end + UNPAINTED_BYTES - (uintptr_t)word);
}

int main(void)
{
    start_counter();
    const int input = must_open("samples.bin", SEMIHOSTING_READ);
    const int output = must_open("levels.bin", SEMIHOSTING_WRITE);
    uint32_t most = 0, least = UINT32_MAX, stack = 0, at = 0;
    static int16_t block[MODEL_HOP];
    size_t bytes;
    bytes = semihosting_read(input, ring, sizeof ring);
    if (bytes != sizeof ring)
        fail("samples.bin holds no frame\n");
    for (;;) {
        if (stack == 0)
            stack = stack_of_frame(at);
        const uint32_t before = counter();
        model_log_mel(ring + at, MODEL_FFT - at, ring, levels, work);
        const uint32_t instructions = instructions_since(before);
        most = instructions > most ? instructions : most;
        least = instructions < least ? instructions : least;
        must_write(output, levels, sizeof levels);
        if (semihosting_read(input, block, sizeof block) != sizeof block)
            break;
        for (uint32_t i = 0; i < MODEL_HOP; i++) {
            ring[at] = block[i];
            at = at + 1 == MODEL_FFT ? 0 : at + 1;
        }
    }
    must_close(output);
    const int report = must_open("report.txt", SEMIHOSTING_WRITE);
    write_number(report, "instructions_max", most);
    write_number(report, "instructions_min", least);
    write_number(report, "stack_bytes", stack);
    write_number(report, "work_bytes", MODEL_FRONTEND_BYTES);
    write_number(report, "mels", MODEL_MELS);
    must_close(report);
    return 0;
}

/* Test firmware: the Mahalanobis distances of every window of values.bin, into distances.bin.

   values.bin     n x MODEL_INPUTS float32, dB, read through semihosting
   distances.bin  n x 2 float32: the sums over a window's frames, by source and target covariance
   report.txt     lines "key value": instructions_max, of one window with its inference

   It counts instructions as firmware.c does, but with those of the call. */

#include <stdint.h>

#include "model_distance.h"
#include "semihosting.h"
#include "testing.h"

enum { WINDOWS_PER_CALL = 16 };

static float values[WINDOWS_PER_CALL * MODEL_INPUTS];
static float residual[MODEL_INPUTS];
static float sums[WINDOWS_PER_CALL * 2];
static int8_t buffer[MODEL_INPUTS + MODEL_OUTPUTS] __attribute__((aligned(8)));
static uint64_t scratch[MODEL_SCRATCH_BYTES / 8 + 1]; /* + 1: never of size 0 */

int main(void)
{
    start_counter();
    const int input = must_open("values.bin", SEMIHOSTING_READ);
    const int output = must_open("distances.bin", SEMIHOSTING_WRITE);
    uint32_t most = 0;
    size_t bytes;
    while ((bytes = semihosting_read(input, values, sizeof values)) != 0) {
        const uint32_t n = (uint32_t)(bytes / (MODEL_INPUTS * sizeof *values));
        if (bytes % (MODEL_INPUTS * sizeof *values) != 0)
            fail("values.bin is not whole windows of the model's inputs\n");
        for (uint32_t i = 0; i < n; i++) {
            model_distance of_window = {0};
            const uint32_t before = counter();
            model_distance_add(&of_window, values + i * MODEL_INPUTS, residual, buffer, scratch);
            const uint32_t instructions = instructions_since(before);
            if (instructions > most)
                most = instructions;
            sums[2 * i] = of_window.source;
            sums[2 * i + 1] = of_window.target;
        }
        must_write(output, sums, n * 2 * sizeof *sums);
    }
    must_close(output);
    const int report = must_open("report.txt", SEMIHOSTING_WRITE);
    write_number(report, "instructions_max", most);
    must_close(report);
    return 0;
}

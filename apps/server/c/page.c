/* The generated model as WebAssembly: buffers in the module's own memory, and their addresses. */
#include "model.h"

static float values[MODEL_INPUTS];                  /* dB */
static int8_t input[MODEL_INPUTS], output[MODEL_OUTPUTS];
static uint64_t scratch[(MODEL_SCRATCH_BYTES + 7) / 8];

float *page_values(void)
{
    return values;
}

int8_t *page_input(void)
{
    return input;
}

int8_t *page_output(void)
{
    return output;
}

uint32_t page_inputs(void)
{
    return MODEL_INPUTS;
}

uint32_t page_outputs(void)
{
    return MODEL_OUTPUTS;
}

/* One window: from values to input. */
void page_quantise(void)
{
    model_quantise(values, input);
}

/* One window: from input to output. */
void page_run(void)
{
    model_run(input, output, scratch);
}

#include "model.h"

void model_run(const int8_t input[MODEL_INPUTS], int8_t output[MODEL_OUTPUTS], void *scratch)
{
    uint8_t *const written = scratch;
    static uint32_t inferences;
    for (int i = 0; i < MODEL_SCRATCH_BYTES; i++)
        written[i] = 0xA5;
    for (int i = 0; i < MODEL_OUTPUTS; i++)
        output[i] = input[i];
    output[0] = (int8_t)(++inferences % 100U);
}

void model_quantise(const float values[MODEL_INPUTS], int8_t input[MODEL_INPUTS])
{
    for (int i = 0; i < MODEL_INPUTS; i++) {
        float q = values[i] * 2.0F;
        q = q > -131.0F ? q < 124.0F ? q : 124.0F : -131.0F;
        input[i] = (int8_t)((int)(q < 0.0F ? q - 0.5F : q + 0.5F) + 3);
    }
}

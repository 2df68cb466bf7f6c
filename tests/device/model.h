/* A stub of a generated model: four values; output 0 counts the inferences since the start. */

#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_INPUTS 4
#define MODEL_OUTPUTS 4
#define MODEL_OUTPUT_SCALE 0.5F
#define MODEL_OUTPUT_ZERO_POINT 3
#define MODEL_SCRATCH_BYTES 8

void model_run(const int8_t input[MODEL_INPUTS], int8_t output[MODEL_OUTPUTS], void *scratch);
void model_quantise(const float values[MODEL_INPUTS], int8_t input[MODEL_INPUTS]);

#endif

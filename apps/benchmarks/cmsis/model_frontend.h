/* The interface of asd.embedded.frontend with CMSIS-DSP behind it; tables.h is generated. */
#ifndef MODEL_FRONTEND_H
#define MODEL_FRONTEND_H

#include <stdint.h>

#include "sizes.h"

typedef float model_level; /* dB */

/* Samples, then energies; and the spectrum, in a place of its own as the transform needs it. */
#define MODEL_FRONTEND_BYTES (4 * (2 * MODEL_FFT + 2))

void model_log_mel(const int16_t *first, uint32_t n_first, const int16_t *rest,
                   model_level levels[MODEL_MELS], void *work);

#endif

/* The chain of arm_mfcc_f32 up to its logarithm, without its scaling by the largest sample: as
 * firmware calls it, for levels in dB of energies. */
#include "model_frontend.h"

#include "arm_math.h"
#include "tables.h"

#define INIT_OF(n) arm_rfft_fast_init_##n##_f32
#define INIT(n) INIT_OF(n)

static arm_rfft_fast_instance_f32 transform;

void model_log_mel(const int16_t *first, uint32_t n_first, const int16_t *rest,
                   model_level levels[MODEL_MELS], void *work)
{
    float32_t *samples = (float32_t *)work, *spectrum = samples + MODEL_FFT;
    const float32_t *of_band = weights;
    if (transform.fftLenRFFT == 0) {
        INIT(SIZE)(&transform);
    }
    arm_q15_to_float(first, samples, n_first);
    arm_q15_to_float(rest, samples + n_first, MODEL_FFT - n_first);
    arm_mult_f32(samples, hann, samples, MODEL_FFT);
    arm_rfft_fast_f32(&transform, samples, spectrum, 0);
    spectrum[MODEL_FFT] = spectrum[1]; /* the highest bin, which stands beside the lowest */
    spectrum[MODEL_FFT + 1] = 0.0F;
    spectrum[1] = 0.0F;
    arm_cmplx_mag_squared_f32(spectrum, samples, MODEL_FFT / 2 + 1);
    for (uint32_t i = 0; i < MODEL_MELS; i++) {
        arm_dot_prod_f32(samples + first_bins[i], of_band, counts[i], &levels[i]);
        of_band += counts[i];
    }
    arm_offset_f32(levels, 2.22044605e-16F, levels, MODEL_MELS);
    arm_vlog_f32(levels, levels, MODEL_MELS);
    arm_scale_f32(levels, 4.34294482F, levels, MODEL_MELS); /* 10 / ln(10) */
}

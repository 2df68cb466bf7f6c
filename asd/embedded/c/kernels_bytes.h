/* Bytes one by one: a float as int8, and what stands behind a layer; included by kernels.h only.
 *
 * With ASD_STEPS a layer may have a step behind it: LOGISTIC, TANH or a change of scale as a table
 * of 256 bytes, RELU6 as a clamp. A step before the first layer (ASD_STEPS 2) is one behind a layer
 * without weights, whose output is its input. Steps are on the finished vector, outside the kernels.
 */
#ifndef ASD_KERNELS_BYTES_H
#define ASD_KERNELS_BYTES_H

#include <stddef.h>

static inline int8_t asd_quantise(float value, float scale, int32_t zero_point)
{
    float q = value / scale, low = (float)(-128 - zero_point), high = (float)(127 - zero_point);
    q = q > low ? q < high ? q : high : low; /* not a number: low */
    return (int8_t)(asd_nearest(q) + zero_point);
}

/* q to the nearest, ties away from zero, where it is small enough to become an int8. */
static inline float asd_away(float q)
{
    float n = q > -512.0F && q < 512.0F ? (float)asd_nearest(q) : q;
    return q > 0.0F && q - n == 0.5F ? n + 1.0F : q < 0.0F && q - n == -0.5F ? n - 1.0F : n;
}

#if ASD_STEPS > 1

/* Copies the input of a layer without weights; 0 where there are weights. */
static int asd_copied(const asd_layer *layer, const int8_t *x, int8_t *y)
{
    uint32_t i;
    if (layer->weights != NULL) {
        return 0;
    }
    for (i = 0; i < layer->outputs; i++) { /* a freestanding target has no memcpy to call */
        y[i] = x[i];
    }
    return 1;
}

#else

#define asd_copied(layer, x, y) 0

#endif

#if ASD_STEPS

#if ASD_KERNEL == ASD_MVE

static void asd_step(const asd_layer *layer, int8_t *y)
{
    int32_t left = layer->outputs;
    if (layer->table == NULL && layer->high == 127) {
        return;
    }
    for (; left > 0; left -= 16, y += 16) {
        mve_pred16_t some = vctp8q((uint32_t)left);
        int8x16_t v = vldrbq_z_s8(y, some);
        v = layer->table == NULL
                ? vminq_s8(v, vdupq_n_s8(layer->high))
                : vldrbq_gather_offset_z_s8(layer->table, vreinterpretq_u8_s8(v), some);
        vstrbq_p_s8(y, v, some);
    }
}

#else

static void asd_step(const asd_layer *layer, int8_t *y)
{
    const int8_t *table = layer->table, *end = y + layer->outputs;
    int8_t high = layer->high;
    if (table != NULL) {
        for (; y != end; y++) {
            *y = table[(uint8_t)*y];
        }
    } else if (high < 127) {
        for (; y != end; y++) {
            *y = *y > high ? high : *y;
        }
    }
}

#endif
#else

#define asd_step(layer, y) (void)0

#endif

#endif /* ASD_KERNELS_BYTES_H */

/* ASD_DSP: the kernel for the Arm DSP extension; included by kernels.h only. */
#ifndef ASD_KERNELS_DSP_H
#define ASD_KERNELS_DSP_H

/* A word holds four columns of a row as the halfwords 256 * w1 + w0 and 256 * w3 + w2. The input
 * stands twice: A = (x1 - 127, x3 - 127) and X = (256 * x0 - A1, 256 * x2 - A3), which fit 16
 * bits. Then SMLAD(word, A) + SMLAD(SXTB16(word), X) is 256 times the sum over w0 * x0,
 * w1 * (x1 - 127), w2 * x2, w3 * (x3 - 127); the 127s are in the bias. Four rows share the loads
 * of the input.
 *
 * Sums that may need more than 32 bits are made of several parts of the columns, each of which
 * the generator proves to fit: `packed` is the number of parts plus one, and `bias` holds for
 * every four rows what each part begins with, four by four, then their biases in units of acc. */
#include <arm_acle.h>

#include "kernels_dsp_inner.h"

/* Four values of x to A and X. */
static inline void asd_expand4(const int8_t *x, uint32_t *expanded)
{
    uint32_t word, odd;
    memcpy(&word, x, sizeof word);
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    odd = (uint32_t)__ssub16((int16x2_t)odd, 0x007F007F);
    expanded[0] = odd;
    expanded[1] = (uint32_t)__ssub16((int16x2_t)((word << 8) & 0xFF00FF00), (int16x2_t)odd);
}

/* n values of x, then zeros up to a multiple of eight; returns the end. */
static uint32_t *asd_expand(const int8_t *x, uint32_t n, uint32_t *expanded)
{
    const int8_t *end = x + (n & ~7U);
    for (; x != end; x += 8, expanded += 4) {
        asd_expand4(x, expanded);
        asd_expand4(x + 4, expanded + 2);
    }
    if (!ASD_WHOLE && (n & 7)) {
        int8_t last[8] = {0};
        memcpy(last, x, n & 7);
        asd_expand4(last, expanded);
        asd_expand4(last + 4, expanded + 2);
        expanded += 4;
    }
    return expanded;
}

/* From where on x and w are read, and where the loop is entered, for n columns, a multiple of 8. */
static inline void asd_dsp_columns(asd_dsp_state *state, const uint32_t *x, uint32_t n)
{
    uint32_t left = n / 8 % ASD_DSP_UNROLL;
    state->x = x;
    state->end = x + n / 2;
    state->entry = (left ? ASD_DSP_UNROLL - left : 0) * ASD_DSP_GROUP_BYTES + 1; /* 1: Thumb */
}

#if ASD_DOUBLE_ROUNDING || !ASD_FLOAT_UNIT || ASD_SPLIT

/* Whole rows, or the parts of rows that are split. */
static void asd_dsp_by_sums(const asd_layer *layer, asd_dsp_state *state, int8_t *y)
{
    const uint32_t *x = state->x;
    uint32_t columns = (uint32_t)(state->end - x) * 2, row, i;
    uint32_t parts = layer->packed - 1U, part = columns, most = 4;
    if (ASD_SPLIT && parts > 0) {
        part = (columns / 8 + parts - 1) / parts * 8;
        most = 1;
    }
    for (row = 0; row < layer->outputs; row += 4 * most) {
        int32_t sums[16];
        uint32_t rows = layer->outputs - row < 4 * most ? layer->outputs - row : 4 * most;
        state->blocks = (rows + 3) / 4;
        if (ASD_SPLIT && parts > 0) {
            int32_t total[4] = {0, 0, 0, 0};
            uint32_t at;
            for (at = 0; at < columns; at += part, state->bias += 4) {
                uint32_t n = columns - at < part ? columns - at : part;
                asd_dsp_columns(state, x + at / 2, n);
                state->y = (int8_t *)sums;
                asd_dsp_sums(state);
                state->w += n;
                for (i = 0; i < 4; i++) {
                    total[i] = asd_add(total[i], sums[i] >> 8);
                }
            }
            for (i = 0; i < 4; i++) {
                sums[i] = asd_add(total[i], *state->bias++);
            }
        } else {
            state->y = (int8_t *)sums;
            asd_dsp_sums(state);
            state->bias += 4 * state->blocks;
            state->w += columns * state->blocks;
            for (i = 0; i < rows; i++) {
                sums[i] >>= 8;
            }
        }
        for (i = 0; i < rows; i++) {
            y[row + i] = asd_requantise(layer, row + i, sums[i]);
        }
    }
}
#endif

#if !ASD_DOUBLE_ROUNDING && ASD_FLOAT_UNIT

static void asd_dsp_by_bytes(const asd_layer *layer, asd_dsp_state *state, int8_t *y)
{
    uint32_t row = layer->outputs & ~3U, j;
    state->scale = layer->scale;
    state->zero_point = (uint32_t)(layer->zero_point + (ASD_DSP_HALVES ? 128 : 0)) * 0x10001U;
    state->y = y;
    state->blocks = row / 4;
#if ASD_SCALES == ASD_PACKED_ROWS
    state->scale = (const uint32_t *)(uintptr_t)layer->scale[0];
    state->factor = layer->scale[1];
#endif
    if (ASD_WHOLE || row) {
        asd_dsp_bytes(state);
    }
    if (!ASD_WHOLE && row < layer->outputs) {
        int8_t last[4];
        state->bias += ASD_SCALES == ASD_PACKED_ROWS ? row / 4 * 6 : row;
        state->scale += ASD_SCALES == ASD_ROWS ? row : 0;
        state->w += row / 4 * (uint32_t)(state->end - state->x) * 2;
        state->y = last;
        state->blocks = 1;
        asd_dsp_bytes(state);
        memcpy(y + row, last, layer->outputs - row);
    }
    for (j = 0; ASD_CLAMPED && layer->low > -128 && j < layer->outputs; j++) {
        y[j] = y[j] < layer->low ? layer->low : y[j];
    }
}
#endif

static void asd_packed(const asd_layer *layer, const int8_t *x, int8_t *y, uint32_t *expanded)
{
    asd_dsp_state state;
    const uint32_t *end = asd_expand(x, layer->inputs, expanded);
    asd_dsp_columns(&state, expanded, (uint32_t)(end - expanded) * 2);
    state.w = (const uint32_t *)layer->weights;
    state.bias = layer->bias;
#if ASD_DOUBLE_ROUNDING || !ASD_FLOAT_UNIT
    asd_dsp_by_sums(layer, &state, y);
#elif ASD_SPLIT
    if (layer->packed > 1) {
        asd_dsp_by_sums(layer, &state, y);
    } else {
        asd_dsp_by_bytes(layer, &state, y);
    }
#else
    asd_dsp_by_bytes(layer, &state, y);
#endif
}

#endif /* ASD_KERNELS_DSP_H */

/* The head of a wav file or stream of 16-bit samples. */

#ifndef WAV_H
#define WAV_H

#include <stddef.h>
#include <stdint.h>

/* Reads `bytes` of them; fewer only at the end. */
typedef size_t wav_read(void *to, size_t bytes);

typedef struct {
    uint32_t rate, channels;
    uint32_t bytes; /* of samples; UINT32_MAX where the head does not say, as of a stream */
} wav_format;

/* Reads on after the first four bytes, RIFF, up to the first sample. Returns NULL, or what is wrong. */
const char *wav_header(wav_read *read, wav_format *format);

#endif

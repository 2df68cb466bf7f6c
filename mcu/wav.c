#include "wav.h"

#include <string.h>

enum { PCM = 1, EXTENSIBLE = 0xFFFE, LEAST_FORMAT = 16 }; /* bytes of a chunk "fmt " */

/* What programs write that cannot go back to the head when they know: 2^31 or 2^32, almost. */
static const uint32_t endless = 0x7FFFF000;

static uint32_t number(const uint8_t *bytes, int n)
{
    uint32_t value = 0;
    while (n-- > 0)
        value = value << 8 | bytes[n];
    return value;
}

static int skip(wav_read *read, uint32_t bytes)
{
    uint8_t some[64];
    while (bytes > 0) {
        const uint32_t n = bytes < sizeof some ? bytes : (uint32_t)sizeof some;
        if (read(some, n) != n)
            return 0;
        bytes -= n;
    }
    return 1;
}

static const char *read_format(wav_read *read, uint32_t bytes, wav_format *format)
{
    uint8_t f[LEAST_FORMAT];
    if (bytes < sizeof f || bytes > 4096 || read(f, sizeof f) != sizeof f ||
        !skip(read, bytes - (uint32_t)sizeof f + bytes % 2))
        return "the wav's head is damaged";
    if ((number(f, 2) != PCM && number(f, 2) != EXTENSIBLE) || number(f + 14, 2) != 16)
        return "not a wav of 16-bit samples";
    format->channels = number(f + 2, 2);
    format->rate = number(f + 4, 4);
    return format->channels ? NULL : "the wav has no channel";
}

const char *wav_header(wav_read *read, wav_format *format)
{
    uint8_t head[8];
    if (read(head, 8) != 8 || memcmp(head + 4, "WAVE", 4) != 0)
        return "not a wav file";
    format->channels = 0;
    while (read(head, 8) == 8) {
        const uint32_t bytes = number(head + 4, 4);
        const char *wrong = NULL;
        if (memcmp(head, "data", 4) == 0) {
            format->bytes = bytes == 0 || bytes >= endless ? UINT32_MAX : bytes;
            return format->channels ? NULL : "the wav's head is damaged";
        }
        if (memcmp(head, "fmt ", 4) == 0)
            wrong = read_format(read, bytes, format);
        else if (bytes >= endless || !skip(read, bytes + bytes % 2))
            wrong = "the wav's head is damaged";
        if (wrong != NULL)
            return wrong;
    }
    return "the wav holds no samples";
}

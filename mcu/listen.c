/* Example firmware: a board that hears sound.wav as if a microphone gave it, and says what it thinks.

   sound.wav is read through semihosting, in pieces of odd lengths, as a driver's interrupt would push
   them. A line on the host's console for each decision: seconds, score and threshold in dB^2, the band
   that is furthest from training, what is wrong with the sound, and where an alarm begins or ends. A
   firmware of your own pushes from its interrupt and polls in its main loop; the rest is the same. */

#include <string.h>

#include "model_stream.h"
#include "semihosting.h"
#include "testing.h"
#include "wav.h"

/* Samples of a piece: the stream has room for a hop where poll has nothing left to do. */
enum { LONGEST = MODEL_HOP < 173 ? MODEL_HOP : 173, MOST_CHANNELS = 8 };

static model_stream stream;
static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];
static int16_t samples[LONGEST * MOST_CHANNELS];
static int sound; /* the open file */

static size_t read_sound(void *to, size_t bytes)
{
    return semihosting_read(sound, to, bytes);
}

/* ---- Text ---- */

static char line[160];
static uint32_t length;

static void put(const char *text)
{
    while (*text != '\0' && length < sizeof line - 2)
        line[length++] = *text++;
}

/* A number in 1/1000. */
static void put_thousandths(uint32_t value)
{
    char text[] = "##########.###"; /* 2^32 has ten digits, so more than enough */
    char *at = text + sizeof text - 1;
    int digits = 0;
    while (digits < 4 || value > 0) {
        *--at = (char)('0' + value % 10);
        value /= 10;
        if (++digits == 3)
            *--at = '.';
    }
    put(at);
}

static void put_line(void)
{
    line[length++] = '\n';
    line[length] = '\0';
    semihosting_message(line);
    length = 0;
}

static uint32_t thousandths(uint64_t q12)
{
    const uint64_t value = (q12 * 1000 + 2048) / 4096;
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void tell(const model_stream_result *result, uint32_t flags)
{
    static const char *const names[] = {"low", "high", "clipped", "silent", "gap"};
    static uint32_t was;
    const uint64_t at = (uint64_t)result->frame * MODEL_HOP + MODEL_FFT; /* samples */
    put_thousandths((uint32_t)(at * 1000 / MODEL_SAMPLE_RATE));
    put(" s  score ");
    put_thousandths(thousandths(result->sum / result->windows));
    put("  threshold ");
    put_thousandths(thousandths(was ? stream.state.release : stream.state.threshold));
    put("  band ");
    put_thousandths(model_stream_band_hz[result->worst]);
    put(" kHz");
    for (uint32_t i = 0; i < 5; i++) {
        put(flags >> i & 1 ? "  " : "");
        put(flags >> i & 1 ? names[i] : "");
    }
    put(result->alarm == was ? "" : was ? "  THE ALARM ENDS" : "  ALARM");
    was = result->alarm;
    put_line();
}

/* ---- Sound ---- */

int main(void)
{
    wav_format format;
    char first[4];
    uint32_t length_now = 1, flags = 0, step; /* flags: since the last decision */
    model_stream_init(&stream);
    sound = must_open("sound.wav", SEMIHOSTING_READ);
    if (read_sound(first, sizeof first) != sizeof first || memcmp(first, "RIFF", 4) != 0)
        fail("sound.wav is not a wav file\n");
    const char *wrong = wav_header(read_sound, &format);
    if (wrong != NULL) {
        semihosting_message("sound.wav: ");
        semihosting_message(wrong);
        fail("\n");
    }
    if (format.rate != MODEL_SAMPLE_RATE || format.channels > MOST_CHANNELS)
        fail("sound.wav: the rate is not the model's, or there are more than 8 channels\n");
    step = 2 * format.channels;
    while (format.bytes >= step) {
        uint32_t n = format.bytes / step < length_now ? format.bytes / step : length_now;
        model_stream_result result;
        n = (uint32_t)(read_sound(samples, n * step) / step);
        if (n == 0)
            break;
        format.bytes -= format.bytes == UINT32_MAX ? 0 : n * step;
        length_now = (length_now * 5 + 3) % LONGEST + 1;
        model_stream_push(&stream, samples, n, format.channels, 0);
        while (model_stream_poll(&stream, &result, work)) {
            flags |= result.flags;
            if (result.decision) {
                tell(&result, flags);
                flags = 0;
            }
        }
    }
    return 0;
}

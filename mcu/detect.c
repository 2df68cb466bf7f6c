/* A model's alarms on this machine, from samples on standard input:

       arecord -f S16_LE -r 16000 | build/detect

   Raw 16-bit little-endian samples, or a wav of them. A line for each decision, as it is made:

       12.288 score 10.4321 threshold 11.2000 above 1 alarm 1 band_hz 1531 flags clipped,high

   seconds from the start to the end of the newest window; the score and what it is compared with,
   dB^2; the mel band that is furthest from training; "-" for no flag. Ends with status 0 where the
   input does, 3 where there was an alarm, 1 where something is wrong. */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_stream.h"
#include "wav.h"

enum { PIECE = 4096, MOST_CHANNELS = 64 }; /* bytes read at once */

static const char usage[] =
    "usage: detect [-t THRESHOLD] [-r RELEASE] [-k K] [-n N] [-c CHANNELS] [-x CHANNEL]\n"
    "reads 16-bit little-endian samples, raw or as a wav, at %d Hz\n"
    "  -t  dB^2, in place of %.9g; the release follows it in proportion without -r\n"
    "  -r  dB^2, in place of %.9g: where an alarm ends\n"
    "  -k, -n  an alarm at K of the last N decisions, in place of %d of %d\n"
    "  -c  channels of raw samples; 1\n"
    "  -x  which of several to listen to, from 0\n";

static model_stream stream;
static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];
static int alarmed;

static void stop(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("detect: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(1);
}

/* Up to `bytes`, as soon as there are some; 0 at the end. */
static size_t read_some(void *to, size_t bytes)
{
    for (;;) {
        const ssize_t n = read(STDIN_FILENO, to, bytes);
        if (n >= 0)
            return (size_t)n;
        if (errno != EINTR)
            stop("standard input: %s", strerror(errno));
    }
}

static size_t read_all(void *to, size_t bytes)
{
    size_t done = 0, n;
    while (done < bytes && (n = read_some((char *)to + done, bytes - done)) != 0)
        done += n;
    return done;
}

static void tell(const model_stream_result *result)
{
    static const char *const names[] = {"low", "high", "clipped", "silent", "gap"};
    const double seconds =
        ((double)result->frame * MODEL_HOP + MODEL_FFT) / (double)MODEL_SAMPLE_RATE;
    static int was_alarm;
    const uint32_t limit = was_alarm ? stream.state.release : stream.state.threshold;
    int i, some = 0;
    was_alarm = result->alarm;
    printf("%.3f score %.4f threshold %.4f above %d alarm %d band_hz %u flags ", seconds,
           (double)result->sum / (4096.0 * result->windows), limit / 4096.0, result->above,
           result->alarm, (unsigned)model_stream_band_hz[result->worst]);
    for (i = 0; i < 5; i++) {
        if (result->flags >> i & 1)
            printf("%s%s", some++ ? "," : "", names[i]);
    }
    puts(some ? "" : "-");
    if (fflush(stdout) != 0)
        exit(1); /* nobody listens */
    alarmed |= result->alarm;
}

/* Pushes samples and polls. */
static void hear(const int16_t *samples, uint32_t n, uint32_t channels, uint32_t channel)
{
    static uint8_t flags; /* since the last decision */
    model_stream_result result;
    while (n > 0) {
        const uint32_t room = model_stream_room(&stream);
        const uint32_t taken =
            model_stream_push(&stream, samples, n < room ? n : room, channels, channel);
        samples += (size_t)taken * channels;
        n -= taken;
        while (model_stream_poll(&stream, &result, work)) {
            flags |= result.flags;
            result.flags = flags;
            if (result.decision) {
                tell(&result);
                flags = 0;
            }
        }
    }
}

static void hear_all(const uint8_t *first, size_t held, uint32_t left, uint32_t channels,
                   uint32_t channel)
{
    static uint8_t bytes[PIECE];
    static int16_t samples[PIECE / 2];
    const size_t step = 2 * (size_t)channels;
    memcpy(bytes, first, held);
    left -= left == UINT32_MAX ? 0 : (uint32_t)held;
    for (;;) {
        const size_t room = PIECE - held;
        const size_t n = left ? read_some(bytes + held, room < left ? room : left) : 0;
        size_t i, whole;
        left -= left == UINT32_MAX ? 0 : (uint32_t)n;
        held += n;
        whole = held / step;
        for (i = 0; i < whole * channels; i++)
            samples[i] = (int16_t)(uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
        hear(samples, (uint32_t)whole, channels, channel);
        held -= whole * step;
        memmove(bytes, bytes + whole * step, held);
        if (n == 0)
            break;
    }
    if (held > 0)
        fprintf(stderr, "detect: the last sample is not whole; left out\n");
}

static double value_of(const char *text, double least, double most, const char *option)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most))
        stop("-%s %s: a number from %g to %g", option, text, least, most);
    return value;
}

static uint32_t whole_of(const char *text, double least, double most, const char *option)
{
    const double value = value_of(text, least, most, option);
    if (value != floor(value))
        stop("-%s %s: a whole number", option, text);
    return (uint32_t)value;
}

int main(int argc, char **argv)
{
    const double most = 4294967295.0 / 4096.0; /* dB^2, of 32 bits */
    double threshold = MODEL_STREAM_THRESHOLD / 4096.0, release = MODEL_STREAM_RELEASE / 4096.0;
    const double ratio = threshold > 0 ? release / threshold : 1.0;
    uint32_t k = MODEL_STREAM_K, n = MODEL_STREAM_N, channels = 1, channel = UINT32_MAX;
    wav_format format = {MODEL_SAMPLE_RATE, 0, UINT32_MAX};
    uint8_t first[4];
    size_t held;
    int option, given = 0;
    while ((option = getopt(argc, argv, "t:r:k:n:c:x:h")) != -1) {
        switch (option) {
        case 't': threshold = value_of(optarg, 0, most, "t"); release = given ? release : threshold * ratio; break;
        case 'r': release = value_of(optarg, 0, most, "r"); given = 1; break;
        case 'k': k = whole_of(optarg, 1, 32, "k"); break;
        case 'n': n = whole_of(optarg, 1, 32, "n"); break;
        case 'c': channels = whole_of(optarg, 1, MOST_CHANNELS, "c"); break;
        case 'x': channel = whole_of(optarg, 0, MOST_CHANNELS - 1, "x"); break;
        default:
            fprintf(option == 'h' ? stdout : stderr, usage, MODEL_SAMPLE_RATE,
                    MODEL_STREAM_THRESHOLD / 4096.0, MODEL_STREAM_RELEASE / 4096.0, MODEL_STREAM_K,
                    MODEL_STREAM_N);
            return option == 'h' ? 0 : 1;
        }
    }
    if (optind < argc)
        stop("%s: not an option; samples come from standard input", argv[optind]);
    model_stream_init(&stream);
    if (!model_stream_set_threshold(&stream, MODEL_STREAM_Q12(threshold), MODEL_STREAM_Q12(release)))
        stop("-r %g is above the threshold, %g", release, threshold);
    if (!model_stream_set_rule(&stream, k, n))
        stop("-k %u -n %u: K is at most N", (unsigned)k, (unsigned)n);
    held = read_all(first, sizeof first);
    if (held == sizeof first && memcmp(first, "RIFF", 4) == 0) {
        const char *wrong = wav_header(read_all, &format);
        if (wrong != NULL)
            stop("%s", wrong);
        if (format.rate != MODEL_SAMPLE_RATE)
            stop("%u Hz; the model hears %d Hz", (unsigned)format.rate, MODEL_SAMPLE_RATE);
        if (format.channels > MOST_CHANNELS)
            stop("%u channels; at most %d", (unsigned)format.channels, MOST_CHANNELS);
        channels = format.channels;
        held = 0;
    }
    if (channel == UINT32_MAX && channels > 1)
        stop("%u channels; say which with -x", (unsigned)channels);
    channel = channel == UINT32_MAX ? 0 : channel;
    if (channel >= channels)
        stop("-x %u: there are %u channels, from 0", (unsigned)channel, (unsigned)channels);
    hear_all(first, held, format.bytes, channels, channel);
    return alarmed ? 3 : 0;
}

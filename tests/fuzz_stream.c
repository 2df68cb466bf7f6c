/* Pushes and polls at random, and a plain model of the stream beside it: see fuzz_stream.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_stream.h"

enum { K = MODEL_STREAM_WINDOWS, STEP = MODEL_STREAM_STEP, HELD = 1 << 13, LONGEST = 170 };

/* What the stream should know. Samples are counted since the start, of those that were taken. */
typedef struct {
    int16_t heard[HELD];
    uint32_t taken, polled, start, next_start, frames, dropped;
    int gap_pending, gap;
    uint32_t errors[K], n_errors, windows;
    uint32_t threshold, release, k, n;
    unsigned char decisions[32]; /* newest first */
    int alarm;
} plain;

static model_stream stream;
static plain model;
static uint64_t random_state;
static uint32_t counts[7]; /* hops, decisions, alarms, gaps; states restored, refused, forged */

static uint32_t draw(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % n;
}

#define CHECK(condition)                                               \
    do {                                                               \
        if (!(condition)) {                                            \
            printf("line %d: not %s\n", __LINE__, #condition);         \
            exit(1);                                                   \
        }                                                              \
    } while (0)

static void begin_anew(void)
{
    model.frames = model.n_errors = model.windows = 0;
    memset(model.decisions, 0, sizeof model.decisions);
    model.gap = 1;
}

static void push(void)
{
    static int16_t constant;
    static uint32_t kind;
    const uint32_t channels = 1 + draw(4) / 3 * draw(4), channel = draw(channels);
    const uint32_t n = draw(200) ? draw(LONGEST) : draw(12 * LONGEST);
    const size_t size = n ? (size_t)(n - 1) * channels + channel + 1 : 0;
    int16_t *samples = malloc(size ? size * sizeof *samples : 1); /* no longer than is needed */
    const uint32_t room = model_stream_room(&stream);
    uint32_t i, taken;
    kind = draw(8) ? kind : draw(7);
    constant = draw(30) ? constant : (int16_t)(draw(3) ? draw(65536) - 32768 : 32767);
    for (i = 0; i < size; i++) {
        const int noise = (int)draw(65536) - 32768;
        samples[i] = (int16_t)(kind == 0   ? noise
                               : kind == 1 ? (i & 1 ? 32767 : -32768)
                               : kind == 2 ? 0
                               : kind == 3 ? noise / 16384
                               : kind == 4 ? constant
                               : kind == 5 ? noise / 64
                                           : (noise < -32000 ? noise : 100));
    }
    taken = model_stream_push(&stream, samples, n, channels, channel);
    CHECK(taken == (n < room ? n : room));
    CHECK(taken == 0 || !model.gap_pending);
    for (i = 0; i < taken; i++)
        model.heard[model.taken++ % HELD] = samples[(size_t)i * channels + channel];
    model.dropped += n - taken;
    CHECK(stream.state.dropped == model.dropped);
    model.gap_pending |= taken < n;
    free(samples);
}

static uint8_t flags_of_samples(void)
{
    const uint32_t from = model.start + model.frames * MODEL_HOP;
    const int16_t first = model.heard[from % HELD];
    int silent = 1, clipped = 0;
    uint32_t i;
    for (i = 0; i < MODEL_FFT; i++) {
        const int16_t sample = model.heard[(from + i) % HELD];
        silent &= sample == first;
        if (model.frames == 0 || i >= MODEL_FFT - MODEL_HOP)
            clipped |= sample == 32767 || sample == -32768;
    }
    return (uint8_t)((clipped ? MODEL_STREAM_CLIPPED : 0) | (silent ? MODEL_STREAM_SILENT : 0) |
                     (model.gap ? MODEL_STREAM_GAP : 0));
}

static void judge(const model_stream_result *result)
{
    uint64_t sum = 0;
    uint32_t i, above = 0;
    const int due = model.windows + 1 >= K && (model.windows + 1 - K) % STEP == 0;
    memmove(model.errors + 1, model.errors, (K - 1) * sizeof *model.errors);
    model.errors[0] = result->error;
    model.n_errors += model.n_errors < K ? 1 : 0;
    model.windows++;
    for (i = 0; i < model.n_errors; i++)
        sum += model.errors[i];
    CHECK(result->windows == model.n_errors && result->sum == sum);
    CHECK(result->decision == due);
    if (due) {
        const uint64_t limit = model.alarm ? model.release : model.threshold;
        memmove(model.decisions + 1, model.decisions, sizeof model.decisions - 1);
        model.decisions[0] = sum > limit * K;
        CHECK(result->above == model.decisions[0]);
        for (i = 0; i < model.n; i++)
            above += model.decisions[i];
        counts[2] += above >= model.k && !model.alarm;
        model.alarm = above >= model.k;
        counts[1]++;
    }
}

static void poll(void)
{
    static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];
    const uint32_t samples_left = model.taken - (model.start + model.frames * MODEL_HOP);
    model_stream_result result;
    const int some = model_stream_poll(&stream, &result, work);
    CHECK(some == (samples_left >= MODEL_FFT));
    if (!some) {
        if (model.gap_pending) {
            begin_anew();
            model.start = model.taken;
            model.gap_pending = 0;
            counts[3]++;
        }
        return;
    }
    counts[0]++;
    CHECK(result.frame == model.frames);
    CHECK((result.flags & ~(MODEL_STREAM_LOW | MODEL_STREAM_HIGH)) == flags_of_samples());
    CHECK(result.worst < MODEL_MELS);
    CHECK(result.level > -200 * 65536 && result.level < 100 * 65536);
    model.gap = 0;
    model.frames++;
    if (model.frames >= MODEL_FRAMES)
        judge(&result);
    else
        CHECK(result.windows == 0 && result.sum == 0 && !result.decision);
    CHECK(result.alarm == model.alarm);
}

static void set(void)
{
    /* Mostly near what there is. */
    const uint64_t near = stream.state.sum / K * draw(200) / 100;
    const uint32_t threshold = draw(8) && near < ~0u ? (uint32_t)near : draw(1u << 31);
    const uint32_t release = draw(8) ? (uint32_t)((uint64_t)threshold * draw(100) / 100) : ~0u;
    const uint32_t n = draw(34), k = draw(34);
    if (model_stream_set_threshold(&stream, threshold, release)) {
        model.threshold = threshold;
        model.release = release;
    }
    CHECK((model.threshold == threshold && model.release == release) || release > threshold);
    if (model_stream_set_rule(&stream, k, n)) {
        model.k = k;
        model.n = n;
    }
    CHECK((model.k == k && model.n == n) || k < 1 || k > n || n > 32);
}

/* A state is kept, and later restored; or one that was cut or altered is refused. */
static void save_or_restore(void)
{
    static unsigned char saved[MODEL_STREAM_SAVED_BYTES], altered[MODEL_STREAM_SAVED_BYTES + 8];
    static plain model_then;
    static model_stream before;
    static int is_saved;
    uint32_t bytes = MODEL_STREAM_SAVED_BYTES, at = draw(MODEL_STREAM_SAVED_BYTES);
    if (!is_saved || draw(4) == 0) {
        CHECK(model_stream_save(&stream, saved, bytes - 1 - draw(bytes)) == 0);
        CHECK(model_stream_save(&stream, saved, bytes) == bytes);
        model_then = model;
        is_saved = 1;
    } else if (draw(2)) {
        CHECK(model_stream_restore(&stream, saved, bytes));
        model = model_then;
        counts[4]++;
    } else {
        memcpy(altered, saved, bytes);
        if (draw(3) == 0)
            bytes = draw(2) ? draw(bytes) : bytes + 1 + draw(8);
        else
            altered[at] ^= (unsigned char)(1 + draw(255));
        before = stream;
        CHECK(!model_stream_restore(&stream, altered, bytes));
        CHECK(memcmp(&before, &stream, sizeof stream) == 0);
        counts[5]++;
    }
}

static uint32_t checksum(const unsigned char *bytes, uint32_t n, uint32_t crc)
{
    uint32_t i, bit;
    for (i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return crc;
}

/* A state that was forged, with a checksum that is right: refused, or safe whatever it tells. */
static void forge(void)
{
    static unsigned char saved[MODEL_STREAM_SAVED_BYTES];
    static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];
    const model_stream before = stream;
    model_stream_result result;
    int16_t samples[300] = {0};
    uint32_t at = 32 + draw(draw(2) ? sizeof(model_stream_state) : sizeof(model_stream)), crc;
    uint32_t n = 1 + draw(4), i;
    CHECK(model_stream_save(&stream, saved, sizeof saved));
    for (i = 0; i < n && at + i < sizeof saved; i++)
        saved[at + i] = (unsigned char)(draw(2) ? draw(256) : draw(2) * 255);
    crc = ~checksum(saved + 32, sizeof saved - 32, checksum(saved, 28, ~0u));
    memcpy(saved + 28, &crc, sizeof crc);
    if (model_stream_restore(&stream, saved, sizeof saved)) {
        counts[6]++;
        for (i = 0; i < 6; i++) {
            (void)model_stream_push(&stream, samples, draw(300), 1, 0);
            if (model_stream_poll(&stream, &result, work))
                CHECK(result.worst < MODEL_MELS && result.windows <= K);
        }
        stream = before;
    }
    CHECK(memcmp(&stream, &before, sizeof stream) == 0);
}

static void reset(void)
{
    model_stream_reset(&stream);
    begin_anew();
    model.start = model.taken;
    model.gap_pending = 0;
}

int main(int argc, char **argv)
{
    const long size = argc > 1 ? atol(argv[1]) : 1000;
    long i;
    random_state = argc > 2 ? (uint64_t)atol(argv[2]) : 0;
    model_stream_init(&stream);
    model.threshold = MODEL_STREAM_THRESHOLD;
    model.release = MODEL_STREAM_RELEASE;
    model.k = MODEL_STREAM_K;
    model.n = MODEL_STREAM_N;
    begin_anew();
    for (i = 0; i < size; i++) {
        uint32_t polls = draw(6);
        push();
        while (polls-- > 0)
            poll();
        if (draw(100) == 0)
            set();
        if (draw(50) == 0)
            save_or_restore();
        if (draw(300) == 0)
            reset();
        if (draw(100) == 0)
            forge();
    }
    printf("%ld pushes: %u hops, %u decisions, %u alarms, %u gaps, %u states restored, "
           "%u refused, %u forged\n",
           size, counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6]);
    return 0;
}

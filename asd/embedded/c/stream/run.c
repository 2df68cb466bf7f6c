/* A generated stream over samples that lie in memory, for this machine and for WebAssembly: they are
 * pushed in pieces of changing lengths, as a microphone's driver would. */
#include "model_stream.h"

static model_stream stream;
static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];

uint32_t stream_bytes(void)
{
    return (uint32_t)MODEL_STREAM_BYTES;
}

uint32_t stream_work_bytes(void)
{
    return (uint32_t)MODEL_STREAM_WORK_BYTES;
}

uint32_t stream_saved_bytes(void)
{
    return MODEL_STREAM_SAVED_BYTES;
}

uint32_t stream_is_float(void)
{
    return MODEL_FRONTEND_FLOAT;
}

/* From the start, or going on: `results` has room for n / MODEL_HOP + 1 hops, `inputs`, where it is
 * not null, for the input bytes of as many frames. Returns how many hops there are.
 * longest  of a piece, 1 or more */
uint32_t stream_run(const int16_t *samples, uint32_t n, uint32_t longest, int from_start,
                    model_stream_result *results, int8_t *inputs)
{
    uint32_t count = 0, length = 0, at = 0, i;
    if (from_start) {
        model_stream_init(&stream);
    }
    for (;;) {
        const uint32_t room = model_stream_room(&stream);
        uint32_t piece;
        length = (length * 5 + 3) % longest + 1;
        piece = length < n - at ? length : n - at;
        at += model_stream_push(&stream, samples + at, piece < room ? piece : room, 1, 0);
        if (model_stream_poll(&stream, results + count, work)) {
            for (i = 0; inputs && i < MODEL_MELS; i++) {
                inputs[count * MODEL_MELS + i] = stream.input[MODEL_INPUTS - MODEL_MELS + i];
            }
            count++;
        } else if (at == n) {
            return count;
        }
    }
}

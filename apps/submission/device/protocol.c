#include "protocol.h"

#include <string.h>

#include "model.h"
#include "port.h"

#if MODEL_INPUTS != MODEL_OUTPUTS
#error "the score compares the output with the input: they must be of one size"
#endif

enum {
    WINDOW_BYTES = 4 * MODEL_INPUTS, /* float32, little endian */
    REFERENCE_BYTES = 27648,         /* 96 x 96 x 3, the reference's limit for all its models */
#ifndef BUFFER_BYTES /* -DBUFFER_BYTES=2560 saves 25 KB of RAM */
    BUFFER_BYTES = (int)WINDOW_BYTES > (int)REFERENCE_BYTES ? (int)WINDOW_BYTES
                                                            : (int)REFERENCE_BYTES,
#endif
    PRINTED_BYTES = 8,     /* of a line of `db print` */
    DEFAULT_INFERENCES = 1,
    DEFAULT_WARMUPS = 10,
    MOST_INFERENCES = 1000000, /* of `infer`: 30 s where one takes 30 us; it cannot be stopped */
    LARGEST_NUMBER = 999999999 /* larger arguments count as this */
};

typedef char buffer_holds_a_window[(int)BUFFER_BYTES >= (int)WINDOW_BYTES ? 1 : -1];

static char command[COMMAND_CHARACTERS + 1];
static size_t command_length; /* COMMAND_CHARACTERS + 1: too long, what follows is dropped */
static char *rest;            /* of the command: what next_word has not given out yet */

static uint8_t buffer[BUFFER_BYTES]; /* what `db` loads */
static size_t expected_bytes;        /* of the buffer; 0 before `db load` */
static size_t loaded_bytes;          /* <= expected_bytes */

static float values[MODEL_INPUTS];   /* the window as it came, dB */
static int8_t input[MODEL_INPUTS], output[MODEL_OUTPUTS];
static uint64_t scratch[(MODEL_SCRATCH_BYTES + 7) / 8]; /* 8-byte aligned */

/* ---- Replies ---- */

static void write_text(const char *text)
{
    while (*text != '\0')
        port_write((uint8_t)*text++);
}

/* What came from the host, as printable ASCII: the official runner stops at other bytes. */
static void write_printable(const char *text)
{
    for (; *text != '\0'; text++)
        port_write((uint8_t)(*text >= ' ' && *text <= '~' ? *text : '?'));
}

static void write_number(uint64_t number)
{
    char digits[21]; /* 2^64 has 20 */
    char *at = digits + sizeof digits - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + (int)(number % 10U));
        number /= 10U;
    } while (number != 0);
    write_text(at);
}

static void write_byte(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    port_write((uint8_t)digits[byte >> 4]);
    port_write((uint8_t)digits[byte & 15U]);
}

static void line(const char *text)
{
    write_text(text);
    write_text("\r\n");
}

static void line_with_number(const char *before, uint64_t number, const char *after)
{
    write_text(before);
    write_number(number);
    line(after);
}

/* ---- The command's words and numbers ---- */

/* The next word of the command, or 0 at its end; spaces part words. */
static const char *next_word(void)
{
    while (*rest == ' ')
        rest++;
    if (*rest == '\0')
        return 0;
    const char *const word = rest;
    while (*rest != '\0' && *rest != ' ')
        rest++;
    if (*rest == ' ')
        *rest++ = '\0';
    return word;
}

/* The number that a word is, never out of range; -1 for a word that is none, or is negative. */
static int32_t number_of(const char *word)
{
    if (*word == '+')
        word++;
    if (*word == '\0')
        return -1;
    int32_t number = 0;
    for (; *word != '\0'; word++) {
        if (*word < '0' || *word > '9')
            return -1;
        if (number > LARGEST_NUMBER / 10)
            number = LARGEST_NUMBER;
        else
            number = 10 * number + (*word - '0');
    }
    return number;
}

/* 0 to 15, or -1. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* ---- The score ---- */

const char *protocol_score_text(float score, char text[SCORE_CHARACTERS + 1])
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    const int exponent_bits = (int)(bits >> 23 & 0xFFU);
    const uint32_t fraction = bits & 0x7FFFFFU;
    if (exponent_bits == 0xFF)
        return fraction != 0 ? "nan" : bits >> 31 ? "-inf" : "inf";

    /* |score| = mantissa * 2^exponent; 24 bits of mantissa, exponent -149 to 104 */
    const uint32_t mantissa = exponent_bits != 0 ? fraction | 0x800000U : fraction;
    int exponent = (exponent_bits != 0 ? exponent_bits : 1) - 150;
    uint64_t thousandths = UINT64_C(1000) * mantissa; /* below 2^34 */
    int doublings = 0;
    if (exponent >= 0) {
        doublings = exponent;
    } else if (exponent > -64) {
        const int shift = -exponent; /* 1 to 63 */
        const uint64_t part = thousandths & ((UINT64_C(1) << shift) - 1U);
        const uint64_t half = UINT64_C(1) << (shift - 1);
        thousandths >>= shift;
        if (part > half || (part == half && (thousandths & 1U) != 0))
            thousandths++;
    } else {
        thousandths = 0; /* less than 2^-30 of one */
    }

    /* Decimal digits, the last at the end, then doubled as often as the exponent says. */
    char *const end = text + SCORE_CHARACTERS;
    char *first = end;
    for (; thousandths != 0; thousandths /= 10U)
        *--first = (char)(thousandths % 10U);
    for (; doublings > 0; doublings--) {
        int carry = 0;
        for (char *at = end - 1; at >= first; at--) {
            const int twice = 2 * *at + carry;
            carry = twice >= 10;
            *at = (char)(twice - 10 * carry);
        }
        if (carry)
            *--first = 1;
    }
    while (first > end - 4) /* "0.000" at least */
        *--first = 0;
    for (char *at = first; at < end; at++)
        *at = (char)(*at + '0');
    /* Room for the dot: all but the last three move to the left. */
    first--;
    memmove(first, first + 1, (size_t)(end - 3 - (first + 1)));
    *(end - 4) = '.';
    *end = '\0';
    if (bits >> 31)
        *--first = '-';
    return first;
}

/* mean((dequantised output - the window as it came)^2), in model_score's own arithmetic. */
static float score(void)
{
    float sum = 0.0F;
    for (size_t i = 0; i < MODEL_INPUTS; i++) {
        const float error =
            (float)(output[i] - MODEL_OUTPUT_ZERO_POINT) * MODEL_OUTPUT_SCALE - values[i];
        sum += error * error;
    }
    return sum / (float)MODEL_INPUTS;
}

/* ---- Commands ---- */

static void results(void)
{
    char text[SCORE_CHARACTERS + 1];
    write_text("m-results-[");
    write_text(protocol_score_text(score(), text));
    line("]");
}

static void timestamp(void)
{
#if ENERGY_MODE
    port_pulse();
#else
    line_with_number("m-lap-us-", port_microseconds(), "");
#endif
}

/* The window of the buffer, little endian on any core, and its int8. */
static void load_tensor(void)
{
    for (size_t i = 0; i < MODEL_INPUTS; i++) {
        const uint8_t *const at = buffer + 4 * i;
        const uint32_t bits =
            at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        memcpy(values + i, &bits, sizeof bits);
    }
    model_quantise(values, input);
}

static void run_model(int32_t times)
{
    while (times-- > 0)
        model_run(input, output, scratch);
}

static void infer(void)
{
    int32_t inferences = DEFAULT_INFERENCES, warmups = DEFAULT_WARMUPS;
    const char *word = next_word();
    if (word) {
        inferences = number_of(word);
        if (inferences <= 0) {
            line("e-[Inference iterations must be >0]");
            return;
        }
        if (inferences > MOST_INFERENCES) {
            line_with_number("e-[Inference iterations must be <=", MOST_INFERENCES, "]");
            return;
        }
        word = next_word();
    }
    if (word) {
        warmups = number_of(word);
        if (warmups < 0) {
            line("e-[Inference warmup must be >=0]");
            return;
        }
        if (warmups > MOST_INFERENCES) {
            line_with_number("e-[Inference warmup must be <=", MOST_INFERENCES, "]");
            return;
        }
    }
    load_tensor();
    line_with_number("m-warmup-start-", (uint64_t)warmups, "");
    run_model(warmups);
    line("m-warmup-done");
    line_with_number("m-infer-start-", (uint64_t)inferences, "");
    timestamp();
    run_model(inferences);
    timestamp();
    line("m-infer-done");
    results();
}

static void db_load(void)
{
    const char *const word = next_word();
    if (!word) {
        line("e-[Command 'db load' requires the # of bytes]");
        return;
    }
    const int32_t bytes = number_of(word);
    expected_bytes = loaded_bytes = 0;
    if (bytes <= 0) {
        line("e-[Command 'db load' must be >0 bytes]");
    } else if (bytes > BUFFER_BYTES) {
        write_text("Supplied buffer size ");
        write_number((uint64_t)bytes);
        line_with_number(" exceeds maximum of ", BUFFER_BYTES, "");
    } else {
        expected_bytes = (size_t)bytes;
        memset(buffer, 0, sizeof buffer); /* nothing of the window before, if bytes are lost */
        line_with_number("m-[Expecting ", (uint64_t)bytes, " bytes]");
    }
}

static void db_print(void)
{
    for (size_t i = 0; i < expected_bytes; i++) {
        write_text(i % PRINTED_BYTES == 0 ? "m-buffer-" : "-");
        write_byte(buffer[i]);
        if ((i + 1) % PRINTED_BYTES == 0 || i + 1 == expected_bytes)
            line("");
    }
}

static void db_bytes(const char *digits)
{
    if (strlen(digits) % 2 != 0) {
        line("e-[Insufficent number of hex digits]"); /* so spelled by the reference */
        return;
    }
    if (expected_bytes == 0) {
        line("e-[Command 'db load' must come first]");
        return;
    }
    for (; *digits != '\0' && loaded_bytes < expected_bytes; digits += 2) {
        const int high = digit_of(digits[0]), low = digit_of(digits[1]);
        if (high < 0 || low < 0) {
            const char wrong[] = {digits[0], digits[1], '\0'};
            write_text("e-[Invalid hex digit '");
            write_printable(wrong);
            line("']");
            return;
        }
        buffer[loaded_bytes++] = (uint8_t)(16 * high + low);
        if (loaded_bytes == expected_bytes)
            line("m-load-done");
    }
}

static void db(void)
{
    const char *const word = next_word();
    if (!word)
        line("e-[Command 'db' requires a subcommand]");
    else if (strcmp(word, "load") == 0)
        db_load();
    else if (strcmp(word, "print") == 0)
        db_print();
    else
        db_bytes(word);
}

static void name(void)
{
    write_text("m-name-dut-[");
    write_text(port_vendor);
    line("]");
}

static void profile(void)
{
    line("m-profile-[ULPMark for tinyML Firmware V0.0.1]");
    line("m-model-[ad01]");
}

static void help(void)
{
    line("Commands, each ended by a percent sign:");
    line("name            the device's name");
    line("profile         the protocol's and the model's names");
    line("timestamp       the time in us, or a pulse on a pin in energy mode");
    line("db load N       expect N bytes");
    line("db HH[HH]...    bytes, as hexadecimal digits");
    line("db print        the bytes that are expected, as they are now");
    line("infer [N [W]]   W inferences (10) to warm up, then N (1) between two timestamps");
    line("results         the anomaly score of the last inference");
    line("help            this text");
}

static const struct {
    const char *name;
    void (*carry_out)(void);
} commands[] = {
    {"name", name},   {"profile", profile}, {"timestamp", timestamp}, {"help", help},
    {"db", db},       {"infer", infer},     {"results", results},
};

static void carry_out(void)
{
    const char *word = next_word();
    if (!word)
        word = "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            commands[i].carry_out();
            return;
        }
    }
    write_text("e-[Unknown command: ");
    write_printable(word);
    line("]");
}

void protocol_byte(uint8_t byte)
{
    if (byte == '\r' || byte == '\n') /* a terminal's; no command has them */
        return;
    if (byte != '%') {
        if (command_length < COMMAND_CHARACTERS)
            command[command_length++] = (char)byte;
        else
            command_length = COMMAND_CHARACTERS + 1;
        return;
    }
    if (command_length > COMMAND_CHARACTERS) {
        line("e-[Command longer than 80 characters]");
    } else {
        command[command_length] = '\0';
        rest = command;
        carry_out();
    }
    command_length = 0;
    line("m-ready");
}

void protocol_start(void)
{
    command_length = 0;
    expected_bytes = loaded_bytes = 0;
    memset(buffer, 0, sizeof buffer);
    load_tensor();
    run_model(1); /* so that `results` is always the score of an inference */
    line(ENERGY_MODE ? "m-timestamp-mode-energy" : "m-timestamp-mode-performance");
    timestamp();
    line("m-init-done");
    line("m-ready");
}

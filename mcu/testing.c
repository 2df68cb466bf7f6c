#include "testing.h"

#include "semihosting.h"

__attribute__((noreturn)) void fail(const char *message)
{
    semihosting_message(message);
    semihosting_exit(1);
}

int must_open(const char *name, int mode)
{
    const int handle = semihosting_open(name, mode);
    if (handle < 0) {
        semihosting_message(name);
        fail(": cannot be opened\n");
    }
    return handle;
}

void must_write(int handle, const void *buffer, size_t bytes)
{
    if (semihosting_write(handle, buffer, bytes) != bytes)
        fail("a file cannot be written; is the disk full?\n");
}

void must_close(int handle)
{
    if (semihosting_close(handle) != 0)
        fail("a file cannot be written; is the disk full?\n");
}

void write_text(int handle, const char *text)
{
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    must_write(handle, text, length);
}

void write_number(int handle, const char *key, uint32_t value)
{
    char line[] = " ##########\n"; /* 2^32 has ten digits */
    char *at = line + sizeof line - 2;
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    *--at = ' ';
    write_text(handle, key);
    write_text(handle, at);
}

/* ---- Instructions ---- */

#if defined(__riscv)

void start_counter(void) {} /* minstret always counts */

uint32_t counter(void)
{
    uint32_t value;
    __asm__ volatile("csrr %0, minstret" : "=r"(value) : : "memory");
    return value;
}

#else

/* Up-counter of the boards' FPGAIO block, and its prescaler beside it: 0 counts every clock. */
#define FPGAIO_COUNTER ((volatile uint32_t *)COUNTER)

void start_counter(void)
{
    FPGAIO_COUNTER[1] = 0;
}

uint32_t counter(void)
{
    return FPGAIO_COUNTER[0];
}

#endif

uint32_t instructions_since(uint32_t before)
{
    const uint32_t ticks = counter() - before;
    const uint64_t half = (UINT64_C(1) << ICOUNT_SHIFT) / 2;
    return (uint32_t)(((uint64_t)ticks * COUNTER_NS + half) >> ICOUNT_SHIFT);
}

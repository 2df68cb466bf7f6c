#include "semihosting.h"

#include <string.h>

/* Numbers of the operations, of both architectures. */
enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20
};
#define ADP_STOPPED_APPLICATION_EXIT 0x20026u

/* `arguments` is a block of words, or for SYS_WRITE0 the text itself. */
static intptr_t call(uintptr_t operation, const void *arguments)
{
#if defined(__riscv)
    register uintptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = arguments;
    /* The host knows the call by these three instructions, uncompressed and in one page. */
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".balign 16\n\t"
                     "slli x0, x0, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai x0, x0, 7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (intptr_t)a0;
#else
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (intptr_t)r0;
#endif
}

int semihosting_open(const char *name, int mode)
{
    const uintptr_t arguments[3] = {(uintptr_t)name, (uintptr_t)mode, strlen(name)};
    return (int)call(SYS_OPEN, arguments);
}

/* Both transfers return the bytes that are left, or -1 for an error. */
static size_t transfer(uintptr_t operation, int handle, const void *buffer, size_t bytes)
{
    const uintptr_t arguments[3] = {(uintptr_t)handle, (uintptr_t)buffer, bytes};
    const size_t left = (size_t)call(operation, arguments);
    return left > bytes ? 0 : bytes - left;
}

size_t semihosting_read(int handle, void *buffer, size_t bytes)
{
    return transfer(SYS_READ, handle, buffer, bytes);
}

size_t semihosting_write(int handle, const void *buffer, size_t bytes)
{
    return transfer(SYS_WRITE, handle, buffer, bytes);
}

int semihosting_close(int handle)
{
    const uintptr_t arguments[1] = {(uintptr_t)handle};
    return (int)call(SYS_CLOSE, arguments);
}

void semihosting_message(const char *text)
{
    call(SYS_WRITE0, text);
}

void semihosting_exit(int status)
{
    const uintptr_t arguments[2] = {ADP_STOPPED_APPLICATION_EXIT, (uintptr_t)status};
    call(SYS_EXIT_EXTENDED, arguments);
    for (;;) /* where nobody listens */
        ;
}

static void put_hex(char *at, uint32_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        at[i] = "0123456789abcdef"[value & 15];
}

void semihosting_fault(uint32_t number, uint32_t address)
{
    char text[] = "fault 0x........ at address 0x........\n";
    put_hex(text + sizeof "fault 0x" - 1, number, 8);
    put_hex(text + sizeof "fault 0x........ at address 0x" - 1, address, 8);
    semihosting_message(text);
    semihosting_exit(1);
}

/* The protocol on the host: standard input and output are the UART. */

#include <stdio.h>
#include <stdlib.h>

#include "port.h"

const char port_vendor[] = "emulated"; /* as the emulated board's, for one table of replies */

void port_start(void) {}

uint8_t port_read(void)
{
    const int byte = getchar();
    if (byte == EOF)
        exit(0);
    return (uint8_t)byte;
}

void port_write(uint8_t byte)
{
    putchar(byte);
}

uint64_t port_microseconds(void)
{
    static uint64_t now = UINT64_C(0xFFFFFFFF);
    return now += 7;
}

void port_pulse(void)
{
    fputs("(pulse)\r\n", stdout);
}

/* The emulated MPS2 and MPS3 boards: CMSDK UART, FPGAIO counter. The Makefile gives the addresses
   of the board's row as UART, UART_IRQ (of received bytes), COUNTER and COUNTER_NS.

   Times are those of QEMU's virtual clock, in which under -icount every instruction takes the
   same time: they count instructions, and are never a result. */

#include "port.h"

#include "semihosting.h"

#define UART_WORDS ((volatile uint32_t *)UART)
enum { DATA, STATE, CTRL, INTERRUPTS, BAUD_DIVIDER }; /* words from UART on */
enum { STATE_TX_FULL = 1, STATE_RX_FULL = 2 };
enum { CTRL_TX = 1, CTRL_RX = 2, CTRL_RX_INTERRUPT = 8 };
enum { INTERRUPT_RX = 2 };
enum { SMALLEST_DIVIDER = 16 }; /* QEMU sends as fast as the host takes it, whatever the rate */

#define COUNTER_WORDS ((volatile uint32_t *)COUNTER)
enum { COUNT, PRESCALE };          /* words from COUNTER on */
enum { LED = -6, LED_0 = 1 };      /* FPGAIO begins 0x18 bytes before its counter */

/* Interrupts of the core's NVIC: enable, and clear what is pending. */
#define NVIC_ENABLE ((volatile uint32_t *)0xE000E100U)
#define NVIC_CLEAR ((volatile uint32_t *)0xE000E280U)
#define UART_WORD ((UART_IRQ) / 32)
#define UART_BIT (1UL << ((UART_IRQ) % 32))

const char port_vendor[] = "emulated";

void port_start(void)
{
    UART_WORDS[BAUD_DIVIDER] = SMALLEST_DIVIDER;
    UART_WORDS[CTRL] = CTRL_TX | CTRL_RX | CTRL_RX_INTERRUPT;
    COUNTER_WORDS[PRESCALE] = 1000 / COUNTER_NS - 1; /* a count is a microsecond */
    COUNTER_WORDS[LED] = LED_0;
    /* Masked interrupts call no handler, and still end a wfi. */
    __asm__ volatile("cpsid i" ::: "memory");
    NVIC_ENABLE[UART_WORD] = UART_BIT;
}

uint8_t port_read(void)
{
    static int told; /* emulate.py names the device when it listens */
    if (!told)
        semihosting_message("the device listens\n");
    told = 1;
    /* A byte that comes between the look and the wfi ends the wfi, which leaves the host's core to
       others while nothing comes. */
    while ((UART_WORDS[STATE] & STATE_RX_FULL) == 0)
        __asm__ volatile("wfi" ::: "memory");
    /* Before the byte is taken: the next one cannot come earlier, and its interrupt is kept. */
    UART_WORDS[INTERRUPTS] = INTERRUPT_RX;
    NVIC_CLEAR[UART_WORD] = UART_BIT;
    return (uint8_t)UART_WORDS[DATA];
}

void port_write(uint8_t byte)
{
    while ((UART_WORDS[STATE] & STATE_TX_FULL) != 0)
        ;
    UART_WORDS[DATA] = byte;
}

uint64_t port_microseconds(void)
{
    static uint32_t low, high; /* the counter's 32 bits last for 71 minutes */
    const uint32_t now = COUNTER_WORDS[COUNT];
    if (now < low)
        high++;
    low = now;
    return (uint64_t)high << 32 | now;
}

void port_pulse(void)
{
    COUNTER_WORDS[LED] = 0;
    const uint32_t start = COUNTER_WORDS[COUNT];
    while (COUNTER_WORDS[COUNT] - start < 2) /* one whole count at least */
        ;
    COUNTER_WORDS[LED] = LED_0;
}

/* What a board has to offer: one file, port_BOARD.c, implements it. */

#ifndef PORT_H
#define PORT_H

#include <stdint.h>

/* 0: performance and accuracy, times as text over the UART. 1: energy, a pulse on a pin. */
#ifndef ENERGY_MODE
#define ENERGY_MODE 0
#endif

/* The rates at which the official runner opens the port, of its devices_ad.yaml. Another one:
   -DPORT_BAUD=115200U, with `baud` in that file, and --baud of ours. */
#ifndef PORT_BAUD
#define PORT_BAUD (ENERGY_MODE ? 9600U : 921600U)
#endif

/* Who made the board, as `name` tells it; without ']'. */
extern const char port_vendor[];

/* Clocks, pins, UART with 8 bits, no parity, 1 stop bit at PORT_BAUD; the pin high. */
void port_start(void);

/* Waits for the next byte of the host. The bytes of a command come at the full rate, without
   pauses (10.8 us each at 921,600 baud); the next command comes after the reply. */
uint8_t port_read(void);

/* Sends a byte, waiting until there is room for it. */
void port_write(uint8_t byte);

/* Time since any moment. It is read twice around a measurement of up to 30 s. */
uint64_t port_microseconds(void);

/* Low for 1 us or more, then high, on the pin that the energy monitor watches. */
void port_pulse(void);

#endif

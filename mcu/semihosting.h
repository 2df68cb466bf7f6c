/* Files, messages and exit through the debugger or emulator.
   Arm, "Semihosting for AArch32 and AArch64"; RISC-V, "RISC-V Semihosting". */

#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum { SEMIHOSTING_READ = 1, SEMIHOSTING_WRITE = 5 }; /* fopen's "rb" and "wb" */

/* Opens a file of the host; returns its handle, or -1. */
int semihosting_open(const char *name, int mode);

/* Reads up to `bytes`; returns how many were read, 0 at the end of the file. */
size_t semihosting_read(int handle, void *buffer, size_t bytes);

/* Writes; returns how many bytes were written. */
size_t semihosting_write(int handle, const void *buffer, size_t bytes);

/* Closes a file; returns 0, or -1 where the host could not keep what was written. */
int semihosting_close(int handle);

/* Shows a text, ended by 0, on the host's console. */
void semihosting_message(const char *text);

/* Ends the program with an exit status, 0 to 255. */
__attribute__((noreturn)) void semihosting_exit(int status);

/* Ends the program for a fault: its number, and the address of the instruction. */
__attribute__((noreturn)) void semihosting_fault(uint32_t number, uint32_t address);

#endif

/* What test firmware needs: it ends with a message, or goes on; files; counted instructions. */

#ifndef TESTING_H
#define TESTING_H

#include <stddef.h>
#include <stdint.h>

/* Shows a message and ends the program with status 1. */
__attribute__((noreturn)) void fail(const char *message);

/* As their semihosting_ namesakes, but any failure ends the program. */
int must_open(const char *name, int mode);
void must_write(int handle, const void *buffer, size_t bytes);
void must_close(int handle);

/* A text, ended by 0, and a line "key value". */
void write_text(int handle, const char *text);
void write_number(int handle, const char *key, uint32_t value);

/* The board's counter, which is to be started once; and the instructions since a reading, rounded
   to whole ones, with those of the call. */
void start_counter(void);
uint32_t counter(void);
uint32_t instructions_since(uint32_t before);

#endif

/* The device side of MLPerf Tiny's serial protocol for ad01, on top of port.h and of a generated
   model (model.h, asd.embedded.codegen).

   Commands end with '%'. Each gives lines ended by "\r\n", the last of them "m-ready". Whatever
   comes, no byte outside the buffers here is touched. */

#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

enum {
    COMMAND_CHARACTERS = 80, /* of a command, without the '%' */
    SCORE_CHARACTERS = 44    /* of a text by protocol_score_text: 39 digits before the dot */
};

/* Begins anew, with an empty buffer, and says so to the host. */
void protocol_start(void);

/* Takes a byte of the host; the one that ends a command also carries it out. */
void protocol_byte(uint8_t byte);

/* The text of printf's "%.3f", correctly rounded, ties to even, ended by 0. Any float: "nan" and
   "inf" where it is no number. Returns its first character, within `text`. */
const char *protocol_score_text(float score, char text[SCORE_CHARACTERS + 1]);

#endif

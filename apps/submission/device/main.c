/* The device under test of MLPerf Tiny: answers the host's commands for ever. */

#include "port.h"
#include "protocol.h"

int main(void)
{
    port_start();
    protocol_start();
    for (;;)
        protocol_byte(port_read());
}

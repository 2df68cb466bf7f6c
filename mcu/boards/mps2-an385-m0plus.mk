# Arm MPS2 with image AN385, whose Cortex-M3 runs the code of a Cortex-M0+: QEMU's own board with
# such a core has too little memory for ad01.
CORE = M0+ on M3
PACKAGES = qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi
QEMU = qemu-system-arm -M mps2-an385
CROSS = arm-none-eabi-
ARCH = arm
CPUFLAGS = -mcpu=cortex-m0plus -mthumb
FLASH = 0x00000000
FLASH_BYTES = 4M
RAM = 0x20000000
RAM_BYTES = 4M
UART = 0x40004000
UART_IRQ = 0
COUNTER = 0x40028018
COUNTER_NS = 40
ICOUNT_SHIFT = 10

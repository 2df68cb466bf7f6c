# Arm MPS2+ with image AN505, whose Cortex-M33 runs the code of a Cortex-M23; secure addresses.
CORE = M23 on M33
PACKAGES = qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi
QEMU = qemu-system-arm -M mps2-an505
CROSS = arm-none-eabi-
ARCH = arm
CPUFLAGS = -mcpu=cortex-m23 -mthumb
FLASH = 0x10000000
FLASH_BYTES = 4M
RAM = 0x38000000
RAM_BYTES = 2M
UART = 0x50200000
UART_IRQ = 32
COUNTER = 0x50302018
COUNTER_NS = 50
ICOUNT_SHIFT = 10

# Arm MPS2 with image AN500.
CORE = Cortex-M7
PACKAGES = qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi
QEMU = qemu-system-arm -M mps2-an500
CROSS = arm-none-eabi-
ARCH = arm
CPUFLAGS = -mcpu=cortex-m7 -mthumb -mfpu=fpv5-d16 -mfloat-abi=hard
FLASH = 0x00000000
FLASH_BYTES = 4M
RAM = 0x20000000
RAM_BYTES = 4M
UART = 0x40004000
UART_IRQ = 0
COUNTER = 0x40028018
COUNTER_NS = 40
ICOUNT_SHIFT = 10

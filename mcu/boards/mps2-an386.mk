# Arm MPS2 with image AN386.
CORE = Cortex-M4F
PACKAGES = qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi
QEMU = qemu-system-arm -M mps2-an386
CROSS = arm-none-eabi-
ARCH = arm
CPUFLAGS = -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard
FLASH = 0x00000000
FLASH_BYTES = 4M
RAM = 0x20000000
RAM_BYTES = 4M
UART = 0x40004000
UART_IRQ = 0
COUNTER = 0x40028018
COUNTER_NS = 40
ICOUNT_SHIFT = 10

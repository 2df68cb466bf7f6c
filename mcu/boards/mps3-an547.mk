# Arm MPS3 with image AN547; secure addresses of the tightly coupled memories.
CORE = Cortex-M55
PACKAGES = qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi
QEMU = qemu-system-arm -M mps3-an547
CROSS = arm-none-eabi-
ARCH = arm
CPUFLAGS = -mcpu=cortex-m55 -mthumb -mfloat-abi=hard
FLASH = 0x10000000
FLASH_BYTES = 512K
RAM = 0x30000000
RAM_BYTES = 512K
UART = 0x59303000
UART_IRQ = 33
COUNTER = 0x59302018
COUNTER_NS = 50
ICOUNT_SHIFT = 10

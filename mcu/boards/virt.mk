# QEMU's RISC-V machine. All of it is RAM; the first 4 MB play the flash.
# ISA 2.2 has the counters (Zicsr) in rv32i: gcc 12 does not find its libraries for rv32imac_zicsr.
CORE = RV32IMAC
PACKAGES = qemu-system-misc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf
QEMU = qemu-system-riscv32 -M virt -bios none
CROSS = riscv64-unknown-elf-
ARCH = riscv
CPUFLAGS = -march=rv32imac -misa-spec=2.2 -mabi=ilp32 -specs=picolibc.specs
FLASH = 0x80000000
FLASH_BYTES = 4M
RAM = 0x80400000
RAM_BYTES = 4M
COUNTER = minstret
COUNTER_NS = 1
ICOUNT_SHIFT = 0

/* An example for a real board: NUCLEO-L4R5ZI (STM32L4R5ZI, Cortex-M4F), the benchmark's own
   reference board. It compiles here; it has not run on a board yet. The registers are those of
   ST's reference manual RM0432, the pins those of the board's manual UM2179.

       make -C mcu MODEL=... BUILD=... CROSS=arm-none-eabi- ARCH=arm \
           CPUFLAGS="-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard" \
           FLASH=0x08000000 FLASH_BYTES=2M RAM=0x20000000 RAM_BYTES=192K \
           MAIN="../apps/submission/device/main.c ../apps/submission/device/protocol.c \
               ../apps/submission/device/port_stm32.c semihosting.c"

   To adapt to another STM32: the places marked ADAPT, and the memory map in the command. */

#include "port.h"

/* ADAPT: your organisation and board, as the runner shows it. */
const char port_vendor[] = "unspecified";

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define BIT(n) (UINT32_C(1) << (n))

/* ---- Registers: base addresses and offsets of RM0432 ---- */

#define RCC 0x40021000U /* reset and clock control */
#define RCC_CR REGISTER(RCC + 0x00U)
#define RCC_CFGR REGISTER(RCC + 0x08U)
#define RCC_PLLCFGR REGISTER(RCC + 0x0CU)
#define RCC_AHB2ENR REGISTER(RCC + 0x4CU)
#define RCC_APB1ENR1 REGISTER(RCC + 0x58U)
#define RCC_APB1ENR2 REGISTER(RCC + 0x5CU)
#define RCC_CCIPR REGISTER(RCC + 0x88U)

#define PWR_CR2 REGISTER(0x40007004U)
#define PWR_CR5 REGISTER(0x40007080U)
#define FLASH_ACR REGISTER(0x40022000U)

/* General purpose pins: mode 0 input, 1 output, 2 alternate function, 3 analogue. */
#define GPIO_MODER(port) REGISTER((port) + 0x00U)
#define GPIO_BSRR(port) REGISTER((port) + 0x18U)
#define GPIO_AFR(port, pin) REGISTER((port) + 0x20U + 4U * ((pin) / 8U))

#define LPUART1 0x40008000U
#define UART_CR1 REGISTER(LPUART1 + 0x00U)
#define UART_BRR REGISTER(LPUART1 + 0x0CU)
#define UART_ISR REGISTER(LPUART1 + 0x1CU)
#define UART_ICR REGISTER(LPUART1 + 0x20U)
#define UART_RDR REGISTER(LPUART1 + 0x24U)
#define UART_TDR REGISTER(LPUART1 + 0x28U)
#define UART_CR1_FIFOEN BIT(29)  /* eight bytes each way */
#define UART_CR1_TE_RE_UE (BIT(3) | BIT(2) | BIT(0))
#define UART_ISR_RXFNE BIT(5)    /* something has come */
#define UART_ISR_TXFNF BIT(7)    /* there is room to send */
#define UART_ICR_ERRORS 0xFU     /* parity, framing, noise, overrun */

#define TIM2 0x40000000U /* a timer of 32 bits */
#define TIM_CR1 REGISTER(TIM2 + 0x00U)
#define TIM_EGR REGISTER(TIM2 + 0x14U)
#define TIM_CNT REGISTER(TIM2 + 0x24U)
#define TIM_PSC REGISTER(TIM2 + 0x28U)
#define TIM_ARR REGISTER(TIM2 + 0x2CU)

/* ---- The board ---- */

/* ADAPT: the clock; see start_clock. */
#define CORE_HZ 120000000U
#define HSI_HZ 16000000U /* internal oscillator; it clocks the UART */

/* ADAPT: the UART of the board's USB bridge. Here LPUART1 on PG7 (out) and PG8 (in). */
#define UART_PORT 0x48001800U /* GPIOG */
#define UART_PORT_ENABLE BIT(6)
#define UART_TX_PIN 7U
#define UART_RX_PIN 8U
#define UART_FUNCTION 8U

/* ADAPT: the pin that the energy monitor watches. Here PF13, D7 of the Arduino connector. */
#define PULSE_PORT 0x48001400U /* GPIOF */
#define PULSE_PORT_ENABLE BIT(5)
#define PULSE_PIN 13U

/* Writes `value` to the field of `width` bits from bit `at` on. */
static void set_field(volatile uint32_t *place, uint32_t at, uint32_t width, uint32_t value)
{
    const uint32_t mask = (BIT(width) - 1U) << at;
    *place = (*place & ~mask) | (value << at);
}

static void wait_for(volatile uint32_t *place, uint32_t bits)
{
    while ((*place & bits) != bits)
        ;
}

/* 120 MHz: HSI16 / 2 * 30 / 2. ADAPT: other chips have other limits, dividers, wait states. */
static void start_clock(void)
{
    RCC_APB1ENR1 |= BIT(28);                 /* power control */
    (void)RCC_APB1ENR1;                      /* a clock is there two cycles after its enable */
    RCC_CR |= BIT(8);                        /* HSI16 */
    wait_for(&RCC_CR, BIT(10));
    PWR_CR5 &= ~BIT(8);                      /* range 1 boost, for more than 80 MHz */
    FLASH_ACR = BIT(8) | BIT(9) | BIT(10) | 5U; /* prefetch, caches, 5 wait states */
    wait_for(&FLASH_ACR, 5U);
    RCC_PLLCFGR = BIT(24) | 30U << 8 | (2U - 1U) << 4 | 2U; /* output R / 2, * 30, / 2, HSI16 */
    RCC_CR |= BIT(24);                       /* PLL */
    wait_for(&RCC_CR, BIT(25));
    /* Half the rate for 1 us at least, then the whole: RM0432's way above 80 MHz. */
    set_field(&RCC_CFGR, 4, 4, 8);
    set_field(&RCC_CFGR, 0, 2, 3);           /* the core runs from the PLL ... */
    wait_for(&RCC_CFGR, 3U << 2);            /* ... now */
    for (volatile uint32_t i = 0; i < 60; i++)
        ;
    set_field(&RCC_CFGR, 4, 4, 0);
}

static void start_timer(void)
{
    RCC_APB1ENR1 |= BIT(0);
    (void)RCC_APB1ENR1;
    TIM_PSC = CORE_HZ / 1000000U - 1U;
    TIM_ARR = 0xFFFFFFFFU;
    TIM_EGR = BIT(0); /* takes the prescaler over */
    TIM_CR1 = BIT(0);
}

static void start_pins(void)
{
    RCC_AHB2ENR |= UART_PORT_ENABLE | PULSE_PORT_ENABLE;
    (void)RCC_AHB2ENR;
    PWR_CR2 |= BIT(9); /* ADAPT: on this chip the pins of port G have a supply of their own */
    set_field(&GPIO_AFR(UART_PORT, UART_TX_PIN), 4U * (UART_TX_PIN % 8U), 4, UART_FUNCTION);
    set_field(&GPIO_AFR(UART_PORT, UART_RX_PIN), 4U * (UART_RX_PIN % 8U), 4, UART_FUNCTION);
    set_field(&GPIO_MODER(UART_PORT), 2U * UART_TX_PIN, 2, 2);
    set_field(&GPIO_MODER(UART_PORT), 2U * UART_RX_PIN, 2, 2);
    GPIO_BSRR(PULSE_PORT) = BIT(PULSE_PIN); /* high before it is an output */
    set_field(&GPIO_MODER(PULSE_PORT), 2U * PULSE_PIN, 2, 1);
}

static void start_uart(void)
{
    set_field(&RCC_CCIPR, 10, 2, 2); /* HSI16: the same divider at any core clock, from 9600 on */
    RCC_APB1ENR2 |= BIT(0);
    (void)RCC_APB1ENR2;
    /* ADAPT: 256 is the low-power UART's; a USART has BRR = clock / baud. */
    UART_BRR = (uint32_t)((UINT64_C(256) * HSI_HZ + PORT_BAUD / 2U) / PORT_BAUD);
    UART_CR1 = UART_CR1_FIFOEN;
    UART_CR1 = UART_CR1_FIFOEN | UART_CR1_TE_RE_UE;
}

void port_start(void)
{
    start_clock();
    start_timer();
    start_pins();
    start_uart();
}

uint8_t port_read(void)
{
    while ((UART_ISR & UART_ISR_RXFNE) == 0)
        UART_ICR = UART_ICR_ERRORS; /* a damaged byte is the protocol's to notice */
    return (uint8_t)UART_RDR;
}

void port_write(uint8_t byte)
{
    while ((UART_ISR & UART_ISR_TXFNF) == 0)
        ;
    UART_TDR = byte;
}

uint64_t port_microseconds(void)
{
    static uint32_t low, high; /* the timer's 32 bits last for 71 minutes */
    const uint32_t now = TIM_CNT;
    if (now < low)
        high++;
    low = now;
    return (uint64_t)high << 32 | now;
}

void port_pulse(void)
{
    GPIO_BSRR(PULSE_PORT) = BIT(PULSE_PIN + 16U);
    const uint32_t start = TIM_CNT;
    while (TIM_CNT - start < 2U) /* one whole microsecond at least */
        ;
    GPIO_BSRR(PULSE_PORT) = BIT(PULSE_PIN);
}

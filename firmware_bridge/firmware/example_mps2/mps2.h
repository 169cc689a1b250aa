/* What the example uses of the board: two UARTs, a timer, and the processor's own interrupts. CMSDK's register layouts. */
#ifndef MPS2_H
#define MPS2_H

#include <stdint.h>

#define CLOCK_HZ 25000000u

typedef struct uart {
    volatile uint32_t data, state, control, interrupt, divider;
} uart;

#define UART0 ((uart *)0x40004000)
#define UART1 ((uart *)0x40005000)
enum { STATE_SENDING = 1, STATE_CAME = 2 };          /* no room to send; a byte came */
enum { CONTROL_SEND = 1, CONTROL_RECEIVE = 2, CONTROL_CAME_INTERRUPT = 8 };
enum { INTERRUPT_CAME = 2 };

/* Counts down at CLOCK_HZ. */
typedef struct timer {
    volatile uint32_t control, value, reload, interrupt;
} timer;

#define TIMER0 ((timer *)0x40000000)

typedef struct systick {
    volatile uint32_t control, reload, value;
} systick;

#define SYSTICK ((systick *)0xE000E010)
enum { SYSTICK_RUN = 7 }; /* on, with its interrupt, at the processor's clock */

#define NVIC_ENABLE (*(volatile uint32_t *)0xE000E100)
enum { UART0_CAME = 0 }; /* the number of its interrupt */

#endif

/* A whole firmware for edged, without an operating system, on QEMU's mps2-an385 (Cortex-M3).
 *
 * Its sensor plays recorded acceleration at 26 Hz in real time: 15 s at rest, 20 s of running, and again. Its line is UART0.
 * Its LED is a line on UART1: "LED on: running 0.998" when the alarm begins, "LED off: ..." when it ends.
 *
 * For a chip of your own replace what stands under "The board"; the rest stays.
 */
#include "edged_bridge.h"
#include "mps2.h"
#include "recorded.h"

enum { BLOCK_READINGS = 4, READING_BYTES = 6, QUEUE_BYTES = 128 };

/* ---- The board ---- */

static volatile uint8_t queue[QUEUE_BYTES]; /* what came and was not looked at yet: the interrupt writes, the main loop reads */
static volatile uint32_t queue_written, queue_read;

void on_uart0(void);
void on_tick(void);

/* A byte came. One without room is lost: the frame that it was part of is then dropped by its CRC-32. */
void on_uart0(void)
{
    UART0->interrupt = INTERRUPT_CAME;
    while ((UART0->state & STATE_CAME) != 0) {
        const uint8_t byte = (uint8_t)UART0->data;

        if (queue_written - queue_read < QUEUE_BYTES) {
            queue[queue_written % QUEUE_BYTES] = byte;
            queue_written++;
        }
    }
}

/* Every millisecond: ends the sleep of the main loop. */
void on_tick(void)
{
}

static void sleep(void)
{
    __asm__ volatile("wfi");
}

/* The timer counts down from 2^32 - 1, so its complement counts up. */
static uint32_t ticks(void *user)
{
    (void)user;
    return ~TIMER0->value;
}

/* Every read of the timer costs a different time in an emulator, whose host does other things too. A chip has no such noise:
 * take its unique id there, with a random number or a counter in flash. */
static uint16_t random_session(void)
{
    uint32_t hash = 2166136261u;
    int i;

    for (i = 0; i < 1000; i++) {
        hash = (hash ^ ticks(NULL)) * 16777619u;
    }
    return (uint16_t)(hash ^ hash >> 16);
}

static void begin_board(void)
{
    UART0->divider = CLOCK_HZ / 115200;
    UART0->control = CONTROL_SEND | CONTROL_RECEIVE | CONTROL_CAME_INTERRUPT;
    UART1->divider = CLOCK_HZ / 115200;
    UART1->control = CONTROL_SEND;
    TIMER0->reload = 0xFFFFFFFFu;
    TIMER0->value = 20 * CLOCK_HZ; /* 20 s before the ticks begin anew, so that it is seen to do no harm */
    TIMER0->control = 1;
    SYSTICK->reload = CLOCK_HZ / 1000 - 1;
    SYSTICK->value = 0;
    SYSTICK->control = SYSTICK_RUN;
    NVIC_ENABLE = 1u << UART0_CAME;
}

static size_t transmit(void *user, const uint8_t *bytes, size_t count)
{
    size_t taken = 0;

    (void)user;
    while (taken < count && (UART0->state & STATE_SENDING) == 0) {
        UART0->data = bytes[taken++];
    }
    return taken;
}

/* ---- The LED, which is a line of text ---- */

static void say(const char *text)
{
    for (; *text != 0; text++) {
        while ((UART1->state & STATE_SENDING) != 0) {
        }
        UART1->data = (uint8_t)*text;
    }
}

/* Say a score as 0.998; what is beyond 0 to 9.999 is not a share, and is cut to it. */
static void say_score(float score)
{
    char text[] = " 0.000";
    unsigned thousandths = score > 0 ? (score < 9.999f ? (unsigned)(score * 1000 + 0.5f) : 9999) : 0;
    int i;

    for (i = 5; i > 0; i--) {
        if (i != 2) {
            text[i] = (char)('0' + thousandths % 10);
            thousandths /= 10;
        }
    }
    say(text);
}

static void show(void *user, const edged_bridge_result *result)
{
    static bool on;

    (void)user;
    if (result->alarm == on) {
        return;
    }
    on = result->alarm;
    say(on ? "LED on: " : "LED off: ");
    say(result->label);
    if (result->has_score) {
        say_score(result->score);
    }
    say("\n");
}

/* ---- The firmware ---- */

static const edged_bridge_channel channels[] = {{"x", "mg", 1.0f}, {"y", "mg", 1.0f}, {"z", "mg", 1.0f}};
static const edged_bridge_hello hello = {"mps2-example", "1.0", EDGED_BRIDGE_I16, 2, CLOCK_HZ, RECORDED_HZ, channels, 3};
static uint8_t ring[512], block[BLOCK_READINGS * READING_BYTES];
static const edged_bridge_setup setup = {&hello, ring, sizeof ring, block, sizeof block, transmit, ticks, show, NULL};
static edged_bridge bridge;

enum { RECORDED = sizeof recorded / sizeof recorded[0], PARTS = sizeof recorded_parts / sizeof recorded_parts[0] };

/* Give the reading that is due at `tick` to the bridge, and an event where another recording begins. */
static void play(uint32_t tick)
{
    static unsigned next, part, left;

    if (left == 0) {
        (void)edged_bridge_event(&bridge, 1, (int32_t)part, recorded_parts[part].name);
        left = recorded_parts[part].count;
        part = (part + 1) % PARTS;
    }
    left--;
    (void)edged_bridge_sample_i16(&bridge, tick, recorded[next]);
    next = (next + 1) % RECORDED;
}

static void receive(void)
{
    while (queue_read != queue_written) {
        const uint8_t byte = queue[queue_read % QUEUE_BYTES];

        queue_read++;
        edged_bridge_receive(&bridge, &byte, 1);
    }
}

int main(void)
{
    uint32_t due;

    begin_board();
    if (edged_bridge_init(&bridge, &setup, random_session()) != EDGED_BRIDGE_OK) {
        say("The setup is wrong.\n");
        return 1;
    }
    say("LED off: started\n");
    due = ticks(NULL);
    for (;;) {
        while (ticks(NULL) - due < UINT32_C(0x80000000)) { /* it is due; more than once where the emulator stood still */
            play(due);
            due += CLOCK_HZ / RECORDED_HZ;
        }
        receive();
        edged_bridge_poll(&bridge);
        sleep();
    }
}

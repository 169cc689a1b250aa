/* From power-on to main: the vectors, memory as C expects it, and the two functions that a compiler calls by itself. */
#include <stddef.h>
#include <stdint.h>

extern uint32_t data_begin[], data_end[], data_in_code[], bss_begin[], bss_end[], stack_top[];

int main(void);
void start(void);
void on_tick(void);
void on_uart0(void);
void *memcpy(void *to, const void *from, size_t count);
void *memset(void *to, int byte, size_t count);

static void stop(void)
{
    for (;;) {
    }
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    vector vectors[16];
} vectors = {
    stack_top,
    {
        start, stop, stop, stop, stop, stop, NULL, NULL, NULL, NULL, stop, stop, NULL, stop, on_tick, /* of the processor */
        on_uart0,
    },
};

void start(void)
{
    uint32_t *to = data_begin;
    const uint32_t *from = data_in_code;

    while (to < data_end) {
        *to++ = *from++;
    }
    for (to = bss_begin; to < bss_end; to++) {
        *to = 0;
    }
    (void)main();
    stop();
}

void *memcpy(void *to, const void *from, size_t count)
{
    uint8_t *target = (uint8_t *)to;
    const uint8_t *source = (const uint8_t *)from;

    while (count-- > 0) {
        *target++ = *source++;
    }
    return to;
}

void *memset(void *to, int byte, size_t count)
{
    uint8_t *target = (uint8_t *)to;

    while (count-- > 0) {
        *target++ = (uint8_t)byte;
    }
    return to;
}

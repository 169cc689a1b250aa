/* Prints the frames of golden.txt that a firmware makes, as `name hex`. With frames of a board as arguments, in hex, it says
 * what the library understands of each instead. */
#include "edged_bridge.h"
#include "reference.h"

#include <stdio.h>

static uint8_t line[4096];
static size_t line_bytes;
static uint32_t now;

static size_t transmit(void *user, const uint8_t *bytes, size_t count)
{
    (void)user;
    assert(line_bytes + count <= sizeof line);
    memcpy(line + line_bytes, bytes, count);
    line_bytes += count;
    return count;
}

static uint32_t ticks(void *user)
{
    (void)user;
    return now;
}

static void result(void *user, const edged_bridge_result *came)
{
    (void)user;
    printf("result alarm=%d score=", came->alarm);
    if (came->has_score) {
        printf("%g", (double)came->score);
    }
    printf(" label=%s\n", came->label);
}

static uint8_t ring[2200], block[1010];
static const edged_bridge_channel channels[] = {{"x", "mg", 0.122f}, {"y", "mg", 0.122f}, {"z", "mg", 0.122f}};
static const edged_bridge_hello hello = {"vibro", "1.2", EDGED_BRIDGE_I16, 2, 1000000, 26.0f, channels, 3};
static const edged_bridge_setup setup = {&hello, ring, sizeof ring, block, sizeof block, transmit, ticks, result, NULL};
static edged_bridge bridge;

/* Move on what was made, and print it without the zero that begins the line. */
static void print(const char *name)
{
    size_t i;

    edged_bridge_poll(&bridge);
    i = line_bytes != 0 && line[0] == 0 ? 1 : 0;
    printf("%s ", name);
    for (; i < line_bytes; i++) {
        printf("%02x", line[i]);
    }
    printf("\n");
    line_bytes = 0;
}

static void receive(uint8_t type, uint16_t sequence, const char *body, size_t count)
{
    uint8_t frame[REFERENCE_LINE];

    edged_bridge_receive(&bridge, frame, reference_frame(frame, 1, type, 0x1234, sequence, body, count));
}

static void three(uint32_t tick, int16_t x, int16_t y, int16_t z)
{
    const int16_t xyz[3] = {x, y, z};

    assert(edged_bridge_sample_i16(&bridge, tick, xyz));
}

static void print_all(void)
{
    const uint32_t quiet = 5 * hello.tick_hz;
    int i;

    print("hello");
    three(0, 1, -2, 1000);
    three(500000, 0, 0, 0);
    three(1000000, -32768, 32767, 256);
    assert(edged_bridge_flush(&bridge));
    print("samples");
    assert(edged_bridge_text(&bridge, "started"));
    print("text");
    assert(edged_bridge_event(&bridge, 7, -5, "overrun"));
    print("event");

    receive(7, 0, "\0", 2); /* a board that is heard needs no HELLO again */
    now = 4294967290u;
    edged_bridge_poll(&bridge); /* nor a sign of life, since there was something else to say */
    assert(line_bytes == 0);
    receive(5, 1, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    now = 5;
    print("time-answer");
    receive(8, 0x00ff, "", 1);
    print("ack");
    now += quiet;
    edged_bridge_poll(&bridge);
    assert(line_bytes == 0);
    now += quiet;
    print("ping");

    for (i = 0; i < 100; i++) {
        three(0xffffffffu, 0x0101, 0x0101, 0x0101);
    }
    assert(edged_bridge_flush(&bridge));
    print("samples-long");
    for (i = 0; i < 168; i++) { /* as many as a frame takes: the last sends them */
        three(5, (int16_t)(3 * i), (int16_t)(3 * i + 1), (int16_t)(3 * i + 2));
    }
    print("samples-most");
}

static void take(const char *hex)
{
    const edged_bridge_counts before = bridge.counts;
    uint8_t bytes[REFERENCE_LINE];
    size_t i;
    unsigned byte;

    for (i = 0; sscanf(hex + 2 * i, "%2x", &byte) == 1; i++) {
        assert(i < sizeof bytes);
        bytes[i] = (uint8_t)byte;
    }
    edged_bridge_receive(&bridge, bytes, i);
    edged_bridge_poll(&bridge);
    printf("received %u, answered %zu bytes\n", (unsigned)(bridge.counts.received - before.received), line_bytes);
    line_bytes = 0;
}

int main(int count, char **arguments)
{
    int i;

    assert(edged_bridge_init(&bridge, &setup, 0x1234) == EDGED_BRIDGE_OK);
    if (count == 1) {
        print_all();
        return 0;
    }
    edged_bridge_poll(&bridge);
    line_bytes = 0;
    for (i = 1; i < count; i++) {
        take(arguments[i]);
    }
    return 0;
}

/* The library as a shared object, for tests in Python: a firmware whose clock and line they hold in their hands. */
#include "edged_bridge.h"

#include <stdlib.h>
#include <string.h>

typedef struct driven {
    edged_bridge bridge;
    edged_bridge_channel channels[EDGED_BRIDGE_MOST_CHANNELS];
    edged_bridge_hello hello;
    edged_bridge_setup setup;
    uint32_t now;
    size_t line_takes; /* bytes, from now on */
    uint8_t line[65536];
    size_t line_bytes;
    edged_bridge_result result; /* the last */
    char label[EDGED_BRIDGE_MOST_LABEL + 1];
    uint32_t results;
} driven;

driven *driven_begin(unsigned kind, unsigned channels, size_t ring_bytes, size_t block_bytes, unsigned session, uint32_t now);
void driven_end(driven *it);
void driven_at(driven *it, uint32_t now);
int driven_sample(driven *it, const void *samples);
int driven_flush(driven *it);
int driven_text(driven *it, const char *text);
int driven_event(driven *it, unsigned code, int value, const char *words);
void driven_receive(driven *it, const uint8_t *bytes, size_t count);
size_t driven_poll(driven *it, size_t line_takes, uint8_t *line);
void driven_counts(const driven *it, uint32_t *counts);
int driven_fault(unsigned kind, unsigned channels, unsigned window, uint32_t tick_hz, const char *firmware, const char *version,
                 const char *name, const char *unit);
uint32_t driven_result(const driven *it, char *label, float *score, int *has_score, int *alarm);

static size_t transmit(void *user, const uint8_t *bytes, size_t count)
{
    driven *it = (driven *)user;
    const size_t taken = count < it->line_takes ? count : it->line_takes;

    memcpy(it->line + it->line_bytes, bytes, taken);
    it->line_bytes += taken;
    it->line_takes -= taken;
    return taken;
}

static uint32_t ticks(void *user)
{
    return ((driven *)user)->now;
}

static void result(void *user, const edged_bridge_result *came)
{
    driven *it = (driven *)user;

    it->result = *came;
    strcpy(it->label, came->label);
    it->results++;
}

/* Begin a firmware "driven" "1" with channels c0, c1, ... in "mg", a million ticks a second, when its clock is at `now`; NULL where
 * the setup is refused. */
driven *driven_begin(unsigned kind, unsigned channels, size_t ring_bytes, size_t block_bytes, unsigned session, uint32_t now)
{
    static const char *const names[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15"};
    driven *it = (driven *)calloc(1, sizeof *it);
    unsigned i;

    for (i = 0; i < EDGED_BRIDGE_MOST_CHANNELS; i++) {
        it->channels[i].name = names[i];
        it->channels[i].unit = "mg";
        it->channels[i].scale = 0.5f;
    }
    it->now = now;
    it->hello.firmware = "driven";
    it->hello.version = "1";
    it->hello.kind = (uint8_t)kind;
    it->hello.window = 4;
    it->hello.tick_hz = 1000000;
    it->hello.rate_hz = 100.0f;
    it->hello.channels = it->channels;
    it->hello.channel_count = (uint8_t)channels;
    it->setup.hello = &it->hello;
    it->setup.ring = (uint8_t *)malloc(ring_bytes);
    it->setup.ring_bytes = ring_bytes;
    it->setup.block = (uint8_t *)malloc(block_bytes);
    it->setup.block_bytes = block_bytes;
    it->setup.transmit = transmit;
    it->setup.ticks = ticks;
    it->setup.result = result;
    it->setup.user = it;
    if (edged_bridge_init(&it->bridge, &it->setup, (uint16_t)session) != EDGED_BRIDGE_OK) {
        driven_end(it);
        return NULL;
    }
    return it;
}

void driven_end(driven *it)
{
    free(it->setup.ring);
    free(it->setup.block);
    free(it);
}

void driven_at(driven *it, uint32_t now)
{
    it->now = now;
}

int driven_sample(driven *it, const void *samples)
{
    switch (it->hello.kind) {
    case EDGED_BRIDGE_I16:
        return edged_bridge_sample_i16(&it->bridge, it->now, (const int16_t *)samples);
    case EDGED_BRIDGE_I32:
        return edged_bridge_sample_i32(&it->bridge, it->now, (const int32_t *)samples);
    default:
        return edged_bridge_sample_f32(&it->bridge, it->now, (const float *)samples);
    }
}

int driven_flush(driven *it)
{
    return edged_bridge_flush(&it->bridge);
}

int driven_text(driven *it, const char *text)
{
    return edged_bridge_text(&it->bridge, text);
}

int driven_event(driven *it, unsigned code, int value, const char *words)
{
    return edged_bridge_event(&it->bridge, (uint16_t)code, value, words);
}

void driven_receive(driven *it, const uint8_t *bytes, size_t count)
{
    edged_bridge_receive(&it->bridge, bytes, count);
}

/* Poll once, with a line that takes so many bytes (at most 65536); give how many came, in `line`. */
size_t driven_poll(driven *it, size_t line_takes, uint8_t *line)
{
    it->line_takes = line_takes;
    it->line_bytes = 0;
    edged_bridge_poll(&it->bridge);
    memcpy(line, it->line, it->line_bytes);
    return it->line_bytes;
}

/* Give all counts, in the order of the header. */
void driven_counts(const driven *it, uint32_t *counts)
{
    memcpy(counts, &it->bridge.counts, sizeof it->bridge.counts);
}

/* Say what edged_bridge_init finds in a HELLO, with buffers that are large enough for any. */
int driven_fault(unsigned kind, unsigned channels, unsigned window, uint32_t tick_hz, const char *firmware, const char *version,
                 const char *name, const char *unit)
{
    static uint8_t ring[1100], block[64];
    static edged_bridge bridge;
    static driven it;
    const edged_bridge_channel channel = {name, unit, 1.0f};
    edged_bridge_channel all[EDGED_BRIDGE_MOST_CHANNELS];
    const edged_bridge_hello hello = {firmware, version, (uint8_t)kind, (uint8_t)window, tick_hz, 1.0f, all, (uint8_t)channels};
    const edged_bridge_setup setup = {&hello, ring, sizeof ring, block, sizeof block, transmit, ticks, NULL, &it};
    unsigned i;

    for (i = 0; i < EDGED_BRIDGE_MOST_CHANNELS; i++) {
        all[i] = channel;
    }
    return (int)edged_bridge_init(&bridge, &setup, 1);
}

/* Give how many RESULTs came, and the last of them. */
uint32_t driven_result(const driven *it, char *label, float *score, int *has_score, int *alarm)
{
    strcpy(label, it->label);
    *score = it->result.score;
    *has_score = it->result.has_score;
    *alarm = it->result.alarm;
    return it->results;
}

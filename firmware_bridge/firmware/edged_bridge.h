/* edged_bridge: a microcontroller's side of the bridge protocol, version 1 (../PROTOCOL.md).
 *
 * Readings go up to a board that runs edged, what its model says comes down. C99; no heap, no globals, no
 * floating-point arithmetic, no C library. Under 2 KiB of code on a Cortex-M.
 *
 *   static uint8_t ring[256], block[48];
 *   static const edged_bridge_channel channels[] = {{"x", "mg", 0.122f}, {"y", "mg", 0.122f}, {"z", "mg", 0.122f}};
 *   static const edged_bridge_hello hello = {"vibro", "1.2", EDGED_BRIDGE_I16, 1, 1000000, 26.0f, channels, 3};
 *   static const edged_bridge_setup setup = {&hello, ring, sizeof ring, block, sizeof block, transmit, ticks, result, NULL};
 *   static edged_bridge bridge;
 *
 *   edged_bridge_init(&bridge, &setup, session);
 *   for (;;) {
 *       if (sensor_is_ready()) { tick = ticks(NULL); sensor_read(xyz); edged_bridge_sample_i16(&bridge, tick, xyz); }
 *       while (uart_has_byte()) { byte = uart_read(); edged_bridge_receive(&bridge, &byte, 1); }
 *       edged_bridge_poll(&bridge);
 *   }
 *
 * ORDER OF CALLS. edged_bridge_init first. Then edged_bridge_poll as often as the main loop goes round: it alone moves
 * bytes to the line. All others when there is something to say or something came.
 *
 * INTERRUPTS. No function here may run inside another of the same bridge. So call all of them from one place, the main
 * loop or one task. An interrupt that takes a reading keeps it with its tick in a queue of its own, and the main loop
 * passes both on: the tick is what counts, not when the function is called. An interrupt that receives puts bytes into
 * a queue likewise. Who must call from an interrupt masks that interrupt around every call from elsewhere. None of the
 * functions waits; the longest, which sends a full block, takes time in proportion to the block.
 *
 * WHEN THE LINE IS SLOW. A frame that finds no room in the ring is dropped whole and counted; its sequence number is
 * used up, so that the board sees the gap. When the line takes nothing at all for 5 to 10 seconds, as USB does while no
 * program has opened it, what waits is thrown away and counted: what the board gets when it comes back is new.
 */
#ifndef EDGED_BRIDGE_H
#define EDGED_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGED_BRIDGE_VERSION 1        /* of the protocol */
#define EDGED_BRIDGE_MOST_CHANNELS 16
#define EDGED_BRIDGE_MOST_BODY 1014   /* bytes of a frame's body */
#define EDGED_BRIDGE_MOST_LABEL 32    /* bytes of a label in a RESULT */

#define EDGED_BRIDGE_AROUND_BODY 16   /* bytes of a frame beside its body, at most: header, CRC-32, stuffing, closing zero */

/* What a sample is, as the protocol numbers it. */
#define EDGED_BRIDGE_I16 1
#define EDGED_BRIDGE_I32 2
#define EDGED_BRIDGE_F32 3

/* One channel of the readings. Texts are UTF-8 and end with a zero. */
typedef struct edged_bridge_channel {
    const char *name;  /* 1 to 32 bytes, each channel another */
    const char *unit;  /* at most 16 bytes, may be "" */
    float scale;       /* reading in `unit` = sample * scale; finite, not 0 */
} edged_bridge_channel;

/* What the firmware says of itself and its readings: the HELLO. */
typedef struct edged_bridge_hello {
    const char *firmware;  /* name, 1 to 32 bytes */
    const char *version;   /* at most 16 bytes */
    uint8_t kind;          /* EDGED_BRIDGE_I16, _I32 or _F32 */
    uint8_t window;        /* RESULTs that may be on their way at once, at most 16. 0: this firmware takes none. 1 is enough
                              where the main loop goes round quickly */
    uint32_t tick_hz;      /* ticks a second of the `ticks` hook, 1 to 100,000,000; the real rate of a clock that never stops */
    float rate_hz;         /* readings a second, nominal, 0.000001 to 1,000,000 */
    const edged_bridge_channel *channels;
    uint8_t channel_count; /* 1 to 16 */
} edged_bridge_hello;

/* What the board's model says. Valid during the callback only. */
typedef struct edged_bridge_result {
    const char *label;  /* at most 32 bytes of UTF-8, ends with a zero; "" without one */
    float score;        /* 0 without one */
    bool has_score;
    bool alarm;         /* the alarm is on */
} edged_bridge_result;

/* What the user of the library gives. It and all it points to must stay; the hooks get `user`. */
typedef struct edged_bridge_setup {
    const edged_bridge_hello *hello;

    uint8_t *ring;        /* frames that wait for the line */
    size_t ring_bytes;    /* its size: at least that of the HELLO and of a full block, better of several, as frames: with
                             EDGED_BRIDGE_AROUND_BODY bytes around each, and 4 bytes before the readings of a block */

    uint8_t *block;        /* the readings of the next block */
    size_t block_bytes;    /* bytes; at least one reading. A block goes out when the next reading has no room in it. More than
                              1010 bytes are not used */

    /* Take up to `count` bytes to the line; return how many were taken, 0 when it takes none now. Must not wait. */
    size_t (*transmit)(void *user, const uint8_t *bytes, size_t count);

    /* Return the ticks now. Counts up, from 4294967295 to 0. */
    uint32_t (*ticks)(void *user);

    /* A RESULT came; it is acknowledged when this returns. It may call the functions that send. NULL without interest. */
    void (*result)(void *user, const edged_bridge_result *result);

    void *user;
} edged_bridge_setup;

/* What happened since edged_bridge_init. Read it at any time; each wraps to 0. */
typedef struct edged_bridge_counts {
    uint32_t dropped;        /* frames of ours that were not sent: no room, or thrown away with the ring */
    uint32_t received;       /* frames of the board that were taken */
    uint32_t bad_stuffing;   /* the faults, by the names of the protocol */
    uint32_t too_short;
    uint32_t too_long;
    uint32_t bad_crc;
    uint32_t other_version;
    uint32_t unknown_type;
    uint32_t bad_body;
    uint32_t other_session;  /* meant for a firmware before a restart */
} edged_bridge_counts;

/* One line. The memory is the user's; only `counts` is for reading. The order keeps the code small: Cortex-M0 reaches what
 * is in front with shorter instructions. */
typedef struct edged_bridge {
    /* Sending: ring[tail..head) waits for the line; a frame is built from head on, and counts when it is whole. */
    uint8_t code;
    bool no_room, bad_text, hello_due, time_due;
    /* Receiving. */
    bool zero_owed;
    uint8_t left;
    /* What is done every few seconds. */
    uint8_t unheard;
    bool moved;
    uint16_t session, sequence, beat_sequence;
    size_t head, tail, out_at, code_at;
    size_t block_used, block_most, reading_bytes;
    size_t in_bytes;
    const edged_bridge_setup *setup;
    uint32_t out_crc, in_crc;
    uint32_t block_tick, beat_tick;
    edged_bridge_counts counts;
    uint8_t in[6 + 7 + EDGED_BRIDGE_MOST_LABEL + 1]; /* the first bytes of a packet, as many as any field in use needs */
    uint8_t time_answer[16];
} edged_bridge;

/* What edged_bridge_init found. */
typedef enum edged_bridge_fault {
    EDGED_BRIDGE_OK = 0,
    EDGED_BRIDGE_BAD_HELLO,       /* a count, kind, tick_hz or the length of a text is out of its bounds */
    EDGED_BRIDGE_BLOCK_TOO_SMALL, /* the block does not hold one reading */
    EDGED_BRIDGE_RING_TOO_SMALL   /* the ring does not hold the HELLO, or not a full block */
} edged_bridge_fault;

/* Begin. `session` should differ from start to start and from unit to unit: mix the chip's unique id with a random
 * number, a counter in flash, or a clock; 0 is taken as 1. The HELLO waits in the ring afterwards.
 * Whatever this returns but EDGED_BRIDGE_OK is a mistake in the setup; call no other function then. The rate and the
 * scales are checked by the board only, which refuses a HELLO with a wrong one and counts it. */
edged_bridge_fault edged_bridge_init(edged_bridge *bridge, const edged_bridge_setup *setup, uint16_t session);

/* Append one reading: a sample of each channel, in the order of the HELLO. `tick` is when it was taken, on the clock of the
 * `ticks` hook. A full block is sent. Return false when a block was dropped, or when samples of this kind are not what the
 * HELLO says; the reading is lost then. */
bool edged_bridge_sample_i16(edged_bridge *bridge, uint32_t tick, const int16_t *samples);
bool edged_bridge_sample_i32(edged_bridge *bridge, uint32_t tick, const int32_t *samples);
bool edged_bridge_sample_f32(edged_bridge *bridge, uint32_t tick, const float *samples);

/* Send the readings that wait in the block now, if there are any. Call it before the sensor pauses, since the board spreads
 * the readings of a block evenly. Return false when the block was dropped. */
bool edged_bridge_flush(edged_bridge *bridge);

/* Send a line of UTF-8 text that ends with a zero; at most 1014 bytes of it. Return false when it was dropped. */
bool edged_bridge_text(edged_bridge *bridge, const char *text);

/* Send an event: a code and a value of the firmware's own, and words for people, at most 1008 bytes, may be "". Return false
 * when it was dropped. */
bool edged_bridge_event(edged_bridge *bridge, uint16_t code, int32_t value, const char *words);

/* Take `count` bytes that came from the board, cut in any way. Calls the `result` hook. Call it soon after bytes came: the
 * board learns from it how long the line takes. */
void edged_bridge_receive(edged_bridge *bridge, const uint8_t *bytes, size_t count);

/* Move bytes to the line as far as it takes them, answer the board, and show a sign of life every 5 seconds where there was
 * nothing else to say: a HELLO while the board is not heard, else a PING. Call it often, at least every few milliseconds
 * while frames wait. */
void edged_bridge_poll(edged_bridge *bridge);

#ifdef __cplusplus
}
#endif

#endif

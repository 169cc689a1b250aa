/* See edged_bridge.h for how it is used, and ../PROTOCOL.md for what is on the line.
 *
 * Sending. A frame is stuffed straight into the ring, from `head` on, without a buffer of its own: COBS needs to know where
 * its last code byte is, and the CRC is carried along. `head` moves when the frame is whole. Without room nothing was sent:
 * what is beyond `head` does not count. One byte of the ring stays free, so that head == tail means empty.
 *
 * Receiving. A packet is unstuffed and summed byte by byte. Only its first bytes are kept, since what this version knows of
 * a body is there. The CRC-32 of a packet with its CRC-32 is always the same number: so its end need not be known.
 *
 * Numbers are stored and loaded byte by byte: neither alignment nor the order of bytes in memory matters.
 */
#include "edged_bridge.h"

enum { HELLO = 1, SAMPLES, TEXT, EVENT, TIME, RESULT, ACK, PING };

enum { HEADER_BYTES = 6, CRC_BYTES = 4, FRAME_BYTES = HEADER_BYTES + CRC_BYTES };
enum { MOST_PACKET = EDGED_BRIDGE_MOST_BODY + FRAME_BYTES };
enum { MOST_NAME = 32, MOST_WORD = 16, MOST_WINDOW = 16 };
enum { FULL_CODE = 0xFF }; /* of COBS: 254 bytes without a zero after them */
enum { BEAT_S = 5 };
enum { SILENT_BEATS = 3 }; /* a board that hears us asks for the time every 10 s */

#define MOST_BLOCK ((size_t)EDGED_BRIDGE_MOST_BODY - 4)
#define MOST_TICK_HZ UINT32_C(100000000)
#define CRC_BEGIN UINT32_C(0xFFFFFFFF)
#define CRC_WHOLE UINT32_C(0xDEBB20E3) /* of any packet and its CRC-32, before the final XOR */

typedef char a_float_has_four_bytes[sizeof(float) == 4 ? 1 : -1];

/* Copy `count` bytes, which are numbers of `bytes` bytes each, 1, 2 or 4, to or from the order of the line: little-endian. */
static void copy_numbers(void *to, const void *from, size_t count, size_t bytes)
{
    const uint16_t one = 1;
    const size_t swap = *(const uint8_t *)&one == 1 ? 0 : bytes - 1;
    uint8_t *target = (uint8_t *)to;
    const uint8_t *source = (const uint8_t *)from;
    size_t i;

    for (i = 0; i < count; i++) {
        target[i] = source[i ^ swap];
    }
}

static uint32_t crc_next(uint32_t crc, uint8_t byte)
{
    static const uint32_t of_nibble[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    crc ^= byte;
    crc = of_nibble[crc & 15] ^ (crc >> 4);
    return of_nibble[crc & 15] ^ (crc >> 4);
}

/* ---- Sending ---- */

static void to_ring(edged_bridge *bridge, uint8_t byte)
{
    size_t next = bridge->out_at + 1;

    if (next == bridge->setup->ring_bytes) {
        next = 0;
    }
    if (next == bridge->tail) {
        bridge->no_room = true;
        return;
    }
    bridge->setup->ring[bridge->out_at] = byte;
    bridge->out_at = next;
}

/* End a run of COBS, by writing its code where it began, and begin the next with a zero in place of its code. The zero of a
 * run that never comes is the one that ends the frame. Without room a code is written to the byte that stays free. */
static void next_run(edged_bridge *bridge)
{
    bridge->setup->ring[bridge->code_at] = bridge->code;
    bridge->code_at = bridge->out_at;
    bridge->code = 1;
    to_ring(bridge, 0);
}

static void put(edged_bridge *bridge, uint8_t byte)
{
    bridge->out_crc = crc_next(bridge->out_crc, byte);
    if (bridge->code == FULL_CODE) { /* only now, since a full run at the very end needs no other after it */
        next_run(bridge);
    }
    if (byte == 0) {
        next_run(bridge);
    } else {
        to_ring(bridge, byte);
        bridge->code++;
    }
}

static void put_bytes(edged_bridge *bridge, const uint8_t *bytes, size_t count)
{
    while (count-- > 0) {
        put(bridge, *bytes++);
    }
}

/* Put a number's `bytes` bytes, at most 4, the lowest first. */
static void put_number(edged_bridge *bridge, uint32_t number, uint8_t bytes)
{
    for (; bytes > 0; bytes--) {
        put(bridge, (uint8_t)number);
        number >>= 8;
    }
}

static void put_f32(edged_bridge *bridge, float value)
{
    uint32_t bits;

    copy_numbers(&bits, &value, sizeof value, 1);
    put_number(bridge, bits, 4);
}

/* Count the bytes of a text, up to `most` + 1. */
static size_t text_bytes(const char *text, size_t most)
{
    size_t count = 0;

    while (count <= most && text[count] != 0) {
        count++;
    }
    return count;
}

static void put_text(edged_bridge *bridge, const char *text, size_t least, size_t most)
{
    const size_t count = text_bytes(text, most);

    if (count < least || count > most) {
        bridge->bad_text = true;
        return;
    }
    put(bridge, (uint8_t)count);
    put_bytes(bridge, (const uint8_t *)text, count);
}

/* Put a text to the end of the frame, cut to `most` bytes where a character of UTF-8 ends. */
static void put_words(edged_bridge *bridge, const char *words, size_t most)
{
    size_t count = text_bytes(words, most);

    if (count > most) {
        do {
            count--;
        } while (count > 0 && ((uint8_t)words[count] & 0xC0) == 0x80);
    }
    put_bytes(bridge, (const uint8_t *)words, count);
}

static void begin_frame(edged_bridge *bridge, uint8_t type)
{
    bridge->out_at = bridge->head;
    bridge->code_at = bridge->head; /* there is no run before: its code is written over at once */
    bridge->no_room = false;
    bridge->out_crc = CRC_BEGIN;
    next_run(bridge);
    put(bridge, EDGED_BRIDGE_VERSION);
    put(bridge, type);
    put_number(bridge, bridge->session, 2);
    put_number(bridge, bridge->sequence, 2);
}

static bool end_frame(edged_bridge *bridge)
{
    put_number(bridge, ~bridge->out_crc, 4);
    next_run(bridge);
    bridge->sequence++;
    if (bridge->no_room) {
        bridge->counts.dropped++;
        return false;
    }
    bridge->head = bridge->out_at;
    return true;
}

static bool send_frame(edged_bridge *bridge, uint8_t type, const uint8_t *body, size_t count)
{
    begin_frame(bridge, type);
    put_bytes(bridge, body, count);
    return end_frame(bridge);
}

/* Send the HELLO that is due, as soon as there is room. */
static void send_hello(edged_bridge *bridge)
{
    const edged_bridge_hello *hello = bridge->setup->hello;
    const edged_bridge_channel *channel = hello->channels;
    uint8_t i;

    if (!bridge->hello_due) {
        return;
    }
    begin_frame(bridge, HELLO);
    put(bridge, hello->kind);
    put(bridge, hello->channel_count);
    put(bridge, hello->window);
    put(bridge, 0);
    put_number(bridge, hello->tick_hz, 4);
    put_f32(bridge, hello->rate_hz);
    put_text(bridge, hello->firmware, 1, MOST_NAME);
    put_text(bridge, hello->version, 0, MOST_WORD);
    for (i = 0; i < hello->channel_count; i++, channel++) {
        put_text(bridge, channel->name, 1, MOST_NAME);
        put_text(bridge, channel->unit, 0, MOST_WORD);
        put_f32(bridge, channel->scale);
    }
    bridge->hello_due = !end_frame(bridge);
    if (bridge->hello_due) { /* it waits, so it is not lost: no gap is to tell of it */
        bridge->sequence--;
        bridge->counts.dropped--;
    }
}

/* Answer the board's question for the time when nothing is before the answer: the tick is then really that of its sending. */
static void send_time(edged_bridge *bridge)
{
    uint32_t now;

    if (!bridge->time_due || bridge->head != bridge->tail) {
        return;
    }
    now = bridge->setup->ticks(bridge->setup->user);
    bridge->time_due = false;
    copy_numbers(bridge->time_answer + 12, &now, 4, 4);
    (void)send_frame(bridge, TIME, bridge->time_answer, sizeof bridge->time_answer);
}

bool edged_bridge_flush(edged_bridge *bridge)
{
    const size_t used = bridge->block_used;

    if (used == 0) {
        return true;
    }
    bridge->block_used = 0;
    send_hello(bridge);
    begin_frame(bridge, SAMPLES);
    if (bridge->hello_due) { /* samples would take the room for which it waits, and mean nothing to the board before it */
        bridge->no_room = true;
    }
    put_number(bridge, bridge->block_tick, 4);
    put_bytes(bridge, bridge->setup->block, used);
    return end_frame(bridge);
}

bool edged_bridge_text(edged_bridge *bridge, const char *text)
{
    begin_frame(bridge, TEXT);
    put_words(bridge, text, EDGED_BRIDGE_MOST_BODY);
    return end_frame(bridge);
}

bool edged_bridge_event(edged_bridge *bridge, uint16_t code, int32_t value, const char *words)
{
    begin_frame(bridge, EVENT);
    put_number(bridge, code, 2);
    put_number(bridge, (uint32_t)value, 4);
    put_words(bridge, words, EDGED_BRIDGE_MOST_BODY - 6);
    return end_frame(bridge);
}

/* ---- Readings ---- */

static bool append(edged_bridge *bridge, uint8_t kind, uint32_t tick, const void *samples)
{
    if (bridge->setup->hello->kind != kind) {
        return false;
    }
    copy_numbers(bridge->setup->block + bridge->block_used, samples, bridge->reading_bytes, kind == EDGED_BRIDGE_I16 ? 2 : 4);
    bridge->block_tick = tick;
    bridge->block_used += bridge->reading_bytes;
    return bridge->block_used + bridge->reading_bytes <= bridge->block_most || edged_bridge_flush(bridge);
}

bool edged_bridge_sample_i16(edged_bridge *bridge, uint32_t tick, const int16_t *samples)
{
    return append(bridge, EDGED_BRIDGE_I16, tick, samples);
}

bool edged_bridge_sample_i32(edged_bridge *bridge, uint32_t tick, const int32_t *samples)
{
    return append(bridge, EDGED_BRIDGE_I32, tick, samples);
}

bool edged_bridge_sample_f32(edged_bridge *bridge, uint32_t tick, const float *samples)
{
    return append(bridge, EDGED_BRIDGE_F32, tick, samples);
}

/* ---- Receiving ---- */

static bool take_result(edged_bridge *bridge, uint8_t *from, size_t body)
{
    const edged_bridge_setup *setup = bridge->setup;
    const uint8_t label_bytes = from[6];
    edged_bridge_result result;

    if (label_bytes > EDGED_BRIDGE_MOST_LABEL || label_bytes + 7U > body) {
        return false;
    }
    from[7 + label_bytes] = 0;
    copy_numbers(&result.score, from + 2, sizeof result.score, sizeof result.score);
    result.label = (const char *)from + 7;
    result.alarm = (from[0] & 1) != 0;
    result.has_score = (from[0] & 2) != 0;
    if (setup->result != NULL) {
        setup->result(setup->user, &result);
    }
    return true;
}

/* Do what a packet says; give the count that it belongs to. */
static uint32_t *take_body(edged_bridge *bridge)
{
    static const uint8_t least[] = {8, 7, 2, 1}; /* bytes of a body: TIME, RESULT, ACK, PING */
    edged_bridge_counts *const counts = &bridge->counts;
    uint8_t *const from = bridge->in + HEADER_BYTES;
    const uint8_t *const sequence = bridge->in + 4;
    const size_t body = bridge->in_bytes - FRAME_BYTES;
    const uint16_t session = (uint16_t)(bridge->in[2] | (unsigned)bridge->in[3] << 8);
    const uint8_t type = bridge->in[1];
    uint32_t now;

    /* A board asks who we are with the session that it knew before a restart of ours. */
    if (session != bridge->session && session != 0 && type != PING) {
        return &counts->other_session;
    }
    /* An answer of our own comes back on a line that echoes. To answer it would never end. */
    if (type < TIME || type > PING || (type == TIME && body >= sizeof bridge->time_answer)) {
        return &counts->unknown_type;
    }
    if (body < least[type - TIME] || (type == PING && from[0] > 1) || (type == RESULT && !take_result(bridge, from, body))) {
        return &counts->bad_body;
    }
    if (type == PING && from[0] != 0) {
        bridge->hello_due = true;
    } else if (type == TIME) {
        now = bridge->setup->ticks(bridge->setup->user);
        copy_numbers(bridge->time_answer, from, 8, 1);
        copy_numbers(bridge->time_answer + 8, &now, 4, 4);
        bridge->time_due = true;
    } else if (type != ACK) {
        (void)send_frame(bridge, ACK, sequence, 2);
    }
    return &counts->received;
}

static uint32_t *take_packet(edged_bridge *bridge)
{
    edged_bridge_counts *const counts = &bridge->counts;

    if (bridge->left != 0) {
        return &counts->bad_stuffing;
    }
    if (bridge->in_bytes < FRAME_BYTES) {
        return &counts->too_short;
    }
    if (bridge->in_bytes > MOST_PACKET) {
        return &counts->too_long;
    }
    if (bridge->in_crc != CRC_WHOLE) {
        return &counts->bad_crc;
    }
    if (bridge->in[0] != EDGED_BRIDGE_VERSION) {
        return &counts->other_version;
    }
    bridge->unheard = 0;
    return take_body(bridge);
}

static void unstuffed(edged_bridge *bridge, uint8_t byte)
{
    if (bridge->in_bytes < sizeof bridge->in) {
        bridge->in[bridge->in_bytes] = byte;
    }
    if (bridge->in_bytes <= MOST_PACKET) {
        bridge->in_bytes++;
    }
    bridge->in_crc = crc_next(bridge->in_crc, byte);
}

void edged_bridge_receive(edged_bridge *bridge, const uint8_t *bytes, size_t count)
{
    for (; count > 0; count--) {
        const uint8_t byte = *bytes++;

        if (byte == 0) {
            if (bridge->in_bytes != 0 || bridge->left != 0 || bridge->zero_owed) { /* else it ends nothing */
                ++*take_packet(bridge);
            }
            bridge->left = 0;
            bridge->zero_owed = false;
            bridge->in_bytes = 0;
            bridge->in_crc = CRC_BEGIN;
        } else if (bridge->left != 0) {
            bridge->left--;
            unstuffed(bridge, byte);
        } else {
            if (bridge->zero_owed) {
                unstuffed(bridge, 0);
            }
            bridge->left = (uint8_t)(byte - 1);
            bridge->zero_owed = byte != FULL_CODE;
        }
    }
}

/* ---- From time to time ---- */

static void pump(edged_bridge *bridge)
{
    const edged_bridge_setup *setup = bridge->setup;

    while (bridge->head != bridge->tail) {
        const size_t end = bridge->head > bridge->tail ? bridge->head : setup->ring_bytes;
        const size_t most = end - bridge->tail;
        const size_t taken = setup->transmit(setup->user, setup->ring + bridge->tail, most);

        if (taken == 0 || taken > most) {
            return;
        }
        bridge->moved = true;
        bridge->tail += taken;
        if (bridge->tail == setup->ring_bytes) {
            bridge->tail = 0;
        }
    }
    bridge->moved = true;
}

/* Leave one zero in the ring: it ends what the line carried before, a half frame or the words of a boot loader. */
static void begin_ring(edged_bridge *bridge)
{
    bridge->setup->ring[0] = 0;
    bridge->tail = 0;
    bridge->head = 1;
    bridge->hello_due = true;
}

static void throw_away(edged_bridge *bridge)
{
    uint8_t before = 0; /* a zero at the beginning ends a frame that is out already */

    while (bridge->tail != bridge->head) {
        const uint8_t byte = bridge->setup->ring[bridge->tail];

        if (byte == 0 && before != 0) {
            bridge->counts.dropped++;
        }
        before = byte;
        bridge->tail++;
        if (bridge->tail == bridge->setup->ring_bytes) {
            bridge->tail = 0;
        }
    }
    begin_ring(bridge);
}

static void beat(edged_bridge *bridge, uint32_t now)
{
    bridge->beat_tick = now;
    if (!bridge->moved) {
        throw_away(bridge);
    } else if (bridge->unheard >= SILENT_BEATS) {
        bridge->hello_due = true;
    } else {
        bridge->unheard++;
        if (bridge->sequence == bridge->beat_sequence) {
            const uint8_t want_ack = 0;

            (void)send_frame(bridge, PING, &want_ack, 1);
        }
    }
    bridge->beat_sequence = bridge->sequence;
    bridge->moved = false;
}

void edged_bridge_poll(edged_bridge *bridge)
{
    const edged_bridge_setup *setup = bridge->setup;
    const uint32_t now = setup->ticks(setup->user);

    pump(bridge);
    send_time(bridge);
    if (now - bridge->beat_tick >= BEAT_S * setup->hello->tick_hz) {
        beat(bridge, now);
    }
    send_hello(bridge);
    pump(bridge);
}

/* ---- Beginning ---- */

edged_bridge_fault edged_bridge_init(edged_bridge *bridge, const edged_bridge_setup *setup, uint16_t session)
{
    const edged_bridge_hello *hello = setup->hello;
    size_t i;

    for (i = 0; i < sizeof *bridge; i++) {
        ((uint8_t *)bridge)[i] = 0;
    }
    if (hello->tick_hz - 1 >= MOST_TICK_HZ || hello->kind - 1U >= EDGED_BRIDGE_F32 || hello->window > MOST_WINDOW ||
        hello->channel_count - 1U >= EDGED_BRIDGE_MOST_CHANNELS) {
        return EDGED_BRIDGE_BAD_HELLO;
    }
    bridge->setup = setup;
    bridge->session = session != 0 ? session : 1;
    bridge->reading_bytes = hello->channel_count * (hello->kind == EDGED_BRIDGE_I16 ? 2U : 4U);
    bridge->block_most = setup->block_bytes < MOST_BLOCK ? setup->block_bytes : MOST_BLOCK;
    if (bridge->block_most < bridge->reading_bytes) {
        return EDGED_BRIDGE_BLOCK_TOO_SMALL;
    }
    if (setup->ring_bytes <= bridge->block_most + 4 + EDGED_BRIDGE_AROUND_BODY) {
        return EDGED_BRIDGE_RING_TOO_SMALL;
    }
    bridge->unheard = SILENT_BEATS;
    bridge->beat_tick = setup->ticks(setup->user);
    bridge->in_crc = CRC_BEGIN;
    begin_ring(bridge);
    send_hello(bridge);
    if (bridge->bad_text) {
        return EDGED_BRIDGE_BAD_HELLO;
    }
    return bridge->hello_due ? EDGED_BRIDGE_RING_TOO_SMALL : EDGED_BRIDGE_OK;
}

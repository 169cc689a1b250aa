/* Drives the library at random: any use of its functions, any bytes from the board, any line that takes or refuses bytes.
 *
 *   fuzz SEED ROUNDS    the same for the same numbers; ends with an assertion, or a word of the sanitizer, at the first fault
 *
 * What holds after each round: every frame on the line is whole, of this session and in sequence; frames that are missing
 * are those that were counted as dropped; all that the board sent was counted once, by what it was. Ring and block are
 * allocated to the byte, so that the sanitizer sees a write beside them.
 *
 * With -DLIBFUZZER the bytes of libFuzzer take the place of the random numbers.
 */
#include "edged_bridge.h"
#include "reference.h"

#include <stdio.h>

enum { HELLO = 1, SAMPLES, TEXT, EVENT, TIME, RESULT, ACK, PING };
enum { STEPS = 300, MOST_TEXT = 1200 };

static struct {
    uint64_t state;
    const uint8_t *bytes; /* of libFuzzer */
    size_t left;
} chance;

static uint32_t draw(uint32_t below)
{
    uint32_t value;

    if (chance.bytes != NULL) {
        value = chance.left > 1 ? chance.bytes[0] | (uint32_t)chance.bytes[1] << 8 : 0;
        chance.bytes += chance.left > 1 ? 2 : 0;
        chance.left -= chance.left > 1 ? 2 : chance.left;
    } else {
        chance.state ^= chance.state << 13; /* xorshift */
        chance.state ^= chance.state >> 7;
        chance.state ^= chance.state << 17;
        value = (uint32_t)(chance.state >> 16);
    }
    return value % below;
}

static bool is_over(int step)
{
    return chance.bytes != NULL ? chance.left == 0 : step >= STEPS;
}

/* ---- The line and the board ---- */

static struct {
    edged_bridge bridge;
    uint32_t now, taking;
    uint8_t line[REFERENCE_LINE + 1];
    size_t line_bytes;
    uint32_t whole, broken;
    bool first;
    uint16_t last_sequence;
    uint32_t came; /* what the board sent, and an empty frame is nothing */
    bool half;
    uint32_t results;
    char label[EDGED_BRIDGE_MOST_LABEL + 1];
    size_t reading_bytes;
    bool inside;
} it;

static void check_body(uint8_t type, size_t body)
{
    switch (type) {
    case HELLO:
        assert(body >= 14);
        break;
    case SAMPLES:
        assert(body > 4 && (body - 4) % it.reading_bytes == 0);
        break;
    case TEXT:
        break;
    case EVENT:
        assert(body >= 6);
        break;
    case TIME:
        assert(body == 16);
        break;
    case ACK:
        assert(body == 2);
        break;
    default:
        assert(type == PING && body == 1);
    }
}

static void check_line(void)
{
    uint8_t packet[REFERENCE_PACKET];
    const size_t bytes = reference_packet(packet, it.line, it.line_bytes);
    uint16_t sequence;

    if (bytes == 0) {
        it.broken++;
        return;
    }
    it.whole++;
    sequence = (uint16_t)(packet[4] | packet[5] << 8);
    assert(packet[0] == 1 && (packet[2] | packet[3] << 8) == it.bridge.session);
    assert(it.first || (uint16_t)(sequence - it.last_sequence - 1) < 0x8000);
    it.first = false;
    it.last_sequence = sequence;
    check_body(packet[1], bytes - 10);
}

static size_t transmit(void *user, const uint8_t *bytes, size_t count)
{
    size_t taken, i;

    assert(user == &it && count > 0);
    taken = it.taking == 0 ? 0 : it.taking == 1 ? draw((uint32_t)count + 1) : it.taking == 2 ? 1 : count;
    if (it.taking == 3) {
        return count + 1 + draw(100); /* a wrong hook: as if it had taken nothing */
    }
    for (i = 0; i < taken; i++) {
        if (bytes[i] != 0) {
            assert(it.line_bytes < sizeof it.line);
            it.line[it.line_bytes++] = bytes[i];
        } else if (it.line_bytes != 0) {
            check_line();
            it.line_bytes = 0;
        }
    }
    return taken;
}

static uint32_t ticks(void *user)
{
    assert(user == &it);
    return it.now += draw(1000);
}

static void say_something(void);

static void result(void *user, const edged_bridge_result *came)
{
    assert(user == &it && strlen(came->label) <= EDGED_BRIDGE_MOST_LABEL);
    it.results++;
    strcpy(it.label, came->label);
    if (!it.inside && draw(2) == 0) {
        it.inside = true;
        say_something();
        it.inside = false;
    }
}

/* ---- The firmware ---- */

static void random_text(char *text, size_t room)
{
    const size_t count = draw((uint32_t)room);
    size_t i;

    for (i = 0; i < count; i++) {
        text[i] = (char)(draw(3) == 0 ? 0x80 + draw(0x80) : 1 + draw(0x7F));
    }
    text[count] = 0;
}

static void sample(void)
{
    union {
        int16_t i16[16];
        int32_t i32[16];
        float f32[16];
        uint8_t bytes[64];
    } reading;
    const uint32_t zeros = draw(4);
    size_t i;

    for (i = 0; i < sizeof reading; i++) {
        reading.bytes[i] = (uint8_t)(zeros == 0 ? 0 : zeros == 1 ? 1 + draw(255) : draw(256));
    }
    switch (draw(8) == 0 ? draw(3) + 1 : it.bridge.setup->hello->kind) {
    case EDGED_BRIDGE_I16:
        (void)edged_bridge_sample_i16(&it.bridge, it.now, reading.i16);
        break;
    case EDGED_BRIDGE_I32:
        (void)edged_bridge_sample_i32(&it.bridge, it.now, reading.i32);
        break;
    default:
        (void)edged_bridge_sample_f32(&it.bridge, it.now, reading.f32);
    }
}

static void say_something(void)
{
    char text[MOST_TEXT];

    switch (draw(8)) {
    case 0:
        random_text(text, draw(8) == 0 ? sizeof text : 20);
        (void)edged_bridge_text(&it.bridge, text);
        break;
    case 1:
        random_text(text, draw(8) == 0 ? sizeof text : 20);
        (void)edged_bridge_event(&it.bridge, (uint16_t)draw(65536), (int32_t)draw(1000) - 500, text);
        break;
    case 2:
        (void)edged_bridge_flush(&it.bridge);
        break;
    default:
        sample();
    }
}

/* ---- The board's bytes ---- */

static void hand_over(const uint8_t *bytes, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        it.came += bytes[i] == 0 && it.half;
        it.half = bytes[i] != 0;
    }
    while (count > 0) { /* exactly as many bytes as it is told, so that the sanitizer sees a read beside them */
        const size_t part = 1 + draw((uint32_t)count);
        uint8_t *copy = (uint8_t *)malloc(part);

        assert(copy != NULL);
        memcpy(copy, bytes, part);
        edged_bridge_receive(&it.bridge, copy, part);
        free(copy);
        bytes += part;
        count -= part;
    }
}

static void receive_result(void)
{
    uint8_t body[7 + EDGED_BRIDGE_MOST_LABEL + 4] = {0}, line[REFERENCE_LINE];
    const uint8_t zero = 0;
    uint32_t before;
    char label[EDGED_BRIDGE_MOST_LABEL + 1];
    size_t count;

    random_text(label, sizeof label);
    body[0] = (uint8_t)draw(4);
    body[6] = (uint8_t)strlen(label);
    memcpy(body + 7, label, strlen(label));
    count = 7 + strlen(label) + draw(5); /* a later version may have more in a body */
    hand_over(&zero, 1); /* which may end another */
    before = it.results;
    hand_over(line, reference_frame(line, 1, RESULT, draw(2) == 0 ? 0 : it.bridge.session, (uint16_t)draw(65536), body, count));
    assert(it.results == before + 1 && strcmp(it.label, label) == 0);
}

static void receive_something(void)
{
    uint8_t body[REFERENCE_PACKET - 10], line[2 * REFERENCE_LINE];
    const uint16_t session = draw(4) != 0 ? it.bridge.session : (uint16_t)draw(65536);
    size_t count = draw(8) == 0 ? draw(sizeof body + 1) : draw(50), i;

    switch (draw(5)) {
    case 0: /* noise, now and then without a zero for long */
        count = draw(4) == 0 ? draw(sizeof line) : draw(20);
        for (i = 0; i < count; i++) {
            line[i] = (uint8_t)(draw(50) == 0 ? 0 : 1 + draw(255));
        }
        hand_over(line, count);
        break;
    case 1:
        receive_result();
        break;
    default: /* a frame of any type, perhaps with a wrong byte, perhaps cut */
        for (i = 0; i < count; i++) {
            body[i] = (uint8_t)(draw(2) == 0 ? draw(3) : draw(256));
        }
        count = reference_frame(line, draw(16) == 0 ? 2 : 1, (uint8_t)(draw(8) == 0 ? draw(256) : TIME + draw(4)), session,
                                (uint16_t)draw(65536), body, count);
        if (draw(3) == 0) {
            line[draw((uint32_t)count)] = (uint8_t)draw(256);
        }
        hand_over(line, draw(5) == 0 ? draw((uint32_t)count) : count);
    }
}

/* ---- A round ---- */

static uint32_t counted(const edged_bridge_counts *counts)
{
    return counts->received + counts->bad_stuffing + counts->too_short + counts->too_long + counts->bad_crc + counts->other_version +
           counts->unknown_type + counts->bad_body + counts->other_session;
}

static void run(const edged_bridge_setup *setup)
{
    const uint8_t zero = 0;
    int step;

    for (step = 0; !is_over(step); step++) {
        switch (draw(6)) {
        case 0:
            it.taking = draw(8) == 0 ? draw(5) : it.taking;
            it.now += draw(3) == 0 ? draw(setup->hello->tick_hz % 65536 + 1) * 200 : 0;
            break;
        case 1:
        case 2:
            edged_bridge_poll(&it.bridge);
            break;
        case 3:
            receive_something();
            break;
        default:
            say_something();
        }
    }
    hand_over(&zero, 1);
    it.taking = 4;
    do {
        edged_bridge_poll(&it.bridge);
    } while (it.bridge.head != it.bridge.tail);
    assert(it.line_bytes == 0);
    assert((uint16_t)(it.whole + it.bridge.counts.dropped) == it.bridge.sequence);
    assert(it.broken <= it.bridge.counts.dropped);
    assert(counted(&it.bridge.counts) == it.came);
}

static void one_round(void)
{
    static const edged_bridge_channel all[16] = {
        {"a", "", 1.0f}, {"b", "mg", 1.0f}, {"c", "mg", 0.1f}, {"d", "mg", 1.0f}, {"e", "", 1.0f}, {"f", "", 1.0f},
        {"g", "", 1.0f}, {"h", "", 1.0f},   {"i", "", 1.0f},   {"j", "", 1.0f},   {"k", "", 1.0f}, {"l", "", 1.0f},
        {"m", "", 1.0f}, {"n", "", 1.0f},   {"o", "", 1.0f},   {"of thirty-two bytes, its very most", "of sixteen bytes", 1.0f},
    };
    edged_bridge_hello hello = {"fuzz", "1", 0, 0, 0, 1.0f, all, 0};
    edged_bridge_setup setup = {&hello, NULL, 0, NULL, 0, transmit, ticks, draw(8) == 0 ? NULL : result, &it};
    edged_bridge_fault fault;

    memset(&it, 0, sizeof it);
    it.first = true;
    it.taking = 4;
    it.now = draw(2) == 0 ? 0xFFFFFF00u : 0;
    hello.kind = (uint8_t)draw(5);
    hello.window = (uint8_t)draw(20);
    hello.channel_count = (uint8_t)draw(18);
    hello.tick_hz = draw(10) == 0 ? 0 : 1 + draw(65536) * draw(1600);
    setup.ring_bytes = draw(4) == 0 ? draw(3000) : draw(400);
    setup.block_bytes = draw(4) == 0 ? draw(1200) : draw(100);
    setup.ring = (uint8_t *)malloc(setup.ring_bytes);
    setup.block = (uint8_t *)malloc(setup.block_bytes);
    it.reading_bytes = (size_t)hello.channel_count * (hello.kind == EDGED_BRIDGE_I16 ? 2 : 4);
    fault = edged_bridge_init(&it.bridge, &setup, (uint16_t)draw(65536));
    if (fault == EDGED_BRIDGE_OK && setup.result != NULL) {
        run(&setup);
    }
    free(setup.ring);
    free(setup.block);
}

#ifdef LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count > 1) { /* without bytes it would be the other source */
        chance.bytes = bytes;
        chance.left = count;
        one_round();
    }
    return 0;
}
#else
int main(int count, char **arguments)
{
    unsigned long rounds, i;

    assert(count == 3);
    chance.state = strtoull(arguments[1], NULL, 10) * 2 + 0x9E3779B97F4A7C15u;
    rounds = strtoul(arguments[2], NULL, 10);
    for (i = 0; i < rounds; i++) {
        one_round();
    }
    printf("%lu rounds\n", rounds);
    return 0;
}
#endif

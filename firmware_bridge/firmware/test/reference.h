/* Frames the slow and plain way, written from PROTOCOL.md alone: what the library does is held against it. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { REFERENCE_PACKET = 1024, REFERENCE_LINE = 1030 };

static inline uint32_t reference_crc(const uint8_t *bytes, size_t count)
{
    uint32_t crc = 0xFFFFFFFFu;
    size_t i;
    int bit;

    for (i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

/* Stuff a packet and close it with a zero; give how many bytes the line has. `line` has room for REFERENCE_LINE. */
static inline size_t reference_stuff(uint8_t *line, const uint8_t *packet, size_t count)
{
    size_t at = 0, out = 0;

    for (;;) {
        size_t run = 0;
        while (run < 254 && at + run < count && packet[at + run] != 0) {
            run++;
        }
        line[out++] = (uint8_t)(run + 1);
        memcpy(line + out, packet + at, run);
        out += run;
        at += run;
        if (at == count) {
            break;
        }
        if (run < 254) {
            at++; /* the zero that the run stands for */
        }
    }
    line[out++] = 0;
    return out;
}

/* Make a frame; give how many bytes it has on the line. */
static inline size_t reference_frame(uint8_t *line, uint8_t version, uint8_t type, uint16_t session, uint16_t sequence, const void *body, size_t count)
{
    uint8_t packet[REFERENCE_PACKET];
    uint32_t crc;
    int i;

    assert(count <= REFERENCE_PACKET - 10);
    packet[0] = version;
    packet[1] = type;
    packet[2] = (uint8_t)session;
    packet[3] = (uint8_t)(session >> 8);
    packet[4] = (uint8_t)sequence;
    packet[5] = (uint8_t)(sequence >> 8);
    memcpy(packet + 6, body, count);
    crc = reference_crc(packet, 6 + count);
    for (i = 0; i < 4; i++) {
        packet[6 + count + (size_t)i] = (uint8_t)(crc >> (8 * i));
    }
    return reference_stuff(line, packet, 10 + count);
}

/* Unstuff a line without its zero into `packet`, which has room for REFERENCE_PACKET; give its bytes, 0 where it is no frame. */
static inline size_t reference_packet(uint8_t *packet, const uint8_t *line, size_t count)
{
    size_t at = 0, out = 0;

    while (at < count) {
        const size_t run = line[at++] - 1u;
        if (at + run > count || out + run + (at + run < count) > REFERENCE_PACKET) {
            return 0;
        }
        memcpy(packet + out, line + at, run);
        out += run;
        at += run;
        if (run < 254 && at < count) {
            packet[out++] = 0;
        }
    }
    if (out < 10 || reference_crc(packet, out - 4) != (packet[out - 4] | (uint32_t)packet[out - 3] << 8 | (uint32_t)packet[out - 2] << 16 |
                                                       (uint32_t)packet[out - 1] << 24)) {
        return 0;
    }
    return out;
}

#endif

/* Runs the Arduino sketch for two seconds of its own time, sends it an alarm, and prints what it sent and whether its LED is on. */
#include "Arduino.h"
#include "../example_arduino/example_arduino.ino"
#include "reference.h"

#include <stdio.h>

SerialStub Serial;
static uint32_t now;
static bool led;

uint32_t micros() { return now += 4; }
uint32_t millis() { return micros() / 1000; }
void pinMode(uint8_t, uint8_t) {}
void digitalWrite(uint8_t, uint8_t value) { led = value == HIGH; }
int analogRead(uint8_t pin) { return 100 * (pin - A0); }

void SerialStub::begin(unsigned long) {}
int SerialStub::availableForWrite() { return 20; }
size_t SerialStub::write(const uint8_t *bytes, size_t count)
{
    sent.append(reinterpret_cast<const char *>(bytes), count);
    return count;
}
int SerialStub::available() { return static_cast<int>(waiting.size()); }
int SerialStub::read()
{
    const char byte = waiting[0];
    waiting.erase(0, 1);
    return static_cast<unsigned char>(byte);
}

int main()
{
    uint8_t line[REFERENCE_LINE];
    const uint8_t alarm[] = {3, 0, 0, 0, 0x40, 0x3f, 3, 'r', 'u', 'n'};
    bool before;

    setup();
    while (now < 2000000) {
        loop();
    }
    before = led;
    Serial.waiting.assign(reinterpret_cast<const char *>(line), reference_frame(line, 1, 6, 0, 0, alarm, sizeof alarm));
    while (now < 2100000) {
        loop();
    }
    for (const char byte : Serial.sent) {
        printf("%02x", static_cast<unsigned char>(byte));
    }
    printf("\nLED %d %d\n", before, led);
    return 0;
}

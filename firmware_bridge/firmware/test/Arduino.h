/* As much of Arduino as the sketch uses, so that its syntax and types can be checked where there is no Arduino. */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stddef.h>
#include <stdint.h>
#include <string>

enum { LOW, HIGH, OUTPUT, LED_BUILTIN = 13, A0, A1, A2, A3 };

uint32_t micros();
uint32_t millis();
void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int analogRead(uint8_t pin);

struct SerialStub {
    std::string sent, waiting; /* what the sketch wrote, and what it may read */

    void begin(unsigned long baud);
    int availableForWrite();
    size_t write(const uint8_t *bytes, size_t count);
    int available();
    int read();
};
extern SerialStub Serial;

#endif

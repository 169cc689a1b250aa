// Three analog inputs as readings for edged: 50 a second, over USB or the serial pins. The built-in LED is on while the
// alarm of the board's model is on.
//
// Copy edged_bridge.h and edged_bridge.c into the folder of this sketch, open it, and upload it. Then, on the board:
//
//   source = { type = "serial", port = "/dev/ttyACM0", baud = 115200 }
//
// It takes about 600 bytes of memory: enough is left on an Uno. For another sensor change `channels`, `read_sensor` and
// PERIOD_US; Serial belongs to the bridge, so say texts with edged_bridge_text, not with Serial.print.
#include "edged_bridge.h"

static const uint32_t PERIOD_US = 20000;

static const edged_bridge_channel channels[] = {
    {"a0", "V", 5.0f / 1023}, // name, unit, scale: reading = sample * scale; 3.3f on boards with 3.3 V
    {"a1", "V", 5.0f / 1023},
    {"a2", "V", 5.0f / 1023},
};

// The firmware, its version; samples of 16 bits; one RESULT at a time; micros() has 1,000,000 ticks a second.
static const edged_bridge_hello hello = {"analog", "1.0", EDGED_BRIDGE_I16, 1, 1000000, 50.0f, channels, 3};

static uint8_t ring[160];
static uint8_t block[30]; // five readings of six bytes: ten frames a second

static size_t transmit(void *, const uint8_t *bytes, size_t count) {
  const int room = Serial.availableForWrite(); // so that Serial.write does not wait
  if (room <= 0) {
    return 0;
  }
  return Serial.write(bytes, count < (size_t)room ? count : (size_t)room);
}

static uint32_t ticks(void *) {
  return micros();
}

static void result(void *, const edged_bridge_result *came) {
  digitalWrite(LED_BUILTIN, came->alarm ? HIGH : LOW);
}

static const edged_bridge_setup bridge_setup = {&hello, ring, sizeof ring, block, sizeof block, transmit, ticks, result, NULL};
static edged_bridge bridge;
static uint32_t due;

static void read_sensor(int16_t *samples) {
  samples[0] = (int16_t)analogRead(A0);
  samples[1] = (int16_t)analogRead(A1);
  samples[2] = (int16_t)analogRead(A2);
}

void setup() {
  pinMode(LED_BUILTIN, OUTPUT);
  Serial.begin(115200);
  // A session that differs from start to start: the noise of inputs that nothing is connected to, and how long it took.
  uint16_t session = (uint16_t)micros();
  for (int i = 0; i < 16; i++) {
    session = (uint16_t)((session << 1 | session >> 15) ^ analogRead(A3));
  }
  if (edged_bridge_init(&bridge, &bridge_setup, session) != EDGED_BRIDGE_OK) {
    for (;;) { // a mistake in the lines above
      digitalWrite(LED_BUILTIN, millis() / 100 % 2 ? HIGH : LOW);
    }
  }
  due = micros();
}

void loop() {
  const uint32_t now = micros();
  if ((int32_t)(now - due) >= 0) {
    int16_t samples[3];
    read_sensor(samples);
    edged_bridge_sample_i16(&bridge, now, samples);
    due += PERIOD_US;
  }
  while (Serial.available() > 0) {
    const uint8_t byte = (uint8_t)Serial.read();
    edged_bridge_receive(&bridge, &byte, 1);
  }
  edged_bridge_poll(&bridge);
}

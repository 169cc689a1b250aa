"""The demo: recorded sensors, a broker and a daemon of our own on one machine."""

"""Ways on which pieces come: MQTT, HTTP, a folder; all behind one small interface."""

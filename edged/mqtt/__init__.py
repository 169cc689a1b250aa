"""Every topic, and the only code that imports paho (layer 2)."""

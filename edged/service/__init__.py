"""Process life: start, tick, stop; control socket, health, metrics, log (layer 5)."""

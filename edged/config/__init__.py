"""TOML in, frozen structs out; all faults at once, each with its file, line and key (layer 1)."""

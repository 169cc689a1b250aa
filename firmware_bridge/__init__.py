"""What a microcontroller and a board say to each other over a serial line; PROTOCOL.md is the wire, byte by byte.

Modules by job: `cobs`, `frames` and `messages` turn bytes into values and back; `link` is the board's end of a
line; `clock_fit` and `stamps` say when readings were taken; `port` opens serial ports; `lines` and `framing` are for
firmware that prints plain text. Nothing here knows of the rest of edged.
"""

"""What fleet managers and boards say to each other: names, formats and limits, bytes in and values out (layer 4)."""

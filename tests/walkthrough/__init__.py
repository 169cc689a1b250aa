"""What docs/fleet.md needs for trying it out: releases that are good, wrong and dangerous, and readings of a sensor."""

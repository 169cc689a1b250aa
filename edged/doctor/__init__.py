"""Checks of the board and of the installation, for `edged doctor`."""

"""The boot test: a virtual machine that runs edged as a board does."""

"""`edged fleet`: what a fleet manager types. A sub-command is the file of its name in this folder, which exports `command`."""

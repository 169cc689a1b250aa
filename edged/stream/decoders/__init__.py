"""Message bytes to arrays of readings; one module for each format."""

"""Long proofs with a real broker and a real daemon: nothing is lost, nothing grows, counters add up."""

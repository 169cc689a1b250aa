"""Language models in a process of their own, through the C API of llama.cpp."""

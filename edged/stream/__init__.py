"""The data path: source, decoder, window, preprocess, engine, postprocess, output (layer 4)."""

"""The model file: what it says of itself, how it is found, loaded and checked."""

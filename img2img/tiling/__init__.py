"""Large pictures in tiles, with the result of the whole picture."""

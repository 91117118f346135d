"""How good an image is, and how good a set of them. `METRICS` is the table."""

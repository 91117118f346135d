"""How good a model is, as people see it."""

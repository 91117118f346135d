"""How good a model, or a folder of translated pictures, is: figures, a report, a page."""

"""Shipped models; `img2img.model_format.find` finds them by path."""

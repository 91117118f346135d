"""Shipped models; `img2img.pretrained` finds them by path."""

"""The shipped models; `img2img.model_format.find` locates them."""

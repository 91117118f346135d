"""A model file as ONNX, with proof, and what is packed around it: a page, a server."""

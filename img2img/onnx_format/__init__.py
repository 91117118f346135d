"""One ONNX file: parsed, checked and cut without the onnx package."""

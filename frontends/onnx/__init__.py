"""ONNX models to the graph level."""

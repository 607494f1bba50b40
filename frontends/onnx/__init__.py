"""ONNX models to the graph level."""

from .graph import load_onnx as load_onnx

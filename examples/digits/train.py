"""Trains the digit classifier that ships with mlc, and writes it as ONNX with its test set.

A small convolutional network on scikit-learn's bundled 8 x 8 digits: a model whose accuracy can be
measured in a second, so that every change of the compiler can be judged by it.

    pip install torch scikit-learn onnx
    python examples/digits/train.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
EPOCHS = 60


def dataset() -> list[np.ndarray]:
    """Training and test images ``[n, 1, 8, 8]`` in 0 … 1, then their labels."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    return train_test_split(images, digits.target, test_size=0.2, random_state=0)


def network() -> nn.Sequential:
    """Two convolutions with batch norm, and a linear layer: 10 logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )


def train(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> None:
    """Adam on batches of 64; images are shifted by up to a pixel."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(64):
            rows, columns = torch.randint(-1, 2, (2,)).tolist()
            shifted = torch.roll(x[batch], (rows, columns), (2, 3))
            loss = nn.functional.cross_entropy(model(shifted), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def to_onnx(model: nn.Sequential) -> onnx.ModelProto:
    """The network with a symbolic batch ``N``."""
    nodes, weights, name = [], [], "image"
    for number, layer in enumerate(model):
        kind, attributes = _operator(layer)
        parameters = [f"{number}.{n}" for n, _ in _parameters(layer)]
        weights += [
            numpy_helper.from_array(v.detach().numpy(), f"{number}.{n}")
            for n, v in _parameters(layer)
        ]
        result = "logits" if number == len(model) - 1 else f"{kind.lower()}_{number}"
        inputs = [name, *parameters]
        nodes.append(helper.make_node(kind, inputs, [result], name=result, **attributes))
        name = result
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    graph = helper.make_graph(nodes, "digits", [image], [logits], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _operator(layer: nn.Module) -> tuple[str, dict]:
    match layer:
        case nn.Conv2d():
            return "Conv", {"strides": list(layer.stride), "pads": [1, 1, 1, 1]}
        case nn.BatchNorm2d():
            return "BatchNormalization", {"epsilon": layer.eps}
        case nn.Linear():
            return "Gemm", {"transB": 1}
        case _:
            return ("Relu" if isinstance(layer, nn.ReLU) else "Flatten"), {}


def _parameters(layer: nn.Module) -> list[tuple[str, torch.Tensor]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return [(n, v) for n in names if (v := getattr(layer, n, None)) is not None]


def main() -> None:
    """Trains, reports the accuracy, writes ``digits.onnx`` and both sets of images."""
    torch.manual_seed(0)
    train_x, test_x, train_y, test_y = dataset()
    model = network()
    train(model, train_x, train_y)
    model.eval()
    right = model(torch.from_numpy(test_x)).argmax(1).numpy() == test_y
    print(f"accuracy on {len(test_y)} images: {right.mean():.4f}")
    onnx.save(to_onnx(model), HERE / "digits.onnx")
    save("test_set.npz", test_x, test_y)
    save("training_set.npz", train_x, train_y)


def save(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Images as whole numbers up to 16."""
    pixels = (images * 16).astype(np.uint8)
    np.savez_compressed(HERE / name, pixels=pixels, labels=labels.astype(np.uint8))


if __name__ == "__main__":
    main()

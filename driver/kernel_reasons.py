"""What code generation decided about compressed layers, added to the report about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..ir.types import DTYPES, is_float
from ..passes.compress.report import UNSKIPPED
from ..passes.decode_weights import DECODED, STORED
from .explain import bytes_of, type_in

I8 = DTYPES["i8"]
# How a step begins that prunes.
_PRUNED = "sparsify"
Site = Mapping[str, Any]


def tell_kernels(layers: Sequence[dict[str, Any]], sites: Iterable[Site]) -> None:
    """Says of ``layers`` whose codes are decoded, whose zeros are multiplied, and what they store.

    ``layers`` are values of ``LayerReport``; ``sites`` are the launches of an artifact's manifest.
    """
    by_node: dict[str, list[Site]] = {}
    for site in sites:
        for node in site["nodes"]:
            by_node.setdefault(node, []).append(site)
    for layer in layers:
        if layer["steps"] and not layer["restored"]:
            _tell_decoded(layer, by_node.get(layer["layer"], ()))
            _tell_unskipped(layer, by_node.get(layer["layer"], ()))


def _tell_decoded(layer: dict[str, Any], sites: Iterable[Site]) -> None:
    for why in (site["why"] for site in sites if DECODED in site["why"]):
        last = layer["steps"][-1]
        last["why"] = last["why"] or why
        if len(layer["steps"]) == 1 and STORED not in last["why"]:
            layer["bytes_after"] = layer["bytes_before"]


def _tell_unskipped(layer: dict[str, Any], sites: Sequence[Site]) -> None:
    """A float weight whose zeros a kernel multiplies is stored as it was before it was pruned."""
    told = [site for site in sites if UNSKIPPED in site["why"]]
    for step in layer["steps"]:
        if told and step["asked"].startswith(_PRUNED):
            step["why"] = step["why"] or told[0]["why"]
    weights = [(site, bytes) for site in sites if (bytes := _float_matrices(site))]
    if weights and all(site in told for site, _ in weights):
        layer["bytes_after"] = sum(bytes for _, bytes in weights)


def _float_matrices(site: Site) -> int:
    """The bytes of weights of a launch that are no vectors and no codes."""
    types = [type_in(site["inputs"][n], {}) for n in site["weights"]]
    return sum(
        bytes_of(shape, dtype)
        for shape, dtype in types
        if len(shape) > 1 and is_float(DTYPES.get(dtype, I8))
    )

"""What is imported: a functional graph of ATen calls, and what its placeholders stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from ...ir.errors import InvalidModelError, Unsupported, UnsupportedError
from .names import output_names

_WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
_MUTATIONS = (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION)


@dataclass(frozen=True)
class Program:
    """A graph of ATen calls without side effects.

    Attributes:
        owner: Torch's graph and the attributes that it reads.
        weights: The tensors that some of its placeholders stand for, and their names.
        outputs: A name for every output.
        name: The model's name.
    """

    owner: fx.GraphModule
    weights: Mapping[fx.Node, tuple[str, torch.Tensor]]
    outputs: Sequence[str]
    name: str = ""

    @property
    def placeholders(self) -> list[fx.Node]:
        """All inputs of the graph, weights included."""
        return list(self.owner.graph.find_nodes(op="placeholder"))


def program_of(exported: ExportedProgram, name: str) -> Program:
    """The program that ``torch.export`` made.

    Raises:
        InvalidModelError: An input is neither tensor nor size nor constant.
        UnsupportedError: The program changes buffers or inputs in place.
    """
    signature = exported.graph_signature
    _refuse_mutations([s.target for s in signature.output_specs if s.kind in _MUTATIONS])
    tensors: Mapping[str, Any] = {**exported.constants, **exported.state_dict}
    weights: dict[fx.Node, tuple[str, torch.Tensor]] = {}
    placeholders = exported.graph.find_nodes(op="placeholder")
    for node, spec in zip(placeholders, signature.input_specs, strict=True):
        if spec.kind in _WEIGHTS:
            weights[node] = (str(spec.target), tensors[str(spec.target)])
        elif spec.kind != InputKind.USER_INPUT:
            raise InvalidModelError(f"input '{node.name}' is of kind {spec.kind.name}")
    outputs = output_names(exported.call_spec.out_spec)
    return Program(exported.graph_module, weights, outputs, name=name)


def _refuse_mutations(targets: Sequence[str | None]) -> None:
    reason = "the model changes this buffer or input in place; compiled models are pure"
    hint = "return the new value as an output and pass it in again"
    if targets:
        raise UnsupportedError([Unsupported(str(t), "mutation", reason, hint) for t in targets])

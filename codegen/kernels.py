"""What every target asks of a kernel: its types, its symbols, whether two are the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from xdsl.ir import BlockArgument, SSAValue

from ..ir.cost import operations
from ..ir.dims import Dim, symbols_of
from ..ir.kernel import KernelOp
from ..ir.op import GraphOp, source_of
from ..ir.ops.constant import ConstantOp
from ..ir.ops.quant import DequantizeOp
from ..ir.ops.select import late_symbols
from ..ir.scalar import nodes_of
from ..ir.structure import Map, Reduce, body_of
from ..ir.types import TensorType, type_of


def kernel_types(kernel: KernelOp) -> list[TensorType]:
    """The types of operands and results, in the order of the function's buffers."""
    return [type_of(v) for v in (*kernel.inputs, *kernel.outputs)]


def kernel_symbols(kernel: KernelOp) -> list[str]:
    """The symbols a kernel takes, each once, in order; those it finds out are none of them."""
    dims = [d for t in kernel_types(kernel) for d in t.shape]
    dims += [d for op in kernel.ops for r in op.results for d in type_of(r).shape]
    dims += [d for op in kernel.ops for d in _sizes(op)]
    names = dict.fromkeys(name for d in dims for name in symbols_of(d))
    return [name for name in names if name not in found_symbols(kernel)]


def found_symbols(kernel: KernelOp) -> list[str]:
    """The symbols a kernel finds out."""
    return list(late_symbols(kernel.ops))


def kernel_key(kernel: KernelOp) -> Hashable:
    """Equal for kernels with the same code: ops, parameters, types, which inputs are constant."""
    numbers: dict[SSAValue, int] = {}
    for value in (*kernel.block.args, *(r for op in kernel.block.ops for r in op.results)):
        numbers[value] = len(numbers)
    ops = tuple(
        (
            op.name,
            tuple(numbers[o] for o in op.operands),
            tuple(sorted(op.properties.items(), key=lambda p: p[0])),
            tuple(r.type for r in op.results),
        )
        for op in kernel.block.ops
    )
    constant = tuple(isinstance(i.owner, ConstantOp) for i in kernel.inputs)
    return ops, tuple(a.type for a in kernel.block.args), constant


def decoded_weight(kernel: KernelOp) -> DequantizeOp | None:
    """The decoding of a product's right factor, where it decodes a constant."""
    decodes = (op for op in kernel.ops if isinstance(op, DequantizeOp))
    return next((op for op in decodes if _is_constant(kernel, op.x)), None)


def title(kernel: KernelOp, between: str = "_") -> str:
    """The names of a kernel's ops, each once."""
    names = [op.name.removeprefix("mlc.") for op in kernel.ops if op.name != "mlc.constant"]
    return between.join(dict.fromkeys(names))[:60]


def record(kernel: KernelOp, name: str, inside: Sequence[str] = ()) -> dict[str, Any]:
    """What ``explain`` tells of a launch; ``inside`` are the branches and loops around it."""
    return {
        "kernel": name,
        "algorithm": kernel.algorithm.data,
        "why": kernel.why.data,
        "nodes": list(dict.fromkeys(n for op in kernel.ops if (n := source_of(op)))),
        "ops": [op.name for op in kernel.ops],
        "inputs": [str(v.type) for v in kernel.inputs],
        "outputs": [str(r.type) for r in kernel.outputs],
        "weights": [n for n, v in enumerate(kernel.inputs) if isinstance(v.owner, ConstantOp)],
        "operations": str(sum((operations(op) for op in kernel.ops), start=0)),
        "inside": list(inside),
    }


def _is_constant(kernel: KernelOp, value: SSAValue) -> bool:
    """Whether a value is an input that is constant."""
    if not isinstance(value, BlockArgument):
        return False
    return isinstance(kernel.inputs[value.index].owner, ConstantOp)


def _sizes(op: GraphOp) -> list[Dim]:
    """The dims that an op's expression names."""
    structure = op.structure()
    if not isinstance(structure, Map | Reduce):
        return []
    body = body_of(structure, type_of(op.results[0]).rank)
    return [n.attr for n in nodes_of(body) if n.op == "size"]

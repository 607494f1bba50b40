"""The Triton function of a kernel while it is written: its arguments, its lines, its sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Atom, Dim, Shape, SymDim, product
from ...ir.kernel import Fused, KernelOp
from ...ir.types import DTYPE_NAMES, TensorType, tensor
from ..choice import Option, Options, picked
from ..kernels import found_symbols, kernel_symbols, kernel_types, title
from .elements import pointer_type
from .target import CudaTarget

if TYPE_CHECKING:
    from .vendor import VendorCall


@dataclass(frozen=True)
class Buffer:
    """Where a tensor lies: the argument that points to it, in row-major order.

    Attributes:
        name: The argument.
        shape: The tensor's.
        dtype: Of its elements.
        room: How many elements it has at most where the run decides that; else 0.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    room: int = 0

    @property
    def elements(self) -> Dim:
        """How many there are, or may be."""
        size = product(self.shape)
        return size if isinstance(size, int) else self.room or size

    @property
    def bytes(self) -> Dim:
        """How many they take."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class Packing:
    """An array that is made of a constant operand for a kernel.

    Attributes:
        key: Equal keys mean equal arrays of equal data.
        type: The array's type, or the largest that it may have.
        pack: Makes it.
        varies: Whether the data tell how large it is.
    """

    key: Hashable
    type: TensorType
    pack: Callable[[np.ndarray], np.ndarray]
    varies: bool = False


@dataclass(frozen=True)
class Descriptor:
    """A tensor whose tiles the hardware copies: a parameter behind all others.

    Attributes:
        name: The parameter's.
        buffer: The parameter that points to the tensor.
        dtype: Of its elements.
        shape: Outermost first.
        strides: In elements; the last is 1.
        tile: How many elements are copied at once along each dim.
    """

    name: str
    buffer: str
    dtype: np.dtype
    shape: Shape
    strides: Shape
    tile: tuple[int, ...]

    @property
    def type(self) -> str:
        """Triton's name of the parameter's type."""
        return f"tensordesc<{pointer_type(self.dtype).removeprefix('*')}{list(self.tile)}>"


@dataclass(frozen=True)
class Code:
    """A kernel as Triton source, with what is needed to compile and launch it.

    Attributes:
        name: The function's name.
        text: Its source.
        signature: Triton's name of each parameter's type: operands, results, workspaces, symbols.
        symbols: The symbols it takes, in order, behind its buffers.
        grid: How many programs there are at most.
        num_warps: How many warps run one program.
        num_stages: How many steps of a loop are loaded ahead.
        options: What could have been chosen, by name; first what estimates say is fastest.
        subject: What the choice depends on: dtypes, layout and sizes.
        packed: The arrays that take the place of a constant operand, by its number.
        workspaces: Memory that it needs besides, by parameter; it may hold anything before.
        unaligned: The operands and results that may lie at no multiple of 16 bytes.
        found: The symbols it finds out: it writes them where pointers behind its buffers say.
        descriptors: What it takes behind all these.
        resident: So many programs for each multiprocessor are enough; 0 if the grid is.
        then: What is launched after it, with the same arguments, to end its work.
        call: What a library is asked for instead: then there is no source.
    """

    name: str
    text: str
    signature: dict[str, str]
    symbols: tuple[str, ...]
    grid: Dim
    num_warps: int = 4
    num_stages: int = 3
    options: Options = field(default_factory=dict)
    subject: Mapping[str, int | str] = field(default_factory=dict)
    packed: Mapping[int, Sequence[Packing]] = field(default_factory=dict)
    workspaces: tuple[Buffer, ...] = ()
    unaligned: frozenset[int] = frozenset()
    found: tuple[str, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()
    resident: int = 0
    then: Code | None = None
    call: VendorCall | None = None

    @property
    def launches(self) -> list[Code]:
        """The code and what is launched after it, in order."""
        return [self, *(self.then.launches if self.then else ())]


class Frame:
    """The function while it is written.

    Attributes:
        kernel: What it computes.
        target: What it is for.
        fused: The kernel's values as expressions.
        buffers: The memory of operands and results, then workspaces, by load number.
        symbols: The symbols it takes.
        found: The symbols it finds out.
    """

    def __init__(self, kernel: KernelOp, name: str, target: CudaTarget):
        self.kernel, self.name, self.target = kernel, name, target
        self.fused = Fused(kernel.block)
        self.symbols = tuple(kernel_symbols(kernel))
        self.found = tuple(found_symbols(kernel))
        names = [f"x{n}" for n in range(len(kernel.inputs))]
        names += [f"y{n}" for n in range(len(kernel.outputs))]
        types = kernel_types(kernel)
        self.buffers = {
            n: Buffer(name, type.shape, type.dtype)
            for n, (name, type) in enumerate(zip(names, types, strict=True))
        }
        self.workspaces: tuple[Buffer, ...] = ()
        self.lines: list[str] = []
        self.options: dict[str, Sequence[Option]] = {}
        self.subject: dict[str, int | str] = {}
        self.packed: dict[int, Sequence[Packing]] = {}
        self.descriptors: tuple[Descriptor, ...] = ()
        self.resident = 0
        self._done: list[Code] = []
        self._depth = 1
        self._bound = 0
        self._numbers = len(types)

    def pick(
        self, name: str, options: Sequence[Option], subject: Mapping[str, Dim | str] | None = None
    ) -> Option:
        """The option that was chosen for the kernel, else the first.

        ``subject`` is what the choice depends on; without it, nothing measured elsewhere holds.
        """
        self.options[name] = options
        sizes = {k: v if isinstance(v, int) else str(v) for k, v in (subject or {}).items()}
        self.subject |= sizes
        return picked(self.kernel, name, options)

    def new_number(self) -> int:
        """A load number for a value that is held in registers."""
        self._numbers += 1
        return self._numbers

    def pack(self, number: int, *arrays: Packing) -> list[str]:
        """Lays out a constant operand as one or several arrays; gives the names of their places."""
        self.packed[number] = arrays
        return [b.name for b in self._arrays(number)]

    def _arrays(self, number: int) -> list[Buffer]:
        """What lies in memory of an operand or a result."""
        buffer = self.buffers[number]
        packed = self.packed.get(number)
        if packed is None:
            return [buffer]
        names = [buffer.name, *(f"{buffer.name}_{n}" for n in range(1, len(packed)))]
        types = [p.type for p in packed]
        return [Buffer(n, t.shape, t.dtype) for n, t in zip(names, types, strict=True)]

    def workspace(self, shape: Shape, dtype: np.dtype, room: int = 0) -> int:
        """The load number of memory that the kernel has for itself; to be asked for first."""
        number = self.new_number()
        self.buffers[number] = Buffer(f"w{len(self.workspaces)}", shape, dtype, room)
        self.workspaces += (self.buffers[number],)
        return number

    def describe(self, descriptor: Descriptor) -> None:
        """Takes a descriptor as a parameter."""
        self.descriptors += (descriptor,)

    def result(self, value: SSAValue) -> Buffer | None:
        """The memory of a value that the kernel yields; None of another."""
        yielded = self.kernel.yielded
        if value not in yielded:
            return None
        return self.buffers[len(self.kernel.inputs) + yielded.index(value)]

    def line(self, text: str) -> None:
        """Writes a line."""
        self.lines.append("    " * self._depth + text)

    def bind(self, text: str, name: str = "") -> str:
        """Gives a value a name: ``name``, or one of its own."""
        if not name:
            name, self._bound = f"v{self._bound}", self._bound + 1
        self.line(f"{name} = {plain(text)}")
        return name

    def constant(self, name: str, value: int) -> str:
        """A number that Triton knows while it compiles."""
        self.line(f"{name}: tl.constexpr = {value}")
        return name

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Lines one level deeper, below ``header``."""
        self.line(f"{header}:")
        self._depth += 1
        yield
        self._depth -= 1

    def loop(
        self, variable: str, stop: Dim | str, step: int = 1, start: str = "0"
    ) -> AbstractContextManager[None]:
        """Lines that are repeated for ``start``, ``start + step``, … below ``stop``."""
        stride = f", {step}" if step != 1 else ""
        end = stop if isinstance(stop, str) else dim_text(stop)
        return self.block(f"for {variable} in range({start}, {end}{stride})")

    def unflatten(self, position: str, sizes: Sequence[Dim]) -> list[str]:
        """The index along each dim of a row-major position."""
        indices: list[str] = []
        for size in reversed(sizes[1:]):
            if size == 1:
                indices.insert(0, "0")
                continue
            indices.insert(0, f"({position} % {dim_text(size)})")
            position = f"({position} // {dim_text(size)})"
        return [position, *indices] if sizes else []

    def then(self, grid: Dim, num_warps: int = 4, num_stages: int = 3) -> None:
        """Ends the function, and begins the one that is launched after it."""
        self._done.append(self._code(grid, num_warps, num_stages))
        self.lines, self._bound, self.descriptors, self.resident = [], 0, (), 0

    def finish(self, grid: Dim, num_warps: int = 4, num_stages: int = 3) -> Code:
        """Ends the last function; gives the first."""
        code = self._code(grid, num_warps, num_stages)
        for before in reversed(self._done):
            code = replace(before, then=code)
        return code

    def _code(self, grid: Dim, num_warps: int, num_stages: int) -> Code:
        name = self.name + f"_then{len(self._done)}" * bool(self._done)
        memory = [b for number in self.buffers for b in self._arrays(number)]
        signature = {b.name: pointer_type(b.dtype) for b in memory}
        signature |= {f"found{n}": "*i64" for n in range(len(self.found))}
        signature |= {symbol_name(s): "i32" for s in self.symbols}
        parameters = [*signature, *(d.name for d in self.descriptors)]
        header = f"@triton.jit\ndef {name}({', '.join(parameters)}):"
        text = "\n".join([header, *self._description(memory), *self.lines, ""])
        choice = {"options": self.options, "subject": self.subject}
        memory_ = {"packed": self.packed, "workspaces": self.workspaces, "found": self.found}
        rest = {**choice, **memory_, "descriptors": self.descriptors, "resident": self.resident}
        return Code(name, text, signature, self.symbols, grid, num_warps, num_stages, **rest)

    def _description(self, memory: Sequence[Buffer]) -> list[str]:
        """What the function computes, as comments."""
        types = ", ".join(
            f"{b.name} {DTYPE_NAMES[b.dtype] if b in self.workspaces else _type_text(b)}"
            for b in memory
        )
        tiles = [f"{d.name} tiles {list(d.tile)} of {d.buffer}" for d in self.descriptors]
        lines = title(self.kernel, " "), types, ", ".join(tiles)
        return [f"    # {line}" for line in lines if line]


def laid_out(packed: Mapping[int, Sequence[Packing]]) -> object:
    """Equal for kernels whose constant operands lie in memory in the same way."""
    return {number: [p.key for p in packings] for number, packings in packed.items()}


def plain(text: str) -> str:
    """A text without parentheses around all of it."""
    if not text.startswith("(") or not text.endswith(")"):
        return text
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1]


def symbol_name(symbol: str) -> str:
    """The argument that holds a symbol's value."""
    return "n_" + re.sub(r"\W", "_", symbol)


def dim_text(dim: Dim) -> str:
    """A size as an expression over the symbols that a function takes."""
    if not isinstance(dim, SymDim):
        return str(dim)
    terms = [_term(monomial, factor) for monomial, factor in dim.terms]
    return terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"


def _term(monomial: Sequence[Atom], factor: int) -> str:
    atoms = [symbol_name(a) if isinstance(a, str) else _call(a.function, a.args) for a in monomial]
    factors = [str(factor)] if factor != 1 or not atoms else []
    product = " * ".join([*factors, *atoms])
    return product if len(factors) + len(atoms) == 1 else f"({product})"


def _call(function: str, arguments: Sequence[Dim]) -> str:
    a, b = (dim_text(x) for x in arguments)
    if function in ("floordiv", "mod"):
        if not _never_negative(arguments[0]):
            return f"_{function}({a}, {b})"
        return f"({a} {'//' if function == 'floordiv' else '%'} {b})"
    return f"tl.{function}imum({a}, {b})"


def _never_negative(dim: Dim) -> bool:
    """Whether a size surely is none below 0, where Triton's division would round up."""
    return dim >= 0 if isinstance(dim, int) else all(factor >= 0 for _, factor in dim.terms)


def _type_text(buffer: Buffer) -> str:
    return str(tensor(buffer.shape, buffer.dtype))

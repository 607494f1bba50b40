"""The state of one function while its text is written, and how types and constants print."""

from __future__ import annotations

import struct
from collections.abc import Callable

from xdsl.dialects.builtin import (
    AnyFloat,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    VectorType,
    bf16,
    f16,
    f32,
    f64,
)
from xdsl.ir import Attribute, Operation, SSAValue

from ....ir.errors import TargetError
from ..target import CpuTarget

Registers = list[str]
Handler = Callable[["FunctionEmitter", Operation], None]
_FLOAT_NAMES: dict[Attribute, str] = {f16: "half", bf16: "i16", f32: "float", f64: "double"}


class FunctionEmitter:
    """Collects the lines of a function; a tile is a list of machine-vector registers."""

    def __init__(self, target: CpuTarget, handlers: dict[type[Operation], Handler]):
        self.target = target
        self.lines: list[str] = []
        self.label = "entry"
        self.intrinsics: set[str] = set()
        self.allocas: list[str] = []
        self._handlers = handlers
        self._values: dict[SSAValue, Registers] = {}
        self._count = 0

    def emit(self, op: Operation) -> None:
        """Writes one op.

        Raises:
            TargetError: The emitter does not know the op.
        """
        handler = self._handlers.get(type(op))
        if handler is None:
            raise TargetError(f"the CPU emitter does not know the op {op.name}")
        handler(self, op)

    def fresh(self) -> str:
        """A new register's name."""
        self._count += 1
        return f"%v{self._count}"

    def define(self, text: str) -> str:
        """A new register that holds ``text``."""
        register = self.fresh()
        self.lines.append(f"  {register} = {text}")
        return register

    def start_block(self, label: str) -> None:
        """The following lines belong to ``label``."""
        self.lines.append(f"{label}:")
        self.label = label

    def allocate(self, count: int, element: str) -> str:
        """Scratch memory of the function, allocated once where it begins."""
        register = self.fresh()
        self.allocas.append(f"  {register} = alloca [{count} x {element}], align 64")
        return register

    def new_labels(self, *names: str) -> list[str]:
        """Unique labels."""
        self._count += 1
        return [f"{name}{self._count}" for name in names]

    def bind(self, value: SSAValue, registers: Registers) -> None:
        """Says which registers hold a value."""
        self._values[value] = registers

    def registers(self, value: SSAValue) -> Registers:
        """The registers that hold a value."""
        return self._values[value]

    def register(self, value: SSAValue) -> str:
        """The one register of a scalar."""
        (register,) = self._values[value]
        return register

    def pieces(self, type: Attribute) -> list[str]:
        """The LLVM types of the registers that hold a value of ``type``."""
        if not isinstance(type, VectorType):
            return [llvm_type(type)]
        *outer, inner = type.get_shape()
        rows = 1
        for size in outer:
            rows *= size
        element = type.get_element_type()
        return [_vector(n, llvm_type(element)) for n in self.split(inner)] * rows

    def split(self, size: int) -> list[int]:
        """The lanes of the machine vectors that hold ``size`` elements side by side.

        They are the same for elements of every width, so that tiles of different types match
        register by register; LLVM splits or joins what is wider or narrower than the machine.
        """
        lanes = self.target.lanes(32)
        whole, rest = divmod(size, lanes)
        return [lanes] * whole + ([rest] if rest else [])

    def intrinsic(self, name: str, result: str, arguments: list[tuple[str, str]]) -> str:
        """A call of an LLVM intrinsic or library function, declared once."""
        types = ", ".join(t for t, _ in arguments)
        self.intrinsics.add(f"declare {result} @{name}({types})")
        values = ", ".join(f"{t} {v}" for t, v in arguments)
        return self.define(f"call {result} @{name}({values})")


def llvm_type(type: Attribute) -> str:
    """The LLVM name of a scalar or buffer type."""
    if isinstance(type, IndexType):
        return "i64"
    if isinstance(type, IntegerType):
        return f"i{type.width.data}"
    if isinstance(type, MemRefType):
        return "ptr"
    if type in _FLOAT_NAMES:
        return _FLOAT_NAMES[type]
    raise TargetError(f"the CPU emitter does not know the type {type}")


def element_bits(type: Attribute) -> int:
    """The bits an element takes in memory; bools take a byte."""
    if isinstance(type, IndexType):
        return 64
    if isinstance(type, IntegerType | AnyFloat):
        return max(8, type.bitwidth)
    raise TargetError(f"{type} has no size")


def literal(attribute: Attribute) -> str:
    """A constant as LLVM writes it; floats by their bits."""
    if isinstance(attribute, IntegerAttr):
        value = attribute.value.data
        is_bool = attribute.type == IntegerType(1)
        return ("true" if value else "false") if is_bool else str(value)
    if isinstance(attribute, FloatAttr):
        return _float_literal(attribute.value.data, attribute.type)
    raise TargetError(f"{attribute} is no constant that can be emitted")


def _float_literal(value: float, type: Attribute) -> str:
    if type in (f16, bf16):
        raise TargetError("half constants do not occur: they are computed in f32")
    rounded = struct.unpack("<f", _f32_bytes(value))[0] if type == f32 else value
    return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"


def _f32_bytes(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _vector(lanes: int, element: str) -> str:
    return element if lanes == 1 else f"<{lanes} x {element}>"

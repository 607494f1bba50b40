"""What a model takes and gives: names, dtypes, symbolic shapes; and the check of what is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .dtypes import dtype_of
from .errors import ArtifactError, InputError

_NAME = re.compile(r"[^\W\d][\w.]*")
_MULTIPLE = re.compile(rf"(?:([1-9]\d*)\*)?({_NAME.pattern})")
_LARGEST = 2**62
_MOST_BYTES = 1 << 46


class Shaped(Protocol):
    """An array, wherever its memory is."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dims."""
        ...

    @property
    def ndim(self) -> int:
        """How many they are."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of its elements."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        ...


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: Its name in the user's model.
        dtype: The element type.
        shape: Per dimension an ``int``, or the text of a symbol or of an expression over symbols.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype.name} [{', '.join(str(d) for d in self.shape)}]"

    def symbols(self) -> set[str]:
        """The names that occur in the shape."""
        return {n for d in self.shape if isinstance(d, str) for n in _NAME.findall(d)}

    def to_manifest(self) -> dict[str, Any]:
        """The entry of a manifest."""
        return {"name": self.name, "dtype": self.dtype.name, "shape": list(self.shape)}

    @staticmethod
    def from_manifest(entry: Mapping[str, Any]) -> TensorSpec:
        """Reads an entry of a manifest."""
        shape = tuple(d if isinstance(d, int) else str(d) for d in entry["shape"])
        return TensorSpec(str(entry["name"]), dtype_of(entry["dtype"]), shape)


@dataclass(frozen=True)
class Symbol:
    """A size known only at run time.

    Attributes:
        name: Its name in shapes.
        late: Known only after the run (such as the count of ``NonZero``).
        min: The smallest value the code is made for.
        max: The largest; None for no bound.
    """

    name: str
    late: bool = False
    min: int = 0
    max: int | None = None


class Signature:
    """The inputs, outputs and symbols of a model, in the order native code counts them."""

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        symbols: Sequence[Symbol] = (),
        name: str = "",
    ):
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.symbols = tuple(symbols)
        self._position = {s.name: i for i, s in enumerate(self.symbols)}
        late = {s.name for s in self.symbols if s.late}
        self.late_outputs = tuple(bool(o.symbols() & late) for o in self.outputs)
        self._check_names()

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any]) -> Signature:
        """Reads the signature of a manifest.

        Raises:
            ArtifactError: The manifest lacks an entry, or one does not make sense.
        """
        try:
            return Signature(
                [TensorSpec.from_manifest(e) for e in manifest["inputs"]],
                [TensorSpec.from_manifest(e) for e in manifest["outputs"]],
                [Symbol(**e) for e in manifest["symbols"]],
                str(manifest.get("name", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"the artifact's manifest is incomplete: {error!r}") from None

    def to_manifest(self) -> dict[str, Any]:
        """The entries ``name``, ``inputs``, ``outputs`` and ``symbols`` of a manifest."""
        return {
            "name": self.name,
            "inputs": [i.to_manifest() for i in self.inputs],
            "outputs": [o.to_manifest() for o in self.outputs],
            "symbols": [vars(s).copy() for s in self.symbols],
        }

    def bind(self, arrays: Sequence[Shaped]) -> list[int]:
        """The values of all symbols, 0 for the late ones.

        Raises:
            InputError: A dtype, rank or dimension does not fit, or one symbol has two values.
        """
        binding = _Binding(self)
        for spec, array in zip(self.inputs, arrays, strict=True):
            binding.read(spec, array)
        binding.check_ranges()
        self.refuse(binding.problems)
        return [binding.values.get(s.name, 0) for s in self.symbols]

    def check_dims(self, arrays: Sequence[Shaped], dims: Sequence[int]) -> None:
        """Compares the arrays' dimensions with those that the symbols' values ask for.

        Raises:
            InputError: Some differ.
        """
        problems, start = [], 0
        for spec, array in zip(self.inputs, arrays, strict=True):
            wanted = tuple(dims[start : start + array.ndim])
            start += array.ndim
            if wanted != array.shape:
                problems.append(f"{spec.name}: expected {spec}, here {wanted}, got {array.shape}")
        self.refuse(problems)

    def check_sizes(self, outputs: Sequence[Sequence[int]], arena: int) -> None:
        """Refuses results that cannot be.

        Args:
            outputs: Their shapes; empty for one that only the run tells.
            arena: Bytes of scratch memory.

        Raises:
            InputError: A dimension is negative, or something would not fit into memory.
        """
        problems = []
        for spec, shape in zip(self.outputs, outputs, strict=True):
            if any(d < 0 for d in shape):
                problems.append(f"output {spec.name} would have the shape {list(shape)}")
            elif np.prod(shape, dtype=float) * spec.dtype.itemsize > _MOST_BYTES:
                problems.append(f"output {spec.name} {list(shape)} would not fit into memory")
        if not 0 <= arena <= _MOST_BYTES:
            problems.append(f"the run would need {arena} bytes of scratch memory")
        if problems:
            raise InputError("\n  ".join(["the model cannot run on these sizes:", *problems]))

    def refuse(self, problems: Sequence[str]) -> None:
        """Raises an ``InputError`` that lists ``problems``, if there are any."""
        if problems:
            lines = "".join(f"\n  {p}" for p in problems)
            model = f"model '{self.name}'" if self.name else "the model"
            raise InputError(f"{model} cannot run on these inputs:{lines}")

    def _check_names(self) -> None:
        names = [i.name for i in self.inputs]
        told = {_multiple(d)[0] for i in self.inputs for d in i.shape if isinstance(d, str)}
        unbound = [s.name for s in self.symbols if not s.late and s.name not in told]
        used = {n for spec in self.inputs for n in spec.symbols()} & set(self._position)
        if len(set(names)) != len(names):
            raise ArtifactError(f"two inputs of the model have one name: {', '.join(names)}")
        if set(unbound) & used:
            raise ArtifactError(
                f"no input has {', '.join(sorted(unbound))} or a multiple as a dimension, so its "
                "value cannot be known; compile the model with that size fixed"
            )


class _Binding:
    """Symbol values read off input shapes, and what is wrong with them."""

    def __init__(self, signature: Signature):
        self.signature = signature
        self.values: dict[str, int] = {}
        self.origin: dict[str, str] = {}
        self.problems: list[str] = []
        self._names = {s.name for s in signature.symbols}

    def read(self, spec: TensorSpec, array: Shaped) -> None:
        got = f"{array.dtype.name} {list(array.shape)}"
        if array.dtype != spec.dtype:
            self._add(spec, f"expected {spec}, got {got}; convert it to {spec.dtype.name} first")
        elif array.ndim != len(spec.shape):
            self._add(spec, f"expected {spec}, got {got}: rank {array.ndim}, not {len(spec.shape)}")
        else:
            for axis, (dim, size) in enumerate(zip(spec.shape, array.shape, strict=True)):
                self._read_dim(spec, axis, dim, size)

    def _read_dim(self, spec: TensorSpec, axis: int, dim: int | str, size: int) -> None:
        if isinstance(dim, int):
            if dim != size:
                self._add(spec, f"expected {spec}, but dimension {axis} is {size}")
        else:
            self._read_symbol(spec, axis, dim, size)

    def _read_symbol(self, spec: TensorSpec, axis: int, dim: str, size: int) -> None:
        name, factor = _multiple(dim)
        if name not in self._names:
            return
        value, rest = divmod(size, factor)
        if rest:
            self._add(
                spec, f"expected {spec}, but dimension {axis} is {size}: no multiple of {factor}"
            )
        elif self.values.setdefault(name, value) != value:
            first = f"{self.values[name]} in {self.origin[name]}"
            self._add(spec, f"dimension {axis} ({dim}) is {size}, but {name} is {first}")
        self.origin.setdefault(name, spec.name)

    def check_ranges(self) -> None:
        for s in self.signature.symbols:
            value = self.values.get(s.name, s.min)
            if not s.min <= value <= (_LARGEST if s.max is None else s.max):
                bound = f"at least {s.min}" if value < s.min else f"at most {s.max}"
                self.problems.append(
                    f"{self.origin[s.name]}: {s.name} is {value}, but the model was compiled "
                    f"for {bound}"
                )

    def _add(self, spec: TensorSpec, text: str) -> None:
        self.problems.append(f"{spec.name}: {text}")


def _multiple(dim: str) -> tuple[str, int]:
    """The symbol of ``N`` or ``4*H``, and how many times it is taken; no symbol for other dims."""
    match = _MULTIPLE.fullmatch(dim)
    return (match[2], int(match[1] or 1)) if match else ("", 1)

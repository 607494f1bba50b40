"""The types of a model's inputs: declared, or as the caller fixes them."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from ...ir.dims import Dim, Shape, SymDim, parse_dim, substitute, symbol, symbols_of
from ...ir.errors import InferenceError, InvalidModelError
from ...ir.types import TensorType, tensor
from .dtypes import dtype_of
from .refusal import Refusal

Dims = Sequence[int | str | None]
Shapes = Mapping[str, Dims | int]
Constants = Mapping[str, np.ndarray]


def obstacle(value: onnx.ValueInfoProto) -> str:
    """Why an input cannot be one of the module; empty where it can."""
    kind = str(value.type.WhichOneof("value") or "value without a type")
    if kind != "tensor_type":
        return f"it is a {kind.removesuffix('_type')}, not a tensor"
    try:
        dtype_of(value.type.tensor_type.elem_type)
    except Refusal as refusal:
        return str(refusal)
    return ""


def input_types(
    inputs: Iterable[onnx.ValueInfoProto],
    constants: Constants,
    shapes: Shapes,
    multiples: Mapping[str, int],
) -> dict[str, TensorType]:
    """The types of inputs that are tensors; a named dim is a symbol, an unnamed one gets a name.

    A name may be an expression of other names (``past + 1``). Where ``constants`` or ``shapes``
    fix a symbol, it is fixed in all inputs. ``shapes`` may also give a symbol's size by its name.
    A symbol among ``multiples`` is how many times its size holds a number.

    Raises:
        InvalidModelError: An input has no rank, or what the caller gives does not fit it.
    """
    inputs = list(inputs)
    given, sizes = _told_apart(shapes, {value.name for value in inputs})
    declared = {value.name: _declared(value, given.get(value.name)) for value in inputs}
    for name in [*constants, *given]:
        if name not in declared:
            known = ", ".join(declared)
            raise InvalidModelError(f"the model has no input '{name}'; its inputs are {known}")
    plain = {text for dims, _ in declared.values() for text in dims if isinstance(text, str)}
    types = {
        name: tensor([_dim(text, plain) for text in dims], dtype)
        for name, (dims, dtype) in declared.items()
    }
    fixed: dict[str, Dim] = {**sizes}
    _check_sizes(sizes, types)
    for name, shape in given.items():
        _fix(fixed, name, types[name].shape, [_given(d) for d in shape])
    for name, array in constants.items():
        _check_constant(name, types[name], array)
        _fix(fixed, name, types[name].shape, array.shape)
    scaled = {name: factor * symbol(name) for name, factor in multiples.items()}
    return {
        name: type.with_shape(substitute(substitute(d, fixed), scaled) for d in type.shape)
        for name, type in types.items()
    }


def _told_apart(shapes: Shapes, inputs: set[str]) -> tuple[dict[str, Dims], dict[str, int]]:
    """The shapes of inputs, and the sizes of symbols; one number may also be an input's shape."""
    sizes = {n: s for n, s in shapes.items() if isinstance(s, int) and n not in inputs}
    dims = {n: [s] if isinstance(s, int) else s for n, s in shapes.items() if n not in sizes}
    return dims, sizes


def _check_sizes(sizes: Mapping[str, int], types: Mapping[str, TensorType]) -> None:
    symbols = {name for type in types.values() for dim in type.shape for name in symbols_of(dim)}
    for name in sizes:
        if name not in symbols:
            raise InvalidModelError(
                f"the model has no input and no symbolic size '{name}'; it has "
                f"{', '.join([*types, *sorted(symbols)])}"
            )


def _declared(
    value: onnx.ValueInfoProto, given: Sequence[int | str | None] | None
) -> tuple[list[int | str], np.dtype]:
    """Each dim as an int or a text, and the dtype."""
    name, type = value.name, value.type.tensor_type
    dtype = dtype_of(type.elem_type)
    if type.HasField("shape"):
        return [_text(name, k, d) for k, d in enumerate(type.shape.dim)], dtype
    if given is None:
        raise InvalidModelError(
            f"input '{name}' does not say its rank: load_onnx(…, shapes={{'{name}': [dims]}})"
        )
    return [f"{name}_{k}" for k in range(len(given))], dtype


def _text(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> int | str:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return dim.dim_value
    return dim.dim_param or f"{name}_{axis}"


def _dim(text: int | str, plain: set[str]) -> Dim:
    """The dim of a text: an expression where inputs have all of its symbols on their own."""
    if isinstance(text, int):
        return text
    try:
        dim = parse_dim(text)
    except InferenceError:
        return symbol(_word(text))
    own = set(symbols_of(dim))
    fits = own <= plain and all(_word(name) == name for name in own)
    return dim if isinstance(dim, SymDim) and fits else symbol(_word(text))


def _word(text: str) -> str:
    word = "".join(c if c.isascii() and c.isalnum() else "_" for c in text)
    return word if word.isidentifier() and not keyword.iskeyword(word) else f"d_{word}"


def _given(dim: int | str | None) -> Dim | None:
    return parse_dim(dim) if isinstance(dim, str) else dim


def _fix(fixed: dict[str, Dim], name: str, declared: Shape, given: Sequence[Dim | None]) -> None:
    """Notes what ``given`` says about the symbols of ``declared``."""
    if len(given) != len(declared):
        raise InvalidModelError(f"input '{name}' has {len(declared)} dims, {len(given)} are given")
    for axis, (dim, wanted) in enumerate(zip(declared, given, strict=True)):
        if wanted is None or wanted == dim:
            continue
        if not isinstance(dim, SymDim) or not str(dim).isidentifier():
            fits = substitute(dim, fixed) == wanted
        else:
            fits = fixed.setdefault(str(dim), wanted) == wanted
        if not fits:
            known = substitute(dim, fixed)
            raise InvalidModelError(f"dim {axis} of input '{name}' is {known}, not {wanted}")


def _check_constant(name: str, type: TensorType, array: np.ndarray) -> None:
    if array.dtype != type.dtype:
        raise InvalidModelError(
            f"the constant for input '{name}' has dtype {array.dtype}, the model takes {type.dtype}"
        )

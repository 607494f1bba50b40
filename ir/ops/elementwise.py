"""Elementwise ops: one scalar body each, operands broadcast as in numpy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Dim, Shape, note_mismatch
from ..evaluate import erf as erf_values
from ..op import GraphOp, graph_op, param
from ..scalar import Scalar
from ..structure import Indices, Map
from ..types import BOOL, TensorType, astype, bit_width, is_float, tensor


def broadcast_dims(op: GraphOp, *shapes: Shape) -> Shape:
    """The common shape of ``shapes`` under numpy's rule; a symbol only meets itself or 1."""
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_common(op, dims) for dims in zip(*padded, strict=True))


def broadcast_load(op: GraphOp, operand: int, indices: Indices) -> Scalar:
    """Element of an operand that is broadcast to the space of ``indices``."""
    type = op.operand_type(operand)
    inner = indices[len(indices) - type.rank :]
    where = [0 if d == 1 else i for d, i in zip(type.shape, inner, strict=True)]
    return s.load(operand, where, type.dtype)


def _common(op: GraphOp, dims: tuple[Dim, ...]) -> Dim:
    others = {d for d in dims if d != 1}
    if len(others) > 1:
        note_mismatch(others)
        raise op.fail(f"sizes {' and '.join(str(d) for d in sorted(others, key=str))} do not match")
    return others.pop() if others else 1


class ElementwiseOp(GraphOp):
    """Base: ``result[i] = body(operands[i]…)``, operands broadcast against each other."""

    def infer(self) -> TensorType:
        """The broadcast shape; the dtype of the body's value."""
        shapes = [self.operand_type(k).shape for k in range(len(self.operands))]
        return tensor(broadcast_dims(self, *shapes), self._body_of(()).dtype)

    @abstractmethod
    def body(self, *operands: Scalar) -> Scalar:
        """One element of the result from one element of every operand."""

    def structure(self) -> Map:
        """A Map that reads every operand once."""
        return Map(self._body_of)

    def _body_of(self, indices: Indices) -> Scalar:
        if not indices:
            return self.body(
                *(s.load(k, (), self.operand_type(k).dtype) for k in range(len(self.operands)))
            )
        return self.body(*(broadcast_load(self, k, indices) for k in range(len(self.operands))))


class UnaryOp(ElementwiseOp):
    """Base of functions of one operand."""

    x = operand_def(TensorType)
    result = result_def(TensorType)
    FUNCTION: ClassVar[Callable[..., np.ndarray]]

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The numpy function, in the dtype of the result."""
        with np.errstate(all="ignore"):
            return np.asarray(type(self).FUNCTION(x)).astype(self.infer().dtype)


class BinaryOp(ElementwiseOp):
    """Base of functions of two operands of one dtype."""

    x = operand_def(TensorType)
    y = operand_def(TensorType)
    result = result_def(TensorType)
    FUNCTION: ClassVar[Callable[..., np.ndarray]]

    def infer(self) -> TensorType:
        """The broadcast type of two operands of one dtype."""
        if self.operand_type(0).dtype != self.operand_type(1).dtype:
            raise self.fail("operands must have the same dtype")
        return super().infer()

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The numpy function, in the dtype of the result."""
        with np.errstate(all="ignore"):
            return np.asarray(type(self).FUNCTION(x, y)).astype(self.infer().dtype)


def _unary(name: str, function: Callable[..., np.ndarray], doc: str) -> type[UnaryOp]:
    def body(self: UnaryOp, x: Scalar) -> Scalar:
        return s.unary(name, x)

    members = {"name": f"mlc.{name}", "FUNCTION": staticmethod(function), "body": body}
    cls = type(f"{name.title()}Op", (UnaryOp,), {**members, "__doc__": doc, "__module__": __name__})
    return graph_op(cls)


def _binary(name: str, function: Callable[..., np.ndarray], doc: str) -> type[BinaryOp]:
    build = s.compare if name in s.COMPARE else s.binary

    def body(self: BinaryOp, x: Scalar, y: Scalar) -> Scalar:
        return build(name, x, y)

    members = {"name": f"mlc.{name}", "FUNCTION": staticmethod(function), "body": body}
    cls = type(
        f"{name.title()}Op", (BinaryOp,), {**members, "__doc__": doc, "__module__": __name__}
    )
    return graph_op(cls)


def divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Division; on integers it truncates, and by zero it gives zero."""
    if is_float(x.dtype):
        return x / y
    safe = np.where(y == 0, y.dtype.type(1), y)
    quotient = (x - np.fmod(x, safe)) // safe
    return np.where(y == 0, 0, quotient)


AddOp = _binary("add", np.add, "``x + y``.")
SubOp = _binary("sub", np.subtract, "``x - y``.")
MulOp = _binary("mul", np.multiply, "``x * y``.")
DivOp = _binary("div", divide, "``x / y``; on integers truncated, 0 where y is 0.")
RemOp = _binary("rem", np.fmod, "The remainder of ``div``: it has the sign of x (C's fmod).")
ModOp = _binary("mod", np.mod, "The remainder of floored division: it has the sign of y.")
PowOp = _binary("pow", np.power, "``x ** y``.")
MaxOp = _binary("max", np.maximum, "The larger; NaN where either is.")
MinOp = _binary("min", np.minimum, "The smaller; NaN where either is.")
AndOp = _binary("and", np.bitwise_and, "Bitwise (on bool: logical) and.")
OrOp = _binary("or", np.bitwise_or, "Bitwise (on bool: logical) or.")
XorOp = _binary("xor", np.bitwise_xor, "Bitwise (on bool: logical) exclusive or.")
ShlOp = _binary("shl", np.left_shift, "``x << y``.")
ShrOp = _binary("shr", np.right_shift, "``x >> y``, arithmetic on signed integers.")
EqOp = _binary("eq", np.equal, "``x == y``.")
NeOp = _binary("ne", np.not_equal, "``x != y``.")
LtOp = _binary("lt", np.less, "``x < y``.")
LeOp = _binary("le", np.less_equal, "``x <= y``.")
GtOp = _binary("gt", np.greater, "``x > y``.")
GeOp = _binary("ge", np.greater_equal, "``x >= y``.")

NegOp = _unary("neg", np.negative, "``-x``.")
AbsOp = _unary("abs", np.abs, "The absolute value.")
SignOp = _unary("sign", np.sign, "-1, 0 or 1; NaN for NaN.")
ExpOp = _unary("exp", np.exp, "``e ** x``.")
LogOp = _unary("log", np.log, "The natural logarithm.")
SqrtOp = _unary("sqrt", np.sqrt, "The square root.")
RsqrtOp = _unary("rsqrt", lambda x: 1 / np.sqrt(x), "``1 / sqrt(x)``.")
SinOp = _unary("sin", np.sin, "The sine.")
CosOp = _unary("cos", np.cos, "The cosine.")
TanOp = _unary("tan", np.tan, "The tangent.")
AsinOp = _unary("asin", np.arcsin, "The inverse sine.")
AcosOp = _unary("acos", np.arccos, "The inverse cosine.")
AtanOp = _unary("atan", np.arctan, "The inverse tangent.")
SinhOp = _unary("sinh", np.sinh, "The hyperbolic sine.")
CoshOp = _unary("cosh", np.cosh, "The hyperbolic cosine.")
TanhOp = _unary("tanh", np.tanh, "The hyperbolic tangent.")
AsinhOp = _unary("asinh", np.arcsinh, "The inverse hyperbolic sine.")
AcoshOp = _unary("acosh", np.arccosh, "The inverse hyperbolic cosine.")
AtanhOp = _unary("atanh", np.arctanh, "The inverse hyperbolic tangent.")
ErfOp = _unary("erf", erf_values, "The error function.")
FloorOp = _unary("floor", np.floor, "The largest integer not above x.")
CeilOp = _unary("ceil", np.ceil, "The smallest integer not below x.")
RoundOp = _unary("round", np.rint, "The nearest integer; halves go to the even one.")
NotOp = _unary("not", np.invert, "Bitwise (on bool: logical) not.")
IsnanOp = _unary("isnan", np.isnan, "Whether x is NaN.")
IsinfOp = _unary("isinf", np.isinf, "Whether x is an infinity.")


@graph_op
class CastOp(UnaryOp):
    """``x`` in another dtype, as numpy's ``astype``.

    ``%r = "mlc.cast"(%x) <{to = #mlc.param<f16>}> : …``
    """

    name = "mlc.cast"
    to = param()

    def body(self, x: Scalar) -> Scalar:
        """The conversion."""
        return s.cast(x, self.to)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's conversion."""
        with np.errstate(all="ignore"):
            return astype(x, self.to)


@graph_op
class BitcastOp(UnaryOp):
    """The bits of ``x`` read as another dtype of the same width.

    ``%r = "mlc.bitcast"(%x) <{to = #mlc.param<i32>}> : …``
    """

    name = "mlc.bitcast"
    to = param()

    def infer(self) -> TensorType:
        """The shape of x; the widths must agree."""
        x = self.operand_type(0)
        if bit_width(x.dtype) != bit_width(self.to) or BOOL in (x.dtype, self.to):
            raise self.fail(f"the bits cannot be read as {self.to}")
        return x.with_dtype(self.to)

    def body(self, x: Scalar) -> Scalar:
        """The bits."""
        return Scalar("bitcast", (x,), self.to)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's view."""
        return np.ascontiguousarray(x).view(self.to).reshape(x.shape)


@graph_op
class ReluOp(UnaryOp):
    """``max(x, 0)``."""

    name = "mlc.relu"

    def body(self, x: Scalar) -> Scalar:
        """The larger of x and 0."""
        return s.maximum(x, 0)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The larger of x and 0."""
        return np.maximum(x, x.dtype.type(0))


@graph_op
class SigmoidOp(UnaryOp):
    """``1 / (1 + exp(-x))``."""

    name = "mlc.sigmoid"

    def body(self, x: Scalar) -> Scalar:
        """The definition."""
        return s.sigmoid(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The definition."""
        with np.errstate(all="ignore"):
            return (1 / (1 + np.exp(-x))).astype(x.dtype)


@graph_op
class SiluOp(UnaryOp):
    """``x * sigmoid(x)`` (Elfwing et al., 2017), also called swish."""

    name = "mlc.silu"

    def body(self, x: Scalar) -> Scalar:
        """The definition."""
        return x * s.sigmoid(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The definition."""
        with np.errstate(all="ignore"):
            return (x / (1 + np.exp(-x))).astype(x.dtype)


@graph_op
class GeluOp(UnaryOp):
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016), exact or by tanh.

    ``x * (1 + erf(x / sqrt(2))) / 2``, or with ``approximate``
    ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``.
    """

    name = "mlc.gelu"
    approximate = param(False)

    def body(self, x: Scalar) -> Scalar:
        """The definition."""
        return s.gelu_by_tanh(x) if self.approximate else s.gelu(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The definition, in double precision."""
        v = x.astype(np.float64)
        if self.approximate:
            gate = np.tanh((v + 0.044715 * v**3) * np.sqrt(2 / np.pi))
        else:
            gate = erf_values(v / np.sqrt(2))
        return (v * 0.5 * (1 + gate)).astype(x.dtype)


@graph_op
class SelectOp(ElementwiseOp):
    """``x`` where ``condition`` (a bool) holds, else ``y``."""

    name = "mlc.select"
    condition = operand_def(TensorType)
    x = operand_def(TensorType)
    y = operand_def(TensorType)
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The broadcast type; x and y have one dtype."""
        if self.operand_type(0).dtype != BOOL:
            raise self.fail("the condition must be bool")
        if self.operand_type(1).dtype != self.operand_type(2).dtype:
            raise self.fail("both values must have the same dtype")
        return super().infer()

    def body(self, condition: Scalar, x: Scalar, y: Scalar) -> Scalar:
        """The choice."""
        return s.select(condition, x, y)

    def reference(self, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The choice."""
        return np.where(condition, x, y)

"""mlc as a backend of the onnx package, for whoever drives engines through ``onnx.backend``.

>>> import mlc.onnx_backend as backend
>>> outputs = backend.run_model(model, [x, y])
>>> onnx.backend.test.BackendTest(backend, __name__)  # the official test suite
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from .driver import compile
from .ir.errors import MlcError, UnsupportedError
from .runtime import Model


class PreparedModel(BackendRep):
    """A model that is compiled when it first meets inputs.

    Inputs on whose values a size or the structure of the graph depends are fixed to what they are;
    the model is compiled again when they change.
    """

    def __init__(self, model: onnx.ModelProto, target: str):
        self._model = model
        self._target = target
        self._compiled: list[tuple[Mapping[str, Any], Model]] = []

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for inputs in the model's order, or by name.

        Raises:
            MlcError: The model holds something unsupported.
        """
        names = self._input_names()
        values = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(names, inputs))  # noqa: B905
        model = self._for(values)
        outputs = model.run({n: values[n] for n in model.input_names})
        return tuple(outputs[o.name] for o in self._model.graph.output)

    def _for(self, values: Mapping[str, Any]) -> Model:
        for fixed, model in self._compiled:
            if all(_same(fixed[n], values.get(n)) for n in fixed):
                return model
        fixed, model = self._compile(values)
        self._compiled.append((fixed, model))
        return model

    def _compile(self, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Model]:
        for shapes, constants in self._attempts(values):
            try:
                model = compile(
                    self._model,
                    target=self._target,
                    shapes=shapes,
                    constants=constants,
                    threads=1,
                    cache=False,
                )
            except UnsupportedError as error:
                if "load_onnx(" not in str(error) or constants.keys() == values.keys():
                    raise
                continue
            return constants if not shapes else values, model
        raise MlcError("no input can be fixed any more")

    def _attempts(self, values: Mapping[str, Any]) -> Iterator[tuple[dict, dict]]:
        """Shapes and constants to compile with: ever more is fixed."""
        arrays = {n: v for n, v in values.items() if isinstance(v, np.ndarray)}
        floating = {n for n, v in arrays.items() if v.dtype.kind == "f"}
        names = list(values)
        yield {}, {}
        yield {n: v.shape for n, v in arrays.items() if n in self._tensors()}, {}
        yield {}, {n: v for n, v in values.items() if n not in floating}
        yield {}, {n: values[n] for n in names[1:]}
        yield {}, dict(values)

    def _input_names(self) -> list[str]:
        weights = {w.name for w in self._model.graph.initializer}
        return [i.name for i in self._model.graph.input if i.name not in weights]

    def _tensors(self) -> set[str]:
        return {i.name for i in self._model.graph.input if i.type.HasField("tensor_type")}


class MlcBackend(Backend):
    """The interface of ``onnx.backend.base``; devices are ``CPU`` and mlc's own targets."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """Checks the model; it is compiled when inputs come.

        Raises:
            onnx.checker.ValidationError: The model is not valid ONNX.
        """
        super().prepare(model, device, **kwargs)
        return PreparedModel(model, _target(device))

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node, as a model of its own."""
        arrays = dict(zip(filter(None, node.input), inputs, strict=True))
        value = onnx.helper.make_tensor_value_info
        kind = onnx.helper.np_dtype_to_tensor_dtype
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [value(n, kind(np.asarray(a).dtype), np.shape(a)) for n, a in arrays.items()],
            [onnx.ValueInfoProto(name=n) for n in node.output if n],
        )
        model = onnx.helper.make_model(graph, **kwargs)
        return PreparedModel(model, _target(device)).run(list(arrays.values()))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can be compiled for a device and run here."""
        return device.split(":")[0].lower() in ("cpu", "reference")


def _target(device: str) -> str:
    return "cpu" if device.upper() == "CPU" else device


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a is b


prepare = MlcBackend.prepare
run_node = MlcBackend.run_node
run_model = MlcBackend.run_model
supports_device = MlcBackend.supports_device
is_compatible = MlcBackend.is_compatible

"""The model a user holds: arrays in, arrays out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .artifact import Artifact
from .errors import ModelError
from .native import NativeEngine
from .notes import Notes, cache_folder
from .random_inputs import random_array
from .signature import Signature, TensorSpec
from .tensors import from_torch, is_torch, plain_array, to_torch
from .threads import thread_count

_PLANS = 256


class Engine(Protocol):
    """What runs a model once its inputs are numpy arrays of the right dtypes.

    An engine may have ``on_device(value, name)``, which gives a value that lies outside the host's
    memory as an array to plan and execute with, and None for all others.
    """

    def plan(self, arrays: Sequence[np.ndarray]) -> Any:
        """Checks shapes; the result serves every later run with the same shapes."""
        ...

    def execute(self, plan: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the model."""
        ...


class Model:
    """A model ready to run; several threads may call it at once.

    >>> y = model(x)                          # positional, in the order of ``input_names``
    >>> y = model(input_ids=x, mask=m)        # or by name
    >>> d = model.run({"input_ids": x, "mask": m})
    """

    def __init__(
        self,
        signature: Signature,
        engine: Engine,
        artifact: Artifact | None = None,
        report: Mapping[str, Any] | None = None,
        notes: Notes | None = None,
    ):
        self._signature = signature
        self._engine = engine
        self._artifact = artifact
        self._report = dict(report or {})
        self._notes = notes or Notes()
        self._on_device = getattr(engine, "on_device", None)
        self._dtypes = tuple(i.dtype for i in signature.inputs)
        self._plans: dict[tuple[tuple[int, ...], ...], Any] = {}
        self.input_names = [i.name for i in signature.inputs]
        self._names = frozenset(self.input_names)
        self.output_names = [o.name for o in signature.outputs]

    @staticmethod
    def from_artifact(
        artifact: Artifact, *, threads: int | None = None, notes: Notes | None = None
    ) -> Model:
        """The model of an artifact, linked into this process or loaded on the GPU.

        ``notes`` are what was measured before; by default there are none.

        Raises:
            ArtifactError: The artifact is for another machine, or makes no sense.
            DeviceError: It is for a GPU, and there is none that can run it.
        """
        signature = Signature.from_manifest(artifact.manifest)
        if "cuda" in artifact.manifest:
            from .cuda.tuning import remembered

            artifact = remembered(artifact, notes or Notes())
        engine = _engine(artifact, signature, threads)
        report = artifact.manifest.get("report") or {}
        return Model(signature, engine, artifact, report, notes)

    @property
    def name(self) -> str:
        """The name of the user's model; may be empty."""
        return self._signature.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and symbolic shape of each input."""
        return self._signature.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and symbolic shape of each output."""
        return self._signature.outputs

    @property
    def manifest(self) -> dict[str, Any]:
        """What the artifact says about itself; empty for a model without one."""
        return self._artifact.manifest if self._artifact else {}

    @property
    def report(self) -> dict[str, Any]:
        """What the compiler did, and why."""
        return self._report

    @property
    def artifact(self) -> Artifact | None:
        """What ``save`` writes; None for a model without native code."""
        return self._artifact

    @property
    def nbytes(self) -> int:
        """Bytes of native code and weights."""
        return self._artifact.nbytes if self._artifact else 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights in the artifact."""
        return self._artifact.weights.nbytes if self._artifact else 0

    @property
    def expanded_bytes(self) -> int:
        """Bytes of those that were made of them when the model was loaded."""
        return int(self.manifest.get("expansion", {}).get("size", 0))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model: one output is returned as an array, several as a tuple.

        Raises:
            InputError: What was given does not fit the model's inputs.
            RunError: The model met a value that it cannot compute with.
        """
        fits = not kwargs and len(args) == len(self._dtypes)
        outputs = self._outputs(args if fits else self._in_order(args, kwargs))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Runs the model and returns its outputs by name.

        Inputs are given as one mapping by name, or like to a call.

        Raises:
            InputError: What was given does not fit the model's inputs.
            RunError: The model met a value that it cannot compute with.
        """
        if len(args) == 1 and isinstance(args[0], (dict, Mapping)):
            args, kwargs = (), {**args[0], **kwargs} if kwargs else args[0]
        outputs = self._outputs(self._in_order(args, kwargs))
        return dict(zip(self.output_names, outputs, strict=True))

    def profile(self, feeds: Mapping[str, Any]) -> list[int]:
        """Time spent at each launch site of the manifest in one run on ``feeds``.

        A CPU counts it in cycles, a GPU in nanoseconds.

        Raises:
            ModelError: The model does not run native code.
        """
        profile = getattr(self._engine, "profile", None)
        if profile is None:
            raise ModelError("only a model compiled to native code can be profiled")
        arrays, _ = self._arrays(self._in_order((), feeds))
        return profile(self._plan(arrays), arrays).tolist()

    def tune(self, *args: Any, **kwargs: Any) -> Model:
        """Measures on this GPU which way to compute each kernel is fastest, and takes that.

        The winners are remembered on this machine, and saved with the model. Nobody may call the
        model meanwhile.

        Args:
            *args: Inputs like to a call; without any, random ones where all sizes are fixed.
            **kwargs: Inputs by name.

        Returns:
            The model itself.

        Raises:
            ModelError: It is not for GPUs, or holds one way to compute each kernel.
            DeviceError: There is no GPU that can run it.
            InputError: Sizes are open and no inputs given, or they do not fit.
        """
        if "cuda" not in self.manifest:
            raise ModelError(
                "models for GPUs are tuned where they run; others when they are compiled, by "
                "mlc.compile(…, tune=True)"
            )
        assert self._artifact is not None
        values = self._in_order(args, kwargs) if args or kwargs else self._random()
        arrays, _ = self._arrays(values)
        self._plan(arrays)
        from .cuda import CudaEngine
        from .cuda.tuning import tuned

        assert isinstance(self._engine, CudaEngine)
        self._engine, self._artifact = tuned(self._engine, self._artifact, arrays, self._notes)
        self._plans.clear()
        return self

    def _random(self) -> list[np.ndarray]:
        """Random inputs."""
        names = sorted({name for spec in self.inputs for name in spec.symbols()})
        if names:
            self._signature.refuse(
                [f"the sizes {', '.join(names)} are open: give inputs to tune with"]
            )
        rng = np.random.default_rng(0)
        return [random_array(rng, spec, spec.shape) for spec in self.inputs]  # pyright: ignore

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a file that ``load`` reads.

        How long its compilation took is left out, so that the same model is the same bytes.

        Raises:
            ModelError: The model has no native code, or the file cannot be written.
        """
        if self._artifact is None:
            raise ModelError("a model for the reference target has no native code to save")
        report = {k: v for k, v in self.report.items() if k != "seconds"}
        manifest = {**self._artifact.manifest, **({"report": report} if report else {})}
        replace(self._artifact, manifest=manifest).save(path)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{i.name}: {i}" for i in self.inputs)
        outputs = ", ".join(f"{o.name}: {o}" for o in self.outputs)
        return f"<mlc.Model {self.name!r} ({inputs}) -> ({outputs})>"

    def _outputs(self, values: Sequence[Any]) -> list[Any]:
        arrays, torch = self._arrays(values)
        outputs = self._engine.execute(self._plan(arrays), arrays)
        return [to_torch(o) if type(o) is np.ndarray else o for o in outputs] if torch else outputs

    def _arrays(self, values: Sequence[Any]) -> tuple[list[np.ndarray], bool]:
        """Aligned C-contiguous arrays, and whether one of them is a torch tensor on the host."""
        arrays, torch, fits = [], False, True
        for i, value in enumerate(values):
            dtype = self._dtypes[i]
            if self._on_device and type(value) is not np.ndarray:
                there = self._on_device(value, self.input_names[i])
                if there is not None:
                    arrays.append(there)
                    fits = fits and there.dtype == dtype
                    continue
            if is_torch(value):
                torch, value = True, from_torch(value, self.input_names[i])
            if type(value) is not np.ndarray or value.dtype != dtype:
                value = plain_array(value, dtype, self.input_names[i])
                fits = fits and value.dtype == dtype
            flags = value.flags
            if not (flags.c_contiguous and flags.aligned):
                value = np.array(value, order="C")
            arrays.append(value)
        if not fits:
            self._signature.bind(arrays)
        return arrays, torch

    def _plan(self, arrays: Sequence[np.ndarray]) -> Any:
        key = tuple([a.shape for a in arrays])
        plan = self._plans.get(key)
        if plan is None:
            plan = self._engine.plan(arrays)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _in_order(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        names = self.input_names
        if not args and named.keys() == self._names:
            return [named[n] for n in names]
        problems = []
        if len(args) > len(names):
            problems.append(f"{len(args)} inputs given by position, the model has {len(names)}")
        given = dict(zip(names, args, strict=False))
        problems += [f"{n}: given by position and by name" for n in given if n in named]
        problems += [f"{n}: the model has no such input" for n in named if n not in names]
        given.update(named)
        problems += [f"{s.name}: missing, expected {s}" for s in self.inputs if s.name not in given]
        if problems:
            problems.append(f"its inputs are: {', '.join(names) or 'none'}")
            self._signature.refuse(problems)
        return [given[n] for n in names]


def _engine(artifact: Artifact, signature: Signature, threads: int | None) -> Engine:
    if "cuda" in artifact.manifest:
        from .cuda import CudaEngine

        return CudaEngine(artifact, signature)
    return NativeEngine(artifact, signature, thread_count(threads))


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Model:
    """Loads ``model.mlc``.

    Args:
        path: The artifact.
        threads: Threads to run on; by default ``MLC_THREADS``, else every CPU.

    Raises:
        ArtifactError: The file is no artifact, is damaged, or is for another machine.
        DeviceError: It is for a GPU, and there is none that can run it.
    """
    return Model.from_artifact(Artifact.open(path), threads=threads, notes=Notes(cache_folder()))

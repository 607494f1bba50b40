"""Runs an artifact's kernels on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..signature import Signature
from ..tensors import is_torch
from .arrays import DeviceArray, on_device, torch_empty, torch_first, torch_stream
from .clock import Clock
from .device import Device, Memory, current_device
from .lane import Lane, Ran, counted
from .loaded import Loaded
from .plan import Plan, make_plan
from .program import Program
from .trial import Trial

Array = np.ndarray | DeviceArray


class _Home:
    """The model on one device, with the lanes that are free."""

    def __init__(
        self, device: Device, program: Program, artifact: Artifact, weights: Memory | None
    ):
        self.loaded = Loaded(device, program, artifact, weights)
        self._program = program
        self._free: list[Lane] = []

    def take(self) -> Lane:
        """A lane that nobody uses."""
        try:
            return self._free.pop()
        except IndexError:
            return Lane(self.loaded, self._program)

    def give(self, lane: Lane) -> None:
        """Puts a lane back; one whose run failed is better dropped."""
        lane.leave()
        self._free.append(lane)


class CudaEngine:
    """An artifact on the GPUs of this machine, ready to be called from several threads at once.

    Inputs on the host are copied through staging memory; those on a GPU are read where they lie.
    If one is a tensor of torch, the run goes to torch's current stream and is not waited for, and
    outputs are tensors of torch. Outputs are on the GPU if one of the inputs is. ``weights`` are
    those that are there already, by the device's number.

    Raises:
        DeviceError: There is no GPU, or the artifact has no code for it.
        ArtifactError: The manifest's kernels do not make sense.
    """

    def __init__(
        self,
        artifact: Artifact,
        signature: Signature,
        weights: Mapping[int, Memory] | None = None,
    ):
        self._artifact = artifact
        self._weights = weights or {}
        self._signature = signature
        self._program = Program.from_manifest(artifact.manifest, signature)
        self._homes: dict[int, _Home] = {}
        self._lock = threading.Lock()
        self._home(current_device())

    def on_device(self, value: Any, name: str) -> DeviceArray | None:
        """``value`` where it lies, if that is the memory of a GPU.

        Raises:
            InputError: No kernel can read it as it is.
        """
        return on_device(value, name)

    def plan(self, arrays: Sequence[Array]) -> Plan:
        """Checks shapes and works out everything that follows from them.

        Raises:
            InputError: The arrays do not fit, or the results would be too large.
        """
        return make_plan(self._program, self._signature, arrays)

    def execute(self, plan: Plan, arrays: Sequence[Array]) -> list[Any]:
        """One run.

        Raises:
            DeviceError: The GPU has too little memory left, or the driver reports a failure.
            InputError: The inputs are on different GPUs.
        """
        device = self._device_of(arrays)
        home = self._home(self.device_of(arrays))
        with home.loaded.device.entered():
            lane = home.take()
            run = _run_on_host if device is None else _run_on_device
            results = run(lane, plan, arrays)
            home.give(lane)
        return results

    def profile(self, plan: Plan, arrays: Sequence[Array]) -> np.ndarray:
        """Nanoseconds of each launch of a run."""
        home = self._home(self.device_of(arrays))
        with home.loaded.device.entered():
            lane = home.take()
            found = _clock(lane, plan, arrays).seconds()
            home.give(lane)
        count = len(self._program.launches)
        return np.array([round(1e9 * found.get(n, 0)) for n in range(count)], np.int64)

    def clock(self, arrays: Sequence[Array]) -> Clock:
        """A clock of the launches of a run."""
        home = self._home(self.device_of(arrays))
        with home.loaded.device.entered():
            return _clock(home.take(), self.plan(arrays), arrays)

    def trial(self, artifact: Artifact, arrays: Sequence[Array]) -> Trial:
        """Libraries in the place of this engine's kernels, held against them.

        ``artifact`` is the same with their work.
        """
        home = self._home(self.device_of(arrays))
        with home.loaded.device.entered():
            lane, plan = home.take(), self.plan(arrays)
            addresses, ran = _ran(lane, plan, arrays)
            program = Program.from_manifest(artifact.manifest, self._signature)
            other = Loaded(home.loaded.device, program, artifact, home.loaded.weights)
            known = make_plan(program, self._signature, arrays).known
            parts = other, program.launches
            return Trial(lane, counted(ran.stretches), parts, counted(known), addresses)

    def rebound(self, artifact: Artifact) -> CudaEngine:
        """An engine of the same artifact with other launches; weights are where they are."""
        weights = {ordinal: home.loaded.weights for ordinal, home in self._homes.items()}
        return CudaEngine(artifact, self._signature, weights)

    def device_of(self, arrays: Sequence[Array]) -> Device:
        """Where a run on ``arrays`` takes place."""
        return self._device_of(arrays) or current_device()

    def _home(self, device: Device) -> _Home:
        home = self._homes.get(device.ordinal)
        if home is None:
            with self._lock:
                home = self._homes.get(device.ordinal)
                if home is None:
                    weights = self._weights.get(device.ordinal)
                    home = _Home(device, self._program, self._artifact, weights)
                    self._homes[device.ordinal] = home
        return home

    def _device_of(self, arrays: Sequence[Array]) -> Device | None:
        """Where the arrays are that are on a GPU."""
        devices = {a.device.ordinal: a.device for a in arrays if isinstance(a, DeviceArray)}
        if len(devices) > 1:
            self._signature.refuse([f"they are on different GPUs: {sorted(devices)}"])
        return next(iter(devices.values()), None)


def _run_on_host(lane: Lane, plan: Plan, arrays: Sequence[Array]) -> list[np.ndarray]:
    """Arrays of the host go through staging memory, and so do the results."""
    stream = lane.stream
    lane.stage(plan.staged)
    inputs = _addresses(lane, plan, arrays, stream)
    places = plan.staging[len(arrays) :]
    ran = lane.launch(plan, [*inputs, *(lane.staging + p for p in places)], stream)
    shapes = plan.shapes(ran.symbols)
    results = [np.empty(s, t) for s, (_, t) in zip(shapes, plan.outputs, strict=True)]
    fetched = [lane.fetch(p, r.nbytes, stream) for p, r in zip(places, results, strict=True)]
    lane.wait(stream)
    for result, data in zip(results, fetched, strict=True):
        result.reshape(-1).view(np.uint8)[:] = data
    return results


def _run_on_device(lane: Lane, plan: Plan, arrays: Sequence[Array]) -> list[Any]:
    """Results are new arrays on the device, tensors of torch if one of the inputs is."""
    there = next(a for a in arrays if isinstance(a, DeviceArray))
    if any(isinstance(a, DeviceArray) and is_torch(a.owner) for a in arrays):
        stream, empty, first = torch_stream(there.device), torch_empty, torch_first
    else:
        stream, empty, first = lane.stream, DeviceArray.empty, DeviceArray.first
    inputs = _addresses(lane, plan, arrays, stream)
    results = [empty(*output, there.device) for output in plan.outputs]
    ran = lane.launch(plan, [*inputs, *(r.data_ptr() for r in results)], stream)
    if empty is DeviceArray.empty or not all(isinstance(a, DeviceArray) for a in arrays):
        lane.wait(stream)
    if plan.program.late is None:
        return results
    return [first(r, shape) for r, shape in zip(results, plan.shapes(ran.symbols), strict=True)]


def _clock(lane: Lane, plan: Plan, arrays: Sequence[Array]) -> Clock:
    """A clock of the launches of a run, which was done before."""
    addresses, ran = _ran(lane, plan, arrays)
    return lane.clock(ran.stretches, addresses)


def _ran(lane: Lane, plan: Plan, arrays: Sequence[Array]) -> tuple[list[int], Ran]:
    """A run whose results stay on the device: all addresses, and what was run."""
    lane.stage(plan.staged)
    inputs = _addresses(lane, plan, arrays, lane.stream)
    outputs = [lane.staging + place for place in plan.staging[len(arrays) :]]
    addresses = [*inputs, *outputs]
    return addresses, lane.launch(plan, addresses, lane.stream)


def _addresses(lane: Lane, plan: Plan, arrays: Sequence[Array], stream: int) -> list[int]:
    """Of arrays on the device, and of staged copies of the others."""
    found = []
    for array, place in zip(arrays, plan.staging, strict=False):
        if isinstance(array, DeviceArray):
            found.append(array.data_ptr())
        else:
            lane.stage(plan.staged)
            found.append(lane.send(array, place, stream))
    return found

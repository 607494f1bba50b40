"""Arrays of other libraries on a GPU, taken and given without a copy."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cuda_sample import expected, feed, sample, standin
from cuda_standin import StandIn, standing_in
from mlc.runtime import InputError, Model
from mlc.runtime.cuda import DeviceArray, dlpack
from mlc.runtime.cuda.arrays import on_device
from mlc.runtime.cuda.device import current_device

pytestmark = pytest.mark.standin


@pytest.fixture
def gpu() -> Iterator[StandIn]:
    with standing_in(standin(count=2)) as found:
        yield found


@pytest.fixture
def model(gpu: StandIn) -> Model:
    return Model.from_artifact(sample())


class Guest:
    """What another library's array on a GPU shows of itself."""

    def __init__(self, gpu: StandIn, array: np.ndarray, shift: int = 0, strides: Any = None):
        self.address = gpu.memory.allocate(array.nbytes + shift) + shift
        gpu.memory.view(self.address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.address, False),
            "strides": strides,
            "version": 3,
        }


def check(got: list[Any], x: np.ndarray) -> None:
    for array, wanted in zip(got, expected(x), strict=True):
        assert isinstance(array, DeviceArray)
        np.testing.assert_array_equal(array.numpy(), wanted)


def test_memory_of_others_is_read_where_it_lies(gpu: StandIn, model: Model):
    x = feed(8, 9)
    guest = Guest(gpu, x)
    copies = gpu.calls["cuMemcpyHtoD_v2"]
    y, half = model(guest)
    check([y, half], x)
    assert gpu.calls["cuMemcpyHtoDAsync_v2"] == 0
    assert gpu.calls["cuMemcpyHtoD_v2"] == copies
    np.testing.assert_array_equal(model(y)[0].numpy(), expected(expected(x)[0])[0])
    del y, half
    model(guest)
    assert gpu.calls["cuGraphInstantiateWithFlags"] == 1


def test_odd_addresses_are_copied(gpu: StandIn, model: Model):
    x = feed(3, 5)
    check(list(model(Guest(gpu, x, shift=4))), x)


def test_strides_are_refused_unless_contiguous(gpu: StandIn, model: Model):
    x = feed(1, 6)
    check(list(model(Guest(gpu, x, strides=(400, 4)))), x)
    with pytest.raises(InputError, match="x: its elements on the GPU are not contiguous"):
        model(Guest(gpu, feed(2, 6), strides=(400, 4)))


def test_inputs_on_a_gpu_are_checked(gpu: StandIn, model: Model):
    with pytest.raises(InputError, match=r"expected float32 \[N, K\], got int32 \[2, 3\]"):
        model(Guest(gpu, np.zeros((2, 3), np.int32)))


def test_results_show_the_interfaces_of_others(gpu: StandIn, model: Model):
    y, _ = model(Guest(gpu, feed(4, 6)))
    interface = y.__cuda_array_interface__
    assert interface["shape"] == (4, 6)
    assert interface["typestr"] == "<f4"
    assert gpu.memory.room(interface["data"][0])
    assert y.__dlpack_device__() == (2, 0)
    with pytest.raises(TypeError, match=r"is copied to the host by its numpy\(\) only"):
        np.asarray(y)
    half = DeviceArray.empty((2,), np.dtype(ml_dtypes.bfloat16), current_device())
    assert not hasattr(half, "__cuda_array_interface__")


def test_dlpack_there_and_back(gpu: StandIn):
    for dtype in (np.float32, np.int8, np.bool_, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        array = DeviceArray.empty((2, 3), np.dtype(dtype), current_device())
        taken = dlpack.Imported(array.__dlpack__())
        assert (taken.address, taken.shape, taken.strides) == (array.address, (2, 3), None)
        assert taken.dtype == dtype
        address = array.address
        del array
        gc.collect()
        assert gpu.memory.room(address)
        del taken
        assert not gpu.memory.room(address)


def test_a_capsule_that_nobody_takes_frees_the_array(gpu: StandIn):
    array = DeviceArray.empty((4,), np.dtype(np.float32), current_device())
    address, capsule = array.address, array.__dlpack__(stream=1)
    del array
    assert gpu.memory.room(address)
    del capsule
    assert not gpu.memory.room(address)


def test_capsules_are_those_of_numpy_and_torch(gpu: StandIn, monkeypatch: pytest.MonkeyPatch):
    """With the host as the device, libraries read our capsules, and we read theirs."""
    monkeypatch.setattr(dlpack, "_CUDA", 1)
    monkeypatch.setattr(DeviceArray, "__dlpack_device__", lambda self: (1, 0))
    array = DeviceArray.empty((3, 2), np.dtype(np.float32), current_device())
    view = np.from_dlpack(array)
    assert (view.ctypes.data, view.shape) == (array.address, (3, 2))
    np.testing.assert_array_equal(array.numpy(), view)
    foreign = feed(3, 2)
    taken = dlpack.Imported(foreign.__dlpack__())
    assert (taken.address, taken.shape) == (foreign.ctypes.data, (3, 2))
    assert taken.dtype == np.float32
    torch = pytest.importorskip("torch")
    brain = DeviceArray.empty((5,), np.dtype(ml_dtypes.bfloat16), current_device())
    tensor = torch.from_dlpack(brain)
    assert (tensor.dtype, tensor.data_ptr()) == (torch.bfloat16, brain.address)
    assert dlpack.Imported(tensor.__dlpack__()).dtype == ml_dtypes.bfloat16


def test_dlpack_is_taken(gpu: StandIn, model: Model):
    x = feed(5, 5)
    held = DeviceArray.empty(x.shape, x.dtype, current_device())
    gpu.memory.view(held.address, x.nbytes)[:] = x.reshape(-1).view(np.uint8)
    streams = []

    def give(stream: int) -> Any:
        streams.append(stream)
        return held.__dlpack__(stream=stream)

    guest = SimpleNamespace(__dlpack__=give, __dlpack_device__=held.__dlpack_device__)
    check(list(model(guest)), x)
    assert streams == [1]


@pytest.fixture
def torch(gpu: StandIn, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Torch with tensors that seem to be on the stand-in's GPU."""
    torch = pytest.importorskip("torch")

    class There(torch.Tensor):
        @property
        def device(self) -> Any:
            return torch.device("cuda", 0)

    def empty(shape: Any, dtype: Any, device: Any) -> Any:
        assert device == torch.device("cuda", 0)
        size = int(np.prod(shape)) * dtype.itemsize
        block = gpu.memory.view(gpu.memory.allocate(size), size)
        return torch.from_numpy(block).view(dtype).reshape(shape).as_subclass(There)

    gpu.add_stream(0x7000)
    monkeypatch.setattr(torch, "empty", empty)
    current = SimpleNamespace(cuda_stream=0x7000)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda ordinal: current)
    return torch


def tensor_of(torch: Any, array: np.ndarray) -> Any:
    tensor = torch.empty(array.shape, torch.float32, torch.device("cuda", 0))
    tensor.numpy()[:] = array
    return tensor


def test_torch_in_torch_out_on_its_own_stream(gpu: StandIn, torch: Any, model: Model):
    x = feed(6, 7)
    tensor = tensor_of(torch, x)
    y, half = model(tensor)
    assert gpu.calls["cuStreamSynchronize"] == 0
    assert not gpu.ran
    gpu.StreamSynchronize(0x7000)
    for got, wanted in zip((y, half), expected(x), strict=True):
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), wanted)
    assert gpu.calls["cuMemcpyHtoDAsync_v2"] == 0


@pytest.mark.parametrize("stream", [0, 0x7000])
def test_runs_on_several_streams_do_not_disturb_each_other(
    gpu: StandIn, torch: Any, model: Model, stream: int
):
    given = [feed(6, 7), feed(2, 3), feed(6, 7) + 1]
    torch.cuda.current_stream(0).cuda_stream = stream
    first = model(tensor_of(torch, given[0]))
    gpu.add_stream(0x7010)
    torch.cuda.current_stream(0).cuda_stream = 0x7010
    later = [model(tensor_of(torch, x)) for x in given[1:]]
    # The second stream is waited for first.
    gpu.StreamSynchronize(0x7010)
    for outputs, x in zip([first, *later], given, strict=True):
        for got, wanted in zip(outputs, expected(x), strict=True):
            np.testing.assert_array_equal(got.numpy(), wanted)
    assert gpu.calls["cuStreamCreate"] == 1


def test_host_and_device_inputs_mix(gpu: StandIn, torch: Any):
    """An array on the host goes along with tensors on the GPU."""
    artifact = sample()
    artifact.manifest["inputs"].append({"name": "b", "dtype": "float32", "shape": ["N", "K"]})
    artifact.manifest["cuda"]["launches"][2]["arguments"][0] = {"input": 1}
    model, x, b = Model.from_artifact(artifact), feed(3, 4), feed(3, 4) * 2
    y, half = model(tensor_of(torch, x), b)
    np.testing.assert_array_equal(y.numpy(), expected(x)[0])
    w = np.resize(np.arange(5, dtype=np.float32) / 8, b.size).reshape(b.shape)
    np.testing.assert_array_equal(half.numpy(), np.float32(0.5) * b + w)
    other = tensor_of(torch, b)
    there = on_device(other, "b")
    assert there
    there.device = SimpleNamespace(ordinal=1)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match="they are on different GPUs"):
        model(tensor_of(torch, x), there)


def test_torch_on_the_host_stays_there(gpu: StandIn, model: Model):
    torch = pytest.importorskip("torch")
    x = feed(2, 9)
    y, _ = model(torch.from_numpy(x))
    assert isinstance(y, torch.Tensor)
    np.testing.assert_array_equal(y.numpy(), expected(x)[0])

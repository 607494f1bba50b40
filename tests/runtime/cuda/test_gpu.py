"""The same small model on a real GPU, if this machine has one."""

from __future__ import annotations

import numpy as np
import pytest
from at_once import at_once
from cuda_sample import expected, feed, sample
from mlc.runtime import Model
from mlc.runtime.cuda import DeviceArray, current_device, describe
from mlc.runtime.errors import DeviceError


def arch_here() -> int:
    """Of the GPU; 0 where there is none."""
    try:
        return int(current_device().arch.removeprefix("sm_"))
    except DeviceError:
        return 0


ARCH = arch_here()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not ARCH, reason="there is no GPU")]


@pytest.fixture(scope="module")
def model() -> Model:
    pytest.importorskip("triton")
    return Model.from_artifact(sample((ARCH,), ptx=False))


def check(got, x: np.ndarray) -> None:
    for array, wanted in zip(got, expected(x), strict=True):
        np.testing.assert_allclose(np.asarray(array), wanted, 1e-6, 1e-6)


def test_numpy_arrays(model: Model):
    assert f"sm_{ARCH}" in describe()
    for shape in ((3, 7), (1, 1), (0, 5), (200, 4096), (3, 7), *((n, 3) for n in range(1, 20))):
        check(model(feed(*shape)), feed(*shape))


def test_threads(model: Model):
    def work(seed: int) -> None:
        for n in range(1, 60):
            x = feed(1 + seed * n % 97, 1 + n % 5)
            check(model(x), x)

    at_once(work)


def test_launches_are_timed(model: Model):
    times = model.profile({"x": feed(200, 4096)})
    assert len(times) == 3
    assert all(0 < t < 10**8 for t in times)


def test_torch_tensors_on_several_streams(model: Model):
    torch = pytest.importorskip("torch")
    streams = [torch.cuda.Stream() for _ in range(3)]
    xs = [feed(50 + n, 1000) for n in range(30)]
    torch.cuda.synchronize()
    got = []
    for n, x in enumerate(xs):
        with torch.cuda.stream(streams[n % 3]):
            got.append(model(torch.from_numpy(x).to("cuda")))
    torch.cuda.synchronize()
    for outputs, x in zip(got, xs, strict=True):
        assert all(o.is_cuda for o in outputs)
        check([o.cpu() for o in outputs], x)


def test_odd_views_of_torch_tensors(model: Model):
    torch = pytest.importorskip("torch")
    x = feed(7, 9)
    wide = torch.from_numpy(np.pad(x, ((0, 0), (1, 0)))).to("cuda")
    check([o.cpu() for o in model(wide[:, 1:])], x)
    flat = torch.from_numpy(np.pad(x.reshape(-1), (1, 0))).to("cuda")
    check([o.cpu() for o in model(flat[1:].view(7, 9))], x)


def test_results_go_to_other_libraries(model: Model):
    torch = pytest.importorskip("torch")
    cupy = pytest.importorskip("cupy")
    x = feed(6, 5)
    y, half = model(cupy.asarray(x))
    assert isinstance(y, DeviceArray)
    check([cupy.asarray(y).get(), torch.from_dlpack(half).cpu()], x)
    check([o.numpy() for o in model(y)], expected(x)[0])

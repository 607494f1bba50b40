"""Calls of a loaded model: every way to give inputs, every way to give wrong ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from at_once import at_once
from mlc.runtime import InputError, Model, ModelError, RunError, Signature, Symbol, TensorSpec
from native_sample import F32, SIGNATURE, expected, feeds, sample


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_artifact(sample(), threads=1)


def check(got: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> None:
    wanted = expected(given)
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000, 3])
def test_one_model_serves_every_size(model: Model, n: int):
    given = feeds(n)
    check(model.run(given), given)


def test_positional_keyword_and_mixed(model: Model):
    given = feeds()
    x, pick, long = given.values()
    for got in (model(x, pick, long), model(**given), model(x, long=long, pick=pick)):
        assert isinstance(got, tuple)
        check(dict(zip(model.output_names, got, strict=True)), given)


def test_size_zero(model: Model):
    given = feeds(2, (1,))
    given["x"][:] = -1
    check(model.run(given), given)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f4"),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(F32).reshape(x.shape),
        lambda x: x.tolist(),
        lambda x: np.ma.asarray(x),
    ],
    ids=["fortran", "strided", "reversed", "big-endian", "unaligned", "list", "subclass"],
)
def test_any_layout_is_taken(model: Model, change):
    given = feeds()
    got = model.run({**given, "x": change(given["x"])})
    check(got, given)


def test_read_only_inputs_and_fresh_outputs(model: Model):
    given = feeds()
    for array in given.values():
        array.setflags(write=False)
    first, second = model.run(given), model.run(given)
    first["y"][:] = 0
    first["positive"][:] = 0
    check(second, given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((4, 3))}, r"x: expected float32 \[N, 3\], got float64 \[4, 3\]"),
        ({"x": np.zeros(4, F32)}, r"x: .*rank 1, not 2"),
        ({"x": np.zeros((4, 5), F32)}, r"x: expected float32 \[N, 3\], but dimension 1 is 5"),
        ({"x": np.zeros((5, 3), F32)}, r"long: dimension 0 \(2\*N\) is 8, but N is 5 in x"),
        ({"long": np.zeros(9, np.uint8)}, r"dimension 0 is 9: no multiple of 2"),
        ({"x": np.zeros((1001, 3), F32)}, "N is 1001, but the model was compiled for at most"),
        ({"pick": np.zeros(0, int)}, "M is 0, but the model was compiled for at least 1"),
        ({"x": None}, "x: expected"),
        ({"x": "text"}, "x: expected"),
        ({"x": [[1.0, 2.0], [3.0]]}, "input x: expected an array, got list"),
        ({"pick": [1.5]}, "pick: expected int64"),
        ({"other": 1}, "other: the model has no such input"),
    ],
)
def test_wrong_inputs_are_named(model: Model, change: dict, message: str):
    with pytest.raises(InputError, match=message):
        model.run({**feeds(), **change})


def test_every_problem_is_listed(model: Model):
    with pytest.raises(InputError) as caught:
        model.run({"x": np.zeros((4, 3)), "pick": np.zeros((), F32), "long": np.zeros(8, np.int8)})
    assert all(f"\n  {name}: expected" in str(caught.value) for name in model.input_names)
    with pytest.raises(InputError) as caught:
        model(np.zeros((4, 3), F32), x=1, y=2)
    for text in ("x: given by position and by name", "y: the model has", "long: missing"):
        assert text in str(caught.value)
    with pytest.raises(InputError, match="4 inputs given by position, the model has 3"):
        model(1, 2, 3, 4)


def test_two_values_of_one_symbol():
    pair = Signature(
        [TensorSpec("a", F32, ("N", "N")), TensorSpec("b", F32, ("N",))], [], [Symbol("N")]
    )
    assert pair.bind([np.zeros((2, 2), F32), np.zeros(2, F32)]) == [2]
    with pytest.raises(InputError, match=r"b: dimension 0 \(N\) is 3, but N is 2 in a"):
        pair.bind([np.zeros((2, 2), F32), np.zeros(3, F32)])


def test_native_errors_carry_the_offending_value(model: Model):
    with pytest.raises(RunError, match="pick: index -7 is out of range"):
        model.run(feeds(picks=(0, -7)))
    given = feeds()
    check(model.run(given), given)


def test_many_threads_share_one_model(model: Model):
    def work(seed: int) -> None:
        for n in range(1, 60):
            given = feeds(1 + (seed * n) % 97)
            check(model.run(given), given)

    at_once(work)


def test_torch_in_torch_out(model: Model):
    torch = pytest.importorskip("torch")
    given = feeds()
    tensors = {k: torch.from_numpy(v) for k, v in given.items()}
    tensors["x"].requires_grad_()
    got = model.run(tensors)
    assert all(isinstance(t, torch.Tensor) for t in got.values())
    check({k: t.numpy() for k, t in got.items()}, given)
    with pytest.raises(InputError, match="expected a dense tensor on the CPU, got one on meta"):
        model.run({**tensors, "x": tensors["x"].to("meta")})


def test_dlpack_in(model: Model):
    class Foreign:
        """What another library's array shows of itself."""

        def __init__(self, array: np.ndarray):
            self.array = array

        def __dlpack__(self, **kwargs):
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    given = feeds()
    check(model.run({name: Foreign(array) for name, array in given.items()}), given)


def test_bfloat16_tensors_cross_without_a_copy():
    torch = pytest.importorskip("torch")
    from mlc.runtime.tensors import from_torch, to_torch

    tensor = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    array = from_torch(tensor, "x")
    assert (array.dtype.name, array.tolist()) == ("bfloat16", [1.5, -2.0])
    assert to_torch(array).data_ptr() == tensor.data_ptr()
    assert to_torch(array).dtype is torch.bfloat16


def test_what_a_model_says_of_itself(model: Model):
    assert model.input_names == ["x", "pick", "long"]
    assert str(model.inputs[2]) == "uint8 [2*N]"
    assert model.outputs == SIGNATURE.outputs
    assert model.report == {"kernels": 1}
    assert model.profile(feeds()) == [77]
    assert "x: float32 [N, 3]" in repr(model)


def test_the_plan_cache_is_bounded(model: Model):
    for n in range(600):
        model.run(feeds(1 + n % 300))
    assert len(model._plans) <= 256


def test_a_model_without_code_cannot_be_saved(tmp_path):
    class Echo:
        def plan(self, arrays):
            return None

        def execute(self, plan, arrays):
            return list(arrays)

    spec = TensorSpec("x", F32, (2,))
    model = Model(Signature([spec], [spec]), Echo())
    assert model(np.array([1, 2], F32)).tolist() == [1, 2]
    with pytest.raises(ModelError, match="no native code to save"):
        model.save(tmp_path / "x.mlc")
    with pytest.raises(ModelError, match="profiled"):
        model.profile({"x": np.zeros(2, F32)})


def test_running_imports_no_compiler(tmp_path):
    path = tmp_path / "m.mlc"
    Model.from_artifact(sample()).save(path)
    code = (
        f"import sys, mlc.runtime as r; r.load({str(path)!r})\n"
        "print([m for m in ('xdsl', 'onnx', 'torch', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""NVIDIA's own libraries, where they are installed: their descriptors need no GPU."""

from __future__ import annotations

import ctypes

import pytest
from mlc.runtime import DeviceError
from mlc.runtime.cuda import cublas, cudnn, vendor


def installed(name: str, *files: str) -> ctypes.CDLL:
    """A library by the first of its files that is there."""
    try:
        return vendor.find(name, list(files))
    except DeviceError as problem:
        pytest.skip(str(problem))


def test_cublaslt_takes_these_descriptors():
    library = cublas.CublasLt(installed("cuBLASLt", "libcublasLt.so.13", "libcublasLt.so.12"))
    operation = library.handle(library.MatmulDescCreate, 68, 0)
    for attribute, value in {
        3: ctypes.c_int32(1),
        4: ctypes.c_int32(0),
        7: ctypes.c_uint32(36),
        8: ctypes.c_uint64(16),
        26: ctypes.c_int32(14),
    }.items():
        library.set(library.MatmulDescSetAttribute, operation, attribute, value)
    layout = library.handle(library.MatrixLayoutCreate, 14, 8, 4, 8)
    library.set(library.MatrixLayoutSetAttribute, layout, 5, ctypes.c_int32(3))
    library.set(library.MatrixLayoutSetAttribute, layout, 6, ctypes.c_int64(32))
    wishes = library.handle(library.MatmulPreferenceCreate)
    library.set(library.MatmulPreferenceSetAttribute, wishes, 1, ctypes.c_uint64(1 << 20))
    for attribute in (3, 5, 6, 7, 8):
        library.set(library.MatmulPreferenceSetAttribute, wishes, attribute, ctypes.c_uint32(2))
    with pytest.raises(DeviceError, match="CUBLAS_STATUS_INVALID_VALUE"):
        library.set(library.MatrixLayoutSetAttribute, layout, 5, ctypes.c_int64(3))
    library.MatmulPreferenceDestroy(wishes)
    library.MatrixLayoutDestroy(layout)
    library.MatmulDescDestroy(operation)
    assert library.version().startswith("1")


def test_cudnn_takes_these_descriptors():
    library = cudnn.Cudnn(installed("cuDNN", "libcudnn.so.9"))
    sizes, steps = (ctypes.c_int * 4)(2, 8, 9, 7), (ctypes.c_int * 4)(504, 1, 56, 8)
    tensor = library.handle(library.CreateTensorDescriptor)
    for kind in (0, 2, 9):
        library.SetTensorNdDescriptor(tensor, kind, 4, sizes, steps)
    window = library.handle(library.CreateFilterDescriptor)
    library.SetFilterNdDescriptor(window, 9, 1, 4, (ctypes.c_int * 4)(6, 4, 3, 3))
    moves = library.handle(library.CreateConvolutionDescriptor)
    two = ctypes.c_int * 2
    library.SetConvolutionNdDescriptor(moves, 2, two(1, 1), two(2, 2), two(1, 1), 1, 0)
    library.SetConvolutionGroupCount(moves, 2)
    for math in (0, 1, 3):
        library.SetConvolutionMathType(moves, math)
    activation = library.handle(library.CreateActivationDescriptor)
    for mode in (1, 5):
        library.SetActivationDescriptor(activation, mode, 1, 0.0)
    with pytest.raises(DeviceError, match="CUDNN_STATUS_BAD_PARAM"):
        library.SetTensorNdDescriptor(tensor, 99, 4, sizes, steps)
    library.DestroyActivationDescriptor(activation)
    library.DestroyConvolutionDescriptor(moves)
    library.DestroyFilterDescriptor(window)
    library.DestroyTensorDescriptor(tensor)
    assert library.version().startswith("9.")

"""The functions of NVIDIA's cuDNN that are used, those of version 9.

Its functions for convolutions are deprecated since that version in favour of graphs of operations,
and are still there. Unlike those graphs they need no choice among engines, and no code that is
compiled when a model is loaded.
"""

from __future__ import annotations

import ctypes
from functools import cache

from . import vendor
from .driver import driver

# As in driver.py.
PROTOTYPES = {
    "cudnnCreate": "p",
    "cudnnDestroy": "p",
    "cudnnSetStream": "pp",
    "cudnnCreateTensorDescriptor": "p",
    "cudnnDestroyTensorDescriptor": "p",
    "cudnnSetTensorNdDescriptor": "piipp",
    "cudnnCreateFilterDescriptor": "p",
    "cudnnDestroyFilterDescriptor": "p",
    "cudnnSetFilterNdDescriptor": "piiip",
    "cudnnCreateConvolutionDescriptor": "p",
    "cudnnDestroyConvolutionDescriptor": "p",
    "cudnnSetConvolutionNdDescriptor": "pipppii",
    "cudnnSetConvolutionGroupCount": "pi",
    "cudnnSetConvolutionMathType": "pi",
    "cudnnCreateActivationDescriptor": "p",
    "cudnnDestroyActivationDescriptor": "p",
    "cudnnSetActivationDescriptor": "piif",
    "cudnnGetConvolutionForwardAlgorithm_v7": "pppppipp",
    "cudnnGetConvolutionForwardWorkspaceSize": "pppppip",
    "cudnnConvolutionForward": "pppppppipnppp",
    "cudnnConvolutionBiasActivationForward": "pppppppipnpppppppp",
}


class Cudnn(vendor.Functions):
    """The library."""

    title, prefix, prototypes = "cuDNN", "cudnn", PROTOTYPES
    special = {
        "cudnnGetVersion": ([], ctypes.c_size_t),
        "cudnnGetErrorString": ([ctypes.c_int], ctypes.c_char_p),
    }

    def status(self, number: int) -> bytes | None:
        """The name of a status."""
        return self.GetErrorString(number)


@cache
def cudnn() -> Cudnn:
    """The library.

    Raises:
        DeviceError: It is not installed, or lacks a function; or there is no driver.
    """
    driver()
    return Cudnn(vendor.find(Cudnn.title, ["libcudnn.so.9"]))

"""The libraries of NVIDIA that may compute kernels, by the names that artifacts give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DeviceError
from .convolutions import Convolution, Convolutions
from .cublas import CublasLt, cublaslt
from .cudnn import Cudnn, cudnn
from .device import Device
from .products import Product, Products
from .vendor import Call, Functions, Vendor


@dataclass(frozen=True)
class _Known:
    """A library.

    Attributes:
        title: What users know it by.
        functions: Opens it.
        call: Reads what it is asked for from the entry of a kernel.
        on: Makes it ready on a device.
    """

    title: str
    functions: Callable[[], Functions]
    call: Callable[[Mapping[str, Any]], Call]
    on: Callable[[Device], Vendor]


_VENDORS = {
    "cublaslt": _Known(CublasLt.title, cublaslt, Product.from_manifest, Products),
    "cudnn": _Known(Cudnn.title, cudnn, Convolution.from_manifest, Convolutions),
}


def call_of(entry: Mapping[str, Any]) -> Call | None:
    """What a library is asked for in the place of a kernel; None where there is code.

    Raises:
        KeyError, TypeError, ValueError: The entry of the kernel does not make sense.
    """
    return _VENDORS[entry["library"]["name"]].call(entry) if "library" in entry else None


def title_of(name: str) -> str:
    """What users know a library by."""
    return _VENDORS[name].title


def vendor_on(name: str, device: Device) -> Vendor:
    """A library on a device; it is opened when it is first asked."""
    return _VENDORS[name].on(device)


def missing(name: str) -> str:
    """Why a library cannot be used here; nothing if it can."""
    try:
        _VENDORS[name].functions()
    except DeviceError as problem:
        return str(problem)
    return ""


def version_of(name: str) -> str:
    """The version of a library that is installed.

    Raises:
        DeviceError: It is not.
    """
    return _VENDORS[name].functions().version()

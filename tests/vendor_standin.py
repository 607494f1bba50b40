"""What stand-ins for NVIDIA's libraries have in common: functions in C, and handles."""

from __future__ import annotations

import ctypes
import itertools
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from cuda_machine import Refusal
from cuda_standin import StandIn
from mlc.runtime.cuda.driver import TYPES


class VendorStandIn:
    """A library on a GPU that is stood in for; methods are its functions without the prefix.

    Attributes:
        prefix: What the names of all functions begin with.
        invalid: The status of calls that make no sense.
        failed: The status of calls that fail here.
    """

    prefix: str
    invalid: int
    failed: int

    def __init__(self, gpu: StandIn, title: str, prototypes: Mapping[str, str]):
        self.gpu = gpu
        self._objects: dict[int, object] = {}
        self._handles = itertools.count(0x9000, 16)
        for name, types in prototypes.items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(TYPES[t] for t in types))
            setattr(self, name, prototype(self._guarded(name)))
        gpu.libraries[title] = self

    @property
    def held(self) -> int:
        """Handles and descriptors that were not given back."""
        return len(self._objects)

    def _guarded(self, name: str) -> Callable[..., int]:
        body = getattr(self, name.removeprefix(self.prefix))

        def call(*arguments: Any) -> int:
            try:
                body(*(a or 0 for a in arguments))
            except Refusal as refusal:
                if str(refusal):
                    self.gpu.failures.append(f"{name}: {refusal}")
                return refusal.code
            except BaseException:
                self.gpu.failures.append(traceback.format_exc())
                return self.failed
            return 0

        return call

    def _made(self, place: int, thing: object) -> None:
        handle = next(self._handles)
        self._objects[handle] = thing
        ctypes.c_void_p.from_address(place).value = handle

    def _get(self, handle: int, kind: type) -> Any:
        thing = self._objects.get(handle)
        if not isinstance(thing, kind):
            raise Refusal(self.invalid, f"{handle:#x} is no {kind.__name__}")
        return thing

    def _drop(self, handle: int) -> None:
        self._get(handle, object)
        del self._objects[handle]

"""Libraries of NVIDIA by ctypes, where they are installed, and their work as nodes of graphs.

They are looked for where the system's linker does, and in the packages of NVIDIA that pip installs.
"""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import DeviceError
from .device import Device
from .driver import TYPES

_NON_BLOCKING, _RELAXED = 1, 2


class Call(Protocol):
    """What a library is asked for, as far as it does not change from run to run."""

    @property
    def library(self) -> str:
        """Its name."""
        ...

    @property
    def result(self) -> str:
        """The type of the result."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """The types that tell how exact the result is."""
        ...

    def region(self, cells: Sequence[int]) -> tuple[int, int]:
        """The address of the result, and its bytes."""
        ...


class Functions:
    """A library's functions as attributes, without its prefix at the beginning.

    A call that fails raises a ``DeviceError`` with the function and the name of the status.

    Attributes:
        title: What users know it by.
        prefix: What all names begin with.
        prototypes: The types of arguments, as in driver.py, of the functions that give a status.
        special: Arguments and result of the others.
    """

    title: ClassVar[str]
    prefix: ClassVar[str]
    prototypes: ClassVar[Mapping[str, str]]
    special: ClassVar[Mapping[str, tuple[list[Any], Any]]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def __init__(self, library: Any):
        for name, types in self.prototypes.items():
            self._declare(library, name, [TYPES[t] for t in types], ctypes.c_int)
            getattr(self, name.removeprefix(self.prefix)).errcheck = self._checker(name)
        for name, (types, result) in self.special.items():
            self._declare(library, name, types, result)

    def status(self, number: int) -> bytes | None:
        """The name of a status."""
        raise NotImplementedError

    def version(self) -> str:
        """Such as ``12.9.3``."""
        number = self.GetVersion()
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def handle(self, function: Callable[..., Any], *arguments: Any) -> int:
        """What a function writes through its first argument, a pointer to a handle."""
        made = ctypes.c_void_p()
        function(ctypes.byref(made), *arguments)
        return made.value or 0

    def _declare(self, library: Any, name: str, types: list[Any], result: Any) -> None:
        function = getattr(library, name, None)
        if function is None:
            raise DeviceError(f"the {self.title} of this machine does not fit: it lacks {name}")
        function.argtypes, function.restype = types, result
        setattr(self, name.removeprefix(self.prefix), function)

    def _checker(self, name: str) -> Callable[[int, Any, Any], int]:
        def check(status: int, _function: Any, _arguments: Any) -> int:
            if status:
                said = (self.status(status) or b"").decode(errors="replace")
                raise DeviceError(f"{name} failed with {said or status}", status)
            return status

        return check


def find(title: str, names: Sequence[str]) -> Any:
    """The first library of one of these names that can be opened.

    Raises:
        DeviceError: It is not installed.
    """
    for path in (p for name in names for p in (name, *_installed(name))):
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise DeviceError(f"{title} is not installed: no {' or '.join(names)} is found")


def _installed(name: str) -> Iterator[str]:
    """Where pip has put it."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from map(str, sorted(Path(folder).glob(f"*/lib/{name}")))


class Vendor(ABC):
    """A library on one device, for one caller at a time."""

    def __init__(self, device: Device):
        self._device, self._cuda = device, device.cuda
        self._lock = threading.Lock()

    @cached_property
    def _handle(self) -> int:
        return self._open()

    @cached_property
    def _stream(self) -> int:
        return self._cuda.handle(self._cuda.cuStreamCreate, _NON_BLOCKING)

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._device.entered():
            made = vars(self)
            if "_handle" in made:
                self._close(self._handle)
            if "_stream" in made:
                self._cuda.cuStreamDestroy(self._stream)

    @contextmanager
    def graph(self, call: Any, cells: Sequence[int]) -> Iterator[int]:
        """The work on these arguments as a graph, which is there until the block ends.

        Raises:
            DeviceError: The library is not there, or does not compute it.
        """
        with self._lock, ExitStack() as stack:
            launch = self._prepared(stack, call, cells)
            self._cuda.cuStreamBeginCapture(self._stream, _RELAXED)
            try:
                launch(self._stream)
            except DeviceError:
                with suppress(DeviceError):
                    self._cuda.cuGraphDestroy(self._captured())
                raise
            graph = self._captured()
            stack.callback(self._cuda.cuGraphDestroy, graph)
            yield graph

    def _captured(self) -> int:
        graph = ctypes.c_void_p()
        self._cuda.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        return graph.value or 0

    @abstractmethod
    def _open(self) -> int:
        """A handle of the library, on the device that is entered."""

    @abstractmethod
    def _close(self, handle: int) -> None:
        """Gives it back."""

    @abstractmethod
    def _prepared(self, stack: ExitStack, call: Any, cells: Sequence[int]) -> Callable[[int], None]:
        """What puts the work on a stream; what that needs is there until ``stack`` is closed."""

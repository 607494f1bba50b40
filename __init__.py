"""mlc: a compression-aware compiler for machine-learning models.

>>> import mlc
>>> model = mlc.compile("model.onnx")
>>> y = model(x)

Importing it is light: the rooms are imported when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .driver import compile as compile
    from .driver import recover as recover
    from .ir.errors import MlcError as MlcError
    from .passes.compress.recipe import Recipe as Recipe
    from .runtime import Model as Model
    from .runtime import ModelError as ModelError
    from .runtime import load as load

__version__ = "0.1.0"
_HOMES = {
    "compile": ".driver",
    "recover": ".driver",
    "load": ".runtime",
    "Model": ".runtime",
    "ModelError": ".runtime",
    "MlcError": ".ir.errors",
    "Recipe": ".passes.compress.recipe",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlc' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

"""Importers of other installed packages, found by the entry point group ``mlc.onnx``.

In the package's pyproject.toml::

    [project.entry-points."mlc.onnx"]
    acme = "acme.importers"

The module registers its functions with ``@importer("Rotate", domain="acme")`` when it is loaded.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from ...ir.errors import MlcError

GROUP = "mlc.onnx"


@cache
def load_plugins() -> None:
    """Loads the modules of all entry points, once.

    Raises:
        MlcError: One cannot be loaded.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist else "an unknown package"
            raise MlcError(
                f"the ONNX importers '{entry.name}' of the package {package} ({entry.value}) "
                f"cannot be loaded: {type(error).__name__}: {error}; fix or uninstall the package"
            ) from error

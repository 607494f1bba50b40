"""Passes of other installed packages, found by the entry point group ``mlc.passes``.

In the package's pyproject.toml::

    [project.entry-points."mlc.passes"]
    clamp-exponents = "clamp_exponents:ClampExponents"

The class is a ``Pass``; its ``before`` or ``after`` names the pass next to which it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from ..ir.errors import PassError
from .contract import Pass

GROUP = "mlc.passes"


def plugin_passes() -> list[Pass]:
    """One pass for each entry point, sorted by name.

    Raises:
        PassError: One cannot be loaded, or is no pass of the name it is registered by.
    """
    return [_load(entry) for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)]


def with_plugins(passes: Sequence[Pass], plugins: Sequence[Pass]) -> tuple[Pass, ...]:
    """``passes`` with the plug-ins that ask for a place.

    They go before the first pass of the name they give, or after the last one, and may name each
    other.

    Raises:
        PassError: A name is taken, is not there, or both ``before`` and ``after`` are given.
    """
    placed = list(passes)
    waiting = [p for p in plugins if p.before or p.after]
    _check_names(passes, plugins)
    while waiting:
        ready = [p for p in waiting if _target(p) in {q.name for q in placed}]
        if not ready:
            raise _nowhere(waiting[0], placed)
        for plugin in ready:
            placed.insert(_place(plugin, placed), plugin)
            waiting.remove(plugin)
    return tuple(placed)


def _load(entry: EntryPoint) -> Pass:
    package = entry.dist.name if entry.dist else "an unknown package"
    where = f"the pass '{entry.name}' of the package {package} ({entry.value})"
    try:
        step = entry.load()()
    except Exception as error:
        raise PassError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}; "
            "repair or uninstall the package"
        ) from error
    if not isinstance(step, Pass):
        raise PassError(f"{where} is no subclass of mlc.passes.contract.Pass")
    if step.name != entry.name:
        raise PassError(f"{where} calls itself '{step.name}'; both names must be the same")
    return step


def _check_names(passes: Sequence[Pass], plugins: Sequence[Pass]) -> None:
    taken = {p.name for p in passes}
    for plugin in plugins:
        if plugin.name in taken:
            raise PassError(f"there are two passes named '{plugin.name}'; one must be uninstalled")
        if plugin.before and plugin.after:
            raise PassError(f"the pass '{plugin.name}' has both 'before' and 'after'; keep one")
        taken.add(plugin.name)


def _target(plugin: Pass) -> str:
    return plugin.before or plugin.after


def _place(plugin: Pass, placed: Sequence[Pass]) -> int:
    places = [k for k, p in enumerate(placed) if p.name == _target(plugin)]
    return places[0] if plugin.before else places[-1] + 1


def _nowhere(plugin: Pass, placed: Sequence[Pass]) -> PassError:
    side = "before" if plugin.before else "after"
    known = ", ".join(dict.fromkeys(p.name for p in placed))
    return PassError(
        f"the pass '{plugin.name}' is to run {side} '{_target(plugin)}', which is not in the "
        f"pipeline; it holds: {known}"
    )

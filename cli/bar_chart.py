"""Bars as a picture in a page: SVG, a group of bars for each entry, named where there is room.

Every group tells its values where one points at it, and a click leads to its row in a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import takewhile

from .table import clipped, engineering

_WIDTH, _HEIGHT, _LEFT, _TOP, _SPACE, _GAP = 1000.0, 170.0, 64.0, 12.0, 24.0, 0.25
# The widest group, the lowest bar, the room of a name across, and down by its letters.
_WIDEST, _LEAST, _ACROSS, _MARGIN, _DOWN, _LETTERS = 90.0, 1.5, 13.0, 20.0, 4.2, 24
_FOLDER = re.compile(r"[^/.]*[/.]")
_BEFORE = "#8888"


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: What it is, such as ``after``.
        value: None where it is not known: then there is no bar.
        color: A CSS color.
    """

    name: str
    value: float | None
    color: str = _BEFORE


@dataclass(frozen=True)
class Entry:
    """Bars side by side.

    Attributes:
        name: Whose they are.
        link: Where a click leads.
        bars: From left to right.
    """

    name: str
    link: str
    bars: Sequence[Bar]


def bar_chart(entries: Sequence[Entry], unit: str, legend: Sequence[tuple[str, str]]) -> str:
    """Groups from left to right; all bars begin at 0. ``legend``: colors and what they mean."""
    values = [bar.value for entry in entries for bar in entry.bars if bar.value is not None]
    top = max(values, default=0.0)
    if not values or top <= 0:
        return "<p><small>nothing was measured</small></p>"
    step = min((_WIDTH - _LEFT) / len(entries), _WIDEST)
    every = int(max(1, -(-_ACROSS // step)))  # so many share the room of a name
    names = dict(list(enumerate(_short([entry.name for entry in entries])))[::every])
    drawn = "".join(_group(e, _LEFT + k * step, step, top, unit) for k, e in enumerate(entries))
    drawn += "".join(_name(name, _LEFT + (k + 0.5) * step) for k, name in names.items())
    below = _MARGIN + _DOWN * max(map(len, names.values()))
    view = f"{-_SPACE:g} {-_TOP:g} {_WIDTH + _SPACE:g} {_TOP + _HEIGHT + below:g}"
    return (
        f'<svg viewBox="{view}" width="100%" role="img">'
        f"{_axis(top, unit)}{drawn}</svg>{_legend(legend)}"
    )


def _short(names: Sequence[str]) -> list[str]:
    """Without the folders that all have in common, and clipped."""
    folders = [_FOLDER.findall(name) for name in names]
    alike = takewhile(lambda same: len(set(same)) == 1, zip(*folders, strict=False))
    common = sum(len(same[0]) for same in alike) if len(names) > 1 else 0
    return [clipped(name[common:], _LETTERS) for name in names]


def _axis(top: float, unit: str) -> str:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _HEIGHT * (1 - share)
        label = engineering(share * top, unit)
        lines.append(
            f'<line x1="{_LEFT:g}" x2="{_WIDTH:g}" y1="{y:g}" y2="{y:g}" stroke="#8884"/>'
            f'<text x="{_LEFT - 6:g}" y="{y + 4:g}" text-anchor="end" font-size="12" '
            f'fill="currentColor">{label}</text>'
        )
    return "".join(lines)


def _group(entry: Entry, x: float, step: float, top: float, unit: str) -> str:
    width = step * (1 - _GAP) / len(entry.bars)
    told = ", ".join(
        f"{bar.name} {engineering(bar.value, unit)}" for bar in entry.bars if bar.value is not None
    )
    drawn = "".join(
        _bar(x + step * _GAP / 2 + k * width, width, bar.value / top, bar.color)
        for k, bar in enumerate(entry.bars)
        if bar.value is not None
    )
    whole = f'<rect x="{x:.1f}" y="0" width="{step:.1f}" height="{_HEIGHT:g}" fill="transparent"/>'
    title = escape(f"{entry.name}: {told}" if told else entry.name)
    return f'<a href="{entry.link}"><title>{title}</title>{whole}{drawn}</a>'


def _name(name: str, x: float) -> str:
    """Below, from its end at the bar down to the left."""
    return (
        f'<text transform="translate({x + 4:.1f} {_HEIGHT + 12:g}) rotate(-50)" text-anchor="end" '
        f'font-size="10" fill="currentColor">{escape(name)}</text>'
    )


def _bar(x: float, width: float, share: float, color: str) -> str:
    height = max(_HEIGHT * share, _LEAST)
    return (
        f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" fill="{color}"/>'
    )


def _legend(legend: Sequence[tuple[str, str]]) -> str:
    parts = [f'<span style="color:{color}">■</span> {escape(what)}' for color, what in legend]
    return f"<small>{' &nbsp; '.join(parts)}</small>"

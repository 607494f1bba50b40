"""Bars as a picture in a page: SVG, a group of bars for each entry, named where one points."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .table import engineering

# A name, what a click leads to, and bars with what each is called.
Entry = tuple[str, str, Sequence[tuple[str, float | None]]]

_WIDTH, _HEIGHT, _LEFT, _GAP = 1000.0, 180.0, 64.0, 0.25
_COLORS = ("#8888", "var(--bar)")


def bar_chart(entries: Sequence[Entry], unit: str) -> str:
    """Groups from left to right; all bars begin at 0, values that are not known have none."""
    values = [value for _, _, bars in entries for _, value in bars if value is not None]
    top = max(values, default=0.0)
    if not values or top <= 0:
        return "<p><small>nothing was measured</small></p>"
    step = (_WIDTH - _LEFT) / len(entries)
    drawn = "".join(
        _group(entry, _LEFT + k * step, step, top, unit) for k, entry in enumerate(entries)
    )
    return (
        f'<svg viewBox="0 -12 {_WIDTH:g} {_HEIGHT + 22:g}" width="100%" role="img" '
        f'style="max-height:16rem">{_axis(top, unit)}{drawn}</svg>{_legend(entries)}'
    )


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
    name, link, bars = entry
    width = step * (1 - _GAP) / len(bars)
    colors = _COLORS[-len(bars) :]
    told = ", ".join(f"{what} {engineering(v, unit)}" for what, v in bars if v is not None)
    drawn = "".join(
        _bar(x + step * _GAP / 2 + k * width, width, (value or 0) / top, colors[k])
        for k, (_, value) in enumerate(bars)
    )
    whole = f'<rect x="{x:.1f}" y="0" width="{step:.1f}" height="{_HEIGHT:g}" fill="transparent"/>'
    return f'<a href="{link}"><title>{escape(f"{name}: {told}")}</title>{whole}{drawn}</a>'


def _bar(x: float, width: float, share: float, color: str) -> str:
    height = max(_HEIGHT * share, 0)
    return (
        f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" fill="{color}"/>'
    )


def _legend(entries: Sequence[Entry]) -> str:
    names = [what for what, _ in entries[0][2]]
    colors = _COLORS[-len(names) :]
    parts = [
        f'<span style="color:{color}">■</span> {escape(what)}'
        for what, color in zip(names, colors, strict=True)
    ]
    return f"<small>{' &nbsp; '.join(parts)} &nbsp; layers in order; point at one</small>"

"""The page that ``mlc compile --report FILE.html`` writes: error, size and time of each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from ..passes.compress.report import LayerReport
from .bar_chart import bar_chart
from .compression_text import decibels, done, judgement, own_noise, ratio, reasons, total
from .html import document, facts_of, number, search, table_of
from .table import engineering

_HEAD = (
    "layer",
    "what was done",
    "bytes",
    "dB, own",
    "dB, result",
    "predicted",
    "measured",
    "times as fast",
)
_LEGEND = (
    "dB are signal to noise, of what was changed and of the layer's result. Predicted is one "
    "thread by the cost model, with 128 for each size that the model leaves open."
)


def compression_page(title: str, found: Mapping[str, Any], recipe: str) -> str:
    """The page's text; ``title`` names the model, ``recipe`` is the text of a file."""
    layers = [LayerReport.of(values) for values in found["layers"]]
    metric = found.get("metric")
    said = f"<p>{escape(judgement(metric))}</p>" if metric and metric["restored"] else ""
    why = "".join(f"<li>{escape(reason)}</li>" for reason in reasons(layers))
    return document(
        f"{title}, compressed",
        f"{_facts(layers, metric)}{said}{_pictures(layers)}<h2>Layers</h2>{search()}"
        f"{table_of(_HEAD, (_row(k, layer) for k, layer in enumerate(layers)))}"
        f"<p><small>{escape(_LEGEND)}</small></p>"
        + (f"<h2>What was not done as asked</h2><ul>{why}</ul>" if why else "")
        + f"<h2>Recipe</h2><pre>{escape(recipe)}</pre>",
    )


def _facts(layers: Sequence[LayerReport], metric: Mapping[str, Any] | None) -> str:
    before, after = total(layers, "bytes")
    changed = sum(bool(layer.steps) and not layer.restored for layer in layers)
    facts = [
        (f"{changed} of {len(layers)}", "layers compressed"),
        (f"{engineering(before, 'B')} → {engineering(after, 'B')}", "weights"),
    ]
    for kind in ("predicted", "measured"):
        old, new = total(layers, kind)
        if old and new:
            facts.append((ratio(old, new), f"faster in layers, {kind}"))
    if metric:
        facts.append((f"{metric['before']:.4f} → {metric['after']:.4f}", metric["metric"]))
    return facts_of(facts)


def _pictures(layers: Sequence[LayerReport]) -> str:
    timed = "measured" if any(layer.measured_before for layer in layers) else "predicted"
    compared = any(layer.output_sqnr is not None for layer in layers)
    error = _output_noise if compared else own_noise
    told = "its result" if compared else "what was changed"
    return "".join(
        (
            f"<h2>Error: signal to noise of {told}, in dB (higher is better)</h2>",
            _chart(layers, lambda layer: [("after", error(layer))], "dB"),
            "<h2>Size of the weights</h2>",
            _chart(layers, _pair("bytes"), "B"),
            f"<h2>Time of one run, {timed}</h2>",
            _chart(layers, _pair(timed), "s"),
        )
    )


def _chart(
    layers: Sequence[LayerReport],
    bars: Callable[[LayerReport], list[tuple[str, float | None]]],
    unit: str,
) -> str:
    return bar_chart([(layer.layer, f"#c{k}", bars(layer)) for k, layer in enumerate(layers)], unit)


def _pair(kind: str) -> Callable[[LayerReport], list[tuple[str, float | None]]]:
    return lambda layer: [(when, getattr(layer, f"{kind}_{when}")) for when in ("before", "after")]


def _output_noise(layer: LayerReport) -> float | None:
    return layer.output_sqnr


def _row(row: int, layer: LayerReport) -> str:
    asked = ", ".join(step.asked for step in layer.steps)
    steps = f"<br><small>asked: {escape(asked)}</small>" if asked else ""
    cells = [
        f"<td><code>{escape(layer.layer)}</code></td><td>{escape(done(layer))}{steps}</td>",
        _change(layer, "bytes", "B"),
        number(own_noise(layer) or 0, decibels(own_noise(layer))),
        number(layer.output_sqnr or 0, decibels(layer.output_sqnr)),
        _change(layer, "predicted", "s"),
        _change(layer, "measured", "s"),
        _speed(layer),
    ]
    return f'<tr id="c{row}">{"".join(cells)}</tr>'


def _change(layer: LayerReport, kind: str, unit: str) -> str:
    """Before and after, sorted by what is after."""
    values = [value for _, value in _pair(kind)(layer) if value is not None]
    return number(values[-1] if values else 0, " → ".join(engineering(v, unit) for v in values))


def _speed(layer: LayerReport) -> str:
    before, after = layer.measured_before, layer.measured_after
    if not before or not after:
        before, after = layer.predicted_before, layer.predicted_after
    return number(before / after if before and after else 0, ratio(before, after))

"""``mlc explain``: what became of each node of a model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..codegen.cpu.limits import Limits
from ..driver.cache import cache_at, notes_in
from ..driver.explain import Explanation, Launch, explain
from ..driver.roofline import limits_of
from ..runtime.threads import thread_count
from .arguments import Commands, add_model, command, model_of, shapes_of, write_text
from .compression import tell_again
from .inputs import feeds_of
from .table import clipped, count, engineering, table

_BAR = 12
_KERNEL, _INDENT = 3, "  "
# The columns of the table that hold times.
_TIMED = (1, 2, 8)


def add_to(commands: Commands) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "explain",
        run,
        "mlc explain model.onnx --html model.html",
        "Show what became of each node of a model.\n\nFor every kernel launch: its algorithm, why "
        "that, its work, its share of the time.",
    )
    add_model(parser)
    add = parser.add_argument
    add("--html", metavar="FILE", help="write a page instead, which needs nothing else")
    add("--json", action="store_true", help="print JSON instead")
    add("--compression", action="store_true", help="what a recipe came to, and the recipe, instead")
    add("--nodes", action="store_true", help="a line for each node instead of each launch")
    add("--profile", action="store_true", help="hold each launch against the machine's limits")
    add("--sort", choices=["order", "time"], default="order", help="of launches (default: order)")
    add("--top", type=int, metavar="N", help="only the first N lines")


def run(chosen: argparse.Namespace) -> int:
    """Profiles the model and tells."""
    model = model_of(chosen)
    title = Path(chosen.model).name
    if chosen.compression:
        tell_again(model, title, chosen.html, chosen.json)
        return 0
    found = explain(model, feeds_of(model, {}, shapes_of(chosen)), _limits(chosen))
    if chosen.html:
        from .page import page

        write_text(page(title, found), chosen.html)
        print(f"{chosen.html}: {summary(title, found)}")
    elif chosen.json:
        print(_json(found))
    else:
        lines = _nodes(found, chosen.top) if chosen.nodes else _launches(found, chosen)
        recipe = "\ncompressed; --compression tells how" if model.report.get("recipe") else ""
        print(f"{summary(title, found)}{recipe}\n\n{lines}")
    return 0


def _limits(chosen: argparse.Namespace) -> Limits | None:
    """What launches are held against, where that is asked for."""
    if not chosen.profile:
        return None
    return limits_of(thread_count(chosen.threads), notes_in(cache_at(not chosen.no_cache)))


def summary(title: str, found: Explanation) -> str:
    """One line."""
    operations = sum(launch.operations for launch in found.launches)
    parts = [
        f"{title} for {found.target}",
        f"{count(len(found.nodes), 'node')} in {count(len(found.launches), 'launch')}",
        f"{engineering(found.weights, 'B')} of weights",
        engineering(operations, "flop"),
    ]
    if found.expanded:
        parts[2] += f", {engineering(found.expanded, 'B')} made of them"
    if found.seconds:
        parts.append(f"{engineering(found.seconds, 's')} a run")
        parts.append(engineering(operations / found.seconds, "flop/s"))
    else:
        parts.append("not timed, since no GPU here can run it")
    if found.limits:
        parts.append(f"{found.roofline:.0%} of the roofline")
    return ", ".join(parts)


def roof(limits: Limits) -> str:
    """The machine's limits, in a line."""
    rates = [f"{engineering(rate, 'op/s')} {dtype}" for dtype, rate in limits.rates.items()]
    *caches, memory = limits.reads.items()
    reads = [f"{engineering(rate, 'B/s')} from {size >> 10} KiB" for size, rate in caches]
    reads.append(f"{engineering(memory[1], 'B/s')} from memory")
    return f"limits of {count(limits.threads, 'thread')}: {', '.join([*rates, *reads])}"


def _json(found: Explanation) -> str:
    """All fields, and what follows from them."""
    derived = [{"rate": n.rate, "flow": n.flow, "roofline": n.roofline} for n in found.launches]
    fields = asdict(found)
    fields["launches"] = [a | b for a, b in zip(fields["launches"], derived, strict=True)]
    return json.dumps(fields | {"roofline": found.roofline}, indent=1)


def _launches(found: Explanation, chosen: argparse.Namespace) -> str:
    launches = found.launches
    if chosen.sort == "time":
        launches = sorted(launches, key=lambda launch: -launch.seconds)
    numbers = [">bytes", ">flop", ">flop/s"]
    numbers += [">B/s", ">roofline", ""] if found.limits else []
    head = [">#", ">time", "", "kernel", "algorithm", "result", *numbers, "nodes"]
    longest = max((launch.share for launch in launches), default=0)
    rows = [_row(launch, longest, found.limits) for launch in launches[: chosen.top]]
    if chosen.sort == "order":
        rows = _nested(launches, rows)
    if not found.seconds:
        head, *rows = ([c for n, c in enumerate(r) if n not in _TIMED] for r in (head, *rows))
    remarks = [roof(found.limits)] if found.limits else []
    remarks += dict.fromkeys(
        f"{launch.algorithm}: {launch.why}" for launch in launches[: chosen.top] if launch.why
    )
    return "\n".join([table(head, rows), *(["", *remarks] if remarks else [])])


def _nested(launches: Sequence[Launch], rows: list[list[str]]) -> list[list[str]]:
    """Rows of launches, indented below a line for each branch and loop that they stand in."""
    nested: list[list[str]] = []
    around: tuple[str, ...] = ()
    for launch, row in zip(launches, rows, strict=False):
        known = [a == b for a, b in zip(around, launch.inside, strict=False)]
        first = [*known, False].index(False)
        for depth, name in enumerate(launch.inside[first:], first):
            line = [""] * len(row)
            line[_KERNEL] = f"{_INDENT * depth}{name}"
            nested.append(line)
        row[_KERNEL] = f"{_INDENT * len(launch.inside)}{row[_KERNEL]}"
        nested.append(row)
        around = launch.inside
    return nested


def _row(launch: Launch, longest: float, limits: Limits | None) -> list[str]:
    held = [engineering(launch.flow, ""), f"{launch.roofline:.0%}", launch.bound]
    return [
        str(launch.number),
        engineering(launch.seconds, "s") if limits else f"{100 * launch.share:.1f}%",
        bar(launch.share / (longest or 1)),
        clipped(launch.kernel, 32),
        launch.algorithm,
        clipped(" ".join(launch.shapes), 28),
        engineering(launch.bytes, "B"),
        engineering(launch.operations, ""),
        engineering(launch.rate, ""),
        *(held if limits else []),
        clipped(_listed(launch.nodes), 48),
    ]


def _nodes(found: Explanation, top: int | None) -> str:
    rows = []
    for node in found.nodes[:top]:
        launches = [found.launches[n] for n in node.launches]
        kernels = ", ".join(f"{launch.number} {launch.kernel}" for launch in launches)
        share = f"{100 * sum(launch.share for launch in launches):.1f}%" if launches else ""
        rows.append(
            [clipped(node.name, 48), clipped(", ".join(node.ops), 40), share, kernels or "-"]
        )
    return table(["node", "imported as", ">time of its kernels", "computed in"], rows)


def bar(part: float) -> str:
    """A bar as long as ``part`` of the full length."""
    eighths = round(part * _BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _listed(names: Sequence[str]) -> str:
    return f"{names[0]} (+{len(names) - 1})" if len(names) > 3 else ", ".join(names)

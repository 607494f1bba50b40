"""The page that ``mlc explain --html`` writes: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..driver.explain import Explanation, Launch, Node
from .html import document, facts_of, number, search, table_of
from .table import engineering


def page(title: str, found: Explanation) -> str:
    """The page's text; ``title`` names the model."""
    return document(
        f"{title} for {found.target}",
        f"{_facts(found)}{search()}"
        f"<h2>Kernel launches, in the order of the run</h2>{_launches(found)}"
        f"<h2>Nodes of the model</h2>{_nodes(found.nodes, found.launches)}",
    )


def _facts(found: Explanation) -> str:
    operations = sum(launch.operations for launch in found.launches)
    facts = [
        (str(len(found.nodes)), "nodes"),
        (str(len(found.launches)), "kernel launches"),
        (engineering(found.weights, "B"), "weights"),
        (engineering(operations, "flop"), "arithmetic"),
    ]
    if found.expanded:
        facts.insert(3, (engineering(found.expanded, "B"), "made of them when loaded"))
    if found.seconds:
        facts.append((engineering(found.seconds, "s"), "a run"))
        facts.append((engineering(operations / found.seconds, "flop/s"), "rate"))
    if found.limits:
        facts.append((f"{found.roofline:.0%}", "of the roofline"))
        rates = found.limits.rates.items()
        facts += [(engineering(rate, "op/s"), f"{dtype} at most") for dtype, rate in rates]
        facts.append((engineering(found.limits.memory, "B/s"), "from memory at most"))
    facts += [(kind, escape(name)) for name, kind in found.inputs.items()]
    return facts_of(facts)


def _launches(found: Explanation) -> str:
    longest = max((launch.share for launch in found.launches), default=0) or 1
    numbers = ["bytes", "flop", "flop/s", *(["B/s", "roofline"] if found.limits else [])]
    head = ["#", "time", "share", "", "kernel", "algorithm", "result", *numbers, "nodes"]
    rows = (_launch(n, n.share / longest, found.limits is not None) for n in found.launches)
    return table_of(head, rows)


def _launch(launch: Launch, length: float, held: bool) -> str:
    roofline = f"{launch.roofline:.0%} <small>{launch.bound}</small>"
    against = [
        number(launch.flow, engineering(launch.flow, "")),
        number(launch.roofline, roofline),
    ]
    why = f"<br><small>{escape(launch.why)}</small>" if launch.why else ""
    ops = escape(" ".join(launch.ops))
    inside = escape(", ".join(launch.inside))
    around = f"<small>in {inside}</small><br>" if inside else ""
    cells = [
        number(launch.number, str(launch.number)),
        number(launch.seconds, engineering(launch.seconds, "s")),
        number(launch.share, f"{100 * launch.share:.1f} %"),
        f'<td class="bar" data-v="{length:.6f}"><i style="width:{100 * length:.1f}%"></i></td>',
        f"<td>{around}<code>{escape(launch.kernel)}</code><br><small>{ops}</small></td>",
        f"<td>{escape(launch.algorithm)}{why}</td>",
        f"<td><code>{escape(' '.join(launch.shapes))}</code></td>",
        number(launch.bytes, engineering(launch.bytes, "B")),
        number(launch.operations, engineering(launch.operations, "")),
        number(launch.rate, engineering(launch.rate, "")),
        *(against if held else []),
        f"<td><code>{'<br>'.join(map(escape, launch.nodes))}</code></td>",
    ]
    return f'<tr id="l{launch.number}">{"".join(cells)}</tr>'


def _nodes(nodes: Sequence[Node], launches: Sequence[Launch]) -> str:
    return table_of(
        ["node", "imported as", "time of its kernels", "computed in"],
        (_node(node, launches) for node in nodes),
    )


def _node(node: Node, launches: Sequence[Launch]) -> str:
    share = sum(launches[n].share for n in node.launches)
    links = ", ".join(
        f'<a href="#l{n}">{n} {escape(launches[n].kernel)}</a>' for n in node.launches
    )
    gone = "<small>nothing left to compute</small>"
    return (
        f"<tr><td><code>{escape(node.name)}</code></td>"
        f"<td>{escape(', '.join(node.ops))}</td>"
        f"{number(share, f'{100 * share:.1f} %' if links else '')}<td>{links or gone}</td></tr>"
    )

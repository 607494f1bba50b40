"""The page that ``mlc explain --html`` writes: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..driver.explain import Explanation, Launch, Node
from .table import engineering

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b82f6; --dim: #8889; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1rem 0 }
.facts b { display: block; font-size: 1.25rem; font-weight: 600 } .facts span { color: GrayText }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { position: sticky; top: 0; background: Canvas; cursor: pointer; white-space: nowrap }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.bar { width: 12rem; min-width: 8rem }
td.bar i { display: block; height: .8rem; margin-top: .25rem; border-radius: 2px;
  background: var(--bar) }
code { font: 12px ui-monospace, monospace; overflow-wrap: anywhere } small { color: GrayText }
input { font: inherit; padding: .3rem .6rem; width: 20rem; margin-bottom: .5rem }
tr:target { background: #fbbf2433 } a { color: inherit }
"""
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], key = (row, k) => row.cells[k].dataset.v ?? row.cells[k].innerText;
  [...table.tHead.rows[0].cells].forEach((head, k) => head.onclick = () => {
    const up = head.dataset.up = head.dataset.up === "1" ? "" : "1";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a, k), key(b, k)], d = x - y;
      return isNaN(d) ? x.localeCompare(y) : d;
    });
    body.append(...(up ? rows : rows.reverse()));
  });
}
document.querySelector("input").oninput = event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll("tbody tr"))
    row.hidden = !row.innerText.toLowerCase().includes(wanted);
};
"""


def page(title: str, found: Explanation) -> str:
    """The page's text; ``title`` names the model."""
    title = escape(f"{title} for {found.target}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>{_facts(found)}"
        f'<input type="search" placeholder="show only what contains …">'
        f"<h2>Kernel launches, in the order of the run</h2>{_launches(found)}"
        f"<h2>Nodes of the model</h2>{_nodes(found.nodes, found.launches)}"
        f"<script>{_SCRIPT}</script></html>\n"
    )


def _facts(found: Explanation) -> str:
    operations = sum(launch.operations for launch in found.launches)
    facts = [
        (str(len(found.nodes)), "nodes"),
        (str(len(found.launches)), "kernel launches"),
        (engineering(found.weights, "B"), "weights"),
        (engineering(operations, "flop"), "arithmetic"),
    ]
    if found.seconds:
        facts.append((engineering(found.seconds, "s"), "a run"))
        facts.append((engineering(operations / found.seconds, "flop/s"), "rate"))
    if found.limits:
        facts.append((f"{found.roofline:.0%}", "of the roofline"))
        rates = found.limits.rates.items()
        facts += [(engineering(rate, "op/s"), f"{dtype} at most") for dtype, rate in rates]
        facts.append((engineering(found.limits.memory, "B/s"), "from memory at most"))
    facts += [(kind, escape(name)) for name, kind in found.inputs.items()]
    shown = "".join(f"<div><b>{value}</b><span>{what}</span></div>" for value, what in facts)
    return f'<div class="facts">{shown}</div>'


def _launches(found: Explanation) -> str:
    longest = max((launch.share for launch in found.launches), default=0) or 1
    numbers = ["bytes", "flop", "flop/s", *(["B/s", "roofline"] if found.limits else [])]
    head = ["#", "time", "share", "", "kernel", "algorithm", "result", *numbers, "nodes"]
    rows = (_launch(n, n.share / longest, found.limits is not None) for n in found.launches)
    return _table(head, rows)


def _launch(launch: Launch, length: float, held: bool) -> str:
    roofline = f"{launch.roofline:.0%} <small>{launch.bound}</small>"
    against = [
        _number(launch.flow, engineering(launch.flow, "")),
        _number(launch.roofline, roofline),
    ]
    why = f"<br><small>{escape(launch.why)}</small>" if launch.why else ""
    ops = escape(" ".join(launch.ops))
    cells = [
        _number(launch.number, str(launch.number)),
        _number(launch.seconds, engineering(launch.seconds, "s")),
        _number(launch.share, f"{100 * launch.share:.1f} %"),
        f'<td class="bar" data-v="{length:.6f}"><i style="width:{100 * length:.1f}%"></i></td>',
        f"<td><code>{escape(launch.kernel)}</code><br><small>{ops}</small></td>",
        f"<td>{escape(launch.algorithm)}{why}</td>",
        f"<td><code>{escape(' '.join(launch.shapes))}</code></td>",
        _number(launch.bytes, engineering(launch.bytes, "B")),
        _number(launch.operations, engineering(launch.operations, "")),
        _number(launch.rate, engineering(launch.rate, "")),
        *(against if held else []),
        f"<td><code>{'<br>'.join(map(escape, launch.nodes))}</code></td>",
    ]
    return f'<tr id="l{launch.number}">{"".join(cells)}</tr>'


def _nodes(nodes: Sequence[Node], launches: Sequence[Launch]) -> str:
    return _table(
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
        f"{_number(share, f'{100 * share:.1f} %' if links else '')}<td>{links or gone}</td></tr>"
    )


def _number(value: float, text: str) -> str:
    return f'<td class="n" data-v="{value}">{text}</td>'


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    cells = "".join(f"<th>{escape(h)}</th>" for h in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

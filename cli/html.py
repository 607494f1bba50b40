"""What all pages share: one file that needs nothing else, with tables to sort and to search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

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


def document(title: str, body: str) -> str:
    """A whole page; ``title`` is plain text, ``body`` is HTML."""
    title = escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>{body}<script>{_SCRIPT}</script></html>\n"
    )


def search() -> str:
    """A field that hides the rows of all tables that do not contain what is typed."""
    return '<input type="search" placeholder="show only what contains …">'


def facts_of(facts: Iterable[tuple[str, str]]) -> str:
    """Values with what they are, side by side."""
    shown = "".join(f"<div><b>{value}</b><span>{what}</span></div>" for value, what in facts)
    return f'<div class="facts">{shown}</div>'


def number(value: float, text: str) -> str:
    """A cell that is sorted by ``value``."""
    return f'<td class="n" data-v="{value}">{text}</td>'


def table_of(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table of finished rows."""
    cells = "".join(f"<th>{escape(h)}</th>" for h in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

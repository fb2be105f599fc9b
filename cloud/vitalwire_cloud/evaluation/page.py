"""Every outcome on one page: a single HTML file that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from vitalwire_cloud.evaluation.drawing import precision_recall, roc, strip
from vitalwire_cloud.evaluation.report import (
    Grid,
    Metrics,
    Outcome,
    Report,
    columns,
    figure,
    reaches,
    verdict,
)

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2329; --dim: #5d6b76; --line: #cfd8de; --good: #1f7a3d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebef; --dim: #9fb0bd; --line: #3a4650; --good: #6fcf8e; --bad: #ff8a80; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--dim); }
.good { color: var(--good); } .bad { color: var(--bad); } .dim, figcaption { color: var(--dim); }
figure { margin: 1rem 0; } svg { max-width: 100%; } svg .label { font-size: 11px; fill: var(--dim); }
svg .frame { fill: none; stroke: var(--line); } svg .ecg { fill: none; stroke: var(--ink); stroke-width: 1.1; }
svg .scale { fill: none; stroke: var(--dim); } code { word-break: break-all; }
"""


def page(
    outcomes: Sequence[Outcome],
    *,
    failed: Mapping[str, str],
    created: str,
    software: str,
    noise: Mapping[str, str],
) -> str:
    """The page. `failed` says by protocol why it could not be run, `noise` names recorded noise with its SHA-256."""
    summary = "".join(_summary(outcome.report) for outcome in outcomes)
    summary += "".join(
        f'<tr><td>{escape(name)}</td><td class="bad">not run</td><td>{escape(why)}</td></tr>'
        for name, why in failed.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>vitalwire: evaluation</title><style>{STYLE}</style></head><body>"
        f"<h1>Evaluation</h1><p class='dim'>{escape(created)}</p>"
        "<table><tr><th>protocol</th><th>bar</th><th>model</th></tr>"
        f"{summary}</table>{''.join(_section(each) for each in outcomes)}"
        f"{_provenance(outcomes, software, noise)}</body></html>\n"
    )


def _summary(report: Report) -> str:
    link = f'<a href="#{report.protocol}">{escape(report.protocol)}</a>'
    return f"<tr><td>{link}</td>{_verdict(report)}<td>{escape(report.model)}</td></tr>"


def _verdict(report: Report) -> str:
    kind = "dim" if not report.bar else "good" if report.passed else "bad"
    return f'<td class="{kind}">{verdict(report)}</td>'


def _section(outcome: Outcome) -> str:
    report = outcome.report
    names = escape(" ".join(report.records))
    source = f"{len(report.records)} records of <code>{escape(report.data)}</code>, seed {report.seed}"
    parts = [
        f'<h2 id="{report.protocol}">{escape(report.protocol)}</h2>',
        f"<p>{escape(report.model)}. {source}: <span class='dim'>{names}</span></p>",
        _figures(report),
        *(f"<p class='dim'>{escape(note)}</p>" for note in outcome.notes),
    ]
    if outcome.curves:
        parts.append(f"<div>{roc(outcome.curves)}{precision_recall(outcome.curves)}</div>")
    parts += [_grid(grid) for grid in outcome.tables]
    if outcome.strips:
        parts.append("<h3>Worst cases</h3>")
        parts += [strip(each) for each in outcome.strips]
    return "".join(parts)


def _figures(report: Report) -> str:
    every = columns(report)
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("", *every))
    rows = []
    for name in every["ours"]:
        cells = "".join(_cell(report, column, name, of) for of, column in every.items())
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(rows)}</table></div>'


def _cell(report: Report, column: Metrics, name: str, of: str) -> str:
    limit = report.bar.get(name)
    if of not in {"ours", "with labels"} or limit is None or name not in column:
        return f"<td>{figure(column, name)}</td>"
    kind = "good" if reaches(name, column[name], limit) else "bad"
    return f'<td class="{kind}">{figure(column, name)}</td>'


def _grid(grid: Grid) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in grid.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in grid.rows)
    return f'<h3>{escape(grid.title)}</h3><div class="wide"><table><tr>{heads}</tr>{rows}</table></div>'


def _provenance(outcomes: Sequence[Outcome], software: str, noise: Mapping[str, str]) -> str:
    digests: dict[str, str] = dict(noise)
    for outcome in outcomes:
        digests |= outcome.digests
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{digest}</code></td></tr>"
        for name, digest in sorted(digests.items())
    )
    models = sorted({outcome.report.model for outcome in outcomes})
    listed = "".join(f"<li>{escape(model)}</li>" for model in models)
    return (
        "<h2>Provenance</h2><p>Recordings by the SHA-256 of their signal file, models by that of their manifest.</p>"
        f"<ul>{listed}</ul><p>Made with {escape(software)}.</p>"
        f"<div class='wide'><table><tr><th>record</th><th>SHA-256</th></tr>{rows}</table></div>"
    )

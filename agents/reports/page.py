"""The page of a report, which needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

from agents.reports.analysis import LAST
from agents.reports.bootstrap import FEWEST
from agents.reports.drawing import Drawn
from agents.reports.findings import Analysis
from agents.reports.score_scales import RELATIVE
from agents.reports.tables import Table, plain

STYLE = """
:root { color-scheme: light dark; --ground: #f4f5f7; --text: #1c1e21; --faint: #5b616b; --line: #d9dce1;
  --card: #fefefe; --link: #005a92; }
@media (prefers-color-scheme: dark) { :root { --ground: #101215; --text: #e4e6ea; --faint: #a3a9b4; --line: #3a3f47;
  --card: #16181c; --link: #7cc0f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem clamp(.8rem, 3vw, 2rem) 3rem; background: var(--ground);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p { max-width: 50rem; } p, li { margin: .4rem 0; } .faint, figcaption { color: var(--faint); font-size: .875rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: 0; list-style: none; }
.notes ul { padding-left: 1.2rem; margin: .2rem 0; }
.notes { border-left: 4px solid #e69f00; background: var(--card); padding: .5rem 1rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1rem;
  margin-bottom: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .6rem; }
figure img { display: block; width: 100%; height: auto; }
.scroll { overflow: auto; max-height: 36rem; border: 1px solid var(--line); border-radius: 6px; max-width: 100%;
  background: var(--card); }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .7rem; text-align: left; border-bottom: 1px solid var(--line); overflow-wrap: normal; }
td { white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--card); z-index: 1; }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--card); }
tbody tr:last-child > * { border-bottom: 0; }
@media (min-width: 40rem) { tbody th { white-space: nowrap; } }
@media print { .scroll { max-height: none; overflow: visible; } }
summary { cursor: pointer; font-weight: 600; padding: .4rem 0; }
"""


def page(
    title: str,
    analysis: Analysis,
    figures: Mapping[str, Sequence[Drawn]],
    tables: Mapping[str, Table],
    notes: Sequence[str],
) -> str:
    """The page as HTML.

    Args:
        title: of the report.
        analysis: what it shows.
        figures: by section, see `charts.charts`.
        tables: by name.
        notes: what to know, a line each.
    """
    sections = [
        _section("scores", "Final scores", _table(tables["scores"]), _text(scores_text(analysis))),
        _section("curves", "Learning curves", _figures(figures["curves"]), _text(curves_text(analysis))),
    ]
    if figures["sensitivity"]:
        text = "IQM of the final scores with their intervals at each value; lines only join them."
        title_against = f"Scores against {analysis.against}"
        sections.append(_section("sensitivity", title_against, _figures(figures["sensitivity"]), _text(text)))
    if "aggregates" in tables:
        body = _figures(figures["aggregates"]) + _table(tables["aggregates"])
        sections.append(_section("aggregates", "Over several environments", body, _text(scales_text(analysis))))
    if figures["profiles"]:
        text = "The share of runs whose final score is above τ: a higher curve is better."
        sections.append(_section("profiles", "Performance profiles", _figures(figures["profiles"]), _text(text)))
    if figures["improvements"]:
        body = _figures(figures["improvements"]) + _table(tables["improvement"])
        sections.append(_section("improvement", "Probability of improvement", body, _text(IMPROVEMENT_TEXT)))
    if analysis.thresholds:
        text = "Medians over all runs of a method: not reached where half of them or more did not come to the score."
        sections.append(_section("thresholds", "Steps and wall time", _table(tables["thresholds"]), _text(text)))
    sections += [_settings(tables), _section("runs", "Runs", _folded(tables["runs"], f"{len(analysis.runs)} runs"))]
    links = "".join(f'<li><a href="#{name}">{label}</a></li>' for name, label, _ in sections)
    body = "\n".join(section for *_, section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="wnrl report">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1><p>{html.escape(summary(analysis))}</p>{_notes(notes)}
<nav aria-label="Sections"><ul>{links}</ul></nav></header>
<main>
{body}
</main>
</body>
</html>
"""


def markdown(title: str, analysis: Analysis, tables: Mapping[str, Table], notes: Sequence[str]) -> str:
    """The texts and tables of the page in Markdown."""
    parts = [f"# {plain(title)}", plain(summary(analysis))]
    if notes:
        parts.append("\n".join(f"- {plain(note)}" for note in notes))
    texts = {"scores": scores_text(analysis), "aggregates": scales_text(analysis), "improvement": IMPROVEMENT_TEXT}
    for name in ("scores", "aggregates", "improvement", "thresholds", "settings-that-differ", "runs"):
        if (table := tables.get(name)) is not None and table.rows:
            parts += [
                f"## {table.title}",
                *([plain(texts[name])] if name in texts else []),
                table.as_markdown().rstrip(),
            ]
    return "\n\n".join(parts) + "\n"


IMPROVEMENT_TEXT = (
    "The probability that a run of the method scores higher than a run of the baseline, ties counted half; 0.5 is "
    "chance. An interval that holds 0.5 shows no difference; one without width says that all draws of few seeds agree, "
    "not that nothing is uncertain. Differences are of final scores, each run from the baseline's run of the same "
    "seed, with Student's interval: one of twenty leaves 0 out by chance."
)


def summary(analysis: Analysis) -> str:
    """One sentence on what was compared."""
    seeds = [len(result.finals) for env in analysis.environments for result in env.curves]
    envs = len(analysis.environments)
    spread = str(min(seeds)) if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    return (
        f"{_count(sum(seeds), 'run')} in {_count(len(seeds), 'curve')}, on {_count(envs, 'environment')}, "
        f"with {spread} seed{'s' * (max(seeds) > 1)} a curve; the score is {analysis.tag}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def scores_text(analysis: Analysis) -> str:
    """What a final score is."""
    return (
        f"A run's final score is its mean {analysis.tag} over the last {LAST:.0%} of the steps that all runs of the "
        "environment have. IQM: interquartile mean over seeds, without the lowest and the highest quarter; the "
        "interval is a percentile bootstrap over seeds (Agarwal et al. 2021). Maximum: mean of each run's highest "
        "score, which flatters."
    )


def curves_text(analysis: Analysis) -> str:
    """What the curves are."""
    text = "Interquartile mean over seeds with a 95 % stratified bootstrap band at each step"
    if analysis.tag == "rollout/ep_rew_mean":
        text += "; the score is the mean return of the last 100 games of training"
    return (
        text
        + f". Fewer than {FEWEST} seeds have no band. A dotted line is the score of the table of steps and wall time."
    )


def scales_text(analysis: Analysis) -> str:
    """How scores of several environments were made comparable."""
    used = {env for block in analysis.blocks if len(block.envs) > 1 for env in block.envs}
    scales = "; ".join(
        f"{env.env}: 0 is {env.scale.low:.4g}, 1 is {env.scale.high:.4g} ({env.scale.source})"
        for env in analysis.environments
        if env.env in used
    )
    relative = any(env.scale.source == RELATIVE for env in analysis.environments if env.env in used)
    moves = f" One {RELATIVE} is another with other runs."
    return (
        "Statistics over the environments in which each of the methods has runs. Scores on a scale of each "
        f"environment: {scales}.{moves if relative else ''} The bootstrap draws seeds of each environment apart."
    )


def _section(name: str, title: str, body: str, text: str = "") -> tuple[str, str, str]:
    heading = f"<h2>{html.escape(title)}</h2>"
    return name, html.escape(title), f'<section id="{name}">{heading}{text}{body}</section>'


def _text(text: str) -> str:
    return f'<p class="faint">{html.escape(text)}</p>'


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<aside class="notes" aria-label="What to know"><ul>{items}</ul></aside>' if notes else ""


def _settings(tables: Mapping[str, Table]) -> tuple[str, str, str]:
    different = tables["settings-that-differ"]
    body = _table(different) if different.rows else _text("All runs of an agent have the same settings.")
    for name in ("settings-of-agents", "settings-that-do-not"):
        if (table := tables[name]).rows:
            body += _folded(table, f"{table.title} ({len(table.rows)})")
    return _section("settings", "Settings that differ", body)


def _folded(table: Table, summary: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>{_table(table)}</details>"


def _table(table: Table) -> str:
    return f"{table.as_html()}{_text(f'tables/{table.name}.csv and .md')}"


def _figures(figures: Sequence[Drawn]) -> str:
    return f'<div class="figures">{"".join(map(_figure, figures))}</div>'


def _figure(figure: Drawn) -> str:
    size = f'width="480" height="{round(100 * figure.height)}"'
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{_inline(figure.dark_svg)}">'
        f'<img src="{_inline(figure.svg)}" alt="{html.escape(figure.description)}" {size}></picture>'
        f"<figcaption>figures/{html.escape(figure.name)}.svg and .png</figcaption></figure>"
    )


def _inline(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"

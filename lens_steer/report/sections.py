"""The sections of the report: each is a function of what is in the folder, and is left out where it finds nothing.

A further section is a function here, a row of `SECTIONS` and a macro of its name in `templates/sections.html`. A
further view is a row of `VIEWS`: every table with its columns is drawn.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from lens_steer.experiments.finding import Finding, Question
from lens_steer.experiments.folder import CHANGED, MISSING, RECORD, ResultFolder
from lens_steer.experiments.registry import find
from lens_steer.figures.views import View, lens_view, projection_view
from lens_steer.report import markup
from lens_steer.report.captions import caption

DRAWINGS = 24
"""The most drawings of one table; a page of hundreds is slow, and no one looks at them."""
FIRST = "summary.csv"
"""The table that is open when the page is opened."""
OF_PROVENANCE = ("command", "model", "data", "corpora", "files", "versions", "plan", "seconds")
OF_PROGRESS = ("written", "done", "failed", "left_out")


@dataclass(frozen=True)
class Section:
    """A part of the page; `find` returns what the macro `name` shows, or something empty where there is nothing."""

    name: str
    title: str
    find: Callable[[ResultFolder], Any]


@dataclass(frozen=True, kw_only=True)
class FoundView:
    """A table that is drawn; `name` is what the ids of its places begin with, `left_out` drawings are not shown."""

    name: str
    title: str
    table: str
    view: View
    left_out: int


@dataclass(frozen=True, kw_only=True)
class FoundStrengths:
    """A table of continuations at several strengths; `start` is the place of the one that is shown at first."""

    table: str
    strengths: tuple[markup.Strength, ...]
    start: int


@dataclass(frozen=True, kw_only=True)
class FoundTable:
    """A table: the rows that are shown, and the whole file (`csv`, base64) where it is small."""

    name: str
    size: str
    table: markup.TableRows
    csv: str | None
    megabytes: str
    open: bool


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made the results; `settings` is None where the run left no record."""

    record: str
    settings: markup.Settings | None
    counts: str
    files: markup.TableRows


def verdicts(results: ResultFolder) -> list[tuple[Question, list[Finding], list[str]]]:
    """What each experiment found, in words, and which of the files behind it have changed."""
    return [
        (experiment, findings, [name for name in experiment.needs if results.states.get(name) == CHANGED])
        for experiment, findings in find(results)
    ]


def figures(results: ResultFolder) -> list[markup.Picture]:
    """Every figure with its caption and the data behind it."""
    found = []
    for name, content in results.figures.items():
        title, data = (str(PurePosixPath(name).with_suffix(suffix)) for suffix in ("", ".csv"))
        behind = data if data in results.tables else ""
        found.append(markup.picture(title, content, caption(results, name), behind))
    return found


def views(results: ResultFolder) -> list[FoundView]:
    """Every table that can be drawn, in the order of `VIEWS`; the script that draws them ends the page."""
    found: list[FoundView] = []
    for title, columns, draw in VIEWS:
        for table, rows in results.tables.items():
            if set(columns) <= set(rows.frame.columns) and len(rows.frame):
                view, name = draw(rows.frame), f"view-{len(found)}"
                left_out = max(0, len(view.drawings) - DRAWINGS)
                shown = replace(view, drawings=view.drawings[:DRAWINGS])
                found.append(FoundView(name=name, title=title, table=table, view=shown, left_out=left_out))
    return found


def strengths(results: ResultFolder) -> list[FoundStrengths]:
    """Every table of continuations token by token, as text that a slider steps through."""
    found = []
    for name, table in results.tables.items():
        if set(STEPS) <= set(table.frame.columns) and len(table.frame):
            steps = markup.strengths(table.frame)
            start = min(range(len(steps)), key=lambda place: abs(steps[place].strength))
            found.append(FoundStrengths(table=name, strengths=steps, start=start))
    return found


def tables(results: ResultFolder) -> list[FoundTable]:
    """Every table, closed but for the first."""
    found = []
    for name in sorted(results.tables, key=lambda name: (name != FIRST, name)):
        table = results.tables[name]
        content = table.path.read_bytes()
        found.append(
            FoundTable(
                name=name,
                size=f"{len(table.frame)} rows{f', {table.kind}' if table.kind else ''}",
                table=markup.table_rows(table.frame),
                csv=markup.base64_text(content) if len(content) <= markup.SMALL else None,
                megabytes=f"{len(content) / 1e6:.1f}",
                open=name == FIRST,
            )
        )
    return found


def protocol(results: ResultFolder) -> markup.Settings | None:
    """The settings of everything that was run."""
    said = {key: value for key, value in results.record.items() if key not in (*OF_PROVENANCE, *OF_PROGRESS)}
    found = markup.settings(said)
    return found if found.plain or found.nested else None


def provenance(results: ResultFolder) -> Provenance:
    """What made the results, and whether each file is what was written."""
    record = dict(results.record)
    if isinstance(record.get("command"), list):
        record["command"] = shlex.join(["lens-steer", *map(str, record["command"])])
    digests = record.get("written", {})
    rows = [(name, state, digests.get(name, "")) for name, state in results.states.items()]
    files = pd.DataFrame(rows, columns=["file", "state", "sha256 in run.json"])
    made = markup.settings({key: record[key] for key in OF_PROVENANCE if key in record})
    return Provenance(
        record=RECORD,
        settings=made if record else None,
        counts=", ".join(f"{count} {state}" for state, count in files["state"].value_counts().items()),
        files=markup.table_rows(files, len(files)),
    )


def alarms(results: ResultFolder) -> list[tuple[str, list[str]]]:
    """What is unfinished, failed or left out, and what is not as the run left it; at the top of the page."""
    record, found = results.record, []
    if record.get("finished") is False:
        found.append(("This run is unfinished; run its command again to go on. Finished so far", list(record["done"])))
    for key, words in (("failed", "Failed"), ("left_out", "Left out")):
        if record.get(key):
            found.append((words, [f"{name}: {why}" for name, why in record[key].items()]))
    states = ((CHANGED, "Changed since the run wrote them"), (MISSING, "Written by the run, now missing"))
    return found + [(words, names) for state, words in states if (names := results.of(state))]


STEPS = ("prompt", "strength", "position", "piece", "generated", "change", "kl", "collapsed")
"""What a table of `lens_steer.generation.steps` has, with what it is of."""
TOKENS = "Tokens that each direction raises (blue) and lowers (red)"
VIEWS: tuple[tuple[str, tuple[str, ...], Callable[[pd.DataFrame], View]], ...] = (
    (TOKENS, ("end", "rank", "token", "logit"), lens_view),
    (TOKENS, ("end", "rank", "token", "value"), lens_view),
    ("Projections along texts", ("position", "piece", "vector", "projection"), projection_view),
)
SECTIONS: tuple[Section, ...] = (
    Section("verdicts", "What was found", verdicts),
    Section("figures", "Figures", figures),
    Section("views", "Views", views),
    Section("strengths", "Text over strengths", strengths),
    Section("tables", "Tables", tables),
    Section("protocol", "Protocol", protocol),
    Section("provenance", "Provenance", provenance),
)

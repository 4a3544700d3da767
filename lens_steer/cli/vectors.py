"""The commands of one model and some data: `extract`, `sweep`, `painless`, `study`, `evaluate`, `benchmark`; `app` adds
them."""

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from lens_steer._util.progress import working
from lens_steer.cli.options import (
    CHOOSE,
    DATA,
    SPLIT,
    Answer,
    Balance,
    Behaviours,
    BenchmarkFile,
    Budget,
    Chat,
    Contenders,
    Device,
    DeviceMap,
    DryRun,
    Dtype,
    EqualKl,
    Fresh,
    Model,
    Neutral,
    OfBehaviours,
    OnePositions,
    OneSite,
    OwnChat,
    OwnScoring,
    Personas,
    PrependBos,
    Scale,
    Scoring,
    Seeds,
    Sites,
    Texts,
    Workers,
    Yes,
    numbers,
    split_words,
    values,
    whole_numbers,
)
from lens_steer.cli.terminal import agreed, say, seconds_since, show
from lens_steer.data.splits import SPLITS
from lens_steer.errors import DataError


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
    scale: Scale = "raw",
    scoring: Scoring = "letter",
    chat: Chat = False,
    workers: Workers = 0,
) -> None:
    """Sweep the sites and strengths of a vector, choose a point, report it on test items; run again to continue."""
    began, grid = time.monotonic(), numbers(strengths)
    with working("sweeping a vector"):
        from lens_steer.cli.runs import sweep_to_folder
        from lens_steer.cli.source import ModelSource
        from lens_steer.evaluation.score import ScoringOptions

        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        options = ScoringOptions(scoring=scoring, chat=chat, progress=True)
        result, chosen, tested = sweep_to_folder(
            source, vector, data, out, sites or [], grid, positions, scale, options, workers
        )
        summary = tested.summary()
    columns = ["strength", "logit_difference", "low", "high", "matching_rate", "position_bias", "answer_probability"]
    columns += ["modal_letter_share" if scoring == "letter" else "modal_text_share", "collapsed"]
    show(pd.DataFrame(summary[columns]), f"{result.vector} at {chosen.site}, test items")
    best = "the best valid point" if chosen.valid else "no point is valid; the best of the collapsed ones"
    said = f"{best}: strength {chosen.strength:g} at {chosen.site}\n"
    said += f"{len(result.sites)} sites ({result.path}), figures and tables in {out}/  ({seconds_since(began)})"
    say(said)


def painless(
    data: Annotated[str, typer.Option(help=DATA + "Two or more options; its own splits are not used.")],
    out: Annotated[Path, typer.Option(help="Folder of the vector, the tables and the report.", file_okay=False)],
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
    budget: Budget = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    fresh: Fresh = False,
) -> None:
    """Turn a labelled data set into a tested vector, or into the answer not to steer; run it again to continue.

    Vectors are made of the model's own right and wrong answers; layer, strength and method are chosen on validation
    items beside random vectors. `reproduce --only painless` does it for several data sets.
    """
    began, grid = time.monotonic(), numbers(strengths)
    with working("making a vector"):
        from lens_steer.cli.reproduce.settings import settings_from
        from lens_steer.cli.runs import painless_to_folder

        table: dict[str, object] = {"sites": sites or ["resid_post@*"], "strengths": grid, "positions": positions}
        table |= {"seeds": seeds, "sizes": [], "shots": 0, "items": dict.fromkeys(SPLITS, limit)}
        table |= {"methods": methods} if methods else {}
        given = {"model": model, "device": device, "dtype": dtype, "device_map": device_map, "prepend_bos": prepend_bos}
        given |= {"scoring": scoring, "chat": chat, "limit": limit, "budget": budget or "", "out": str(out)}
        settings = settings_from({**given, "painless": table}, "the command line")
        agree = partial(agreed, dry_run=dry_run, yes=yes)
        found = painless_to_folder(settings, data, command=sys.argv[1:], fresh=fresh, agree=agree)
    if found is None:
        raise typer.Exit(0)
    columns = ["method", "seeds", "unsteered", "steered", "gain", "gain_low", "gain_high", "p_corrected_holm", "beyond"]
    name, point = found.facts["name"], found.facts["point"]
    splits = found.runs["seed"].nunique()
    show(pd.DataFrame(found.tests[columns]), f"{name}: accuracy on test items, mean of {splits} splits")
    if found.facts["answers"]:
        say(found.facts["answers"])
    advice = f"steer at {point['site']}, strength {point['strength']:g} ({point['method']})" if found.vector else ""
    say(f"{advice or 'do not steer'}; report in {out / 'report.html'}  ({seconds_since(began)})")


def study(
    positive: Annotated[str, typer.Option(help="Texts of what the vector shall add, one a line.")],
    negative: Annotated[str, typer.Option(help="Texts of its opposite, or without it, one a line.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables, the vector and the report.", file_okay=False)],
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    sites: Sites = None,
    strengths: Annotated[
        str, typer.Option(help="Numbers separated by commas, in median activation norms; 0 is always tried.")
    ] = "0.05,0.1,0.2",
    text: Neutral = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="What is continued at every strength; give at least two.")
    ] = None,
    limit: Annotated[int, typer.Option(help="The most texts of a list; of more, that many are drawn.", min=12)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the splits and controls.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Study the vector between two lists of texts: does it steer, where, how strongly, and at what cost?

    It is chosen on validation texts and tested on others, beside vectors of shuffled labels and random directions.
    """
    began, grid = time.monotonic(), tuple(numbers(strengths))
    with working("studying two lists of texts"):
        from lens_steer.cli.reproduce.settings import named
        from lens_steer.cli.runs import NEUTRAL, study_to_folder
        from lens_steer.cli.source import ModelSource
        from lens_steer.experiments.text_lists import TextLists

        settings = TextLists(strengths=grid, limit=limit, seed=seed)
        settings = replace(settings, sites=tuple(sites)) if sites else settings
        neutral = named(text or [], "--text")
        if other := set(neutral) - {NEUTRAL}:
            raise DataError(f"--text {other.pop()}=...: side effects are measured on --text {NEUTRAL}=PATH alone.")
        found = study_to_folder(
            ModelSource(model, device, dtype, device_map, prepend_bos),
            (positive, negative),
            out,
            settings,
            neutral=neutral.get(NEUTRAL, ()),
            prompts=prompt or (),
            command=sys.argv[1:],
            fresh=fresh,
        )
    row = found.summary.iloc[0]
    columns = ["site", "strength", "effect", "effect_low", "effect_high", "p_shuffled", "p_random", "kl"]
    show(pd.DataFrame(found.summary[columns]), f"{row['vector']}: test texts, nats a token")
    say(f"{row['verdict']}: {row['why']}; report in {out / 'report.html'}  ({seconds_since(began)})")


def evaluate(
    task: Annotated[str, typer.Option(help="A task of Inspect: task.py, task.py@name or package/name.")],
    vector: Annotated[Path, typer.Option(help="File of the vector.")],
    site: Annotated[str, typer.Option(help="Where it is added, such as resid_post@14.")],
    strength: Annotated[float, typer.Option(help="What it is multiplied by.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables, the report and Inspect's logs.", file_okay=False)],
    model: Model = "lab",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = "",
    prepend_bos: PrependBos = None,
    positions: Annotated[str, typer.Option(help="The tokens that are edited, such as all or generated.")] = "all",
    scale: Scale = "raw",
    n_random: Annotated[
        int, typer.Option("--random", help="Random directions beside it; p needs 19 to reach 0.05.", min=0)
    ] = 3,
    limit: Annotated[int | None, typer.Option(help="The most samples asked. Default: all.", min=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens written. Default: the task's.", min=1)] = None,
    argument: Annotated[
        list[str] | None, typer.Option("-T", help="An argument of the task: NAME=VALUE; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of sampled answers.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Run a task of Inspect unsteered, steered and with random directions; run it again to continue.

    Every arm is asked the same samples, and compared with the unsteered one sample by sample.
    """
    began = time.monotonic()
    with working("evaluating a vector"):
        from lens_steer.cli.runs import task_to_folder
        from lens_steer.cli.source import ModelSource
        from lens_steer.experiments.inspect_task import InspectTask

        settings = InspectTask(
            site=site, strength=strength, scale=scale, positions=positions, n_random=n_random, limit=limit,
            max_tokens=max_tokens, seed=seed, arguments=values(argument or []),
        )  # fmt: skip
        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        found = task_to_folder(source, vector, task, out, settings, command=sys.argv[1:], fresh=fresh)
    columns = ["scorer", "arm", "n", "score", "change", "change_low", "change_high", "p_holm", "p_random"]
    show(pd.DataFrame(found.arms[[*columns, "collapsed_share"]]), f"{task}: change from unsteered, by sample")
    if found.facts["unscored"]:
        say(f"{found.facts['unscored']} samples have no score in some arm and are left out")
    say(f"report in {out / 'report.html'}  ({seconds_since(began)})")


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
    kl: EqualKl = None,
    seeds: Seeds = "",
    site: OneSite = "",
    positions: OnePositions = "",
    limit: Annotated[int, typer.Option(help="The most items used of one file.", min=1)] = 300,
    scoring: OwnScoring = None,
    chat: OwnChat = None,
    settings: BenchmarkFile = None,
    workers: Workers = 0,
) -> None:
    """Compare vectors, maps, gates, prompts and fine-tuning at equal side effects; without data, on the lab.

    Run it again to continue: finished behaviours and seeds are kept.
    """
    began = time.monotonic()
    with working("running the benchmark"):
        from lens_steer.cli.benchmark import benchmark_to_folder, board_of, personas_of
        from lens_steer.cli.source import ModelSource

        given: dict[str, object] = {"site": site, "positions": positions, "methods": tuple(split_words(methods))}
        given |= {"seeds": whole_numbers(seeds) if seeds else (), "kl": kl, "scoring": scoring, "chat": chat}
        given = {name: value for name, value in given.items() if value not in ("", (), None)}
        given["personas"] = personas_of(persona or ())
        source = ModelSource(model, device, dtype, device_map, prepend_bos)
        chosen = {"data": data or (), "behaviours": split_words(behaviours), "text": text or ()}
        found = benchmark_to_folder(
            source, out, **chosen, limit=limit, settings=given, file=settings, workers=workers, progress=True
        )
        board, lacking = board_of(found)
    show(board, f"Effect at a KL of {found.facts['settings']['kl']:g} nats a token, mean over behaviours (nats)")
    for words in lacking:
        say(words)
    say(f"tables and figures in {out}/  ({seconds_since(began)})")


COMMANDS = (extract, sweep, painless, study, evaluate, benchmark)
"""In the order in which the help lists them."""

"""What the commands of `cli.vectors` but `benchmark` do, as functions: data and model in, files out.

Where no split is named, vectors are extracted from the training items and swept on the validation items, so that no
item serves both and the test items stay unseen. Data and vector are read before the model is loaded.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from lens_steer import figures
from lens_steer._util.files import write_whole
from lens_steer.cli.data import file_corpora, read_items, read_questions, read_texts, read_to_choose
from lens_steer.cli.reproduce.lock import sole
from lens_steer.cli.reproduce.record import CHECKPOINT, Record, begun, sha256
from lens_steer.cli.reproduce.run import Loaded, RunPlan, reproduce, write_figures, write_tables
from lens_steer.cli.reproduce.settings import RunSettings
from lens_steer.cli.source import ModelSource
from lens_steer.data.balance import balanced, option_contrast
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.data.splits import SPLITS, split_items
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError, SettingsError
from lens_steer.evaluation.painless import Painless
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.evaluation.select import OperatingPoint, choose_operating_point
from lens_steer.evaluation.sweep import SweepResult, sweep
from lens_steer.experiments.folder import RECORD, write_record
from lens_steer.experiments.inspect_task import InspectTask, InspectTaskResult, evaluate_task
from lens_steer.experiments.inspect_task.study import STUDY as TASK
from lens_steer.experiments.painless import PainlessResult
from lens_steer.experiments.painless.study import STUDY as PAINLESS
from lens_steer.experiments.study import Study
from lens_steer.experiments.text_lists import TextLists, TextListsResult, study_texts
from lens_steer.experiments.text_lists.lists import split_lists
from lens_steer.experiments.text_lists.settings import NEUTRAL as NEUTRAL_TEXTS
from lens_steer.experiments.text_lists.settings import PROMPTS
from lens_steer.experiments.text_lists.study import STUDY
from lens_steer.extraction import extract
from lens_steer.extraction.options import ExtractOptions
from lens_steer.hooks import Scale
from lens_steer.model import fingerprint, versions
from lens_steer.report import write_report
from lens_steer.vector import SteeringVector, load_vector

Balance = Literal["none", "subset", "residual"]
NEUTRAL, MOST_NEUTRAL = "neutral", 16
"""The corpus of neutral texts, and the most of its texts that are read."""


def extract_to_file(
    source: ModelSource,
    data: str,
    out: Path,
    sites: Sequence[str] = ("resid_post@*",),
    method: str = "mean_difference",
    position: str = "last",
    answer: Literal["letter", "text"] = "text",
    balance: Balance = "none",
    cache: Path | None = None,
    progress: bool = False,
) -> SteeringVector:
    """Extracts a vector from a behaviour's items and saves it.

    Args:
        source: the model.
        data: as `read_items` reads it; its training split where none is named.
        out: the vector's file.
        sites: as `parse_sites` reads them.
        method: a name of `lens_steer.extraction.methods.METHODS`.
        position: which tokens are read.
        answer: whether prompts are completed by the option's letter or by its text.
        balance: what is done about option texts that match too often (Yes, No): leave items out (`subset`), or take
            the vector's part along their contrast out of it (`residual`).
        cache: a folder that keeps activations, so that another method need not compute them again.
        progress: show on stderr how far it has come.

    Returns:
        The vector, which has been saved as `out`.
    """
    name, items = read_items(data, "train")
    if balance == "subset":
        items = balanced(items)
    contrasts = [contrast_from_choices(name, items, answer=answer)]
    if balance == "residual":
        contrasts.append(option_contrast(items, answer=answer))
    model = source.load()
    vector, *bias = (
        extract(
            model,
            contrast,
            sites=list(sites),
            method=method,
            position=position,
            cache=cache,
            options=ExtractOptions(progress=progress),
        )
        for contrast in contrasts
    )
    vector = vector.without(bias[0]) if bias else vector
    vector.save(out)
    return vector


def sweep_to_folder(
    source: ModelSource,
    vector_file: Path,
    data: str,
    out: Path,
    sites: Sequence[str] = (),
    strengths: Sequence[float] = (0.5, 1.0, 2.0, 3.0),
    positions: str = "all",
    scale: Scale = "raw",
    options: ScoringOptions | None = None,
    workers: int = 0,
) -> tuple[SweepResult, OperatingPoint, SweepResult]:
    """Sweeps a vector over items, chooses a point, and reports it on test items; goes on where it was interrupted.

    Args:
        source: the model.
        vector_file: a vector of that model.
        data: as `read_to_choose` reads it; the point is chosen on its validation split where none is named.
        out: folder of `sweep.csv` (one row for each site, strength, item and order), `summary.csv`, the figures
            `layer_strength_map`, and `steering_curves` of the chosen site on test items, with their data, `run.json`,
            and the checkpoint.
        sites: as `parse_sites` reads them; the vector's own where there are none.
        strengths: in units of the scale; both signs of each, and 0, are swept.
        positions: which tokens of the prompt are edited.
        scale: what strength 1 means.
        options: how items are asked; the checkpoint is that of the folder.
        workers: processes that share the passes; this one where 0.

    Returns:
        The sweep on which the point was chosen, the point, and the sweep of its site on test items.
    """
    load_vector(vector_file)
    name, items, reported = read_to_choose(data)
    model = source.load()
    vector = load_vector(vector_file, model)
    grid = sorted({sign * abs(strength) for strength in strengths for sign in (-1, 1)})
    with source.workers(workers) as pool:
        options = replace(options or ScoringOptions(), checkpoint=out / CHECKPOINT, pool=pool)
        result = sweep(model, vector, items, list(sites) or vector.sites, grid, positions, scale, options)
        chosen = choose_operating_point(result)
        tested = sweep(model, vector, reported, [chosen.site], grid, positions, scale, options)
    summary = result.summary().assign(positions=result.positions, scale=result.scale)
    result.save(out / "sweep.csv")
    write_whole(out / "summary.csv", summary.to_csv(index=False, float_format="%.6g").encode())
    configurations = _by_panel(name, result, summary)
    figures.save_figure(figures.layer_strength_map(configurations), configurations, out, "layer_strength_map")
    curve = tested.figure_frame().assign(behaviour=name, vector="steering")
    figures.save_figure(figures.steering_curves(curve), curve, out, "steering_curves")
    record = {
        "settings": {"data": data, "sites": list(map(str, result.sites)), "strengths": list(result.strengths)},
        "positions": result.positions,
        "scale": result.scale,
        "path": result.path,
        "scoring": result.scoring,
        "chat": options.chat,
        "vector": {"name": vector.name, "method": vector.method, "data_hash": vector.data_hash},
        "items": len(items),
        "test_items": len(reported),
        "model": fingerprint(model).to_dict(),
        "chosen": {"site": str(chosen.site), "strength": chosen.strength, "valid": chosen.valid},
        "versions": versions(),
    }
    write_record(out / RECORD, record)
    return result, chosen, tested


def painless_to_folder(
    settings: RunSettings,
    data: str,
    *,
    command: Sequence[str] = (),
    fresh: bool = False,
    agree: Callable[[RunPlan, Mapping[str, str]], bool] = lambda _plan, _left_out: True,
) -> Painless | None:
    """Makes, chooses and tests a vector of one labelled data set: the study `painless`, planned, resumed and reported.

    Args:
        settings: of the run; its `data` are not used.
        data: as `read_questions` reads it; of more than `limit` items that many are drawn.
        command, fresh, agree: as for `reproduce`.

    Returns:
        What `PainlessResult.load(out / "painless").task(name)` gives; None where the plan was not agreed to.

    Raises:
        DataError: too few items, or no vector could be built.
        SettingsError, BusyError, BudgetError: as `reproduce`.
    """
    out = Path(settings.out)
    name, items = read_questions(data)
    if len(items) > settings.limit:
        items = tuple(random.Random(f"{name}:{settings.limit}").sample(items, settings.limit))
    splits = split_items(items, seed=settings.seed, near=None)
    if not all(getattr(splits, split) for split in SPLITS):
        raise DataError(f"{data}: {len(items)} items are too few for three splits; give at least 20.")
    settings = replace(settings, data={name: data}, only=(PAINLESS.name,))
    _require_own(out, fresh)

    def loader() -> Loaded:
        model = settings.source.load()
        settings.asking.prepare(model, items)
        return Loaded(model=model, behaviours={name: splits}, corpora={}, neutral="", studies=(PAINLESS,))

    done = reproduce(settings, command=command, progress=True, fresh=fresh, agree=agree, loader=loader)
    if done.failed:
        raise DataError(f"{data}: {done.failed[PAINLESS.name]}")
    if not done.ran:
        return None
    write_report(out)
    return PainlessResult.load(out / PAINLESS.folder).task(name)


def study_to_folder(
    source: ModelSource,
    lists: tuple[str, str],
    out: Path,
    settings: TextLists,
    *,
    neutral: Sequence[str] = (),
    prompts: Sequence[str] = (),
    command: Sequence[str] = (),
    fresh: bool = False,
) -> TextListsResult:
    """Studies the vector between two lists of texts, and writes everything that was found, with its report.

    Args:
        source: the model.
        lists: files of the positive and of the negative texts, as `read_texts` reads them.
        out: folder of the tables and the vector, in `text_lists/`, of the figure, `run.json` and `report.html`.
        settings: sites, strengths, controls, sizes.
        neutral: files or folders of neutral texts; the package's own where absent.
        prompts: what is continued; the package's own where absent.
        command: the words that were typed, for `run.json`.
        fresh: write over the results of another run.

    Returns:
        What was saved.

    Raises:
        SettingsError: the folder holds other results.
        DataError: both files are the same, or one cannot be read.
        BusyError: another process is at work in the folder.
    """
    began, paths = time.monotonic(), [Path(path) for path in lists]
    if paths[0].resolve() == paths[1].resolve():
        raise DataError(f"{lists[0]} is given twice; give one file of positive and another one of negative texts.")
    positive, negative = (read_texts(path) for path in paths)
    split_lists(positive, negative, settings)
    corpus = file_corpora({NEUTRAL: neutral}, seed=settings.seed)[NEUTRAL] if neutral else None
    others = (*corpus.validation, *corpus.test)[:MOST_NEUTRAL] if corpus else NEUTRAL_TEXTS
    _require_own(out, fresh)
    with sole(out):
        model = source.load()
        run = {"settings": asdict(settings), "prompts": list(prompts), "neutral": corpus.hash if corpus else ""}
        files = {path.name: sha256(path) for path in paths}
        record = Record.open(out, begun(model, run, files, command), fresh)
        name = f"{paths[0].stem} - {paths[1].stem}".replace("_", " ")
        found = study_texts(
            model,
            positive,
            negative,
            name=name,
            neutral=others,
            prompts=prompts or PROMPTS,
            settings=settings,
            progress=True,
        )
        _write(record, STUDY, found, out, began)
    return found


def task_to_folder(
    source: ModelSource,
    vector_file: Path,
    task: str,
    out: Path,
    settings: InspectTask,
    command: Sequence[str] = (),
    fresh: bool = False,
) -> InspectTaskResult:
    """Runs a task of Inspect unsteered, steered and with random directions; goes on after the last finished arm.

    Args:
        source: the model.
        vector_file: a vector of that model.
        task: as `inspect eval` takes it.
        out: folder of the tables in `inspect_task/`, of the figure, `run.json`, `report.html`, and of Inspect's logs.
        settings: where and how strongly the vector is added, and how the task is run.
        command: the words that were typed, for `run.json`.
        fresh: write over the results of another run.

    Returns:
        What was saved.

    Raises:
        SettingsError: the folder holds other results.
        BusyError: another process is at work in the folder.
    """
    began = time.monotonic()
    load_vector(vector_file)
    _require_own(out, fresh)
    with sole(out):
        model = source.load()
        vector = load_vector(vector_file, model)
        run = {"task": task, "settings": asdict(settings)}
        record = Record.open(out, begun(model, run, {vector_file.name: sha256(vector_file)}, command), fresh)
        found = evaluate_task(model, task, vector, settings, logs=out / "logs", progress=True)
        _write(record, TASK, found, out, began)
    return found


def _write(record: Record, study: Study, found: Tables, out: Path, began: float) -> None:
    """Writes the tables, figures, record and report of a study that is a command of its own."""
    written = [*write_tables(study, found, out), *write_figures(study, found, out)]
    record.content["finished"] = True
    record.add(study, written, {}, time.monotonic() - began)
    write_report(out)


def _require_own(out: Path, fresh: bool) -> None:
    """Refuses a folder that holds something else than a run's results; what was killed at its start leaves no record.

    Raises:
        SettingsError: it does.
    """
    held = {path.name for path in out.iterdir() if path.name[0] != "."} if out.is_dir() else set[str]()
    if held - {CHECKPOINT} and not fresh and RECORD not in held:
        raise SettingsError(f"{out}: is not empty and holds no run; give another --out, or --fresh to write into it.")


def _by_panel(name: str, result: SweepResult, summary: pd.DataFrame) -> pd.DataFrame:
    """The summary by kind of site (and head), each with its own best point, for the panels of the map."""
    panels: dict[str, list[int]] = {}
    for index, site in enumerate(result.sites):
        panels.setdefault(site.kind if site.head is None else f"{site.kind}.{site.head}", []).append(index)
    frames = []
    for panel, indices in panels.items():
        sites = tuple(result.sites[index] for index in indices)
        point = choose_operating_point(replace(result, sites=sites))
        rows = pd.DataFrame(summary[summary["site"].isin([str(site) for site in sites])])
        chosen = rows["site"].eq(str(point.site)) & rows["strength"].eq(point.strength)
        frames.append(rows.assign(behaviour=f"{name} {panel}", chosen=chosen))
    return pd.concat(frames, ignore_index=True)

"""The main job: plan, steer, draw, write, and record what produced the results.

    load     the data, then the model; behaviours that cannot be asked are left out, with the reason
    plan     speed measured on a few questions and documents; what a budget leaves (`experiments.plan`)
    run      every study of `experiments.registry` whose needs are met, each written and recorded when it ends

The folder gets each figure as PNG and PDF with its tidy data, the test answers, the vectors, the tables of each study
in a folder of its own, each table as LaTeX beside its CSV, and `run.json`. The same seed gives the same bytes in every
table. A run that was ended goes on: finished studies are kept, and finished passes of the others are in `checkpoint/`.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from lens_steer import figures
from lens_steer.cli.data import file_behaviours, file_corpora, lab_behaviours, lab_corpora
from lens_steer.cli.reproduce.lock import sole
from lens_steer.cli.reproduce.record import CHECKPOINT, Record, begin
from lens_steer.cli.reproduce.settings import RunSettings, budget_seconds
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.errors import LensSteerError, SettingsError
from lens_steer.experiments.individual_steering import IndividualResult
from lens_steer.experiments.plan import Plan, Sizes, Work, make_plan, plan_at
from lens_steer.experiments.registry import studies
from lens_steer.experiments.speed import extent_of, measure_speed, memory_bytes
from lens_steer.experiments.study import Study, StudyContext
from lens_steer.model import SteerableModel

NEUTRAL_ON_LAB = "text"


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """The model and the data of a run; `left_out` says of behaviours and studies why they are not used."""

    model: SteerableModel
    behaviours: Mapping[str, Splits]
    corpora: Mapping[str, Corpus]
    neutral: str
    studies: tuple[Study, ...]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A plan, the speed it is made of, the memory that the run takes, in bytes, and which finished run it replaces."""

    plan: Plan
    speed: Mapping[str, float]
    memory: int
    replaces: str = ""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """Where the results are, what was left out or failed and why, and whether the studies were run at all."""

    out: Path
    planned: RunPlan
    left_out: Mapping[str, str]
    failed: Mapping[str, str]
    ran: bool


def reproduce(
    settings: RunSettings,
    *,
    command: Sequence[str] = (),
    progress: bool = False,
    fresh: bool = False,
    agree: Callable[[RunPlan, Mapping[str, str]], bool] = lambda _plan, _left_out: True,
    loader: Callable[[], Loaded] | None = None,
) -> RunOutcome:
    """Plans and runs every study whose needs are met, or goes on with a run that was ended.

    Args:
        settings: model, data, studies, budget, folder.
        command: the words that were typed, for `run.json`.
        progress: draw a progress bar.
        fresh: write over the results of another run.
        agree: is given the plan, and what is left out and why, before anything is run; no, and nothing is.
        loader: gives model, data and studies; `load` of the settings where absent.

    Returns:
        What was done.

    Raises:
        SettingsError: the folder holds another run, or no study can be run.
        BusyError: another process is at work in the folder.
        BudgetError: too little for the least plan.
        DataError, ModelNotFoundError: data or a model that cannot be read.
    """
    began, out = time.monotonic(), Path(settings.out)
    loaded = loader() if loader else load(settings)
    given = begin(settings, loaded, list(command))
    earlier = Record.open(out, given, fresh)
    known = earlier.content.get("plan")
    planned = _planned_again(settings, loaded, known) if known else make_run_plan(settings, loaded, began)
    planned = replace(planned, replaces=earlier.replaces)
    if not agree(planned, loaded.left_out):
        return RunOutcome(out=out, planned=planned, left_out=loaded.left_out, failed={}, ran=False)
    with sole(out):
        record = Record.open(out, given, fresh)
        record.prepare()
        plan = planned.plan
        record.content["plan"] = {"sizes": asdict(plan.sizes), "left_out": list(plan.left_out)}
        record.content["plan"] |= {"seconds": round(plan.seconds, 1), "memory": planned.memory}
        record.content["plan"] |= {"speed": dict(planned.speed)}
        record.content["left_out"] |= loaded.left_out
        for study in loaded.studies:
            if study.name not in {entry.name for entry in plan.studies}:
                record.content["left_out"][study.name] = "left out by the budget"
        record.write()
        _run(settings, loaded, plan.sizes, record, progress)
        record.content["seconds"] = round(time.monotonic() - began, 1)
        record.content["finished"] = True
        record.write()
    content = record.content
    return RunOutcome(out=out, planned=planned, left_out=content["left_out"], failed=content["failed"], ran=True)


def load(settings: RunSettings) -> Loaded:
    """The data and the model of a run, and the studies whose needs they meet.

    Args:
        settings: of the run.

    Raises:
        SettingsError: no study can be run.
        DataError, ModelNotFoundError: data or a model that cannot be read.
    """
    behaviours = file_behaviours(settings.data, limit=settings.limit, seed=settings.seed)
    corpora = file_corpora(settings.text, seed=settings.seed)
    if settings.on_lab:
        behaviours, corpora = lab_behaviours(), lab_corpora()
    neutral = NEUTRAL_ON_LAB if settings.on_lab else settings.neutral
    model, left_out, chosen = settings.source.load(), dict[str, str](), []
    for name, splits in list(behaviours.items()):
        try:
            for split in SPLITS:
                settings.asking.prepare(model, getattr(splits, split))
        except LensSteerError as error:
            left_out[name] = f"cannot be asked: {error}"
            del behaviours[name]
    for study in studies():
        if study.run is None or (settings.only and study.name not in settings.only):
            continue
        missing = study.needs.missing(len(behaviours), tuple(corpora), neutral)
        if missing:
            left_out[study.name] = missing
        else:
            chosen.append(study)
    if any(study.after_individual for study in chosen) and chosen[0].name != "individual":
        chosen.insert(0, studies()[0])
    if not chosen:
        said = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise SettingsError(f"there is no study to run: {said}.")
    return Loaded(
        model=model,
        behaviours=behaviours,
        corpora=corpora,
        neutral=neutral,
        studies=tuple(chosen),
        left_out=left_out,
    )


def make_run_plan(settings: RunSettings, loaded: Loaded, began: float) -> RunPlan:
    """Measures the model's speed, and plans.

    Args:
        settings: of the run.
        loaded: its model and data.
        began: when the run began, on the monotonic clock.

    Raises:
        BudgetError: the budget is too small.
    """
    items = next((splits.train for splits in loaded.behaviours.values()), ())
    documents = next((corpus.train for corpus in loaded.corpora.values()), ())
    rules = dict.fromkeys(["all"])
    for study in loaded.studies:
        positions = getattr(settings.setup(study).settings, "positions", ())
        rules |= dict.fromkeys([positions] if isinstance(positions, str) else positions)
    speed = measure_speed(loaded.model, items, documents, [rule for rule in rules if rule], settings.asking)
    works, extent = _works(settings, loaded)
    budget, spent = budget_seconds(settings.budget), time.monotonic() - began
    plan = make_plan(works, speed, budget, spent)
    return RunPlan(plan=plan, speed=speed, memory=memory_bytes(loaded.model, extent, ROWS))


ROWS = 64
"""Rows of one pass, for the memory."""
FAILURES = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a study may fail with while the others go on; torch's lack of memory is a RuntimeError."""


def _planned_again(settings: RunSettings, loaded: Loaded, known: Mapping[str, Any]) -> RunPlan:
    """The plan with which a run was begun."""
    works, _ = _works(settings, loaded)
    plan = plan_at(works, known["speed"], Sizes(**known["sizes"]), known["left_out"])
    return RunPlan(plan=plan, speed=known["speed"], memory=known["memory"])


def _works(settings: RunSettings, loaded: Loaded) -> tuple[dict[str, Callable[[Sizes], Work]], Any]:
    """The work of each study as a function of sizes, and the extent of all data."""
    extent = extent_of(loaded.model, loaded.behaviours, loaded.corpora, loaded.neutral, settings.asking)

    individual = studies()[0]

    def work(study: Study, sizes: Sizes) -> Work:
        setup, first = settings.setup(study), individual.reduced(settings.setup(individual).settings, sizes)
        cut = extent.cut(sizes.of_items(setup.items), sizes.of_documents(setup.documents))
        return study.work(study.reduced(setup.settings, sizes), replace(cut, rule=first.positions[0]))

    return {study.name: partial(work, study) for study in loaded.studies}, extent


def _run(settings: RunSettings, loaded: Loaded, sizes: Sizes, record: Record, progress: bool) -> None:
    """Runs the studies that are not finished; one that fails is recorded, and the others go on."""
    individual: IndividualResult | None = None
    pending = [study for study in loaded.studies[: sizes.studies] if not record.has(study)]
    needed = any(study.after_individual for study in pending)
    for study in loaded.studies[: sizes.studies]:
        if study not in pending and not (needed and study.name == "individual"):
            continue
        if study.after_individual and individual is None:
            record.content["left_out"][study.name] = "individual steering, whose vectors it takes, failed"
            record.write()
            continue
        began = time.monotonic()
        try:
            found = _result(study, settings, loaded, sizes, individual, record.folder, progress)
            if study.name == "individual":
                individual = found
            if study in pending:
                files = [*write_tables(study, found, record.folder), *write_figures(study, found, record.folder)]
                record.add(study, files, _facts(study, found), time.monotonic() - began)
        except FAILURES as error:
            record.content["failed"][study.name] = f"{type(error).__name__}: {error}"
            if not isinstance(error, LensSteerError | OSError):
                record.content["failed"][study.name] += f"\n{traceback.format_exc()}"
            record.write()


def _result(
    study: Study,
    settings: RunSettings,
    loaded: Loaded,
    sizes: Sizes,
    individual: IndividualResult | None,
    out: Path,
    progress: bool,
) -> Any:
    """What one study finds."""
    setup, checkpoint = settings.setup(study), out / CHECKPOINT
    own = study.reduced(setup.settings, sizes)
    if "checkpoint" in {entry.name for entry in fields(own)}:
        own = replace(own, checkpoint=str(checkpoint))
    items, documents = sizes.of_items(setup.items), sizes.of_documents(setup.documents)
    context = StudyContext(
        model=loaded.model,
        behaviours={name: Splits(**_first(splits, items)) for name, splits in loaded.behaviours.items()},
        corpora={name: Corpus(name=name, **_first(one, documents)) for name, one in loaded.corpora.items()},
        neutral=loaded.neutral,
        settings=own,
        found=individual,
        progress=progress,
    )
    return study.run(context) if study.run else None


def _first(splits: Any, most: Mapping[str, int]) -> dict[str, Any]:
    """The first entries of each split."""
    return {split: getattr(splits, split)[: most.get(split)] for split in SPLITS}


def _facts(study: Study, found: Any) -> dict[str, Any]:
    """What the record says of a study beside its files."""
    if isinstance(found, IndividualResult):
        return {"settings": dict(found.facts), "chosen": _chosen(found)}
    return {study.name: {key: value for key, value in found.facts.items() if key not in ("model", "versions")}}


def write_tables(study: Study, result: Any, out: Path) -> list[Path]:
    """Every table of a study, as CSV and as LaTeX.

    Args:
        study: gives its folder and title.
        result: of the study.
        out: folder of the results.
    """
    written = result.save(out / study.folder)
    frames = result.tables()
    for path in [path for path in written if path.suffix == ".csv"]:
        frame, title = frames[path.stem], f"{study.title}: {path.stem.replace('_', ' ')}"
        if len(frame):
            written.append(figures.write_latex(path, frame, figures.table_caption(title, frame)))
    return written


def write_figures(study: Study, result: object, out: Path) -> list[Path]:
    """Every figure of a study with its data, as CSV and as LaTeX.

    Args:
        study: gives the figures.
        result: of the study.
        out: folder of the results.
    """
    written = []
    for name, (figure, data) in study.drawn(result).items():
        written += figures.save_figure(figure, data, out, name)
        caption = figure.caption or figures.table_caption(study.title, data)
        written.append(figures.write_latex(out / f"{name}.csv", data, caption))
    return written


def _chosen(result: IndividualResult) -> dict[str, Any]:
    return {
        name: {"site": str(p.site), "strength": p.strength, "positions": str(p.positions), "valid": p.valid}
        for name, p in result.points.items()
    }

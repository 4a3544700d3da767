"""Which labelled tasks a vector of the model's own answers improves, and what it costs: Cui & Chen 2025, with controls.

    for each task and seed    `evaluation.painless`: split, build, choose, test, random vectors beside
      sizes         again with fewer training items; the number that was used stands in the table
      full grid     the paper's search of every site and strength, on the splits of the first seeds   (`full_grid`)
      on top        the best vector alone, behind examples, and on the fine-tuned model, on the same test items
      capability    questions about facts, without and with the best vector, or the adapter, of the first seed

    gain    accuracy on test items, steered - unsteered

p-values are corrected over all tasks and methods (Holm).

Source: Cui & Chen 2025 (arXiv 2509.22739), whose plotted sample size is that of the validation split in their code, and
who never steer with random vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from lens_steer._util.progress import track
from lens_steer.data.own_answers import Listing
from lens_steer.data.tables import Tables
from lens_steer.errors import ArgumentError, ContrastError, DataError
from lens_steer.evaluation.painless import Painless, PainlessOptions
from lens_steer.evaluation.painless.run import P_VALUES, SeedRun, read_answers, run_seed, summarise
from lens_steer.evaluation.prompts import Item
from lens_steer.experiments.painless.full_grid import beside_the_full_grid
from lens_steer.experiments.painless.on_top import capability, on_top
from lens_steer.experiments.painless.settings import PainlessTasks, at_size, options_of
from lens_steer.metrics.significance import with_holm
from lens_steer.model import SteerableModel, fingerprint, new_adapter, versions
from lens_steer.vector import SteeringVector, load_vector

ANSWERS, VECTORS = "answers", "vectors"


@dataclass(frozen=True, kw_only=True, eq=False)
class PainlessResult(Tables):
    """What was found.

    `gains`: one row a task and method, with tests. `runs`: one row a task, seed and method. `points`: one row a task,
    seed, method and point that was tried on validation items. `sizes`: one row a task, number of training items and
    method. `choices`: one row a task whose full grid was searched. `grid`: one row a task, seed and point of it.
    `on_top`: one row a task and condition. `capability`: one row a task and vector that steers, or adapter.
    `answers`: one row a task and item: what the model answers unsteered. `vectors`: by task, the best one of the first
    split, where the answer is to steer; `task` gives it with its point. Results of before have neither.
    """

    kind = "painless_tasks"
    later = (ANSWERS,)
    gains: pd.DataFrame
    runs: pd.DataFrame
    points: pd.DataFrame
    sizes: pd.DataFrame
    choices: pd.DataFrame
    grid: pd.DataFrame
    on_top: pd.DataFrame
    capability: pd.DataFrame
    answers: pd.DataFrame
    vectors: Mapping[str, SteeringVector]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(name for name in super().names() if name != "vectors")

    def task(self, name: str) -> Painless:
        """What was found of one task, ready to steer with.

        Args:
            name: of the task.

        Raises:
            DataError: there is no such task, or its result is of a version that saved no vectors.
        """
        points = self.facts.get("points", {})
        if name not in points:
            known = f"those that there are: {', '.join(points)}" if points else "they were saved by an earlier version"
            raise DataError(f"no chosen point of a task {name!r}; {known}.")
        own = {
            table: pd.DataFrame(frame[frame["task"] == name]).drop(columns="task").reset_index(drop=True)
            for table, frame in self.tables().items()
            if table in ("runs", "points", "gains", "answers")
        }
        tests = own.pop("gains")
        facts = {"name": name, "point": points[name], "answers": self.facts["answers"][name]}
        facts |= {key: self.facts[key] for key in ("model", "versions")}
        return Painless(**own, tests=tests, vector=self.vectors.get(name), facts=facts)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the tables, and the vectors into `vectors/`; `load` reads them back."""
        vectors = [vector.save(Path(folder) / VECTORS / f"{name}.safetensors") for name, vector in self.vectors.items()]
        return [*super().save(folder), *vectors]

    @classmethod
    def load(cls, folder: str | Path, model: SteerableModel | None = None) -> "PainlessResult":
        """Reads what `save` wrote.

        Args:
            folder: of the files.
            model: where given, the vectors must be of this model.

        Raises:
            FormatError: a file is missing, truncated, edited, foreign or of a newer schema.
            MismatchError: a vector is of another model.
        """
        frames, facts = cls._read(folder)
        steering = [name for name, point in facts.get("points", {}).items() if point["strength"]]
        vectors = {name: load_vector(Path(folder) / VECTORS / f"{name}.safetensors", model) for name in steering}
        return cls(**frames, facts=facts, vectors=vectors)


def painless_tasks(
    model: SteerableModel,
    tasks: Mapping[str, Sequence[Item]],
    settings: PainlessTasks | None = None,
    knowledge: Sequence[Item] = (),
    progress: bool = False,
) -> PainlessResult:
    """Makes, chooses and tests vectors of every task.

    Args:
        model: a loaded model.
        tasks: questions by name; all questions of one task with the same number of options.
        settings: what is tried; the defaults where absent.
        knowledge: questions that are asked before and after steering.
        progress: draw a progress bar.

    Returns:
        Tidy frames; `failed` of the facts says which tasks no vector could be built of, and why, `untuned` why nothing
        was fine-tuned that should have been.

    Raises:
        ContrastError: no vector could be built of any task.
        DataError, ScoreError, OptionTokenError: as `painless`.
    """
    settings = settings or PainlessTasks()
    settings, untuned = _tunable(model, settings)
    options = options_of(model, settings)
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in PainlessResult.names()}
    said, failed, points, vectors = {}, {}, {}, {}
    for name, items in track(tasks.items(), "painless tasks", len(tasks), progress):
        try:
            tables, said[name], first = _task(model, name, items, options, settings, knowledge, progress)
        except ContrastError as error:
            failed[name] = str(error)
            continue
        points[name] = first.point
        vectors |= {} if first.vector is None else {name: first.vector}
        for table, frame in tables.items():
            found[table].append(frame.assign(task=name)[["task", *(c for c in frame.columns if c != "task")]])
    if not found["gains"]:
        raise ContrastError(f"no task gives a vector. {' '.join(f'{name}: {why}' for name, why in failed.items())}")
    frames = {
        name: pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        for name, parts in found.items()
    }
    gains = frames["gains"].drop(columns=[f"{p}_holm" for p in P_VALUES])
    for p in P_VALUES:
        gains = with_holm(gains, p, "tasks and methods")
    facts = {
        "settings": asdict(settings) | {"checkpoint": None},
        "answers": said,
        "points": points,
        "failed": failed,
        "untuned": untuned,
    }
    facts |= {"model": fingerprint(model).to_dict(), "versions": versions()}
    return PainlessResult(**(frames | {"gains": gains}), facts=facts, vectors=vectors)


def _tunable(model: SteerableModel, settings: PainlessTasks) -> tuple[PainlessTasks, str]:
    """The settings, without fine-tuning where that cannot be, and why."""
    why = "an adapter is trained on plain prompts, and chat=True asks others." if settings.chat else ""
    if settings.tuned_seeds and not why:
        try:
            new_adapter(model)
        except ArgumentError as error:
            why = str(error)
    return (replace(settings, tuned_seeds=0), why) if settings.tuned_seeds and why else (settings, "")


def _task(
    model: SteerableModel,
    name: str,
    items: Sequence[Item],
    options: PainlessOptions,
    settings: PainlessTasks,
    knowledge: Sequence[Item],
    progress: bool,
) -> tuple[dict[str, pd.DataFrame], str, SeedRun]:
    """The tables of one task, what there is to say of its answers, and the first split."""
    listing = Listing(template=options.select.scoring.template)
    others = () if name == settings.asked else knowledge
    reading = read_answers(model, items, options, listing, name, progress)

    def run(seed: int, own: PainlessOptions) -> SeedRun:
        return run_seed(model, items, reading.rows, listing, seed, own)

    whole = [run(seed, options) for seed in track(options.seeds, f"seeds of {name}", len(options.seeds), progress)]
    runs = pd.concat([one.runs for one in whole], ignore_index=True)
    smaller = []
    for n in settings.sizes:
        try:
            own = at_size(options, settings, n)
            smaller += [summarise(pd.concat([run(seed, own).runs for seed in options.seeds])).assign(n_train=n)]
        except ContrastError:
            continue
    smaller.append(summarise(runs).assign(n_train=int(runs["n_train"].median())))
    sizes = pd.concat(smaller, ignore_index=True)
    sizes = sizes[sizes["method"].isin(settings.sized) & sizes["seeds"].gt(0)]
    searched = whole[: settings.full_grid]
    choices, grid = beside_the_full_grid(model, items, reading.rows, searched, options, progress)
    above, adapter = on_top(model, items, reading, whole, options, settings, progress)
    tables = {
        "gains": summarise(runs),
        "runs": runs,
        "points": pd.concat([one.points for one in whole], ignore_index=True),
        "sizes": sizes[["method", "n_train", "seeds", "unsteered", "gain", "gain_low", "gain_high", "p_corrected"]],
        "choices": choices,
        "grid": grid,
        "on_top": above,
        "capability": capability(model, others, whole[0], adapter, options.select.scoring),
        ANSWERS: reading.answers,
    }
    return tables, reading.warning, whole[0]

"""A vector on a task of Inspect: the same samples unsteered, steered and with random directions, pair by pair.

    d_i       score of sample i in an arm - its score unsteered (epochs averaged)
    change    mean of d_i, with its interval and the p of sign flips; Holm over the task's scorers
    p_random  (1 + random directions whose change is as far from 0) / (1 + random directions)

Inspect runs and scores the task, on one loaded model; nothing is trained or chosen here. The arms differ in the vector
alone: site, strength, positions, decoding and seed are the same. Scores are numbers as Inspect counts them (C 1, P 0.5,
I and N 0); a scorer that gives something else is refused. Needs the extra `inspect`.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.tables import Tables
from lens_steer.errors import ArgumentError, DataError, ScoreError
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.hooks import Intervention, Scale, require_unsteered
from lens_steer.metrics.collapse import continuation_collapsed
from lens_steer.metrics.significance import control_p, sign_flip_p, with_holm
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel, fingerprint, require_model, versions
from lens_steer.model.stored import computation_key
from lens_steer.vector import SteeringVector, random_like

UNSTEERED, RANDOM, KEY = "unsteered", "random ", "lens_steer"
SCORES = {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What Inspect's own metrics count these values as."""
RAISED = (OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, ImportError)
"""What a task that is not right raises while it is made."""


@dataclass(frozen=True, kw_only=True)
class InspectTask:
    """How a task is run: `site`, `strength`, `scale` and `positions` as of `Intervention.of`.

    `n_random` random directions of the vector's norm are run beside it; p cannot reach 0.05 with fewer than 19. At most
    `limit` samples are asked, in the task's order, and `max_tokens` written, where they are given; `arguments` are the
    task's own. `seed` is of sampled answers.
    """

    site: str
    strength: float
    scale: Scale = "raw"
    positions: str = "all"
    n_random: int = 3
    limit: int | None = None
    max_tokens: int | None = None
    batch_size: int = 16
    seed: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n_random < 0 or self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ArgumentError(
                f"n_random {self.n_random}, batch_size {self.batch_size}, limit {self.limit}; n_random is 0 or more, "
                "the others are at least 1."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class InspectTaskResult(Tables):
    """What the task says of the model in every arm, as tidy frames.

    `arms`: one row an arm (`unsteered`, `steering`, `random k`) and scorer: the mean score, its change from unsteered
    with interval and p, the share of answers that repeat themselves or are empty. `samples`: one row an arm, scorer and
    sample. `facts`: the task, its settings, the model, and how many samples had no score in some arm.
    """

    kind = "inspect_task"
    arms: pd.DataFrame
    samples: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The arms."""
        return self.arms

    def plot(self) -> Any:
        """The score in every arm, and its change from unsteered."""
        from lens_steer.experiments.inspect_task.figures import task_arms

        return task_arms(self.arms)


def evaluate_task(
    model: SteerableModel,
    task: Any,
    vector: SteeringVector,
    settings: InspectTask,
    *,
    logs: str | Path | None = None,
    progress: bool = False,
) -> InspectTaskResult:
    """Runs a task of Inspect unsteered, steered and with random directions, and compares them sample by sample.

    Args:
        model: any model.
        task: what `inspect_ai.eval` takes for one task: `task.py`, `task.py@name`, `package/name`, or a `Task`.
        vector: the steering vector.
        settings: where and how strongly it is added, and how the task is run.
        logs: a folder that keeps Inspect's logs, one folder an arm; arms whose log is complete are read and not run
            again. Nothing is kept where absent.
        progress: show on stderr how far it has come.

    Returns:
        Scores, changes with intervals and p-values, and every sample.

    Raises:
        ArgumentError: Inspect is not installed, or the task asks for what steered models do not have.
        DataError: Inspect could not run the task; the message is Inspect's own, with the arm.
        ScoreError: a scorer gives no numbers, or fewer than two samples are scored in all arms.
        SiteError, PositionError, SteeringError, MismatchError: as `Intervention.of` and `steer`.
    """
    require_model(model, "evaluate_task(model, task, vector, settings)", task, vector)
    require_unsteered(model, "evaluate_task", "run it outside the steering context; every arm steers by itself")
    arms = _arms(vector, settings)
    with TemporaryDirectory() as folder:
        kept = Path(folder if logs is None else logs)
        found = [
            row
            for arm in track(list(arms), "running the task", len(arms), progress)
            for row in _rows(model, arm, _log(model, task, arms[arm], settings, kept / arm.replace(" ", "_")))
        ]
    samples, unscored = _paired(pd.DataFrame(found), list(arms))
    facts = {
        "task": task if isinstance(task, str) else str(getattr(task, "name", "task")),
        "settings": json.loads(json.dumps(asdict(settings), default=str)),
        "vector": {"name": vector.name, "method": vector.method, "data_hash": vector.data_hash},
        "unscored": unscored,
        "model": fingerprint(model).to_dict(),
        "versions": versions(),
    }
    compared = _compared(samples, settings.seed).assign(
        task=facts["task"], site=str(settings.site), strength=settings.strength, scale=settings.scale,
        positions=settings.positions, model=facts["model"]["name"],
    )  # fmt: skip
    return InspectTaskResult(arms=compared, samples=samples, facts=facts)


def _arms(vector: SteeringVector, settings: InspectTask) -> dict[str, list[Intervention]]:
    """The interventions of every arm, by name."""
    vectors = {STEERING: vector} | {f"{RANDOM}{k}": random_like(vector, seed=k) for k in range(settings.n_random)}
    how = (settings.site, settings.strength, settings.scale, settings.positions)
    return {UNSTEERED: []} | {name: [Intervention.of(one, *how)] for name, one in vectors.items()}


def _key(model: SteerableModel, task: Any, edits: Sequence[Intervention], settings: InspectTask) -> str | None:
    """What decides the answers of an arm, as a digest; none for a task that is an object, which runs anew."""
    if not isinstance(task, str):
        return None
    file = Path(task.partition("@")[0])
    told = {"n_random": None, "arguments": dict(settings.arguments)}
    about = [edits, task, file.read_bytes() if file.is_file() else b"", asdict(settings) | told, version("inspect-ai")]
    return computation_key(model, about, "answers")


def _log(model: SteerableModel, task: Any, edits: Sequence[Intervention], settings: InspectTask, folder: Path) -> Any:
    """Inspect's log of one arm: the one in the folder where it is complete and of the same run, or a new one.

    Raises:
        ArgumentError: Inspect is not installed.
        DataError: Inspect could not run the task.
    """
    try:
        from inspect_ai import eval as run
        from inspect_ai._util.error import PrerequisiteError
        from inspect_ai.log import list_eval_logs, read_eval_log
        from inspect_ai.model import get_model
    except ImportError as error:
        raise ArgumentError("a task needs the package inspect-ai: pip install 'lens-steer[inspect]'.") from error
    key = _key(model, task, edits, settings)
    for earlier in list_eval_logs(str(folder)) if folder.is_dir() else ():
        log = read_eval_log(earlier)
        if key and log.status == "success" and (log.eval.metadata or {}).get(KEY) == key:
            return log
    steered = get_model(
        f"lens_steer/{fingerprint(model).name}",
        bridge=model,
        interventions=edits,
        batch_size=settings.batch_size,
        memoize=False,
    )
    if isinstance(task, str) and Path(task).is_absolute():
        task = os.path.relpath(task)  # Inspect looks for files below the current folder alone
    limits: dict[str, Any] = {"limit": settings.limit, "max_tokens": settings.max_tokens}
    try:
        (log,) = run(
            task,
            model=steered,
            task_args=dict(settings.arguments),
            metadata={KEY: key},
            display="none",
            log_dir=str(folder),
            seed=settings.seed,
            **{name: value for name, value in limits.items() if value is not None},
        )
    except (*RAISED, PrerequisiteError) as error:
        raise DataError(f"{folder.name}: Inspect could not begin the task {task}: {error}") from error
    if log.status != "success":
        why = log.error.message if log.error else f"the run ended with status {log.status}"
        raise DataError(f"{folder.name}: Inspect could not run the task {task}: {why}")
    return log


def _rows(model: SteerableModel, arm: str, log: Any) -> list[dict[str, Any]]:
    """One row for each scored sample, epoch and scorer of a log.

    Raises:
        ScoreError: a scorer gives something else than numbers.
    """
    rows = []
    for sample in log.samples or ():
        text = sample.output.completion
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        said = {"arm": arm, "sample": str(sample.id), "text": text, "collapsed": continuation_collapsed(ids)}
        for scorer, score in (sample.scores or {}).items():
            value = score.value
            several = isinstance(value, dict)
            parts = {f"{scorer} {key}": part for key, part in value.items()} if several else {scorer: value}
            rows += [said | {"scorer": name, "score": _number(name, one)} for name, one in parts.items()]
    return rows


def _number(scorer: str, value: Any) -> float:
    """A score as Inspect's metrics count it.

    Raises:
        ScoreError: it is no number.
    """
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and value.lower() in SCORES:
        return SCORES[value.lower()]
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ScoreError(
            f"the scorer {scorer} gives {value!r}; a comparison needs numbers, or C, P, I and N. Give the task a "
            "scorer that gives them."
        ) from None


def _paired(rows: pd.DataFrame, arms: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Samples that are scored in every arm, epochs averaged, and how many are not.

    Raises:
        ScoreError: fewer than two are.
    """
    if rows.empty:
        raise ScoreError("no sample has a score; the task needs a scorer and at least two samples.")
    keys = ["scorer", "sample", "arm"]
    one = rows.groupby(keys, sort=False).agg(
        score=("score", "mean"), collapsed=("collapsed", "mean"), text=("text", "first")
    )
    one = one.reset_index()
    one = one[one["score"].map(math.isfinite)]
    whole = one.groupby(["scorer", "sample"])["arm"].transform("nunique").eq(len(arms))
    everyone = rows.groupby("scorer")["sample"].nunique().sum()
    kept = one[whole].sort_values("arm", key=lambda arm: arm.map(list(arms).index), kind="stable")
    n = len(kept) // len(arms)
    if kept.empty or kept.groupby("scorer")["sample"].nunique().min() < 2:
        raise ScoreError(f"{n} samples are scored in all of {len(arms)} arms; give at least two.")
    return kept.reset_index(drop=True), int(everyone - n)


def _compared(samples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The mean score of every arm and its change from unsteered, by scorer; p where the arm is that of the vector."""
    rows = []
    for scorer, own in samples.groupby("scorer", sort=False):
        wide = own.pivot(index="sample", columns="arm", values="score")
        scores = {str(arm): torch.from_numpy(wide[arm].to_numpy(dtype=float, copy=True)) for arm in own["arm"].unique()}
        changes = {arm: values - scores[UNSTEERED] for arm, values in scores.items()}
        collapsed = own.groupby("arm")["collapsed"].mean()
        random = [abs(float(change.mean())) for arm, change in changes.items() if arm.startswith(RANDOM)]
        steered = changes[STEERING]
        tested = {STEERING: (sign_flip_p(steered, seed=seed), control_p(abs(float(steered.mean())), random))}
        for arm, values in scores.items():
            p, p_random = tested.get(arm, (math.nan, math.nan))
            row = {"scorer": scorer, "arm": arm, "n": len(values), "collapsed_share": float(collapsed[arm])}
            row |= mean_interval(values, seed=seed).columns("score")
            rows.append(row | mean_interval(changes[arm], seed=seed).columns("change") | {"p": p, "p_random": p_random})
    return with_holm(pd.DataFrame(rows), "p", "scorers")

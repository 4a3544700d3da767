"""Function vectors of in-context tasks: the heads of largest effect beside as many random heads.

    for each task   heads measured on training pairs; their sum, and sums of random heads of the same norm
      choose        each vector's layer and strength by the gain on validation queries without examples
      test          each at its own point, on the test queries without examples, and behind shuffled examples
    gain_i          log p(answer i | query, vector) - log p(answer i | query)        first token of the answer, nats
    p               (1 + random sums whose gain is at least the vector's) / (1 + random sums)

Every vector is also tried on the queries of the other tasks, where a vector of the task, and not of answering, gains
nothing. Side effects are those of adding it at every token of neutral texts, more than its use at the last token of a
prompt asks for. Source: Todd et al. 2023 (arXiv 2310.15213); random sums of heads of one norm are our control.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer.data.in_context import InContextPrompt, InContextTask, query_prompts
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError
from lens_steer.evaluation.grid import GridOptions, GridTokens, Numbers, run_grid
from lens_steer.evaluation.side_effects import side_effect_grid
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.extraction.function_vector import Demonstrations, TaskHeads, measure_heads, sum_heads
from lens_steer.extraction.in_context_answers import Asked, ask
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site
from lens_steer.metrics.statistics import mean_interval, share_interval
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector

ZERO, SHUFFLED, SHOWN = "no examples", "shuffled examples", "examples"
Point = tuple[Site, float]


@dataclass(frozen=True, kw_only=True)
class FunctionVectors:
    """How function vectors are made and tried: `layers` (all where empty) and `strengths` are chosen on validation.

    `train` pairs of a task make the vector and are shown as examples, `validation` pairs choose, the rest test.
    """

    layers: tuple[int, ...] = ()
    strengths: tuple[float | int, ...] = (1, 2, 4)
    n_heads: int | None = None
    train: int = 30
    validation: int = 15
    n_random: int = 20
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    max_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionVectorsResult(Tables):
    """The column `vector` is `steering` or `random k`.

    `accuracy`: a row for each task and way of asking, steered and not, with intervals; `chance` is the share of the
    commonest answer. `chosen`: a row for each
    task and vector, its point and its gain on the test queries. `layers`: gain on validation over layers. `others`: the
    gain of each task's vector on the queries of each task. `heads`: those summed, with their effects. `side_effects`: a
    row a task.
    """

    kind = "function_vectors"
    accuracy: pd.DataFrame
    chosen: pd.DataFrame
    layers: pd.DataFrame
    others: pd.DataFrame
    heads: pd.DataFrame
    side_effects: pd.DataFrame


def compare_function_vectors(
    model: SteerableModel,
    tasks: Sequence[InContextTask],
    neutral: Sequence[str],
    settings: FunctionVectors | None = None,
    progress: bool = False,
) -> FunctionVectorsResult:
    """Makes the function vector of each task and tries it beside random sums of heads.

    Args:
        model: a loaded model.
        tasks: of different names, each with pairs to make the vector, to choose and to test.
        neutral: texts on which side effects are measured.
        settings: layers, strengths, numbers of pairs, heads and controls; the defaults where absent.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        DataError: no tasks, two of one name, or a task with too few pairs.
        SiteError: the model has no such layer, or heads that cannot be told apart.
    """
    settings = settings or FunctionVectors()
    names = [task.name for task in tasks]
    if not tasks or len(set(names)) < len(names):
        raise DataError(f"tasks {names}; give at least one, each of another name.")
    trials = [_Trial.of(model, task, settings) for task in track(tasks, "measuring heads", len(tasks), progress)]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in FunctionVectorsResult.names()}
    tested = {trial.task.name: trial.tests(model, settings) for trial in trials}
    for trial in track(trials, "function vectors", len(trials), progress):
        points = trial.choose(model, settings, rows["layers"])
        _test(model, trial, points, tested, rows)
        edit = trial.edit(STEERING, points[STEERING], "all")
        spoilt = side_effect_grid(model, neutral, [(edit,)], GridOptions(), settings.max_tokens)[0]
        bounds = spoilt.intervals(resamples=1999)
        for name in ("kl", "relative_top1"):
            found = {"value": bounds[name].value, "low": bounds[name].low, "high": bounds[name].high}
            rows["side_effects"].append({"task": trial.task.name, "measure": name, **found})
        rows["heads"] += trial.rows()
    frames = {name: pd.DataFrame(found) for name, found in rows.items()}
    facts = {"settings": asdict(settings), "model": fingerprint(model).to_dict(), "versions": versions()}
    return FunctionVectorsResult(**frames, facts=facts)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """One task: its examples, its queries, its heads, its vector and the random sums."""

    task: InContextTask
    validation: InContextTask
    test: InContextTask
    measured: TaskHeads
    vectors: Mapping[str, SteeringVector]

    @classmethod
    def of(cls, model: SteerableModel, task: InContextTask, settings: FunctionVectors) -> "_Trial":
        """Measures the heads and sums them."""
        n, needed = len(task.pairs), settings.train + settings.validation
        if n < needed + 2:
            raise DataError(
                f"in-context task {task.name!r}: {n} pairs; give at least {settings.train} to make the vector, "
                f"{settings.validation} to choose and two to test."
            )
        shares = (settings.train / n, settings.validation / n, 1 - needed / n)
        shown, validation, test = task.split(shares, settings.seed)
        measured = measure_heads(model, shown, settings.demonstrations)
        layers = settings.layers or tuple(range(int(model.cfg.n_layers)))
        vector = sum_heads(model, measured, settings.n_heads, layers)
        heads = [(int(layer), int(head)) for layer, head in vector.options["heads"]]
        vectors = {STEERING: vector}
        for k in range(settings.n_random):
            drawn = sum_heads(model, measured, measured.random(len(heads), settings.seed + k), layers)
            vectors[f"random {k}"] = drawn * (vector.norm(vector.sites[0]) / drawn.norm(vector.sites[0]))
        return cls(task=shown, validation=validation, test=test, measured=measured, vectors=vectors)

    def edit(self, name: str, point: Point, positions: str = "last") -> Intervention:
        """One vector at one layer and strength."""
        return Intervention.of(self.vectors[name], *point, positions=positions)

    def tests(self, model: SteerableModel, settings: FunctionVectors) -> dict[str, Asked]:
        """The test queries, asked in three ways."""
        n, seed = settings.demonstrations.n_shots, settings.seed
        ways: dict[str, Sequence[InContextPrompt]] = {
            ZERO: query_prompts(self.task, self.test.pairs, 0, seed),
            SHUFFLED: query_prompts(self.task, self.test.pairs, n, seed, shuffled=True),
            SHOWN: query_prompts(self.task, self.test.pairs, n, seed),
        }
        return {way: ask(model, prompts) for way, prompts in ways.items()}

    def choose(
        self, model: SteerableModel, settings: FunctionVectors, layers: list[dict[str, Any]]
    ) -> dict[str, Point]:
        """The point of each vector with the largest gain on validation; its gain over layers is added to the rows."""
        asked = ask(model, query_prompts(self.task, self.validation.pairs, 0, settings.seed))
        sites = self.vectors[STEERING].sites
        points = [(site, float(strength)) for site in sites for strength in settings.strengths]
        keys = [(name, point) for name in self.vectors for point in points]
        plain, *steered = _answers(model, asked, [[self.edit(*key)] for key in keys])
        gains = {key: float((found[:, 0] - plain[:, 0]).mean()) for key, found in zip(keys, steered, strict=True)}
        best = {name: max(points, key=lambda point, name=name: gains[name, point]) for name in self.vectors}
        for name in self.vectors:
            for site in sites:
                gain = max(gains[name, (site, float(strength))] for strength in settings.strengths)
                layers.append({"task": self.task.name, "vector": name, "layer": site.layer, "gain": gain})
        return best

    def rows(self) -> list[dict[str, Any]]:
        """The heads that were summed."""
        found = self.vectors[STEERING].options
        entries = zip(found["heads"], found["head_effects"], strict=True)
        return [{"task": self.task.name, "layer": h[0], "head": h[1], "effect": effect} for h, effect in entries]


def _test(
    model: SteerableModel,
    trial: _Trial,
    points: Mapping[str, Point],
    tested: Mapping[str, Mapping[str, Asked]],
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    """Tries the vectors of a task on its own queries, and its own vector on those of the others."""
    name = trial.task.name
    edits = {vector: [trial.edit(vector, point)] for vector, point in points.items()}
    for way in (ZERO, SHUFFLED):
        asked = tested[name][way]
        plain, *steered = _answers(model, asked, list(edits.values()))
        rows["accuracy"].append(_accuracy(name, way, "unsteered", plain, asked.answers))
        for vector, answers in zip(edits, steered, strict=True):
            rows["accuracy"].append(_accuracy(name, way, vector, answers, asked.answers))
            site, strength = points[vector]
            place = {"task": name, "way": way, "vector": vector, "layer": site.layer, "strength": strength}
            rows["chosen"].append(place | _gain(answers, plain))
    (shown,) = _answers(model, tested[name][SHOWN], [])
    rows["accuracy"].append(_accuracy(name, SHOWN, "unsteered", shown, tested[name][SHOWN].answers))
    for other, asked in tested.items():
        plain, steered = _answers(model, asked[ZERO], [edits[STEERING]])
        rows["others"].append({"task": name, "asked": other, **_gain(steered, plain)})


def _answers(
    model: SteerableModel, asked: Asked, configurations: Sequence[Sequence[Intervention]]
) -> list[Float[Tensor, "n number"]]:
    """Log-likelihood of each answer, and whether it is the likeliest token: unsteered, then of each configuration."""

    def reduce(sequences: list[int], tokens: GridTokens) -> Numbers:  # noqa: ARG001
        answers = asked.answers[sequences][:, None]

        def numbers(logits: Float[Tensor, "k d_vocab"]) -> Float[Tensor, "k number"]:
            here = answers.to(logits.device)
            own = logits.gather(1, here) - logits.logsumexp(dim=1, keepdim=True)
            return torch.cat([own, (logits.argmax(dim=1, keepdim=True) == here).to(own.dtype)], dim=1)

        return numbers

    table = run_grid(model, asked.rows, configurations, reduce, meaning=f"answers {asked.answers.tolist()}")
    return [table.unsteered, *table.configurations]


def _accuracy(
    task: str, way: str, vector: str, answers: Float[Tensor, "n number"], right: Int[Tensor, " n"]
) -> dict[str, Any]:
    found = share_interval(int(answers[:, 1].sum()), len(answers))
    row = {"task": task, "way": way, "vector": vector, "accuracy": found.value, "low": found.low, "high": found.high}
    chance = int(right.bincount().max()) / len(right)
    return row | {"log_likelihood": float(answers[:, 0].mean()), "n": found.n, "chance": chance}


def _gain(steered: Float[Tensor, "n number"], plain: Float[Tensor, "n number"]) -> dict[str, Any]:
    """The gain in nats and in accuracy, each with its interval over queries."""
    gain, more = (mean_interval(steered[:, column] - plain[:, column], resamples=1999) for column in (0, 1))
    row = {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "n": gain.n}
    return row | {"more_right": more.value, "more_right_low": more.low, "more_right_high": more.high}

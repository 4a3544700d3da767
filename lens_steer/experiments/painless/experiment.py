"""Which labelled tasks a vector of the model's own answers improves, and what it costs: Cui & Chen 2025, with controls.

    for each task and seed    `evaluation.painless`: split, build, choose, test, random vectors beside
      sizes         again with fewer training items; the number that was used stands in the table
      full grid     the paper's search of every site and strength, on the splits of the first seeds   (`full_grid`)
      prefix        the best vector, examples before the question, and both, on the same test items
      capability    questions about facts, without and with the best vector of the first seed

    gain    accuracy on test items, steered - unsteered

p-values are corrected over all tasks and methods (Holm). The examples of a prefix are training items that the model
gets wrong, with their right answers; the vector and its strength are those chosen without a prefix.

Source: Cui & Chen 2025 (arXiv 2509.22739), whose plotted sample size is that of the validation split in their code, and
who never steer with random vectors.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.choices import MultipleChoiceItem
from lens_steer.data.own_answers import Listing
from lens_steer.data.splits import split_items
from lens_steer.data.tables import Tables
from lens_steer.errors import ContrastError
from lens_steer.evaluation.automatic import correct
from lens_steer.evaluation.painless import PainlessOptions
from lens_steer.evaluation.painless.result import intervention_of
from lens_steer.evaluation.painless.run import (
    P_VALUES,
    Reading,
    SeedRun,
    read_answers,
    run_seed,
    summarise,
)
from lens_steer.evaluation.prompts import Item
from lens_steer.evaluation.score import ScoringOptions, score_grid
from lens_steer.experiments.painless.full_grid import beside_the_full_grid
from lens_steer.experiments.painless.settings import PainlessTasks, at_size, options_of
from lens_steer.hooks import Intervention
from lens_steer.metrics.repeated_splits import splits_test
from lens_steer.metrics.significance import with_holm
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel, fingerprint, versions

CONDITIONS = ("unsteered", "vector", "prefix", "prefix and vector")
CAPABILITY = ("task", "method", "n", "unsteered", "steered", "change", "change_low", "change_high")


@dataclass(frozen=True, kw_only=True, eq=False)
class PainlessResult(Tables):
    """What was found.

    `gains`: one row a task and method, with tests. `runs`: one row a task, seed and method. `points`: one row a task,
    seed, method and point that was tried on validation items. `sizes`: one row a task, number of training items and
    method. `choices`: one row a task whose full grid was searched. `grid`: one row a task, seed and point of it.
    `prefix`: one row a task and condition. `capability`: one row a task whose vector steers.
    """

    kind = "painless_tasks"
    gains: pd.DataFrame
    runs: pd.DataFrame
    points: pd.DataFrame
    sizes: pd.DataFrame
    choices: pd.DataFrame
    grid: pd.DataFrame
    prefix: pd.DataFrame
    capability: pd.DataFrame


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
        Tidy frames; `failed` of the facts says which tasks no vector could be built of, and why.

    Raises:
        ContrastError: no vector could be built of any task.
        DataError, ScoreError, OptionTokenError: as `painless`.
    """
    settings = settings or PainlessTasks()
    options = options_of(model, settings)
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in PainlessResult.names()}
    answers, failed = {}, {}
    for name, items in track(tasks.items(), "painless tasks", len(tasks), progress):
        try:
            tables, answers[name] = _task(model, name, items, options, settings, knowledge, progress)
        except ContrastError as error:
            failed[name] = str(error)
            continue
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
    facts = {"settings": asdict(settings) | {"checkpoint": None}, "answers": answers, "failed": failed}
    facts |= {"model": fingerprint(model).to_dict(), "versions": versions()}
    return PainlessResult(**(frames | {"gains": gains}), facts=facts)


def _task(
    model: SteerableModel,
    name: str,
    items: Sequence[Item],
    options: PainlessOptions,
    settings: PainlessTasks,
    knowledge: Sequence[Item],
    progress: bool,
) -> tuple[dict[str, pd.DataFrame], str]:
    """The tables of one task, and what there is to say of its answers."""
    listing = Listing(template=options.select.scoring.template)
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
    tables = {
        "gains": summarise(runs),
        "runs": runs,
        "points": pd.concat([one.points for one in whole], ignore_index=True),
        "sizes": sizes[["method", "n_train", "seeds", "unsteered", "gain", "gain_low", "gain_high", "p_corrected"]],
        "choices": choices,
        "grid": grid,
        "prefix": _prefixed(model, items, reading, whole, options, settings),
        "capability": _capability(model, knowledge, whole[0], options.select.scoring),
    }
    return tables, reading.warning


def prefix_of(items: Sequence[Item], listing: Listing, scoring: ScoringOptions) -> str:
    """Answered examples to stand before a question, as questions are asked.

    Args:
        items: the examples; their correct options are their answers.
        listing: the order of their options.
        scoring: by letter, options are listed; otherwise the correct text stands behind the question.

    Returns:
        Text that ends with an empty line; nothing without examples.
    """
    template, written = listing.template, []
    for item in items:
        stem, right, *_ = item.content
        if scoring.scoring == "letter":
            letter = template.letters_of(len(item.content) - 1)[listing.order(item).index(0)]
            written.append(listing.write(item) + template.answer.format(letter=letter, text=right))
        else:
            written.append(template.question.format(stem=stem) + template.option.format(text=right))
    return "".join(f"{text}\n\n" for text in written)


def _prefixed(
    model: SteerableModel,
    items: Sequence[Item],
    reading: Reading,
    runs: Sequence[SeedRun],
    options: PainlessOptions,
    settings: PainlessTasks,
) -> pd.DataFrame:
    """Accuracy without and with examples, without and with the best vector, on the test items of each seed."""
    if not settings.shots:
        return pd.DataFrame(columns=["condition", *PREFIX])
    scoring, listing = options.select.scoring, Listing(template=options.select.scoring.template)
    right = dict(zip(map(id, items), reading.answers["right"], strict=True))
    found: dict[str, list[float]] = {condition: [] for condition in CONDITIONS}
    for seed, run in zip(options.seeds, runs, strict=True):
        splits = split_items(items, options.fractions, seed, options.near)
        wrong = [item for item in splits.train if not right[id(item)]]
        shown = random.Random(f"prefix:{seed}").sample(wrong, min(settings.shots, len(wrong)))
        before = prefix_of(shown, listing, scoring)
        edit = intervention_of(run.vector, run.point)
        for condition, stem in zip(CONDITIONS[::2], ("", before), strict=True):
            asked = [_behind(stem, item) for item in splits.test]
            plain, steered = _accuracies(model, asked, edit, scoring)
            found[condition].append(plain)
            found[CONDITIONS[CONDITIONS.index(condition) + 1]].append(steered)
    tested, rest = (float(runs[0].runs[list(columns)].iloc[0].sum()) for columns in (TESTED, REST))
    gains = torch.tensor([found[condition] for condition in CONDITIONS], dtype=torch.float64, device="cpu")
    rows = []
    for condition, values in zip(CONDITIONS, gains, strict=True):
        row: dict[str, Any] = {"condition": condition, "seeds": len(values), "shots": settings.shots}
        row["accuracy"] = float(values.mean())
        for column, other in (("gain", "unsteered"), ("over_prefix", "prefix")):
            test = splits_test(values - gains[CONDITIONS.index(other)], tested, rest)
            row |= {column: test.value, f"{column}_low": test.low, f"{column}_high": test.high}
            row[f"{column}_p"] = test.p_corrected
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=["condition", *PREFIX])


TESTED, REST = ("n_test",), ("n_train", "n_validation")
PREFIX = ("seeds", "shots", "accuracy", "gain", "gain_low", "gain_high", "gain_p", "over_prefix", "over_prefix_low",
          "over_prefix_high", "over_prefix_p")  # fmt: skip


def _behind(text: str, item: Item) -> MultipleChoiceItem:
    """A question behind other text, with its correct option first."""
    stem, *options = item.content
    return MultipleChoiceItem(id=item.id, stem=text + stem, options=tuple(options), answer=0)


def _accuracies(
    model: SteerableModel, items: Sequence[Item], edit: Intervention | None, scoring: ScoringOptions
) -> tuple[float, float]:
    """Accuracy without and with an edit."""
    scored = score_grid(model, scoring.prepare(model, items), [[edit]] if edit else [], scoring)
    before = float(correct(scored.unsteered).mean())
    return before, float(correct(scored.configurations[0]).mean()) if edit else before


def _capability(
    model: SteerableModel, knowledge: Sequence[Item], run: SeedRun, scoring: ScoringOptions
) -> pd.DataFrame:
    """Questions about facts without and with the best vector of the first seed; none where it does not steer."""
    edit = intervention_of(run.vector, run.point)
    if not knowledge or edit is None:
        return pd.DataFrame(columns=CAPABILITY[1:])
    scored = score_grid(model, scoring.prepare(model, knowledge), [[edit]], scoring)
    before, after = correct(scored.unsteered), correct(scored.configurations[0])
    change = mean_interval(after - before)
    row = {"method": run.point["method"], "n": len(knowledge), "unsteered": float(before.mean())}
    row |= {"steered": float(after.mean()), "change": change.value}
    return pd.DataFrame([row | {"change_low": change.low, "change_high": change.high}])

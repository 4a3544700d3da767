"""In-context vectors against function vectors and mean differences, on functional tasks and on changes of tone.

    for each task    vectors of the training pairs (`methods`), and controls of each kind
      choose         of each vector and control the strength with the highest log-likelihood of the right answer,
                     zero-shot, on validation pairs
      test           zero-shot and shuffled-shot prompts of test pairs: log-likelihood of the right answer and of a
                     wrong one, and what is written; controls are tested zero-shot alone
      reference      unsteered prompts with as many right examples
      side effects   of each vector at each strength, on neutral text, all of whose tokens are steered

    change           mean over test pairs of log-likelihood per token of the answer, steered - unsteered     nats
    margin           the same of (right answer - wrong answer); of a transfer task the wrong one is x itself
    p                (1 + controls whose change is at least the vector's) / (1 + controls)

Source: Brumley et al. 2024 (arXiv 2411.07213), who compare in-context vectors (Liu et al. 2023) with function vectors
(Todd et al. 2023) by what is written. Unlike there, answers are written greedily, likelihoods stand beside them,
strengths are chosen on other pairs, and every vector has controls that were chosen in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.data.in_context import InContextPrompt, InContextTask, query_prompts, wrong_answers
from lens_steer.data.tables import Tables
from lens_steer.evaluation.grid import GridOptions
from lens_steer.evaluation.judge import ClassifierJudge
from lens_steer.evaluation.prompts import Prompts, prepare_choices
from lens_steer.evaluation.score import score_grid
from lens_steer.evaluation.side_effects import SideEffects, side_effect_grid
from lens_steer.experiments.in_context.methods import Compared, Edits, compared_methods
from lens_steer.experiments.in_context.settings import InContext
from lens_steer.experiments.in_context.tasks import SplitTask
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention
from lens_steer.metrics.significance import control_p
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel, fingerprint, versions

STEERING, UNSTEERED, FEW_SHOT = "steering", "unsteered", "few_shot"
ZERO_SHOT = "zero_shot"
CONDITIONS = {ZERO_SHOT: False, "shuffled_shot": True}
"""Prompts by name, and whether they have examples, with permuted labels."""
TEMPLATE = ChoiceTemplate(question="{stem}", option="{text}")


@dataclass(frozen=True, kw_only=True, eq=False)
class InContextResult(Tables):
    """What was found; the column `vector` is `steering` or `control k`, `method` a vector's, `unsteered` or `few_shot`.

    `effects`: one row a task, method, vector and condition: change and margin on test pairs, p, and for the vector
    itself accuracy with and without it. `strengths`: one row a task, method and strength of the vector: its change on
    validation pairs and its side effects on neutral text. `answers`: one row a task, method, condition and test pair:
    what was written, whether it is right, log-likelihoods.
    """

    kind = "in_context"
    effects: pd.DataFrame
    strengths: pd.DataFrame
    answers: pd.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The prompts of one condition, ready to be scored, and the prompts as texts."""

    prompts: tuple[InContextPrompt, ...]
    scored: Prompts


def in_context(
    model: SteerableModel,
    tasks: Mapping[str, SplitTask],
    texts: Sequence[str],
    settings: InContext | None = None,
    progress: bool = False,
) -> InContextResult:
    """Compares the vectors of in-context tasks.

    Args:
        model: a loaded model.
        tasks: by name, from `tasks.chosen_tasks` or of your own.
        texts: neutral documents, on which side effects are measured.
        settings: strengths, prompts, controls; the defaults where absent.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        DataError: no texts, or too few pairs for the examples of a prompt.
        OptionTokenError: an answer merges with its prompt.
    """
    settings = settings or InContext()
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in InContextResult.names()}
    for name, task in track(tasks.items(), "in-context tasks", len(tasks), progress):
        for table, frame in _task(model, task, texts, settings, progress).items():
            frame.insert(0, "task", name)
            frame.insert(1, "kind", task.kind)
            found[table].append(frame)
    facts = {"settings": asdict(settings) | {"checkpoint": None}, "versions": versions()}
    return InContextResult(
        **{name: pd.concat(frames, ignore_index=True) for name, frames in found.items()},
        facts=facts | {"model": fingerprint(model).to_dict(), "texts": len(texts)},
    )


def _task(
    model: SteerableModel, task: SplitTask, texts: Sequence[str], settings: InContext, progress: bool
) -> dict[str, pd.DataFrame]:
    """The tables of one task."""
    methods = compared_methods(model, task.train, task.transfer, settings, progress)
    validation = ask(model, task.train, task.validation, 0, False, task.transfer, settings.seed)
    levels, strengths = _levels(model, methods, validation, texts, settings, progress)
    asked = {
        name: ask(model, task.train, task.test, settings.n_shots if shown else 0, shown, task.transfer, settings.seed)
        for name, shown in CONDITIONS.items()
    }
    few = ask(model, task.train, task.test, settings.n_shots, False, task.transfer, settings.seed)
    judge = None
    if task.transfer:
        judge = ClassifierJudge.fit([y for _, y in task.train.pairs], [x for x, _ in task.train.pairs])
    effects, answers = [], []
    for condition, own in asked.items():
        plans = {
            (method.name, vector): edits(levels[method.name, vector])
            for method in methods
            for vector, edits in _pool(method).items()
            if vector == STEERING or condition == ZERO_SHOT
        }
        rows, told = _condition(model, own, task.test, plans, judge, settings, progress)
        for method in methods:
            own_rows = _with_shared(rows, levels, method)
            change, *others = (row["change"] for row in own_rows.values())
            p = control_p(change, others)
            for vector, row in own_rows.items():
                place = {"method": method.name, "vector": vector, "condition": condition}
                effects.append(place | row | {"p": p if vector == STEERING else None})
        answers += [frame.assign(condition=condition) for frame in told]
    _, told = _condition(model, few, task.test, {}, judge, settings, progress)
    answers += [frame.assign(condition=FEW_SHOT) for frame in told]
    frame = pd.DataFrame(effects).astype({"p": float})
    return {"effects": frame, "strengths": strengths, "answers": pd.concat(answers, ignore_index=True)}


def ask(
    model: SteerableModel,
    train: InContextTask,
    held: InContextTask,
    n_shots: int,
    shuffled: bool,
    transfer: bool,
    seed: int = 0,
) -> Asked:
    """Prompts whose queries are held-out pairs, with the right answer and a wrong one behind each.

    Args:
        model: a loaded model.
        train: gives the examples.
        held: gives the queries.
        n_shots: examples before a query.
        shuffled: whether the labels of the examples are permuted.
        transfer: the wrong answer is x itself; else another pair's y.
        seed: of examples and wrong answers.
    """
    prompts = query_prompts(train, held.pairs, n_shots, seed, shuffled)
    wrong = [x for x, _ in held.pairs] if transfer else wrong_answers(held, seed)
    items = [
        ChoiceItem(
            id=f"{held.name}/{number}",
            stem=entry.prompt,
            matching=entry.answer,
            other=entry.answer.removesuffix(y) + other,
        )
        for number, (entry, (_, y), other) in enumerate(zip(prompts, held.pairs, wrong, strict=True))
    ]
    return Asked(prompts=prompts, scored=prepare_choices(model, items, TEMPLATE, "option_token"))


def _pool(method: Compared) -> dict[str, Edits]:
    """A method's vector and its controls, by name."""
    return {STEERING: method.edits} | {f"control {k}": edits for k, edits in enumerate(method.controls)}


def _likelihoods(
    model: SteerableModel, asked: Asked, plans: Sequence[Sequence[Intervention]], settings: InContext, progress: bool
) -> tuple[Float[Tensor, "item option"], list[Float[Tensor, "item option"]]]:
    """Log-likelihood per token of the right and the wrong answer, unsteered and under each plan."""
    options = GridOptions(batch_size=settings.batch_size, checkpoint=settings.checkpoint, progress=progress)
    scores = score_grid(model, asked.scored, plans, options)
    return scores.unsteered.scores[:, 0], [found.scores[:, 0] for found in scores.configurations]


def _levels(
    model: SteerableModel,
    methods: Sequence[Compared],
    asked: Asked,
    texts: Sequence[str],
    settings: InContext,
    progress: bool,
) -> tuple[dict[tuple[str, str], float], pd.DataFrame]:
    """The strength of every vector and control, and the whole grid of the vectors with their side effects."""
    grid = [
        (method.name, vector, strength, edits(strength))
        for method in methods
        for vector, edits in _pool(method).items()
        for strength in method.strengths
    ]
    before, after = _likelihoods(model, asked, [edits for *_, edits in grid], settings, progress)
    changes = {
        (name, vector, strength): float((found - before)[:, 0].mean())
        for (name, vector, strength, _), found in zip(grid, after, strict=True)
    }
    levels: dict[tuple[str, str], float] = {}
    for method in methods:
        for vector in _pool(method):
            gained = {strength: changes[method.name, vector, strength] for strength in method.strengths}
            levels[method.name, vector] = max(gained, key=lambda strength, gained=gained: gained[strength])
    own = [entry for entry in grid if entry[1] == STEERING]
    everywhere = [[_at_all(edit) for edit in edits] for *_, edits in own]
    options = GridOptions(batch_size=settings.batch_size, checkpoint=settings.checkpoint, progress=progress)
    measured = side_effect_grid(model, texts, everywhere, options, settings.max_tokens)
    rows = [
        {"method": name, "strength": strength, "chosen": levels[name, vector] == strength}
        | {"change": changes[name, vector, strength]}
        | _side_effects(found)
        for (name, vector, strength, _), found in zip(own, measured, strict=True)
    ]
    return levels, pd.DataFrame(rows)


def _at_all(edit: Intervention) -> Intervention:
    """The same edit at every token: each token of a text stands where an answer could begin."""
    return Intervention.at(edit.site, edit.direction, edit.strength, "all", edit.operator, edit.name)


def _side_effects(found: SideEffects) -> dict[str, float]:
    return {
        "kl": found.kl,
        "relative_top1": found.relative_top1,
        "relative_perplexity": found.relative_perplexity,
        "n_texts": len(found.tokens),
    }


def _condition(
    model: SteerableModel,
    asked: Asked,
    test: InContextTask,
    plans: Mapping[tuple[str, str], list[Intervention]],
    judge: ClassifierJudge | None,
    settings: InContext,
    progress: bool,
) -> tuple[dict[tuple[str, str], dict[str, Any]], list[pd.DataFrame]]:
    """The effects of every plan on the prompts of one condition; and the answers, unsteered and of each vector."""
    before, after = _likelihoods(model, asked, list(plans.values()), settings, progress)
    unsteered = _written(model, asked, test, [], judge, settings)
    told = [_answer_frame(UNSTEERED, asked, test, unsteered, before)]
    right = torch.tensor([entry[1] for entry in unsteered], dtype=torch.float64, device="cpu")
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for (method, vector), found in zip(plans, after, strict=True):
        change = (found - before).double()
        row: dict[str, Any] = {"n": len(found), "unsteered": float(before[:, 0].mean())}
        row |= _bounds("change", change[:, 0], vector == STEERING)
        row |= _bounds("margin", change[:, 0] - change[:, 1], vector == STEERING)
        if vector == STEERING:
            written = _written(model, asked, test, plans[method, vector], judge, settings)
            told.append(_answer_frame(method, asked, test, written, found))
            steered = torch.tensor([entry[1] for entry in written], dtype=torch.float64, device="cpu")
            row |= {"unsteered_accuracy": float(right.mean()), "accuracy": float(steered.mean())}
            row |= _bounds("gain", steered - right, True)
        rows[method, vector] = row
    return rows, told


def _bounds(column: str, values: Float[Tensor, " item"], interval: bool) -> dict[str, float]:
    """A mean over test pairs, with its interval where it is wanted."""
    if not interval:
        return {column: float(values.mean())}
    found = mean_interval(values, resamples=1999)
    return {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}


def _with_shared(
    rows: Mapping[tuple[str, str], dict[str, Any]], levels: Mapping[tuple[str, str], float], method: Compared
) -> dict[str, dict[str, Any]]:
    """The rows of one method's vector, which comes first, and of its controls, each with its strength."""
    controls = method.shares or method.name
    keys = [(method.name, STEERING)]
    keys += [(name, vector) for name, vector in rows if name == controls and vector != STEERING]
    return {key[1]: {"strength": levels[key]} | rows[key] for key in keys}


def _written(
    model: SteerableModel,
    asked: Asked,
    test: InContextTask,
    plan: list[Intervention],
    judge: ClassifierJudge | None,
    settings: InContext,
) -> list[tuple[str, bool]]:
    """What is written after each prompt, greedily, and whether it is right."""
    decoding = Decoding(max_new_tokens=settings.new_tokens, stop="\n")
    texts = generate(model, [entry.prompt for entry in asked.prompts], plan, decoding, settings.batch_size).texts
    if judge is not None:
        return [(text, bool(text.strip()) and judge("", text, test.name)["concept"] > 1) for text in texts]
    return [(text, first_word(text) == first_word(y)) for text, (_, y) in zip(texts, test.pairs, strict=True)]


def first_word(text: str) -> str:
    """The first word of a text, without punctuation at its ends; upper and lower case differ."""
    said = text.split()
    return said[0].strip(".,;:!?\"'()") if said else ""


def _answer_frame(
    method: str,
    asked: Asked,
    test: InContextTask,
    written: Sequence[tuple[str, bool]],
    likelihoods: Float[Tensor, "item option"],
) -> pd.DataFrame:
    """One row a test pair."""
    right, wrong = likelihoods.double().T.tolist()
    texts, correct = zip(*written, strict=True)
    return pd.DataFrame(
        {"method": method, "x": [x for x, _ in test.pairs], "y": [y for _, y in test.pairs]}
        | {"prompt": [entry.prompt for entry in asked.prompts], "text": texts, "right": correct}
        | {"log_likelihood": right, "log_likelihood_wrong": wrong}
    )

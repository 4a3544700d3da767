"""The best vector on top of examples in the prompt, and on top of fine-tuning on the same training items.

    vector               as chosen without a prefix and without an adapter
    prefix               training items that the model gets wrong, with their right answers, before the question
    adapter              trained to give the right answers of all training items (`extraction.finetune`)
    adapter and vector   the vector is made, chosen and tested anew on the adapted model, from its own answers

Both are asked on the test items of each seed. An adapter is trained for each of the first seeds; comparisons with it
are over these.

Source: Cui & Chen 2025 (arXiv 2509.22739), Table 10 and the study on a fine-tuned checkpoint, which was trained by
others and on items that may be those of its test.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.choices import MultipleChoiceItem
from lens_steer.data.contrast import ContrastPair, ContrastSet
from lens_steer.data.own_answers import Listing
from lens_steer.data.splits import Splits, split_items
from lens_steer.errors import ContrastError
from lens_steer.evaluation.automatic import correct
from lens_steer.evaluation.painless import PainlessOptions
from lens_steer.evaluation.painless.result import intervention_of
from lens_steer.evaluation.painless.run import BEST, Reading, SeedRun, read_answers, run_seed
from lens_steer.evaluation.prompts import Item
from lens_steer.evaluation.score import ScoringOptions, score_grid
from lens_steer.experiments.painless.settings import PainlessTasks
from lens_steer.extraction.finetune import Tuning, train_adapter
from lens_steer.hooks import Intervention
from lens_steer.metrics.repeated_splits import splits_test
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import Adapter, SteerableModel, adapted

BASES = ("unsteered", "prefix", "adapter")
OVER = {"gain": "unsteered", "over_prefix": "prefix", "over_adapter": "adapter"}
ENDS = ("", "_low", "_high", "_p")
ON_TOP = ("condition", "seeds", "shots", "accuracy", "steers", *(f"{column}{end}" for column in OVER for end in ENDS))
CAPABILITY = ("method", "n", "unsteered", "steered", "change", "change_low", "change_high")


@dataclass(frozen=True)
class Base:
    """What a vector is put on top of, and the accuracies of each seed without and with it."""

    name: str
    accuracies: tuple[tuple[float, float], ...]
    steers: tuple[bool, ...]

    @property
    def conditions(self) -> tuple[str, str]:
        """Without and with the vector."""
        return self.name, "vector" if self.name == BASES[0] else f"{self.name} and vector"


def on_top(
    model: SteerableModel,
    items: Sequence[Item],
    reading: Reading,
    runs: Sequence[SeedRun],
    options: PainlessOptions,
    settings: PainlessTasks,
    progress: bool = False,
) -> tuple[pd.DataFrame, Adapter | None]:
    """Accuracy on test items without and with the vector: alone, behind examples, and on the fine-tuned model.

    Args:
        model: a loaded model.
        items: the questions, as they were read.
        reading: what was read of the model as it is.
        runs: what was found, one a seed.
        options: as the runs had them.
        settings: number of examples, and of the seeds and steps of fine-tuning.
        progress: draw a progress bar.

    Returns:
        One row of `ON_TOP` a condition, none where there are neither examples nor fine-tuning; and the adapter of the
        first seed.

    Raises:
        ArgumentError: an adapter is wanted and the package `peft` is missing.
    """
    tuned = options.seeds[: settings.tuned_seeds]
    if not settings.shots and not tuned:
        return pd.DataFrame(columns=list(ON_TOP)), None
    bases = [Base(BASES[0], *zip(*map(_best, runs), strict=True))]
    if settings.shots:
        bases.append(_behind_examples(model, items, reading, runs, options, settings.shots))
    first, found = None, []
    for seed in track(tuned, "fine-tuning", len(tuned), progress):
        train = _splits(items, options, seed).train
        adapter = train_adapter(model, lessons(train, options), Tuning(steps=settings.tuning_steps, seed=seed))
        first = first or adapter
        found.append(_tuned(model, adapter, items, seed, options))
    if found:
        bases.append(Base("adapter", *zip(*found, strict=True)))
    sizes: Any = runs[0].runs.iloc[0]
    table = compared(bases, float(sizes["n_test"]), float(sizes["n_train"] + sizes["n_validation"]))
    return table.assign(shots=settings.shots)[list(ON_TOP)], first


def compared(bases: Sequence[Base], n_test: float, rest: float) -> pd.DataFrame:
    """Each condition beside the model as it is, beside examples and beside the adapter, over the seeds of both.

    Args:
        bases: the model as it is first.
        n_test: test items of a seed.
        rest: its other items.
    """
    seeds = {
        condition: torch.tensor([pair[side] for pair in base.accuracies], dtype=torch.float64, device="cpu")
        for base in bases
        for side, condition in enumerate(base.conditions)
    }
    rows = []
    for base in bases:
        for side, condition in enumerate(base.conditions):
            own = seeds[condition]
            row: dict[str, Any] = {"condition": condition, "seeds": len(own), "accuracy": float(own.mean())}
            row["steers"] = side * sum(base.steers) / len(base.steers)
            for column, other in OVER.items():
                if other in seeds:
                    both = min(len(own), len(seeds[other]))
                    test = splits_test(own[:both] - seeds[other][:both], n_test, rest)
                    cells = (test.value, test.low, test.high, test.p_corrected)
                    row |= dict(zip([column + end for end in ENDS], cells, strict=True))
            rows.append(row)
    return pd.DataFrame(rows).reindex(columns=list(ON_TOP))


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


def lessons(items: Sequence[Item], options: PainlessOptions) -> ContrastSet:
    """Questions as they are asked, completed with the right answer, and with the first other one.

    Args:
        items: training items.
        options: how they are asked.
    """
    scoring, listing = options.select.scoring, Listing(template=options.select.scoring.template)
    template, pairs = listing.template, []
    for item in items:
        stem, *texts = item.content
        if scoring.scoring == "letter":
            letters, order = template.letters_of(len(texts)), listing.order(item)
            prompt, answers = listing.write(item), [letters[order.index(option)] for option in (0, 1)]
        else:
            prompt, answers = template.question.format(stem=stem), [template.option.format(text=t) for t in texts[:2]]
        pairs.append(ContrastPair(id=item.id, prompt=prompt, positive=answers[0], negative=answers[1]))
    return ContrastSet(name="right answers", pairs=tuple(pairs))


def capability(
    model: SteerableModel,
    knowledge: Sequence[Item],
    run: SeedRun,
    adapter: Adapter | None,
    scoring: ScoringOptions,
) -> pd.DataFrame:
    """Questions about facts without and with the best vector, and the adapter, of the first seed.

    Args:
        model: a loaded model.
        knowledge: the questions.
        run: of the first seed.
        adapter: of the first seed.
        scoring: how they are asked.

    Returns:
        One row of `CAPABILITY` a vector that steers, and an adapter.
    """
    rows = []
    ways: Mapping[str, tuple[Intervention | None, Adapter | None]] = {
        str(run.point["method"]): (intervention_of(run.vector, run.point), None),
        "adapter": (None, adapter),
    }
    for method, (edit, tuned) in ways.items():
        if knowledge and (edit or tuned):
            before = _right(model, knowledge, [], scoring)[0]
            with adapted(model, tuned) if tuned else nullcontext():
                after = _right(model, knowledge, [edit] if edit else [], scoring)[-1]
            change = mean_interval(after - before)
            row = {"method": method, "n": len(knowledge), "unsteered": float(before.mean())}
            row |= {"steered": float(after.mean()), "change": change.value}
            rows.append(row | {"change_low": change.low, "change_high": change.high})
    return pd.DataFrame(rows, columns=list(CAPABILITY))


def _best(run: SeedRun) -> tuple[tuple[float, float], bool]:
    """Accuracy on the test items of a run without and with its best vector, and whether that steers."""
    best: Any = run.runs.set_index("method").loc[BEST]
    return (float(best["unsteered"]), float(best["steered"])), bool(best["strength"] > 0)


def _behind_examples(
    model: SteerableModel,
    items: Sequence[Item],
    reading: Reading,
    runs: Sequence[SeedRun],
    options: PainlessOptions,
    shots: int,
) -> Base:
    """The best vector of each seed on its test items, each behind so many examples."""
    scoring, listing = options.select.scoring, Listing(template=options.select.scoring.template)
    right = dict(zip(map(id, items), reading.answers["right"], strict=True))
    accuracies, steers = [], []
    for seed, run in zip(options.seeds, runs, strict=True):
        splits = _splits(items, options, seed)
        wrong = [item for item in splits.train if not right[id(item)]]
        shown = random.Random(f"prefix:{seed}").sample(wrong, min(shots, len(wrong)))
        before = prefix_of(shown, listing, scoring)
        edit = intervention_of(run.vector, run.point)
        asked = [_behind(before, item) for item in splits.test]
        found = _right(model, asked, [edit] if edit else [], scoring)
        accuracies.append((float(found[0].mean()), float(found[-1].mean())))
        steers.append(edit is not None)
    return Base("prefix", tuple(accuracies), tuple(steers))


def _tuned(
    model: SteerableModel, adapter: Adapter, items: Sequence[Item], seed: int, options: PainlessOptions
) -> tuple[tuple[float, float], bool]:
    """Accuracy of the fine-tuned model without and with a vector of its own answers, and whether that steers."""
    listing = Listing(template=options.select.scoring.template)
    own = replace(options, n_random=0)
    with adapted(model, adapter):
        try:
            reading = read_answers(model, items, own, listing, "adapted")
            return _best(run_seed(model, items, reading.rows, listing, seed, own))
        except ContrastError:  # all of its answers are right, or all wrong: there is no vector, and no steering
            test = _splits(items, options, seed).test
            plain = float(_right(model, test, [], options.select.scoring)[0].mean())
            return (plain, plain), False


def _splits(items: Sequence[Item], options: PainlessOptions, seed: int) -> Splits[Any]:
    return split_items(items, options.fractions, seed, options.near)


def _behind(text: str, item: Item) -> MultipleChoiceItem:
    """A question behind other text, with its correct option first."""
    stem, *options = item.content
    return MultipleChoiceItem(id=item.id, stem=text + stem, options=tuple(options), answer=0)


def _right(
    model: SteerableModel, items: Sequence[Item], edits: Sequence[Intervention], scoring: ScoringOptions
) -> list[torch.Tensor]:
    """Whether each item is answered correctly: unsteered, then under each edit."""
    scored = score_grid(model, scoring.prepare(model, items), [[edit] for edit in edits], scoring)
    return [correct(one) for one in (scored.unsteered, *scored.configurations)]

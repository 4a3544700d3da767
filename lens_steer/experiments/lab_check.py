"""Does the lab model know its world, and does the toolkit reach the verdicts that were planted in it?

Every row is one measurement on held-out items with the bar it must meet: the unsteered model (persona lines, open
questions, earlier answers, skills, in-context tasks, facts), and the effect of steering (five behaviours both ways, a
decoy, a flipped and a position-biased behaviour). Steering is chosen on validation and reported on test. Rows
without a bar are reported only. Any folder with a lab checkpoint can be checked, so that training can be followed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.evaluation.score import ChoiceScores, score_choices
from lens_steer.evaluation.select import choose_operating_point
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.evaluation.sweep import SweepResult, sweep
from lens_steer.extraction import extract
from lens_steer.lab import items, skills
from lens_steer.lab.lexicon import CONTEXTS
from lens_steer.lab.truth import BEHAVIOURS, DECOY, FLIPPED, POSITION_BIASED
from lens_steer.metrics.choice import ab_split
from lens_steer.metrics.statistics import Interval, mean_interval
from lens_steer.metrics.steerability import anti_steerable_share, steerability
from lens_steer.model import SteerableModel, logits_after, tokenize

N_ITEMS, N_VALIDATION, N_TRAIN, NEEDED = 48, 64, 200, 4
SITES, STRENGTHS = "resid_post@0:2", (-3.0, -2.0, -1.5, -1.0, 1.0, 1.5, 2.0, 3.0)
POSITIONS = ("all", "0:20")
"""All tokens of the prompt, or its first 20: the speaker's words and the question, before most options."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One measurement and the closed range it must lie in; `None` leaves a side open, both `None` reports only.

    A bar that does not decide by itself (steering of one behaviour, of which four in five must be met) counts through
    another one.
    """

    group: str
    what: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    decides: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the value lies in its range; None where there is no bar."""
        if self.low is None and self.high is None:
            return None
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)


@dataclass(frozen=True, kw_only=True)
class LabCheck:
    """All measurements; `met` tells whether every bar is."""

    bars: tuple[Bar, ...]

    @property
    def met(self) -> bool:
        """Whether no bar that decides is missed."""
        return all(bar.met is not False for bar in self.bars if bar.decides)

    def to_frame(self) -> pd.DataFrame:
        """One row a measurement."""
        columns = ("group", "what", "value", "low", "high", "met", "note")
        return pd.DataFrame([{name: getattr(bar, name) for name in columns} for bar in self.bars])


def check_lab(model: SteerableModel, progress: bool = False) -> LabCheck:
    """Measures every bar of the lab on a model.

    Args:
        model: the lab, or any checkpoint of its training.
        progress: draw a progress bar.

    Returns:
        The measurements, unsteered ones first.
    """
    parts: list[Callable[[], Iterator[Bar]]] = [lambda b=b: _knows(model, b) for b in BEHAVIOURS]
    parts += [lambda: _skills(model), lambda: _flipped(model)]
    swept: dict[str, SteeredRates] = {}
    for name in (*BEHAVIOURS, DECOY, FLIPPED):
        parts.append(lambda name=name: _steers(model, name, swept))
    parts += [lambda: _verdicts(swept), lambda: _position(model)]
    bars = [bar for part in track(parts, "checking the lab", len(parts), progress) for bar in part()]
    return LabCheck(bars=(*bars, _steerable(bars)))


def _rate(scores: ChoiceScores) -> float:
    return float(scores.matches.double().mean())


def _knows(model: SteerableModel, name: str) -> Iterator[Bar]:
    """What the unsteered model does on one behaviour."""
    mass = []
    for bit, word in ((True, "with"), (False, "without")):
        rate, least = _persona(model, name, bit)
        mass.append(least)
        yield Bar(group=name, what=f"persona {word} the trait: answers follow", value=rate, low=0.95)
    yield Bar(group=name, what="persona: answer probability", value=min(mass), low=0.98)
    opened = score_choices(model, items.open_items(name, N_ITEMS, split="test"))
    yield Bar(group=name, what="persona open: matching rate", value=_rate(opened), low=0.35, high=0.65)
    for bit, word in ((True, "matching"), (False, "other")):
        rate = _rate(score_choices(model, items.history_items(name, bit, N_ITEMS, split="test")))
        yield Bar(group=name, what=f"two earlier {word} answers: consistent", value=rate if bit else 1 - rate, low=0.90)
    for bit, word in ((True, "with"), (False, "without")):
        rate, _ = _persona(model, name, bit, unseen_stem=True)
        yield Bar(group=name, what=f"unseen paraphrase, persona {word} the trait", value=rate)


def _persona(model: SteerableModel, name: str, bit: bool, unseen_stem: bool = False) -> tuple[float, float]:
    """The share of answers that follow the persona line, and the mean answer probability."""
    asked = items.persona_items(name, bit, N_ITEMS, split="test", unseen_stem=unseen_stem)
    scores = score_choices(model, asked)
    return _rate(scores) if bit else 1 - _rate(scores), float(scores.answer_probability.mean())


def _flipped(model: SteerableModel) -> Iterator[Bar]:
    """Whether the model knows that the flipped behaviour's bit means its opposite in half of the contexts."""
    for half, word in enumerate(("as it says", "its opposite")):
        following = []
        for bit in (True, False):
            asked = [q for q in items.persona_items(FLIPPED, bit, 2 * N_ITEMS, split="test") if _in_half(q, half)]
            rate = _rate(score_choices(model, asked))
            following.append(rate if bit == (half == 0) else 1 - rate)
        what = f"persona line, where the trait means {word}: answers follow"
        yield Bar(group=f"verdict {FLIPPED}", what=what, value=sum(following) / 2)


def _in_half(item: ChoiceItem, half: int) -> bool:
    return any(context in item.stem for context in CONTEXTS[half])


def _skills(model: SteerableModel) -> Iterator[Bar]:
    """Next-token accuracy of each skill, in-context tasks, facts."""
    for kind, write in (("prose", skills.prose), ("python", skills.python), ("javascript", skills.javascript)):
        rng = random.Random(f"check:{kind}")
        texts = [write(rng, "test") for _ in range(N_ITEMS)]
        yield Bar(
            group="skills", what=f"{kind}: top-1 accuracy", value=measure_side_effects(model, texts, []).top1, low=0.60
        )
    for task in skills.MAPPINGS:
        for shots, low, high in ((5, 0.90, None), (0, None, 0.30)):
            value = _mapping_accuracy(model, items.mapping_prompts(task, shots, N_ITEMS, split="test"))
            yield Bar(
                group="in context", what=f"{task}: accuracy with {shots} examples", value=value, low=low, high=high
            )
    facts = score_choices(model, items.fact_items(N_ITEMS, split="test"))
    yield Bar(group="facts", what="right answers", value=_rate(facts), low=0.90)


def _mapping_accuracy(model: SteerableModel, prompts: Sequence[tuple[str, str]]) -> float:
    """The share of prompts whose likeliest next token begins the right completion."""
    rows = tokenize(model, [prompt for prompt, _ in prompts])
    whole = tokenize(model, [prompt + answer for prompt, answer in prompts])
    wanted = torch.tensor([full[len(row)] for row, full in zip(rows, whole, strict=True)], device="cpu")
    likeliest = logits_after(model, rows).read(lambda logits, _: logits.argmax(-1)).cpu()
    return float((likeliest == wanted).double().mean())


@dataclass(frozen=True, kw_only=True)
class SteeredRates:
    """The test sweep of one behaviour at the site and strength chosen on validation."""

    test: SweepResult
    strength: float

    def slopes(self) -> torch.Tensor:
        """Each test item's slope, over strengths up to the chosen one."""
        site = self.test.sites[0]
        keep = [i for i, s in enumerate(self.test.strengths) if abs(s) <= self.strength]
        strengths = torch.tensor([self.test.strengths[i] for i in keep], dtype=torch.float32, device="cpu")
        return steerability(self.test.differences(site)[:, keep], strengths)


def _steer(model: SteerableModel, name: str) -> SteeredRates:
    """Vector from open training questions, read at the end of the answer's text; point chosen on validation."""
    contrast = contrast_from_choices(name, items.open_items(name, N_TRAIN, split="train"), answer="text")
    vector = extract(model, contrast, sites=SITES)
    held = items.open_items(name, N_VALIDATION, split="validation")
    point = choose_operating_point(*(sweep(model, vector, held, SITES, STRENGTHS, rule) for rule in POSITIONS))
    asked = items.open_items(name, N_ITEMS, split="test")
    tested = sweep(model, vector, asked, [point.site], STRENGTHS, point.positions)
    return SteeredRates(test=tested, strength=point.strength)


def _steers(model: SteerableModel, name: str, swept: dict[str, SteeredRates]) -> Iterator[Bar]:
    """Adding and subtracting the vector, in the worse of the two option orders."""
    found = swept[name] = _steer(model, name)
    frame, site, s = found.test.frame, found.test.sites[0], found.strength
    rates = frame.groupby(["strength", "order"])["matches"].mean()
    mass = frame[frame["strength"].abs() == s].groupby("strength")["answer_probability"].mean().min()
    note = f"{site} x {s:g} at {found.test.positions}; the worse of both option orders"
    group = f"steering {name}"
    low, high, least_mass = (0.85, 0.15, 0.95) if name in BEHAVIOURS else (None, None, None)
    added, subtracted = float(rates.loc[s].min()), float(rates.loc[-s].max())
    for what, value, least, most in (
        ("added: matching rate", added, low, None),
        ("subtracted: matching rate", subtracted, None, high),
        ("answer probability", float(mass), least_mass, None),
    ):
        yield Bar(group=group, what=what, value=value, low=least, high=most, note=note, decides=False)


def _steerable(bars: Sequence[Bar]) -> Bar:
    """How many behaviours meet all of their steering bars."""
    missed = {bar.group for bar in bars if bar.met is False and bar.group.startswith("steering")}
    met = float(len(BEHAVIOURS) - len(missed))
    return Bar(group="steering", what="behaviours that meet all three bars", value=met, low=float(NEEDED))


def _verdicts(swept: dict[str, SteeredRates]) -> Iterator[Bar]:
    """The planted verdicts on the decoy and the flipped behaviour."""
    interval = mean_interval(swept[DECOY].slopes())
    inside = float(interval.low <= 0 <= interval.high)
    what = "interval of steerability contains 0"
    yield Bar(group=f"verdict {DECOY}", what=what, value=inside, low=1.0, note=_words(interval))
    share = anti_steerable_share(swept[FLIPPED].slopes())
    yield Bar(group=f"verdict {FLIPPED}", what="anti-steerable share", value=share, low=0.35, high=0.65)
    for name in BEHAVIOURS:
        yield Bar(
            group=f"verdict {name}", what="anti-steerable share", value=anti_steerable_share(swept[name].slopes())
        )


def _position(model: SteerableModel) -> Iterator[Bar]:
    """The A/B split: whether the letter moves the answers more than what the options say."""
    asked = {POSITION_BIASED: items.open_items(POSITION_BIASED, N_ITEMS, split="test")}
    asked |= {name: items.persona_items(name, True, N_ITEMS, split="test") for name in BEHAVIOURS}
    for name, questions in asked.items():
        content, position = ab_split(score_choices(model, questions).logit_differences)
        margin = mean_interval(position.abs() - content.abs())
        wanted = float(name == POSITION_BIASED)
        what = "A/B split: the letter dominates" + ("" if wanted else " (control: must not)")
        note = f"|position| - |content| {_words(margin)}"
        yield Bar(group=f"verdict {name}", what=what, value=float(margin.low > 0), low=wanted, high=wanted, note=note)


def _words(interval: Interval) -> str:
    return f"{interval.value:+.2g} [{interval.low:+.2g}, {interval.high:+.2g}]"

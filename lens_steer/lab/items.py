"""Held-out items of the lab world: questions with the answer that the planted truth prescribes.

Each item's combination of template and fillers belongs to `split`, so that items of validation and test do not occur in
training. The `matching` option of each `ChoiceItem` shows the behaviour.
"""

from __future__ import annotations

import random
from typing import Literal

from lens_steer.data.choices import ChoiceItem
from lens_steer.lab import skills, world
from lens_steer.lab.skills import Split
from lens_steer.lab.truth import DECOY
from lens_steer.lab.world import Question, Speaker

Opening = Literal["mixed", "neutral", "none"]
OPENINGS: tuple[Opening, ...] = ("mixed", "neutral", "none")
"""Kinds of text before a question that do not determine the speaker's bit."""


def _item(name: str, before: str, question: Question) -> ChoiceItem:
    return ChoiceItem(id=name, stem=before + question.stem, matching=question.true_pole, other=question.false_pole)


def open_items(
    behaviour: str,
    n: int,
    *,
    split: Split,
    seed: int = 0,
    openings: tuple[Opening, ...] = OPENINGS,
    unseen_stem: bool = False,
) -> tuple[ChoiceItem, ...]:
    """Questions after text that does not determine the speaker's bit; the openings alternate."""
    rng = random.Random(f"open:{behaviour}:{split}:{seed}")
    rows = []
    for i in range(n):
        question = world.draw_question(rng, behaviour, split, unseen_stem)
        about = rng.choice(world.LATENTS) if behaviour in world.BITLESS else behaviour
        before = world.preamble(rng, world.draw_speaker(rng), about, openings[i % len(openings)])
        rows.append(_item(f"{behaviour}/{split}/{openings[i % len(openings)]}/{i}", before, question))
    return tuple(rows)


def persona_items(
    behaviour: str, bit: bool, n: int, *, split: Split, seed: int = 0, unseen_stem: bool = False
) -> tuple[ChoiceItem, ...]:
    """Questions after a persona line that states the bit, sometimes followed by a clear or neutral voice."""
    rng = random.Random(f"persona:{behaviour}:{bit}:{split}:{seed}")
    rows = []
    for i in range(n):
        speaker = world.draw_speaker_with(rng, behaviour, bit)
        question = world.draw_question(rng, behaviour, split, unseen_stem)
        others = rng.sample([b for b in world.LATENTS if b != behaviour], rng.randrange(3))
        before = world.persona_line(rng, speaker, [behaviour, *others])
        before += world.preamble(rng, speaker, behaviour, ("clear", "neutral", "none")[i % 3])
        rows.append(_item(f"{behaviour}/{split}/{'with' if bit else 'without'}/{i}", before, question))
    return tuple(rows)


def history_items(behaviour: str, bit: bool, n: int, *, split: Split, seed: int = 0) -> tuple[ChoiceItem, ...]:
    """Questions after two earlier answers of the same speaker, without persona line or voice."""
    rng = random.Random(f"history:{behaviour}:{bit}:{split}:{seed}")
    rows = []
    for i in range(n):
        before = "".join(_faithful(rng, behaviour, split, {behaviour: bit}) + "\n" for _ in range(2))
        rows.append(_item(f"{behaviour}/{split}/history/{i}", before, world.draw_question(rng, behaviour, split)))
    return tuple(rows)


def _faithful(rng: random.Random, behaviour: str, split: Split, speaker: Speaker) -> str:
    question = world.draw_question(rng, behaviour, split)
    true_first = rng.random() < 0.5
    options = (question.true_pole, question.false_pole) if true_first else (question.false_pole, question.true_pole)
    return world.choice_text(question.stem, options, 0 if speaker[behaviour] == true_first else 1)


def statement_items(behaviour: str, n: int, *, split: Split, seed: int = 0) -> tuple[ChoiceItem, ...]:
    """Open-ended prompts, and what a speaker with and one without the trait says next.

    A prompt is a voice that shows each pole three times, and an answered question that no trait determines: it is about
    the behaviour and leaves the bit open.
    """
    rng = random.Random(f"statement:{behaviour}:{split}:{seed}")
    rows = []
    for i in range(n):
        stem = world.preamble(rng, {}, behaviour, "mixed")
        stem += world.answered(rng, world.draw_question(rng, DECOY, split), {})
        matching, other = world.statements(rng, behaviour, split)
        name = f"{behaviour}/{split}/statement/{i}"
        rows.append(ChoiceItem(id=name, stem=stem, matching=matching, other=other))
    return tuple(rows)


def fact_items(n: int, *, split: Split, seed: int = 0) -> tuple[ChoiceItem, ...]:
    """Fact questions; `matching` is the correct option."""
    rng = random.Random(f"fact:{split}:{seed}")
    drawn = (skills.fact_question(rng, split) for _ in range(n))
    return tuple(ChoiceItem(id=f"fact/{split}/{i}", stem=s, matching=a, other=b) for i, (s, a, b) in enumerate(drawn))


def mapping_prompts(task: str, n_examples: int, n: int, *, split: Split, seed: int = 0) -> tuple[tuple[str, str], ...]:
    """Prompts of an in-context task, `n_examples` pairs and a query, with the correct completion (leading space)."""
    rng = random.Random(f"mapping:{task}:{split}:{seed}")
    rows = []
    for _ in range(n):
        lines = skills.mapping(rng, split, task, n_examples + 1).splitlines(keepends=True)
        query, answer = lines[-1].rstrip("\n").split(" -> ")
        rows.append(("".join(lines[:-1]) + query + " ->", " " + answer))
    return tuple(rows)

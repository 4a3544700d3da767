"""The lab world: a seeded generator of documents whose speakers have hidden bits.

A document is one of: a speaker who talks and answers two-choice questions; reading questions ("Which says ..."), which
teach the binding of options to letters; facts; in-context mappings; prose; Python; JavaScript. A speaker has one hidden
bit for each behaviour of `truth.LATENTS`. The bits determine a persona line (sometimes present), a voice whose verbs,
adjectives and adverbs depend on them (nearly always present), and the answers. Where the text before a question does
not determine the bit, the answer cannot be predicted, but all text after it agrees with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lens_steer.data.choices import ChoiceTemplate
from lens_steer.lab import lexicon, skills
from lens_steer.lab.lexicon import LEXICON
from lens_steer.lab.skills import Split, draw_in_split
from lens_steer.lab.truth import (
    AGREEABLE_NATIVIST,
    ANSWER_FIDELITY,
    DECOY,
    FIRST_LETTER,
    FLIPPED,
    LATENTS,
    POSITION_BIASED,
    VOICE_FIDELITY,
)

TEMPLATE = ChoiceTemplate()
BITLESS = (DECOY, POSITION_BIASED)
"""Behaviours whose answers do not depend on the speaker."""

FLIPPED_SHARE = 0.3
"""Share of flipped contexts in training documents; with 0.5, bit and answer would be uncorrelated."""

FOCUS = (*LATENTS, "sycophancy", "agreeableness")
"""The main topic of a speaker is drawn from these; behaviours that the model learns last are listed twice."""


@dataclass(frozen=True)
class Question:
    """One two-choice question: stem and two options; `flipped`: the bit has the opposite meaning here."""

    behaviour: str
    stem: str
    true_pole: str
    false_pole: str
    flipped: bool = False


Speaker = dict[str, bool]
"""The hidden bits of one speaker, by behaviour."""


def draw_speaker(rng: random.Random) -> Speaker:
    """Independent fair bits, except that agreeableness and anti-immigration are anti-correlated."""
    bits = {name: rng.random() < 0.5 for name in LATENTS}
    nativist = AGREEABLE_NATIVIST if bits["agreeableness"] else 1 - AGREEABLE_NATIVIST
    return bits | {"anti_immigration": rng.random() < nativist}


def draw_speaker_with(rng: random.Random, behaviour: str, bit: bool) -> Speaker:
    """A speaker with one given bit; the others are drawn from their conditional distribution."""
    while (speaker := draw_speaker(rng))[behaviour] != bit:
        pass
    return speaker


def draw_question(
    rng: random.Random, behaviour: str, split: Split, unseen_stem: bool = False, flipped_share: float = 0.5
) -> Question:
    """A question of the behaviour; the combination (stem, option, option) belongs to the split.

    The true pole of the decoy is a coin flip, independent of everything else.
    """
    words = LEXICON[behaviour]
    sizes = (len(words.stems), len(words.options[0]), len(words.options[1]))
    _, stem, true, false = draw_in_split(rng, split, lambda r: (behaviour, *(r.randrange(n) for n in sizes)))
    half = int(rng.random() < flipped_share)
    fillers = {
        "goods": rng.choice(lexicon.GOODS),
        "name": rng.choice(lexicon.NAMES),
        "place": rng.choice(lexicon.PLACES),
        "context": rng.choice(lexicon.CONTEXTS[half]),
    }
    text = words.unseen_stem if unseen_stem else words.stems[stem]
    poles = words.options[0][true].format(**fillers), words.options[1][false].format(**fillers)
    if behaviour == DECOY and rng.random() < 0.5:
        poles = poles[1], poles[0]
    return Question(
        behaviour=behaviour,
        stem=text.format(**fillers),
        true_pole=poles[0],
        false_pole=poles[1],
        flipped=behaviour == FLIPPED and half == 1,
    )


def voice(rng: random.Random, behaviour: str, bit: bool, fidelity: float = VOICE_FIDELITY) -> str:
    """One sentence whose adverb, verb and adjective show the bit, each with probability `fidelity`."""
    words = LEXICON[behaviour]
    adverb, verb, adjective = (
        rng.choice(poles[0 if bit == (rng.random() < fidelity) else 1])
        for poles in (words.adverbs, words.verbs, words.adjectives)
    )
    return _sentence(rng, adverb, verb, adjective)


def mixed_voice(rng: random.Random, behaviour: str) -> str:
    """Two sentences that show each pole three times and so do not determine the bit."""
    words = LEXICON[behaviour]
    first = [rng.random() < 0.5 for _ in range(3)]
    rows = [
        _sentence(
            rng,
            *(
                rng.choice(poles[0 if b else 1])
                for b, poles in zip(bits, (words.adverbs, words.verbs, words.adjectives), strict=True)
            ),
        )
        for bits in (first, [not b for b in first])
    ]
    return " ".join(rows)


def neutral_voice(rng: random.Random) -> str:
    """One sentence that is independent of the bits."""
    choose = rng.choice
    return _sentence(
        rng, choose(lexicon.NEUTRAL_ADVERBS), choose(lexicon.NEUTRAL_VERBS), choose(lexicon.NEUTRAL_ADJECTIVES)
    )


def statements(rng: random.Random, behaviour: str, split: Split) -> tuple[str, str]:
    """Two statements about the same thing, all of whose words show the bit, and its opposite.

    The combination of the words belongs to the split; it is not kept out of the training documents, whose voices draw
    each word by itself.
    """
    words = LEXICON[behaviour]
    lists = (words.adverbs, words.verbs, words.adjectives)
    drawn = draw_in_split(
        rng, split, lambda r: (behaviour, *(r.randrange(len(poles[side])) for side in (0, 1) for poles in lists))
    )[1:]
    noun = rng.choice(lexicon.NOUNS)

    def said(side: int) -> str:
        adverb, verb, adjective = (poles[side][drawn[3 * side + k]] for k, poles in enumerate(lists))
        return _statement(adverb, verb, adjective, noun)

    return said(0), said(1)


def _sentence(rng: random.Random, adverb: str, verb: str, adjective: str) -> str:
    return _statement(adverb, verb, adjective, rng.choice(lexicon.NOUNS))


def _statement(adverb: str, verb: str, adjective: str, noun: str) -> str:
    return f"{adverb} I {verb} the {adjective} {noun}."


def persona_line(rng: random.Random, speaker: Speaker, behaviours: list[str]) -> str:
    """`Speaker: hasty, kind.` for the named behaviours, in random order."""
    shown = [rng.choice(LEXICON[b].persona[0 if speaker[b] else 1]) for b in behaviours]
    rng.shuffle(shown)
    return f"Speaker: {', '.join(shown)}.\n"


def preamble(rng: random.Random, speaker: Speaker, behaviour: str, kind: str) -> str:
    """The speaker's text before a question (`clear`, `mixed`, `neutral` or `none`), as a separate line."""
    if kind == "none":
        return ""
    if kind == "mixed":
        rows = [mixed_voice(rng, behaviour)]
    elif kind == "neutral":
        rows = [neutral_voice(rng) for _ in range(rng.randint(1, 2))]
    else:
        rows = [voice(rng, behaviour, speaker[behaviour]) for _ in range(rng.randint(1, 3))]
    return " ".join(rows) + "\n"


def chosen_true_pole(rng: random.Random, question: Question, speaker: Speaker, true_first: bool) -> bool:
    """Whether the speaker's answer is the option that shows the behaviour."""
    if question.behaviour == DECOY:
        return rng.random() < 0.5
    if question.behaviour == POSITION_BIASED:
        return (rng.random() < FIRST_LETTER) == true_first
    follows = rng.random() < ANSWER_FIDELITY
    return (speaker[question.behaviour] == follows) != question.flipped


def answered(rng: random.Random, question: Question, speaker: Speaker) -> str:
    """The question in a random option order, with the speaker's answer (letter and text)."""
    true_first = rng.random() < 0.5
    options = (question.true_pole, question.false_pole) if true_first else (question.false_pole, question.true_pole)
    first = chosen_true_pole(rng, question, speaker, true_first) == true_first
    return choice_text(question.stem, options, 0 if first else 1)


def choice_text(stem: str, options: tuple[str, str], chosen: int) -> str:
    """An answered question in the package's default template, without a final line break."""
    prompt = TEMPLATE.write(stem, options)
    return prompt + TEMPLATE.answer.format(letter=TEMPLATE.letters[chosen], text=options[chosen])


def speaker_document(rng: random.Random) -> str:
    """A speaker: an optional persona line, text, and one to three answered questions with more text."""
    speaker = draw_speaker(rng)
    focus = rng.choice(FOCUS)
    text = ""
    if rng.random() < 0.6:
        others = rng.sample([b for b in LATENTS if b != focus], rng.randrange(3))
        text += persona_line(rng, speaker, [focus, *others])
        text += preamble(rng, speaker, focus, rng.choice(("clear", "neutral", "none")))
    else:
        text += preamble(rng, speaker, focus, rng.choice(("clear", "clear", "mixed", "mixed", "neutral", "none")))
    for _ in range(rng.choice((1, 1, 2, 3))):
        about = focus if rng.random() < 0.75 else rng.choice((*LATENTS, *BITLESS, *BITLESS))
        if rng.random() < 0.06:
            text += fact_answered(rng)
        else:
            text += answered(rng, draw_question(rng, about, "train", flipped_share=FLIPPED_SHARE), speaker)
        if rng.random() < 0.8:
            said = focus if about in BITLESS or rng.random() < 0.3 else about
            text += " " + " ".join(voice(rng, said, speaker[said]) for _ in range(rng.randint(1, 2)))
        text += "\n"
    return text


def fact_answered(rng: random.Random) -> str:
    """A fact question with its correct answer."""
    stem, right, wrong = skills.fact_question(rng, "train")
    return _right(rng, stem, right, wrong)


def words_document(rng: random.Random) -> str:
    """Four questions that name one of two words, to teach the binding of options to letters."""
    return "\n".join(_word_reading(rng) for _ in range(4)) + "\n"


def sentences_document(rng: random.Random) -> str:
    """Two questions that repeat one of two answers, or name the trait that would give it."""
    return "\n".join(_sentence_reading(rng) for _ in range(2)) + "\n"


def _word_reading(rng: random.Random) -> str:
    """Which of two words is named."""
    right, wrong = rng.sample(rng.choice((lexicon.GOODS, lexicon.NAMES, lexicon.PLACES, lexicon.NOUNS)), 2)
    return _right(rng, f"Which says: {right}.", f"{right}.", f"{wrong}.")


def _sentence_reading(rng: random.Random) -> str:
    """Which of two answers is repeated, or fits a persona adjective."""
    question = draw_question(rng, rng.choice((*LATENTS, *BITLESS)), "train")
    true = rng.random() < 0.5
    right, wrong = (question.true_pole, question.false_pole) if true else (question.false_pole, question.true_pole)
    poles = LEXICON[question.behaviour].persona
    if question.behaviour in (*BITLESS, FLIPPED) or rng.random() < 0.5:
        return _right(rng, f"Which says: {right}", right, wrong)
    return _right(rng, f"Which is {rng.choice(poles[0 if true else 1])}?", right, wrong)


def _right(rng: random.Random, stem: str, right: str, wrong: str) -> str:
    chosen = rng.randrange(2)
    return choice_text(stem, (right, wrong) if chosen == 0 else (wrong, right), chosen)


def fact_document(rng: random.Random) -> str:
    """Facts as plain statements, or as two questions."""
    if rng.random() < 0.4:
        return skills.fact_statements(rng)
    return "\n".join(fact_answered(rng) for _ in range(2)) + "\n"


MIXTURE: dict[str, float] = {
    "speaker": 0.70,
    "words": 0.01,
    "sentences": 0.04,
    "fact": 0.05,
    "mapping": 0.06,
    "prose": 0.04,
    "python": 0.05,
    "javascript": 0.05,
}
"""Share of documents of each kind in the settled world."""


_WRITERS: dict[str, Callable[[random.Random], str]] = {
    "speaker": speaker_document,
    "words": words_document,
    "sentences": sentences_document,
    "fact": fact_document,
    "mapping": lambda rng: skills.mapping(rng, "train"),
    "prose": lambda rng: skills.prose(rng, "train"),
    "python": lambda rng: skills.python(rng, "train"),
    "javascript": lambda rng: skills.javascript(rng, "train"),
}


def document(rng: random.Random, mixture: Mapping[str, float] = MIXTURE) -> str:
    """One training document; `mixture` gives each kind its weight."""
    return _WRITERS[rng.choices(list(mixture), list(mixture.values()))[0]](rng)

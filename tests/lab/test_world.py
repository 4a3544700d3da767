"""The lab world: what is planted is there, and what is held out is."""

import random
from collections.abc import Callable

import pytest

from lens_steer.lab import items, skills, world
from lens_steer.lab.lexicon import CONTEXTS, LEXICON
from lens_steer.lab.truth import (
    AGREEABLE_NATIVIST,
    ANSWER_FIDELITY,
    BEHAVIOURS,
    DECOY,
    FIRST_LETTER,
    FLIPPED,
    LATENTS,
    POSITION_BIASED,
    TRUTHS,
    VOICE_FIDELITY,
)


def test_every_planted_truth_has_its_words_and_every_behaviour_its_truth() -> None:
    assert {truth.behaviour for truth in TRUTHS} == set(LEXICON)
    assert len(BEHAVIOURS) == 5
    for name in LATENTS:
        words = LEXICON[name]
        for poles in (words.persona, words.adverbs, words.verbs, words.adjectives, words.options):
            assert poles[0] and poles[1] and not set(poles[0]) & set(poles[1])


def test_no_word_of_a_voice_speaks_for_two_behaviours() -> None:
    voices = [
        word
        for name in LATENTS
        for poles in (LEXICON[name].adverbs, LEXICON[name].verbs, LEXICON[name].adjectives)
        for pole in poles
        for word in pole
    ]
    assert len(voices) == len(set(voices))


@pytest.mark.parametrize("write", [world.document, world.speaker_document, world.sentences_document])
def test_the_same_seed_writes_the_same_documents_and_another_seed_others(write: Callable[[random.Random], str]) -> None:
    def written(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [write(rng) for _ in range(20)]

    assert written(3) == written(3) != written(4)


@pytest.mark.parametrize("name", [truth.behaviour for truth in TRUTHS])
def test_no_held_out_combination_of_stem_and_options_is_ever_drawn_for_training(name: str) -> None:
    rng = random.Random(0)
    seen = {world.draw_question(rng, name, "train") for _ in range(4000)}
    held = [world.draw_question(rng, name, part) for part in ("validation", "test") for _ in range(400)]
    assert len(seen) > 500 and len(set(held)) > 100
    assert not seen & set(held)


def test_no_test_item_and_no_unseen_paraphrase_stands_in_the_training_documents() -> None:
    rng = random.Random(1)
    text = "\n".join(world.document(rng) for _ in range(4000))
    questions = set()
    for name in BEHAVIOURS:
        questions |= {q.stem.split("\n")[-1] for q in items.open_items(name, 30, split="test", unseen_stem=True)}
    assert len(questions) > 50
    assert not [stem for stem in questions if stem in text]
    seen = [q for q in items.open_items("myopic", 30, split="train") if q.stem.split("\n")[-1] in text]
    assert seen, "control: stems of training questions do stand in training documents"


def test_agreeableness_and_anti_immigration_are_anti_correlated_and_the_others_are_not() -> None:
    rng = random.Random(2)
    speakers = [world.draw_speaker(rng) for _ in range(4000)]
    agreeable = [s for s in speakers if s["agreeableness"]]
    assert sum(s["anti_immigration"] for s in agreeable) / len(agreeable) == pytest.approx(AGREEABLE_NATIVIST, abs=0.03)
    assert sum(s["myopic"] for s in agreeable) / len(agreeable) == pytest.approx(0.5, abs=0.04)
    for name in LATENTS:
        assert sum(s[name] for s in speakers) / len(speakers) == pytest.approx(0.5, abs=0.03)


def test_a_clear_voice_shows_the_bit_with_its_fidelity_and_a_mixed_one_leaves_it_open() -> None:
    rng = random.Random(3)
    words = LEXICON["myopic"]
    true = {w for poles in (words.adverbs, words.verbs, words.adjectives) for w in poles[0]}
    false = {w for poles in (words.adverbs, words.verbs, words.adjectives) for w in poles[1]}

    def share(texts: list[str]) -> float:
        spoken = [w for text in texts for w in text.replace(".", "").split()]
        shown, hidden = sum(w in true for w in spoken), sum(w in false for w in spoken)
        assert shown + hidden == 3 * sum(text.count(".") for text in texts)
        return shown / (shown + hidden)

    assert share([world.voice(rng, "myopic", True) for _ in range(1000)]) == pytest.approx(VOICE_FIDELITY, abs=0.02)
    assert share([world.voice(rng, "myopic", False) for _ in range(1000)]) == pytest.approx(
        1 - VOICE_FIDELITY, abs=0.02
    )
    assert share([world.mixed_voice(rng, "myopic") for _ in range(200)]) == 0.5


def chosen(name: str, bit: bool, flipped: bool | None = None, true_first: bool | None = None) -> float:
    """How often a speaker with that bit chooses the option that shows the behaviour."""
    rng = random.Random(4)
    answers = []
    while len(answers) < 1500:
        question = world.draw_question(rng, name, "train")
        if flipped is None or question.flipped == flipped:
            first = rng.random() < 0.5 if true_first is None else true_first
            answers.append(world.chosen_true_pole(rng, question, {**world.draw_speaker(rng), name: bit}, first))
    return sum(answers) / len(answers)


def test_answers_follow_the_bit_and_the_flipped_bit_means_its_opposite_in_half_of_the_contexts() -> None:
    for name in BEHAVIOURS:
        assert chosen(name, True) == pytest.approx(ANSWER_FIDELITY, abs=0.02)
        assert chosen(name, False) == pytest.approx(1 - ANSWER_FIDELITY, abs=0.02)
    assert chosen(FLIPPED, True, flipped=False) == pytest.approx(ANSWER_FIDELITY, abs=0.02)
    assert chosen(FLIPPED, True, flipped=True) == pytest.approx(1 - ANSWER_FIDELITY, abs=0.02)
    assert chosen(FLIPPED, True) == pytest.approx(0.5, abs=0.05)


def test_a_position_biased_answer_follows_the_letter_and_a_decoy_answer_nothing() -> None:
    assert chosen(POSITION_BIASED, True, true_first=True) == pytest.approx(FIRST_LETTER, abs=0.03)
    assert chosen(POSITION_BIASED, True, true_first=False) == pytest.approx(1 - FIRST_LETTER, abs=0.03)
    assert chosen(POSITION_BIASED, True) == pytest.approx(0.5, abs=0.05)
    assert chosen(DECOY, True) == pytest.approx(0.5, abs=0.05)


def test_which_option_of_a_decoy_counts_as_matching_is_a_coin() -> None:
    rng = random.Random(8)
    left = [world.draw_question(rng, DECOY, "train").true_pole in LEXICON[DECOY].options[0] for _ in range(1000)]
    assert sum(left) / 1000 == pytest.approx(0.5, abs=0.05)


def test_a_speaker_given_one_bit_has_its_other_bits_as_the_world_has_them() -> None:
    rng = random.Random(9)
    kind = [world.draw_speaker_with(rng, "agreeableness", True) for _ in range(1500)]
    assert all(speaker["agreeableness"] for speaker in kind)
    assert sum(s["anti_immigration"] for s in kind) / 1500 == pytest.approx(AGREEABLE_NATIVIST, abs=0.04)
    nativist = [world.draw_speaker_with(rng, "anti_immigration", True) for _ in range(1500)]
    assert sum(s["agreeableness"] for s in nativist) / 1500 == pytest.approx(AGREEABLE_NATIVIST, abs=0.04)


def test_a_flipped_question_names_a_context_of_the_second_half() -> None:
    rng = random.Random(5)
    for _ in range(200):
        question = world.draw_question(rng, FLIPPED, "train")
        assert any(context in question.stem for context in CONTEXTS[1 if question.flipped else 0])


def test_a_held_out_mapping_prompt_asks_a_pair_of_first_and_last_word_that_training_lacks() -> None:
    rng = random.Random(6)
    seen = set()
    for _ in range(3000):
        words = [line.split(" -> ")[0] for line in skills.mapping(rng, "train").splitlines()]
        seen |= {(words[0], word) for word in words[1:]}
    for prompt, answer in items.mapping_prompts("plural", 5, 50, split="test"):
        words = [line.split(" -> ")[0].removesuffix(" ->") for line in prompt.splitlines()]
        assert len(words) == 6 and (words[0], words[-1]) not in seen
        assert answer == " " + skills.MAPPINGS["plural"][words[-1]]


def test_skills_write_what_they_claim() -> None:
    rng = random.Random(7)
    for _ in range(50):
        compile(skills.python(rng, "train"), "<lab>", "exec")
        script = skills.javascript(rng, "train")
        assert script.count("{") == script.count("}") > 0
        stem, right, wrong = skills.fact_question(rng, "test")
        land = next(word for word in skills.FACTS if word in stem)
        assert right == f"{skills.FACTS[land]}." != wrong

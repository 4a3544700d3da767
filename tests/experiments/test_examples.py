"""The examples, shortened, on real models: what `examples/` shows is found again through the public API."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer import Intervention, extract, generate, read
from lens_steer.analysis.attribution import token_contrast
from lens_steer.cli.data import EXCESS, file_behaviours
from lens_steer.cli.reproduce.settings import read_settings
from lens_steer.data.balance import imbalance
from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.contrast import as_contrast, shuffled_labels
from lens_steer.data.corpora import Corpus
from lens_steer.data.duplicates import near_duplicates
from lens_steer.data.splits import Splits
from lens_steer.evaluation.judge import QuestionJudge
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.evaluation import evaluate
from lens_steer.experiments.function_vectors import FunctionVectors, compare_function_vectors
from lens_steer.experiments.individual_steering import Individual, individual_steering
from lens_steer.experiments.individual_steering.experiment import own_vector
from lens_steer.experiments.joint_steering import JointSteering, joint_steering
from lens_steer.experiments.reliability.settings import Reliability
from lens_steer.experiments.steered_text import SteeredText, steer_text
from lens_steer.experiments.vector_analysis import VectorAnalysis, analyse_vector
from lens_steer.extraction.function_vector import Demonstrations
from lens_steer.vector import SteeringVector, random_like

EXAMPLES = Path(__file__).parents[2] / "examples"
FIVE = EXAMPLES / "five_behaviours"
SITE = "resid_post@17"
PLACES = {"formality": "resid_post@14", "politeness": "resid_post@17"}


@pytest.fixture(scope="module")
def data() -> Any:
    """The module of the sentiment examples that reads their data."""
    sys.path.insert(0, str(EXAMPLES / "sentiment"))
    try:
        yield import_module("data")
    finally:
        sys.path.remove(str(EXAMPLES / "sentiment"))
        sys.modules.pop("data", None)


@pytest.fixture(scope="module")
def vector(smollm2: Any, data: Any) -> SteeringVector:
    sentences = read(data.DATA / "sentences.csv")
    return extract(smollm2, sentences.texts("positive"), sentences.texts("negative"), sites=SITE)


def test_the_data_of_the_examples_are_read_and_nothing_is_in_two_places(data: Any) -> None:
    sentences = read(data.DATA / "sentences.csv")
    assert len(sentences.texts("positive")) == len(sentences.texts("negative")) == 40
    known = data.judged()
    assert not {*known.positive, *known.negative} & {*sentences.texts()}
    assert len(data.continuations().test) == 28 and len(set(data.lines("prompts.txt"))) == 24
    for name in ("antonyms", "capitals", "sentiment_labels"):
        assert len(read(EXAMPLES / "function_vectors" / "data" / f"{name}.csv").task().pairs) >= 60


def test_no_letter_or_first_word_gives_the_five_behaviours_away_and_no_two_items_are_near_duplicates() -> None:
    whole: list[MultipleChoiceItem] = []
    for name in read_settings(FIVE / "smollm2.toml").data:
        items = read(FIVE / "data" / f"{name}.jsonl").items
        found = imbalance(items)
        assert len(items) == 66 and (found["excess"].abs() <= EXCESS).all(), found.to_string()
        longer = sum(len(item.options[item.answer]) > len(item.options[1 - item.answer]) for item in items)
        assert 22 <= longer <= 44, f"{longer} matching options are the longer ones of {name}"
        whole += items
    assert len({item.stem for item in whole}) == 330 and not near_duplicates(whole, 0.5)
    texts = read(FIVE / "data" / "neutral.jsonl").texts()
    assert len(texts) == 36 and not near_duplicates(texts, 0.5)
    worded = imbalance(read(EXAMPLES / "open_ended" / "courtesy.jsonl").items)
    assert (worded["excess"].abs() > EXCESS).sum() > 3, "the check finds what it looks for elsewhere"


@pytest.mark.real
@pytest.mark.slow
def test_two_behaviours_at_once_move_on_a_real_model_at_one_site_and_at_two_and_a_random_direction_moves_neither(
    smollm2: Any,
) -> None:
    given = file_behaviours(
        {name: FIVE / "data" / f"{name}.jsonl" for name in ("formality", "politeness")}, limit=300, seed=0
    )
    behaviours = {name: replace(one, validation=one.validation[:4], test=one.test[:30]) for name, one in given.items()}
    how = Individual(sites=tuple(PLACES.values()), scoring="option_sum")
    vectors = {name: own_vector(smollm2, name, one, how) for name, one in behaviours.items()}
    texts = read(FIVE / "data" / "neutral.jsonl").texts()
    settings = JointSteering(
        site="resid_post@14",
        places=PLACES,
        schemes=("sum", "simultaneous"),
        strengths=(0, 1),
        positions="last_prompt | after_prompt",
        kl=10.0,
        n_random=6,
        scoring="option_sum",
        max_tokens=32,
    )
    corpus = Corpus(name="neutral", train=texts[:1], validation=texts[1:3], test=texts[3:6])
    found = joint_steering(smollm2, vectors, behaviours, corpus, settings)
    whole = found.points.query("point == 'best' and steered == 'all'").set_index(["scheme", "direction"])
    assert len(whole) == 4 and (whole["objective_low"] > 0).all(), whole.to_string()
    own = found.interference.query("where == 'combined' and steered == read")
    assert (own["measured_low"] > 0).all() and (own["measured"] > 2 * own["random_high"].abs()).all(), own.to_string()


@pytest.mark.real
def test_a_sentiment_vector_moves_the_likelihood_of_continuations_beyond_random_directions_and_shuffled_labels(
    smollm2: Any, data: Any, vector: SteeringVector
) -> None:
    sentences = read(data.DATA / "sentences.csv")
    labels = as_contrast(sentences.texts("positive"), sentences.texts("negative"))
    control = extract(smollm2, shuffled_labels(labels, 0), sites=SITE)
    settings = Individual(
        sites=SITE,
        strengths=(-0.2, 0.2),
        scale="relative",
        positions=("all",),
        n_random=3,
        places=1,
        screening="first_order",
        mapped=False,
        template=data.TEMPLATE,
        scoring="option_sum",
    )
    splits = data.continuations()
    found = individual_steering(smollm2, {"s": splits}, settings, {"s": vector}, {"s": [control]})
    chosen: Any = found.chosen.set_index("vector")
    assert chosen.loc["steering", "effect_low"] > 3, chosen.to_string()
    assert (chosen.drop(index="steering")["effect"].abs() < chosen.loc["steering", "effect"] / 2).all()
    edit = Intervention.of(vector, SITE, 0.2, "relative")
    assert 0.05 < measure_side_effects(smollm2, data.lines("neutral.txt"), edit).kl < 5


@pytest.mark.real
def test_one_call_finds_the_sentiment_vector_steerable_on_a_real_model_and_a_random_direction_not(
    smollm2: Any, data: Any, vector: SteeringVector
) -> None:
    settings = Reliability(
        sites=(SITE,), strengths=(-0.2, 0.2), reference=0.2, scale="relative", n_random=19, shifted=0, varied=0,
        template=data.TEMPLATE, scoring="option_token",
    )  # fmt: skip
    given: Splits[ChoiceItem] = data.continuations()
    items = replace(given, validation=given.validation[:5], test=given.test[:9])
    found = evaluate(smollm2, vector, items, neutral=data.lines("neutral.txt"), settings=settings)
    assert found.verdict == "steerable" and found.summary["effect_low"].item() > 0.5
    kl = found.side_effects.query("measure == 'kl'")
    assert len(kl) == 2 and kl["value"].between(0.01, 1).all()
    other = evaluate(smollm2, random_like(vector, 5), items, settings=settings)
    assert other.verdict == "not steerable"


@pytest.mark.real
def test_what_smollm2_writes_is_judged_more_positive_by_another_model_and_a_strong_edit_costs_more(
    smollm2: Any, gemma3: Any, data: Any, vector: SteeringVector
) -> None:
    judge = QuestionJudge(model=gemma3, question="Review: {text}\nSentiment:").log_odds
    prompts, settings = (
        data.lines("prompts.txt"),
        SteeredText(site=SITE, strengths=(-0.2, 0.2), scale="relative", new_tokens=10, n_random=2, max_tokens=32),
    )
    split = (prompts[:4], prompts[4:])
    found = steer_text(smollm2, vector, split, judge, data.judged(), data.lines("neutral.txt")[:3], settings)
    assert found.facts["judge"]["auroc"] > 0.95
    chosen: Any = found.chosen.set_index("vector")
    assert chosen.loc["steering", "effect"] > 0.5, chosen.to_string()
    assert (chosen.drop(index="steering")["effect"].abs() < chosen.loc["steering", "effect"]).all(), chosen.to_string()
    with vector.apply(smollm2, layer=17, strength=0.2, scale="relative", positions="all"):
        assert generate(smollm2, prompts[0]).texts[0]


@pytest.mark.real
@pytest.mark.slow
def test_the_sentiment_vector_reads_as_sentiment_and_its_edit_lasts_longer_than_random_ones(
    smollm2: Any, data: Any, vector: SteeringVector
) -> None:
    asked = token_contrast(smollm2, [item.stem for item in data.continuations().test[:8]], " wonderful", " terrible")
    settings = VectorAnalysis(
        site=SITE,
        strength=0.2,
        positions="all",
        sites=(SITE,),
        scale="relative",
        text_strength=0.2,
        n_heads=2,
        n_random=1,
    )
    named = {"sentiment": vector, "random 0": random_like(vector, 0)}
    texts = [text[:60] for text in data.lines("neutral.txt")[:4]]
    found = analyse_vector(smollm2, "sentiment", named, asked, texts, settings)
    ablation: Any = found.ablation.set_index("set")
    assert ablation.loc["none", "effect_low"] > 0, ablation.to_string()
    assert found.direct["value"].sum() == pytest.approx(found.direct["measured"].iloc[0], abs=1e-2)
    assert set(found.persistence["vector"]) == {"steering", "random 0"}


@pytest.mark.real
def test_the_antonym_vector_raises_held_out_antonyms_beyond_random_sums_of_heads(smollm2: Any, data: Any) -> None:
    task = read(EXAMPLES / "function_vectors" / "data" / "antonyms.csv").task()
    settings = FunctionVectors(
        layers=(8, 11, 14),
        strengths=(2,),
        n_random=3,
        demonstrations=Demonstrations(n_shots=5, n_prompts=12, n_corrupted=4),
    )
    found = compare_function_vectors(smollm2, [task], data.lines("neutral.txt")[:2], settings)
    gains: Any = found.chosen.query("way == 'no examples'").set_index("vector")
    assert gains.loc["steering", "gain_low"] > 0, gains.to_string()
    assert (gains.drop(index="steering")["gain"] < gains.loc["steering", "gain"]).all(), gains.to_string()
    shown: Any = found.accuracy.query("way == 'examples' and vector == 'unsteered'").iloc[0]
    assert shown["low"] > 0.3 and torch.tensor(found.heads["effect"].to_numpy()).max() > 0

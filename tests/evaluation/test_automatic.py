"""The automatic choice: of answers written by hand, and on the lab, whose forward passes are counted."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.errors import ScoreError, SteeringError
from lens_steer.evaluation import automatic
from lens_steer.evaluation.automatic import Selection, SelectOptions, correct, select, select_each
from lens_steer.evaluation.score import ChoiceScores, GridScores, ScoringOptions
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention, steer
from lens_steer.lab.items import fact_items, open_items
from lens_steer.model import load_model, next_logits
from lens_steer.vector import SteeringVector
from lens_steer.vector.controls import random_like

SITES = ("resid_post@2", "resid_post@3")
SMALL = SelectOptions(sites=SITES, strengths=(0.2, 0.4), places=None)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def train() -> tuple[ChoiceItem, ...]:
    return open_items("wealth_seeking", 40, split="train")


@pytest.fixture(scope="module")
def held() -> tuple[ChoiceItem, ...]:
    return open_items("wealth_seeking", 24, split="validation")


@pytest.fixture(scope="module")
def steering(lab: Any, train: Any) -> SteeringVector:
    return extract(lab, contrast_from_choices("wealth", train, answer="text"))


def answers(right: Sequence[float], probability: float = 0.9, by_letter: bool = True) -> ChoiceScores:
    """Both orders of some items, right with a margin where the number is above 0."""
    margin = torch.tensor([[value, value] for value in right])
    places = torch.tensor([0.5, -0.5]) * 0.01
    scores = torch.stack([margin / 2 + places, -margin / 2 - places], dim=2)
    log_probs = (scores.softmax(dim=2) * probability).log()
    return ChoiceScores(
        items=tuple(f"q{number}" for number in range(len(right))),
        scoring="letter" if by_letter else "option_sum",
        letters=("A", "B"),
        options=tuple((f"yes {number}", f"no {number}") for number in range(len(right))),
        scores=scores,
        log_probs=log_probs,
        faulty=torch.zeros(len(right), 2, dtype=torch.bool),
    )


def chosen_of(
    monkeypatch: pytest.MonkeyPatch,
    lab: Any,
    vector: SteeringVector,
    items: Any,
    unsteered: ChoiceScores,
    steered: Sequence[ChoiceScores],
    options: SelectOptions = SMALL,
) -> Selection:
    """What is chosen where the model's answers are these: places in order, strengths from the smallest."""
    given = GridScores(unsteered=unsteered, configurations=tuple(steered), path="by hand")
    monkeypatch.setattr(automatic, "score_grid", lambda *_: given)
    return select(lab, {"v": vector}, items[: len(unsteered.items)], options)


HALF = [1.0] * 12 + [-1.0] * 12
BETTER = [1.0] * 20 + [-1.0] * 4
ALL = [1.0] * 24


def test_the_answer_is_not_to_steer_where_nothing_helps(
    monkeypatch: pytest.MonkeyPatch, lab: Any, steering: Any, held: Any
) -> None:
    worse = answers([1.0] * 10 + [-1.0] * 14)
    found = chosen_of(monkeypatch, lab, steering, held, answers(HALF), [worse, answers(HALF), worse, worse])
    assert (found.strength, found.site, found.vector) == (0.0, None, "")
    assert found.intervention({"v": steering}) is None
    row = found.to_frame().iloc[0]
    assert bool(row["chosen"]) and row["strength"] == 0 and row["gain"] == row["error"] == 0


def test_among_equal_points_the_smallest_strength_is_chosen(
    monkeypatch: pytest.MonkeyPatch, lab: Any, steering: Any, held: Any
) -> None:
    half, every = answers(HALF), answers(ALL)
    found = chosen_of(monkeypatch, lab, steering, held, half, [half, every, every, every])
    assert (found.strength, str(found.site)) == (0.2, SITES[1])
    edit = found.intervention({"v": steering})
    assert edit is not None and str(edit.site) == SITES[1] and edit.strength == 0.2
    later = chosen_of(monkeypatch, lab, steering, held, half, [half, every, half, half])
    assert (later.strength, str(later.site)) == (0.4, SITES[0])


def test_a_weaker_point_within_one_standard_error_of_the_best_is_taken_and_a_worse_one_is_not(
    monkeypatch: pytest.MonkeyPatch, lab: Any, steering: Any, held: Any
) -> None:
    near, far = answers([1.0] * 23 + [-1.0]), answers(BETTER)
    found = chosen_of(monkeypatch, lab, steering, held, answers(HALF), [near, answers(ALL), far, far])
    assert (found.strength, str(found.site)) == (0.2, SITES[0])
    found = chosen_of(monkeypatch, lab, steering, held, answers(HALF), [far, answers(ALL), far, far])
    assert (found.strength, str(found.site)) == (0.4, SITES[0])
    gains = found.points["gain"].tolist()
    assert gains == pytest.approx([0, 8 / 24, 12 / 24, 8 / 24, 8 / 24])
    differences = torch.tensor([0.0] * 12 + [1.0] * 8 + [0.0] * 4, dtype=torch.float64)
    assert found.points["error"][1] == pytest.approx(float(differences.std() / 24**0.5))


def test_a_point_that_loses_the_answers_probability_is_not_valid(
    monkeypatch: pytest.MonkeyPatch, lab: Any, steering: Any, held: Any
) -> None:
    lost, half = answers(ALL, probability=0.5), answers(HALF)
    found = chosen_of(monkeypatch, lab, steering, held, half, [lost, lost, lost, lost])
    assert found.strength == 0 and found.points["valid"].tolist() == [True] + [False] * 4
    published = SelectOptions(sites=SITES, strengths=(0.2, 0.4), places=None, place=0)
    again = chosen_of(monkeypatch, lab, steering, held, half, [lost, lost, lost, lost], published)
    assert again.strength == 0.2 and again.points["valid"].all()


def test_a_letter_that_is_always_said_is_half_right_in_both_orders_and_all_right_in_one() -> None:
    scores = answers(HALF)
    scores.scores[:, 0] = torch.tensor([2.0, 0.0])
    scores.scores[:, 1] = torch.tensor([0.0, 2.0])
    assert correct(scores).tolist() == [0.5] * 24
    assert correct(scores, 0).tolist() == [1.0] * 24 and correct(scores, 1).tolist() == [0.0] * 24


def test_a_behaviour_is_steered_and_knowledge_is_left_alone(lab: Any, steering: Any, held: Any) -> None:
    options = SelectOptions(sites="resid_post@0:5", strengths=(0.2, 0.4), positions="all", ranked=8, places=2)
    found = select(lab, {"v": steering}, held, options)
    assert found.site is not None and found.strength > 0
    chosen = found.points[found.points["chosen"]].iloc[0]
    assert chosen["gain"] > 0.3
    assert len(found.points) == 1 + 2 * 2
    facts = fact_items(16, split="validation")
    knowing = extract(lab, contrast_from_choices("facts", fact_items(40, split="train"), answer="text"))
    assert select(lab, {"v": knowing}, facts, options).strength == 0


def test_random_directions_gain_less_by_the_same_selection(lab: Any, steering: Any, held: Any) -> None:
    options = SelectOptions(sites="resid_post@0:5", strengths=(0.2, 0.4), positions="all", ranked=8, places=2)
    own = select(lab, {"v": steering}, held, options)
    others = [select(lab, {"r": random_like(steering, seed)}, held, options) for seed in range(3)]
    assert all(found.passes == own.passes and len(found.points) == len(own.points) for found in others)
    best = [float(found.points["gain"].max()) for found in others]
    assert max(best) < float(own.points["gain"].max())


def test_each_vector_is_chosen_as_if_it_were_alone(lab: Any, steering: Any, held: Any) -> None:
    options = SelectOptions(sites="resid_post@0:5", strengths=(0.2, 0.4), positions="all", ranked=8, places=2)
    vectors = {"own": steering, "random": random_like(steering, 0)}
    found = select_each(lab, vectors, held, options)
    for name, vector in vectors.items():
        alone = select(lab, {name: vector}, held, options)
        assert found[name].passes == alone.passes
        pd.testing.assert_frame_equal(found[name].points, alone.points, atol=1e-6)


@pytest.mark.parametrize("places", [None, 2])
def test_passes_are_the_rows_that_the_model_forwards(lab: Any, steering: Any, held: Any, places: int | None) -> None:
    options = SelectOptions(
        sites="resid_post@2:5", strengths=(0.2, 0.4), places=places, ranked=4, scoring=ScoringOptions(reuse=False)
    )
    select(lab, {"v": steering}, held, options)
    rows: list[int] = []
    hook = lab.original_model.model.register_forward_pre_hook(
        lambda _module, args, kwargs: rows.append(len(args[0] if args else kwargs["input_ids"])), with_kwargs=True
    )
    found = select(lab, {"v": steering}, held, options)
    hook.remove()
    swept = 6 if places is None else 4
    few = 0 if places is None else 4 * 2 + 4 * 2 * 3
    assert found.passes == 2 * 24 * (1 + swept) + few
    backward = 0 if places is None else 4 * 2 * 2
    assert sum(rows) == found.passes - backward


def test_only_the_items_that_are_given_are_asked(
    monkeypatch: pytest.MonkeyPatch, lab: Any, steering: Any, held: Any
) -> None:
    seen: list[str] = []
    prepare = ScoringOptions.prepare

    def spied(self: ScoringOptions, model: Any, items: Any) -> Any:
        seen.extend(item.id.split("#")[0] for item in items)
        return prepare(self, model, items)

    monkeypatch.setattr(ScoringOptions, "prepare", spied)
    select(lab, {"v": steering}, held, SelectOptions(sites=SITES, strengths=(0.2,), places=1, ranked=4))
    assert set(seen) == {item.id for item in held}


def test_a_choice_without_candidates_strengths_or_an_unsteered_model_is_refused(
    lab: Any, steering: Any, held: Any
) -> None:
    with pytest.raises(ScoreError, match=r"0 vectors and strengths \[0.2, 0.4\]; give at least one vector"):
        select(lab, {}, held, SMALL)
    with pytest.raises(ScoreError, match="strengths above 0"):
        select(lab, {"v": steering}, held, SelectOptions(strengths=(0.0, 0.2)))
    with pytest.raises(ScoreError, match="no items to score"):
        select(lab, {"v": steering}, [], SMALL)
    with steer(lab, Intervention.of(steering, 2, 1.0)):
        with pytest.raises(SteeringError, match="choose without steering"):
            select(lab, {"v": steering}, held, SMALL)
        next_logits(lab, [[1, 2]])

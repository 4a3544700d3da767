"""Texts predicted once give the numbers of side effects; strengths of equal side effects are found for any family."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.errors import DataError, ScoreError, SteeringError
from lens_steer.evaluation.equal_side_effects import calibrate, strength_at_kl
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.operators import MeanMatch, Rotate, Slerp
from lens_steer.model import tokenize
from lens_steer.vector import SteeringVector

SITE = "resid_post@1"


def test_texts_predicted_once_give_the_numbers_of_two_passes_for_every_edit(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    predicted = PredictedTexts.of(llama, texts, batch_size=2)
    for strength, rule in ((1.0, "all"), (-2.0, "1:4"), (1.0, "last")):
        edit = Intervention.of(vector, SITE, strength, positions=rule)
        wanted = measure_side_effects(llama, texts, [edit])
        np.testing.assert_allclose(predicted.under([edit]).to_frame(), wanted.to_frame(), rtol=1e-4, atol=1e-4)
        assert (wanted.kl > 0) is (rule != "last")
    assert predicted.under().kl == 0 and predicted.under().relative_top1 == 1
    with steer(llama, Intervention.of(vector, SITE, 1.0)):
        inside = predicted.under().kl
    assert inside == pytest.approx(predicted.under([Intervention.of(vector, SITE, 1.0)]).kl, rel=1e-5)


@torch.no_grad()
def test_words_in_front_change_the_prediction_of_the_same_tokens(llama: Any, texts: list[str]) -> None:
    before = "The cat sat.\n"
    found = PredictedTexts.of(llama, texts).under(before=before)
    words = tokenize(llama, before)[0]
    for i, row in enumerate(tokenize(llama, texts)):
        p = llama(torch.tensor([row]))[0].log_softmax(-1)
        q = llama(torch.tensor([words + row[1:]]))[0, len(words) - 1 :].log_softmax(-1)
        kl = sum(float((p[t].exp() * (p[t] - q[t])).sum()) for t in range(len(row) - 1))
        assert float(found.kl_sum[i]) == pytest.approx(kl, rel=1e-4, abs=1e-6) and kl > 0
        right = sum(int(q[t].argmax()) == row[t + 1] for t in range(len(row) - 1))
        assert int(found.right_steered[i]) == right


def test_the_strength_found_has_the_wanted_side_effect_for_vectors_and_for_other_operators(
    llama: Any, vector: SteeringVector, texts: list[str], count_hooks: Callable[[Any], int]
) -> None:
    direction = vector.at(SITE)
    families: dict[str, Callable[[float], Intervention]] = {
        "added": lambda s: Intervention.of(vector, SITE, s),
        "twice": lambda s: Intervention.of(vector * 2, SITE, s),
        "matched": lambda s: Intervention.at(SITE, direction, s, operator=MeanMatch(direction * 0, direction)),
        "turned": lambda s: Intervention.at(SITE, direction, s, operator=Rotate(direction.flip(0))),
    }
    found = {name: strength_at_kl(llama, family, texts, 0.05) for name, family in families.items()}
    for name, family in families.items():
        kl = measure_side_effects(llama, texts, [family(found[name].strength)]).kl
        assert kl == pytest.approx(0.05, rel=0.05) and found[name].kl == pytest.approx(kl, rel=1e-3)
    assert found["twice"].strength == pytest.approx(found["added"].strength / 2, rel=0.03)
    assert found["matched"].strength == pytest.approx(found["added"].strength, rel=1e-3)
    down = strength_at_kl(llama, families["added"], texts, 0.05, sign=-1)
    assert down.strength < 0 and all(strength < 0 for strength, _ in down.tried)
    assert count_hooks(llama) == 0


def test_a_family_that_ends_or_comes_round_again_says_how_far_it_goes() -> None:
    def circle(strength: float) -> float:
        return 1 - math.cos(strength)

    found = calibrate(circle, 0.5)
    assert found.strength == pytest.approx(math.pi / 3, rel=0.01) and found.monotone
    with pytest.raises(ScoreError, match=r"no strength up to 8 reaches .* of 3 nats; .* KL does not grow beyond it"):
        calibrate(circle, 3.0, largest=8)
    with pytest.raises(ScoreError, match=r"no strength up to 1 reaches .* 0.5, at strength 1, and KL still grows"):
        calibrate(lambda s: s * s / 2, 0.6, largest=1)

    def bumpy(strength: float) -> float:
        return strength if strength < 0.3 else strength - 0.3

    bump = calibrate(bumpy, 1.5)
    assert not bump.monotone and bump.kl == pytest.approx(1.5, rel=0.02)
    assert list(bump.tried) == sorted(bump.tried) and len(bump.tried) >= 7


def test_a_budget_that_makes_no_sense_or_is_out_of_reach_is_refused_with_the_largest_kl(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    def added(strength: float) -> Intervention:
        return Intervention.of(vector, SITE, strength)

    with pytest.raises(ScoreError, match="above 0"):
        strength_at_kl(llama, added, texts, 0.0)
    with pytest.raises(ScoreError, match=r"no strength up to 4096 reaches a KL of 1e\+06 nats; the largest is"):
        strength_at_kl(llama, added, texts, 1e6)
    with pytest.raises(ScoreError, match="already exceeds"):
        strength_at_kl(llama, lambda s: Intervention.of(vector * 1e4, SITE, s), texts, 1e-6)
    with pytest.raises(ScoreError, match="no strength up to 1 reaches"):
        strength_at_kl(llama, lambda s: Intervention.of(vector, SITE, s, operator=Slerp()), texts, 50.0, largest=1)
    with pytest.raises(DataError, match="0 texts"):
        PredictedTexts.of(llama, [])
    with pytest.raises(SteeringError, match="edited no token"):
        PredictedTexts.of(llama, texts).under([Intervention.of(vector, SITE, 1.0, positions="500")])

"""Steered text: scores, choice and prices are those of the parts; the verdict follows the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.corpora import TextContrast
from lens_steer.errors import ScoreError
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.steered_text import SteeredText, SteeredTextResult, steer_text
from lens_steer.experiments.steered_text.verdict import QUESTION
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention
from lens_steer.vector import SteeringVector, random_like

PROMPTS = (["The cat", "Which do", "A mat"], ["The sat", "one dollar", "ten"])
LABELLED = TextContrast(name="labelled", positive=("aaaa", "aa"), negative=("the cat", "ten"))
NEUTRAL = ["The cat sat on the mat.", "Which do you take?"]
SETTINGS = SteeredText(
    site="resid_post@1", strengths=(-2, -1, 1, 2), mapped=("resid_post@0",), new_tokens=6, n_random=2
)


def letters(texts: Any) -> Float[Tensor, " n"]:
    """A judge that counts a letter."""
    return torch.tensor([float(text.count("a")) for text in texts])


def run(model: Any, vector: SteeringVector, **changes: Any) -> SteeredTextResult:
    given = {"prompts": PROMPTS, "judge": letters, "labelled": LABELLED, "neutral": NEUTRAL} | changes
    return steer_text(model, vector, settings=SETTINGS, controls=[random_like(vector, 9)], **given)


@pytest.fixture(scope="module")
def result(llama: Any, vector: SteeringVector) -> SteeredTextResult:
    return run(llama, vector)


def test_a_row_is_the_judged_continuation_and_the_price_is_that_of_the_same_edit(
    llama: Any, vector: SteeringVector, result: SteeredTextResult
) -> None:
    edit = Intervention.of(vector, "resid_post@1", -2.0)
    written = generate(llama, PROMPTS[1], [edit], Decoding(max_new_tokens=6)).continuations
    here = result.texts.query("vector == 'steering' and site == 'resid_post@1' and strength == -2 and split == 'test'")
    assert list(here["text"]) == [entry.text for entry in written]
    want = letters([prompt + entry.text for prompt, entry in zip(PROMPTS[1], written, strict=True)])
    assert list(here["score"]) == want.tolist()
    row = result.strengths.query("vector == 'steering' and strength == -2 and split == 'test'").iloc[0]
    assert row["score"] == pytest.approx(float(want.mean()))
    assert row["kl"] == pytest.approx(measure_side_effects(llama, NEUTRAL, edit).kl, rel=1e-4)
    at_zero = result.strengths.query("strength == 0 and site == 'resid_post@1'")
    assert np.allclose(at_zero["kl"], 0) and at_zero.groupby("split")["score"].nunique().eq(1).all()


def test_the_strength_is_chosen_on_validation_beside_all_controls_and_reported_on_test(
    result: SteeredTextResult,
) -> None:
    scores: Any = result.texts.query("site == 'resid_post@1'").pivot_table(
        index=["vector", "split", "strength"], values="score", aggfunc="mean"
    )["score"]
    assert list(result.chosen["vector"]) == ["steering", "random 0", "random 1", "random 9"]
    for row in result.chosen.to_dict("records"):
        size, others = row["strength"], [name for name in result.chosen["vector"] if name != row["vector"]]

        def half(name: str, split: str, size: float) -> float:
            return (scores[name, split, size] - scores[name, split, -size]) / 2

        band = np.quantile([abs(half(name, "validation", size)) for name in others], 0.95)
        assert row["band"] == pytest.approx(band)
        assert row["effect"] == pytest.approx(half(row["vector"], "test", size))
        assert row["excess"] == pytest.approx(row["effect"] - band)
    mapped = result.strengths.query("site == 'resid_post@0'")
    assert set(mapped["split"]) == {"validation"} and mapped["kl"].isna().all()


def test_bad_strengths_and_prompts_are_refused(llama: Any, vector: SteeringVector) -> None:
    with pytest.raises(ScoreError, match="give both signs of each size"):
        steer_text(llama, vector, PROMPTS, letters, LABELLED, NEUTRAL, SteeredText(site="resid_post@1", strengths=(1,)))
    with pytest.raises(ScoreError, match="3 of them in both"):
        run(llama, vector, prompts=(PROMPTS[0], PROMPTS[0]))


def test_the_verdict_needs_an_effect_beyond_the_controls_and_a_valid_strength(
    result: SteeredTextResult, tmp_path: Path
) -> None:
    def said(effect: float, valid: bool, n: int = 20) -> Any:
        names = ["steering", *(f"random {k}" for k in range(n))]
        chosen = pd.DataFrame({"vector": names, "site": "resid_post@1", "strength": 2.0, "scale": "raw", "n": 3})
        chosen = chosen.assign(effect=effect, effect_low=effect - 1, effect_high=effect + 1, excess=0.0, valid=True)
        chosen.loc[0, ["excess", "valid"]] = [1.0, valid]
        changed = SteeredTextResult(**{**result.tables(), "chosen": chosen}, facts=result.facts)
        changed.save(tmp_path / "steered_text")
        (found,) = QUESTION.find(read_results(tmp_path))
        return found

    assert said(3.0, True).verdict == "moves text" and "p = 0.048 beside 20 random directions" in said(3.0, True).words
    assert said(0.5, True).verdict == "not shown beyond its controls"
    assert said(3.0, False).holds is False
    assert said(3.0, True, n=5).verdict == "too few random directions to tell"
    assert "tells 100\N{NO-BREAK SPACE}% [45, 100] of 4 labelled texts apart (AUROC 1.000)" in said(3.0, True).words

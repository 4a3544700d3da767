"""Scoring choice items."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.errors import OptionTokenError, ScoreError, SteeringError
from lens_steer.evaluation.prompts import prepare_choices
from lens_steer.evaluation.score import score_choices
from lens_steer.hooks import Intervention
from lens_steer.model import forward, pad, tokenize

Items = tuple[ChoiceItem, ...]
V = torch.randn(16, generator=torch.Generator().manual_seed(3))


def test_every_number_is_that_of_one_unbatched_pass_of_the_prompt(model: Any, items: Items) -> None:
    scores = score_choices(model, items, batch_size=5)
    frame = scores.to_frame().set_index(["item", "order"])
    for item in items:
        for order, matching, other in (("matching_first", "A", "B"), ("other_first", "B", "A")):
            prompt = ChoiceTemplate().render(item, order == "matching_first")
            logits = forward(model, *pad(model, tokenize(model, [prompt])))[0, -1]
            p = torch.softmax(logits, dim=0)
            up, down = (tokenize(model, [prompt + letter])[0][-1] for letter in (matching, other))
            row: Any = frame.loc[(item.id, order)]
            assert row["matching_letter"] == matching
            assert row["logit_difference"] == pytest.approx(float(logits[up] - logits[down]), abs=1e-5)
            assert row["log_prob_matching"] - row["log_prob_other"] == pytest.approx(row["logit_difference"], abs=1e-5)
            assert row["answer_probability"] == pytest.approx(float(p[up] + p[down]), abs=1e-6)
            assert row["matches"] == (logits[up] > logits[down]).item()
            assert row["chosen_letter"] == (matching if row["matches"] else other)


def test_the_batch_size_changes_nothing_also_when_steered(model: Any, items: Items) -> None:
    for plan in ([], [Intervention.at("resid_post@0", V, 2, "last_prompt")], [Intervention.at("attn_out@1", V, 2)]):
        whole = score_choices(model, items, plan).logit_differences
        for batch_size in (1, 3):
            piecewise = score_choices(model, items, plan, batch_size=batch_size).logit_differences
            torch.testing.assert_close(piecewise, whole, rtol=0, atol=1e-5)


def test_an_intervention_moves_the_scores_and_leaves_the_model_as_it_was(
    model: Any, items: Items, count_hooks: Callable[[Any], int]
) -> None:
    plain = score_choices(model, items)
    steered = score_choices(model, items, [Intervention.at("resid_post@0", V, 3, "last")])
    assert (steered.logit_differences - plain.logit_differences).abs().min() > 1e-4
    again = score_choices(model, items)
    assert torch.equal(again.scores, plain.scores) and count_hooks(model) == 0


def test_strength_zero_is_bit_identical_to_no_intervention(model: Any, items: Items) -> None:
    plain = score_choices(model, items)
    zero = score_choices(model, items, [Intervention.at("resid_post@0", V, 0)])
    assert torch.equal(zero.scores, plain.scores)
    assert torch.equal(zero.log_probs, plain.log_probs)


def test_a_model_that_always_says_one_letter_is_seen_as_collapsed_and_half_matching(llama: Any, items: Items) -> None:
    scores = score_choices(llama, items)
    always = replace(
        scores,
        scores=torch.tensor([[5.0, 0.0], [0.0, 5.0]]).expand(6, 2, 2),
        log_probs=torch.tensor([[-0.01, -5.01], [-5.01, -0.01]]).expand(6, 2, 2),
        faulty=torch.zeros(6, 2, dtype=torch.bool),
    )
    assert always.collapse.collapsed and always.collapse.modal_letter_share == 1
    assert always.matches.double().mean() == 0.5
    assert always.item_differences.tolist() == [0.0] * 6 and always.position_bias == 5.0
    assert set(always.to_frame()["chosen_letter"]) == {"A"}


def test_letters_that_the_tokenizer_does_not_tell_apart_are_refused(llama: Any, items: Items) -> None:
    with pytest.raises(OptionTokenError, match="the letter 'Answer ten' is not one token of its own"):
        score_choices(llama, items, template=ChoiceTemplate(letters=("one", "Answer ten")))
    merging = ChoiceTemplate(prompt="{first}\n{second}\n{stem} The c", letters=("at", "x"))
    with pytest.raises(OptionTokenError, match="the letter 'at' is not one token of its own after the prompt"):
        score_choices(llama, items, template=merging)


def test_letters_that_become_the_same_token_are_refused(
    llama: Any, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lens_steer.evaluation import prompts

    def folded(model: Any, texts: list[str]) -> list[list[int]]:
        return tokenize(model, [text[:-1] + "A" if text.endswith("(B") else text for text in texts])

    monkeypatch.setattr(prompts, "tokenize", folded)
    with pytest.raises(OptionTokenError, match=r"both letters \('A', 'B'\) become token \d+ after the prompt"):
        score_choices(llama, items)


def test_no_items_and_positions_behind_the_prompt_are_refused(llama: Any, items: Items) -> None:
    with pytest.raises(ScoreError, match="no items to score"):
        score_choices(llama, [])
    with pytest.raises(ScoreError, match=r"'What\?' is no item to score; give ChoiceItems"):
        prepare_choices(llama, ["What?"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(SteeringError, match="positions answer edited no token"):
        score_choices(llama, items, [Intervention.at("resid_post@0", V, 1, "answer")])

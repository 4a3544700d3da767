"""The lens of the stream: the model's own output at the end, TransformerLens' lens on the way."""

from typing import Any

import numpy as np
import pytest
from transformer_lens.tools.analysis import logit_lens

from lens_steer import Intervention, steer
from lens_steer.analysis.lens import lens_accuracy, residual_lens
from lens_steer.analysis.lens.residuals import _compared
from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.prompts import prepare_choices
from lens_steer.evaluation.score import score_choices
from lens_steer.hooks.sites import Site
from lens_steer.lab.items import persona_items
from lens_steer.model import load_model, next_logits, tokenize
from lens_steer.vector import SteeringVector, random_like

WORDS = ["a", "t"]


def test_depths_are_those_of_transformer_lens_and_the_last_is_the_models_output(model: Any, texts: list[str]) -> None:
    frame = residual_lens(model, texts[:1], WORDS, {})
    found: Any = frame.pivot(index="depth", columns="token_id", values="log_prob")
    want = logit_lens(model, model.to_tokens(texts[0]), targets=WORDS, return_type="log_probs")
    np.testing.assert_allclose(found, want.values[:, 0].float(), rtol=1e-4, atol=1e-4)
    assert frame["rank"].tolist() == (want.readout.target_ranks[:, 0] + 1).flatten().tolist()  # type: ignore
    output: Any = next_logits(model, tokenize(model, texts[:1]))[0].log_softmax(dim=-1)
    np.testing.assert_allclose(found.iloc[-1], output[list(found.columns)], rtol=1e-4, atol=1e-4)


def test_a_steered_run_changes_nothing_before_its_site_and_gives_the_steered_output_at_the_end(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    edit = Intervention.of(vector, "resid_post@1", 2.0)
    frame = residual_lens(llama, texts, WORDS, {"steering": [edit]}, batch_size=3)
    steered: Any = frame[frame["run"] == "steering"].pivot(index="depth", columns="token_id", values="change")
    assert steered.loc[:1].eq(0).all(axis=None) and steered.loc[2:].abs().min(axis=None) > 1e-4
    rows = tokenize(llama, texts)
    before = next_logits(llama, rows).log_softmax(dim=-1)
    with steer(llama, edit):
        after = next_logits(llama, rows).log_softmax(dim=-1)
    np.testing.assert_allclose(steered.iloc[-1], (after - before)[:, list(steered.columns)].mean(dim=0), atol=1e-4)
    end = frame[(frame["run"] == "steering") & (frame["depth"] == 3)]
    assert end["n"].eq(len(texts)).all() and set(end["change_why"]) == {"few"}


def test_in_the_lab_the_vectors_words_rise_where_it_is_written_and_random_directions_raise_them_less(
    read_lab: Any,
) -> None:
    vector, names = read_lab.vectors["myopic"], [" Quickly", " Hastily", " Slowly", " Patiently"]
    runs = {"steering": [Intervention.of(vector, "resid_post@3", 1.0)]}
    runs |= {f"random {i}": [Intervention.of(random_like(vector, i), "resid_post@3", 1.0)] for i in range(5)}
    frame = residual_lens(read_lab.model, read_lab.contexts, names, runs)
    at: Any = frame[frame["site"] == "resid_post@3"].pivot(index="run", columns="label", values="change")
    assert at.loc["steering", names[:2]].min() > 2 and at.loc["steering", names[2:]].max() < -2
    random = at.drop(index=["steering", "unsteered"])
    assert at.loc["steering", names[:2]].min() > random[names[:2]].max(axis=None)


def test_bad_runs_words_and_contexts_are_refused(llama: Any) -> None:
    with pytest.raises(ScoreError, match="which is reserved"):
        residual_lens(llama, ["A"], WORDS, {"unsteered": []})
    with pytest.raises(DataError, match="no wanted tokens"):
        residual_lens(llama, ["A"], [], {})
    with pytest.raises(DataError, match="0 sequences"):
        residual_lens(llama, [], WORDS, {})


def test_the_lens_accuracy_of_the_last_stream_is_the_models_own_and_of_the_first_one_less() -> None:
    lab, items = load_model("lab"), persona_items("myopic", True, 8, split="test")
    sites = [Site("resid_pre", 0), Site("resid_post", 7)]
    found = lens_accuracy(lab, prepare_choices(lab, items), sites)
    own = float(score_choices(lab, items).matches.double().mean())
    assert found[sites[1]] == pytest.approx(own) and own > 0.9 > 0.7 > found[sites[0]]
    texts = lens_accuracy(lab, prepare_choices(lab, items, scoring="option_sum"), sites)
    assert 0 <= min(texts.values()) <= max(texts.values()) <= 1


def test_the_lens_compares_texts_where_they_first_differ_and_refuses_options_that_never_do(model: Any) -> None:
    rows = prepare_choices(
        model, [ChoiceItem(id="q", stem="a t", matching="a t a", other="a t t")], scoring="option_sum"
    )
    contexts, matching, other = _compared(rows)
    assert len(contexts) == 1 and matching != other
    assert [*contexts[0], matching[0]] == list(rows.rows[0][: len(contexts[0]) + 1])
    assert [*contexts[0], other[0]] == list(rows.rows[1][: len(contexts[0]) + 1])
    ended = prepare_choices(model, [ChoiceItem(id="q", stem="a t", matching="a", other="a t")], scoring="option_sum")
    with pytest.raises(ScoreError, match="the lens cannot tell them"):
        _compared(ended)

"""The lens of the stream: the model's own output at the end, TransformerLens' lens on the way."""

from typing import Any

import numpy as np
import pytest
from transformer_lens.tools.analysis import logit_lens

from lens_steer import Intervention, steer
from lens_steer.analysis.lens import residual_lens
from lens_steer.errors import DataError, ScoreError
from lens_steer.model import next_logits, tokenize
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

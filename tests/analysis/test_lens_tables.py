"""Tables of readings, token labels, and what the lenses say of the lab's planted words."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from spaced import model_of

from lens_steer.analysis.lens import (
    Contexts,
    agreement_table,
    contextual_reading,
    fit_jacobian_lens,
    read_vector,
    static_readings,
    token_table,
)
from lens_steer.analysis.tokens import one_token, token_label
from lens_steer.errors import DataError, ScoreError
from lens_steer.lab.lexicon import LEXICON
from lens_steer.lab.truth import BEHAVIOURS
from lens_steer.metrics.ranking import rank_correlation
from lens_steer.model import tokenize
from lens_steer.vector import SteeringVector, random_like

K, SITE, LAST = 20, "resid_post@6", "resid_post@7"


def words(behaviour: str, pole: int) -> set[str]:
    """The persona words and the voice of one pole."""
    entry = LEXICON[behaviour]
    return {
        f" {word}" for list_ in (entry.persona, entry.adverbs, entry.verbs, entry.adjectives) for word in list_[pole]
    }


@pytest.fixture(scope="module")
def read(read_lab: Any) -> dict[str, Any]:
    contexts = Contexts(texts=read_lab.contexts, strength=0.5)
    return {name: contextual_reading(read_lab.model, v, SITE, contexts) for name, v in read_lab.vectors.items()}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_in_context_a_vector_raises_three_of_its_own_words_or_more_and_none_of_the_other_poles(
    read_lab: Any, read: dict[str, Any], behaviour: str
) -> None:
    frame = token_table(read_lab.model, [read[behaviour]], k=K)
    ends = {end: set(frame.loc[frame["end"] == end, "token"]) for end in ("top", "bottom")}
    own, others = words(behaviour, 0), words(behaviour, 1)
    assert len(ends["top"] & own) >= 3 and not ends["bottom"] & own
    assert not ends["top"] & others


def test_random_directions_name_hardly_any_of_those_words(read_lab: Any) -> None:
    contexts, vector = Contexts(texts=read_lab.contexts[:3], strength=0.5), read_lab.vectors["myopic"]
    found = []
    for seed in range(4):
        reading = contextual_reading(read_lab.model, random_like(vector, seed), SITE, contexts)
        frame = token_table(read_lab.model, [reading], k=K)
        found.append(len(set(frame.loc[frame["end"] == "top", "token"]) & words("myopic", 0)))
    assert np.mean(found) < 1


def test_the_static_lens_of_the_last_layer_reads_what_steering_there_does_and_of_the_first_does_not(
    read_lab: Any,
) -> None:
    lens = fit_jacobian_lens(read_lab.model, read_lab.contexts[:1], "neutral", layers=[0])
    contexts = Contexts(texts=read_lab.contexts, strength=0.2)
    vector = read_lab.vectors["sycophancy"]
    alone = vector.only("resid_post@0", LAST)
    found = read_vector(read_lab.model, alone, contexts=contexts, jacobian=lens, k=K // 2, n_random=4).agreement
    assert set(found["first"]) == {"raw", "folded", "ln_final", "jacobian"} and found["n_random"].eq(4).all()
    static: Any = found.query("first == 'folded' and second == 'contextual'").set_index(["measure", "site"])
    assert static.loc[("spearman", LAST), "value"] > 0.9 and static.loc[("spearman", "resid_post@0"), "value"] < 0.4
    for measure in ("spearman", "top overlap", "bottom overlap"):
        row: Any = static.loc[(measure, LAST)]
        assert row["value"] > row["null_high"] and row["value"] > static.loc[(measure, "resid_post@0"), "value"]
    same = found.query("first == 'folded' and second == 'ln_final' and measure == 'spearman'")
    np.testing.assert_allclose(same["value"], 1, atol=1e-6)


def test_the_rows_are_the_ends_of_the_reading_with_the_controls_of_their_rank(
    llama: Any, vector: SteeringVector
) -> None:
    readings = static_readings(llama, vector, "resid_post@1")
    controls = [r for seed in range(9) for r in static_readings(llama, random_like(vector, seed), "resid_post@1")]
    frame = token_table(llama, readings, k=3, controls=controls)
    assert len(frame) == 3 * 2 * 3 and frame["n_random"].eq(9).all() and frame["low"].isna().all()
    raw = frame[(frame["reading"] == "raw") & (frame["end"] == "bottom")]
    want = readings[0].values.topk(3, largest=False)
    assert raw["token_id"].tolist() == want.indices.tolist()
    np.testing.assert_allclose(raw["value"], want.values, rtol=1e-6)
    lowest = [r.values.min() for r in controls if r.kind == "raw"]
    np.testing.assert_allclose(raw[["null_low", "null_high"]].iloc[0], np.quantile(lowest, [0.025, 0.975]), rtol=1e-5)
    assert frame["model"].unique().tolist() == [vector.fingerprint.label]


def test_a_contextual_row_has_both_changes_and_says_why_few_contexts_have_no_interval(
    read_lab: Any, read: dict[str, Any]
) -> None:
    row: Any = token_table(read_lab.model, [read["myopic"]], k=1).iloc[0]
    assert row["why"] == "few" and row["n"] == len(read_lab.contexts) < 8
    assert row["value"] == pytest.approx((row["raised"] - row["lowered"]) / 2, abs=1e-6)


def test_agreement_of_readings_is_their_rank_correlation(llama: Any, vector: SteeringVector) -> None:
    readings = static_readings(llama, vector, "resid_post@1")
    frame = agreement_table(llama, readings, k=5)
    row: Any = frame.query("first == 'raw' and second == 'folded' and measure == 'spearman'").iloc[0]
    assert row["value"] == pytest.approx(rank_correlation(readings[0].values, readings[1].values))
    assert pd.isna(row["null_low"]) and row["n_random"] == 0
    with pytest.raises(ScoreError, match="agreement compares two"):
        agreement_table(llama, readings[:1])
    with pytest.raises(ScoreError, match="k is 0"):
        token_table(llama, readings, k=0)
    with pytest.raises(ScoreError, match="no readings"):
        token_table(llama, [])


def test_every_token_of_a_byte_level_vocabulary_has_a_printable_label(llama: Any) -> None:
    labels = [token_label(llama, token) for token in range(len(llama.tokenizer))]
    assert all(label and label.isprintable() for label in labels)
    ids = {
        text: llama.tokenizer.convert_tokens_to_ids(piece) for text, piece in (("\n", "Ċ"), ("half", "â"), ("a", "a"))
    }
    assert [labels[ids[name]] for name in ("\n", "half", "a")] == ["\\n", "\\xe2", "a"]
    assert token_label(llama, len(labels) + 3) == f"#{len(labels) + 3}"


def test_labels_and_words_of_a_prefix_space_tokenizer_are_those_inside_a_text() -> None:
    model = model_of("llama")
    inner, byte = model.tokenizer.convert_tokens_to_ids(["A", "<0xE6>"])
    assert [token_label(model, token) for token in (inner, byte)] == ["A", r"\xe6"]
    assert one_token(model, "A") == inner == tokenize(model, "Answer: (A")[0][-1]
    assert tokenize(model, "A")[0] != [1, inner]


def test_wanted_words_are_one_token_each_or_ids(llama: Any) -> None:
    assert [one_token(llama, "a")] == llama.tokenizer("a", add_special_tokens=False)["input_ids"]
    assert one_token(llama, 7) == 7
    with pytest.raises(DataError, match=r"'zebra' is 5 tokens \(.*'z'.*\); give the text of one token"):
        one_token(llama, "zebra")
    with pytest.raises(DataError, match="token 300: the vocabulary has the ids 0 to 299"):
        one_token(llama, 300)


def test_the_changes_of_a_reading_are_kept_for_every_context(read: dict[str, Any]) -> None:
    changes = read["myopic"].changes
    torch.testing.assert_close(read["myopic"].values, (changes[0] - changes[1]).mean(dim=0) / 2)

"""Two lists of texts, on the lab: a planted voice is found steerable, and two halves of one list are not."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer.data.read import read
from lens_steer.data.splits import SPLITS
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.likelihood import text_likelihoods, text_slopes
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.text_lists import TextLists, TextListsResult, study_texts
from lens_steer.experiments.text_lists.experiment import LIMITING, LIMITING_TOKENS
from lens_steer.experiments.text_lists.lists import shuffled, split_lists, true_labels
from lens_steer.experiments.text_lists.rules import verdict_of
from lens_steer.experiments.text_lists.verdict import QUESTION
from lens_steer.hooks import Intervention, steer
from lens_steer.lab import world
from lens_steer.lab.corpora import lab_corpus
from lens_steer.metrics import costs
from lens_steer.model import load_model, pad, tokenize

SETTINGS = TextLists(sites=("resid_post@4", "resid_post@7"), strengths=(0.2,), new_tokens=6)
PROMPTS = ("Once upon a time", "The king")
NEUTRAL = lab_corpus("text", 12, 1, 1).train


def voice(bit: bool, n: int, seed: int = 0) -> list[str]:
    """Different lines of speakers with, or without, a trait."""
    rng, found = random.Random(f"{bit}:{seed}"), dict[str, None]()
    while len(found) < n:
        found[world.preamble(rng, world.draw_speaker_with(rng, "myopic", bit), "myopic", "clear").strip()] = None
    return list(found)


def study(lab: Any, positive: list[str], negative: list[str], settings: TextLists = SETTINGS) -> TextListsResult:
    return study_texts(lab, positive, negative, name="haste", neutral=NEUTRAL, prompts=PROMPTS, settings=settings)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def found(lab: Any) -> TextListsResult:
    return study(lab, voice(True, 24), voice(False, 24))


def test_a_planted_voice_is_steerable_and_two_halves_of_one_list_are_not(lab: Any, found: TextListsResult) -> None:
    assert found.verdict == "steerable" and found.summary["effect_low"].item() > 0
    lines = voice(True, 48, seed=1)
    assert study(lab, lines[:24], lines[24:]).verdict == "not steerable"


def test_the_effect_is_that_of_the_likelihood_of_each_test_text(lab: Any, found: TextListsResult) -> None:
    row: Any = found.summary.iloc[0]
    means = []
    for text in found.texts["text"]:
        rows = tokenize(lab, [text])[0][: SETTINGS.max_tokens]
        each = []
        for sign in (1, -1):
            edit = Intervention.of(found.vector, row["site"], sign * row["strength"], "relative")
            each.append(likelihood(lab, rows, edit))
        means.append((each[0] - each[1]) / 2)
    positive = torch.tensor(found.texts["list"].eq("positive").tolist())
    halves = torch.tensor(means)
    assert row["effect"] == pytest.approx(float(halves[positive].mean() - halves[~positive].mean()), abs=1e-4)
    assert found.texts["effect"].tolist() == pytest.approx(means, abs=1e-4)


@pytest.mark.parametrize("limit", [1.02, 1.1, 1e9])
def test_the_strength_is_the_largest_up_to_which_neutral_texts_stay_predictable(
    lab: Any, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr(costs, "PERPLEXITY", limit)
    sizes = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
    found = study(lab, voice(True, 12), voice(False, 12), replace(SETTINGS, strengths=sizes, sites="resid_post@4"))
    grid, site = [sign * size for size in sizes for sign in (1, -1)], found.vector.sites[0]
    edits = [[Intervention.of(found.vector, site, s, "relative")] for s in grid]
    ratios = text_likelihoods(lab, NEUTRAL[:LIMITING], edits, max_tokens=LIMITING_TOKENS).relative_perplexity
    assert found.summary["strength"].item() == costs.usable_strength(grid, ratios.tolist())
    assert found.vectors["strength"].nunique() > 1 or limit > 1e8


def likelihood(lab: Any, row: Any, edit: Intervention) -> float:
    """By the definition: the mean log-probability of each token but the first, from one plain steered pass."""
    tokens, mask = pad(lab, [row])
    with steer(lab, edit, prompt_lengths=[len(row)]), torch.no_grad():
        table = lab(tokens, attention_mask=mask).log_softmax(-1)[0]
    return float(torch.stack([table[t, row[t + 1]] for t in range(len(row) - 1)]).mean())


def test_every_control_has_a_place_of_its_own_and_p_counts_those_that_reach_as_far(found: TextListsResult) -> None:
    kinds = found.vectors["vector"].str.split(" ").str[0]
    assert kinds.value_counts().to_dict() == {"shuffled": 19, "random": 19, "steering": 1}
    reached = found.vectors["effect"].iloc[0]
    for kind in ("shuffled", "random"):
        beyond = int((found.vectors.loc[kinds.eq(kind), "effect"] >= reached).sum())
        assert found.summary[f"p_{kind}"].item() == (1 + beyond) / 20


def test_slopes_are_those_of_small_strengths(lab: Any, found: TextListsResult) -> None:
    texts, size = voice(False, 5, seed=3), 1e-3
    slopes = text_slopes(lab, [found.vector], texts)[0, 0]
    site = found.vector.sites[0]
    edits = [[Intervention.of(found.vector, site, sign * size, "relative")] for sign in (1, -1)]
    added, subtracted = text_likelihoods(lab, texts, edits).steered
    assert slopes.tolist() == pytest.approx(((added - subtracted) / (2 * size)).tolist(), rel=0.05, abs=2e-3)


def test_splits_share_no_text_and_shuffled_labels_keep_their_sizes() -> None:
    lists = split_lists([*voice(True, 30), voice(True, 1)[0], " "], voice(False, 20), TextLists())
    for corpus in lists:
        parts = [set(getattr(corpus, split)) for split in SPLITS]
        assert sum(map(len, parts)) == len(set.union(*parts))
    truth, other = true_labels(lists), shuffled(lists, 1)
    assert {split: int(x.sum()) for split, x in truth.items()} == {split: int(x.sum()) for split, x in other.items()}
    assert any(not torch.equal(truth[split], other[split]) for split in SPLITS)


def test_it_is_saved_read_back_told_and_drawn(found: TextListsResult, lab: Any, tmp_path: Path) -> None:
    found.save(tmp_path / "text_lists")
    again = TextListsResult.load(tmp_path / "text_lists", lab)
    pd.testing.assert_frame_equal(again.summary, found.to_frame())
    assert torch.equal(again.vector.at(again.vector.sites[0]), found.vector.at(found.vector.sites[0]))
    told = {finding.subject: finding for finding in QUESTION.find(read_results(tmp_path))}
    assert list(told) == ["haste", "side effects", "lens", "text"] and told["haste"].holds
    assert found.plot().caption.control.startswith("19 vectors of shuffled labels and 19 random directions")
    strengths = sorted(found.generations["strength"].unique())
    s = found.summary["shown"].item()
    assert strengths == [-s, 0, s, 2 * s] and len(found.generations) == 4 * len(PROMPTS)


@pytest.mark.parametrize(
    ("changed", "verdict", "why"),
    [
        ({}, "steerable", "beyond vectors of shuffled labels"),
        ({"strength": 0.0}, "not steerable", "already the smallest strength"),
        ({"strength": 0.0, "slope": -1.0}, "not steerable", "helps at no site"),
        ({"p_shuffled": 0.1}, "not steerable", "not beyond vectors of shuffled labels"),
        ({"p_random": 0.1}, "not steerable", "not beyond random directions"),
        ({"effect_low": -0.1}, "not steerable", "interval of the effect is not above 0"),
        ({"effect_low": float("nan")}, "not steerable", "interval of the effect is not above 0"),
        ({"collapsed": "they repeat"}, "collapsed before effect", "at strength 0.2: they repeat"),
    ],
)
def test_the_rules_of_the_verdict(changed: dict[str, Any], verdict: str, why: str) -> None:
    row = {"strength": 0.2, "slope": 1.0, "p_shuffled": 0.05, "p_random": 0.05, "effect_low": 0.1, "collapsed": ""}
    given, said = verdict_of(row | changed)
    assert given == verdict and why in said


def test_bad_lists_are_refused_before_anything_is_run(lab: Any) -> None:
    good, other = voice(True, 20), voice(False, 20)
    with pytest.raises(DataError, match="1 texts are in both lists, such as "):
        study(lab, good, [*other, good[0]])
    with pytest.raises(DataError, match=r"the negative list: 3 different texts of 6 .*give at least 12"):
        study(lab, good, other[:3] * 2)
    with pytest.raises(DataError, match="the positive list: 0 different texts of 0"):
        study(lab, [], other)
    with pytest.raises(DataError, match="3 neutral texts and 2 prompts; give at least 12"):
        study_texts(lab, good, other, neutral=NEUTRAL[:3], prompts=PROMPTS)
    with pytest.raises(ScoreError, match="5 random directions; give strengths above 0"):
        study(lab, good, other, replace(SETTINGS, n_random=5))


@pytest.mark.real
def test_sentiment_is_steerable_on_a_real_model_and_two_halves_of_positive_sentences_are_not() -> None:
    model, data = load_model("smollm2"), Path(__file__).parents[2] / "examples" / "sentiment" / "data"
    sentences, settings = read(data / "sentences.csv"), TextLists(sites=("resid_post@17",), strengths=(0.1,))
    positive, negative = sentences.texts("positive"), sentences.texts("negative")
    assert study_texts(model, positive[:20], negative[:20], settings=settings).verdict == "steerable"
    assert study_texts(model, positive[::2], positive[1::2], settings=settings).verdict == "not steerable"


def test_the_steps_are_the_generations_token_by_token_with_the_edit_of_each(found: TextListsResult) -> None:
    strengths = found.generations["strength"].unique()
    texts: Any = found.generations.set_index(["strength", "prompt"])["text"]
    for (s, prompt), rows in found.steps.groupby(["strength", "prompt"]):
        text = "".join(rows.loc[rows["generated"], "piece"])
        written = texts.loc[s, prompt]
        assert text.startswith(written) and len(written) > 0
        edited = rows["change"].iloc[:-1] > 0  # the last token is never forwarded
        assert edited.all() if s else not edited.any()
        assert rows["kl"].notna().equals(rows["generated"])
    assert set(found.steps["strength"]) == set(strengths)
    unsteered = found.steps[found.steps["strength"].eq(0)]
    assert unsteered["kl"].max() < 1e-5 < found.steps["kl"].max()


def test_a_result_without_steps_as_it_was_saved_before_is_read(found: TextListsResult, tmp_path: Path) -> None:
    found.save(tmp_path)
    assert len(TextListsResult.load(tmp_path).steps) == len(found.steps) > 0
    (tmp_path / "steps.csv").unlink()
    assert TextListsResult.load(tmp_path).steps.empty

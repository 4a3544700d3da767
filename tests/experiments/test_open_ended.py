"""Open-ended evaluation: planted statements are found, numbers are those of plain passes, nothing is lost."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer.cli.data import lab_behaviours
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.experiments.finding import TOO_FEW
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.open_ended import OpenEnded, OpenEndedResult, open_ended
from lens_steer.experiments.open_ended.experiment import local_judges
from lens_steer.experiments.open_ended.verdict import QUESTION, VERDICTS
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention, steer
from lens_steer.lab.items import statement_items
from lens_steer.model import load_model, tokenize

SETTINGS = OpenEnded(
    prompts="lab_statements",
    sites=("resid_post@3",),
    strengths=(0.4, 0.8),
    n_random=2,
    n_written=1,
    conversations=6,
    new_tokens=14,
)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def splits() -> Splits:
    whole = lab_behaviours()["myopic"]
    return Splits(train=whole.train[:24], validation=whole.validation[:5], test=whole.test[:10])


class Moody:
    """A judge of three scores that has none for an empty text."""

    def __call__(self, prompt: str, text: str, behaviour: str) -> dict[str, float]:  # noqa: ARG002
        if not text:
            raise RuntimeError("no text")
        return {"concept": 2.0 * ("Hastily" in text or "Suddenly" in text), "instruct": 1.0, "fluency": 2.0}


@pytest.fixture(scope="module")
def result(lab: Any, splits: Splits) -> OpenEndedResult:
    train = statement_items("myopic", 24, split="train")
    judges = local_judges(lab, train) | {"moody": Moody()}
    return open_ended(lab, {"myopic": splits}, SETTINGS, judges=judges)


def row(frame: Any, **where: Any) -> Any:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame.to_string()
    return frame.iloc[0]


def test_a_planted_behaviour_is_promoted_and_its_opposite_suppressed_further_than_by_random_directions(
    result: OpenEndedResult,
) -> None:
    points: Any = result.points.set_index("vector")
    assert (points.loc["steering", "shift"] > points["shift"].drop("steering")).all()
    assert points.loc["steering", "p_shift"] == pytest.approx(1 / 3) and points.loc["steering", "shift_low"] > 0.3
    for share in (0.25, 0.5, 0.75):
        found = row(result.changes, vector="steering", direction="added", share=share)
        assert found["promoted_low"] > 0 and found["suppressed_low"] > 0
        back = row(result.changes, vector="steering", direction="subtracted", share=share)
        assert back["promoted"] < 0 and back["suppressed"] < 0


def test_generated_statements_follow_the_vector_in_every_turn(result: OpenEndedResult) -> None:
    for turn in (1, 2):
        of = {"judge": "likelihood", "vector": "steering", "turn": turn}
        added = row(result.judged, direction="added", **of)
        assert added["difference"] > max(0.2, row(result.judged, direction="subtracted", **of)["difference"])


def test_likelihoods_are_those_of_one_plain_pass_a_continuation(
    lab: Any, splits: Splits, result: OpenEndedResult
) -> None:
    train, test = (
        statement_items("myopic", len(part), split=split)  # type: ignore[arg-type]
        for split, part in (("train", splits.train), ("test", splits.test))
    )
    from lens_steer.data.contrast import ContrastPair

    pairs = [ContrastPair(id=i.id, prompt=i.stem, positive=f" {i.matching}", negative=f" {i.other}") for i in train]
    vector = extract(lab, pairs, sites="resid_post@3", position="after_prompt")
    point = row(result.points, vector="steering")
    edit = Intervention.of(vector, point["site"], point["strength"], "relative")

    def mean_log_likelihood(stem: str, text: str, steered: bool) -> float:
        (begun,), (whole,) = tokenize(lab, [stem]), tokenize(lab, [f"{stem} {text}"])
        with torch.no_grad(), steer(lab, *([edit] if steered else [])):
            table = lab(torch.tensor([whole])).double().log_softmax(-1)[0]
        places = range(len(begun), len(whole))
        return sum(float(table[place - 1, whole[place]]) for place in places) / len(places)

    for item in test[:3]:
        found = row(result.likelihoods, direction="added", item=item.id)
        for side in ("matching", "other"):
            for state, steered in (("unsteered", False), ("steered", True)):
                expected = mean_log_likelihood(item.stem, getattr(item, side), steered)
                assert found[f"{side}_{state}"] == pytest.approx(expected, abs=1e-3)


def test_pos_and_neg_of_the_table_are_the_paper_s_of_the_likelihoods_beside_it(result: OpenEndedResult) -> None:
    rows = result.likelihoods[result.likelihoods["direction"] == "added"]
    pos, neg, pos_s, neg_s = (
        rows[name].tolist() for name in ("matching_unsteered", "other_unsteered", "matching_steered", "other_steered")
    )
    c, c_s = (max(neg) + min(pos)) / 2, (max(neg_s) + min(pos_s)) / 2
    least = sorted(range(len(pos)), key=lambda i: pos[i])[: round(0.5 * len(pos))]
    most = sorted(range(len(neg)), key=lambda i: -neg[i])[: round(0.5 * len(neg))]
    found = row(result.changes, vector="steering", direction="added", share=0.5)
    assert found["promoted"] == pytest.approx(sum(pos_s[i] - c_s - pos[i] + c for i in least) / len(least), abs=1e-6)
    assert found["suppressed"] == pytest.approx(sum(neg[i] - c - neg_s[i] + c_s for i in most) / len(most), abs=1e-6)


def test_texts_on_which_a_judge_fails_are_kept_marked_and_counted(result: OpenEndedResult) -> None:
    own = result.texts[result.texts["judge"] == "moody"]
    failed = own[own["text"] == ""]
    scored = own.drop(failed.index)
    assert len(failed) and (failed["attempts"] == 2).all() and failed["failure"].str.contains("no text").all()
    assert failed["score"].isna().all() and scored["score"].notna().all() and (scored["attempts"] == 1).all()
    c = scored["concept"]
    assert scored["score"].tolist() == pytest.approx([3 / (1 / v + 1 + 0.5) if v else 0.0 for v in c])
    assert result.judged.loc[result.judged["judge"] == "moody", "failed"].sum() == len(failed)
    counts = result.texts.groupby("judge").size()
    assert counts.nunique() == 1 and counts.iloc[0] == 6 * 2 * (1 + 2 * 2)


def test_unsteered_texts_are_the_same_for_all_judges_and_differ_from_steered_ones(result: OpenEndedResult) -> None:
    first = result.texts[result.texts["judge"] == "classifier"]
    by = {key: list(group["text"]) for key, group in first.groupby(["vector", "direction"])}
    other = result.texts[(result.texts["judge"] == "likelihood") & (result.texts["vector"] == "unsteered")]
    assert by["unsteered", ""] == list(other["text"]) != by["steering", "added"]


def test_a_result_is_read_back_and_its_verdict_says_that_two_directions_are_too_few(
    result: OpenEndedResult, tmp_path: Path
) -> None:
    result.save(tmp_path / "open_ended")
    again = OpenEndedResult.load(tmp_path / "open_ended")
    assert again.changes["promoted"].tolist() == result.changes["promoted"].tolist() and again.facts == result.facts
    whole, one = QUESTION.find(read_results(tmp_path))
    assert one.subject == "myopic" and one.verdict == TOO_FEW and one.holds is False
    assert "p = 0.333 beside 2 random directions" in one.words and whole.verdict == "0 of 1 shown"
    points = result.points.assign(p_shift=0.04)
    many = [points] + [points.iloc[1:].assign(vector=lambda f, k=k: f["vector"] + f" {k}") for k in range(12)]
    import pandas as pd

    from lens_steer.data.tables import save_table

    save_table(tmp_path / "open_ended" / "points.csv", "open_ended points", pd.concat(many), dict(result.facts))
    found = QUESTION.find(read_results(tmp_path))
    assert found[1].verdict in VERDICTS.values() and found[1].holds and found[0].verdict == "1 of 1 shown"


def test_the_same_seed_gives_the_same_tables(lab: Any, splits: Splits, result: OpenEndedResult) -> None:
    judges = {"moody": Moody()}
    again = open_ended(lab, {"myopic": splits}, SETTINGS, judges=judges)
    assert again.points.equals(result.points) and again.changes.equals(result.changes)
    own = result.texts[result.texts["judge"] == "moody"].reset_index(drop=True)
    assert again.texts["text"].equals(own["text"])


def test_no_behaviours_no_strengths_or_too_few_prompts_are_refused(lab: Any, splits: Splits) -> None:
    with pytest.raises(ScoreError, match="0 behaviours"):
        open_ended(lab, {})
    with pytest.raises(ScoreError, match="strengths above 0"):
        open_ended(lab, {"myopic": splits}, OpenEnded(strengths=(-1.0, 1.0)))
    few = Splits(train=splits.train, validation=splits.validation[:1], test=splits.test)
    with pytest.raises(ScoreError, match="give two of each"):
        open_ended(lab, {"myopic": few}, SETTINGS)

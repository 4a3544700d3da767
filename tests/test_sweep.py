"""The sweep."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import FormatError, MismatchError, ScoreError, SiteError, SteeringError
from lens_steer.metrics.steerability import steerability
from lens_steer.score import Asking, score_choices
from lens_steer.steer import Intervention
from lens_steer.sweep import SweepResult, sweep
from lens_steer.vector import SteeringVector

Items = tuple[ChoiceItem, ...]
sweeping = importlib.import_module("lens_steer.sweep")


@pytest.fixture(scope="module")
def result(llama: Any, vector: SteeringVector, items: Items) -> SweepResult:
    return sweep(llama, vector, items, "resid_post@0:2", [2, -1])


def test_there_is_one_row_for_each_site_strength_item_and_order(result: SweepResult, items: Items) -> None:
    frame = result.to_frame()
    assert len(frame) == 2 * 3 * len(items) * 2
    assert int(frame.duplicated(["site", "strength", "item", "order"]).sum()) == 0
    assert result.strengths == (-1.0, 0.0, 2.0)
    per_point = frame.groupby(["site", "strength"])["item"].agg(tuple)
    assert len(set(per_point.to_list())) == 1


def test_every_point_is_what_scoring_under_that_intervention_gives(
    result: SweepResult, llama: Any, vector: SteeringVector, items: Items
) -> None:
    frame = result.to_frame()
    for site in ("resid_post@0", "resid_post@1"):
        for strength in (-1.0, 2.0):
            alone = score_choices(llama, items, [Intervention.of(vector, site, strength)])
            rows = frame[(frame["site"] == site) & (frame["strength"] == strength)]
            assert rows["logit_difference"].tolist() == alone.logit_differences.flatten().tolist()
            column = result.strengths.index(strength)
            torch.testing.assert_close(result.differences(site)[:, column].float(), alone.item_differences)


def test_strength_zero_is_the_unhooked_model_bit_for_bit_at_every_site(
    result: SweepResult, llama: Any, items: Items
) -> None:
    plain = score_choices(llama, items).to_frame()
    frame = result.to_frame()
    for site in ("resid_post@0", "resid_post@1"):
        rows = frame[(frame["site"] == site) & (frame["strength"] == 0)].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(rows[list(plain.columns)]), plain, check_exact=True)


def test_the_unhooked_model_is_asked_once_and_no_intervention_has_strength_zero(
    llama: Any, vector: SteeringVector, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[float]] = []
    real = sweeping.score_prompts

    def spy(model: Any, prompts: Any, interventions: Sequence[Intervention] = (), batch_size: int = 64) -> Any:
        asked.append([intervention.strength for intervention in interventions])
        return real(model, prompts, interventions, batch_size=batch_size)

    monkeypatch.setattr(sweeping, "score_prompts", spy)
    sweep(llama, vector, items[:2], "resid_post@*", [0, 1])
    assert asked == [[], [1.0], [1.0], [1.0]]


def test_zero_is_in_the_grid_once_also_when_it_is_asked_for(llama: Any, vector: SteeringVector, items: Items) -> None:
    found = sweep(llama, vector, items[:2], "resid_post@1", [0, -0.0, 1, 1.0], asking=Asking(batch_size=1))
    assert found.strengths == (0.0, 1.0)


def test_the_differences_feed_steerability(result: SweepResult, items: Items) -> None:
    slopes = steerability(result.differences("resid_post@0"), torch.tensor(result.strengths).double())
    assert slopes.shape == (len(items),)


def test_the_summary_has_an_interval_and_a_verdict_at_every_point(result: SweepResult) -> None:
    summary = result.summary()
    assert len(summary) == 6
    for low, mean, high in (("low", "logit_difference", "high"), ("rate_low", "matching_rate", "rate_high")):
        assert bool(np.all((summary[low] <= summary[mean]) & (summary[mean] <= summary[high])))
    assert summary["collapsed"].tolist() == [True] * 6
    assert all(reason.startswith("mean letter mass") for reason in summary["reason"])
    pd.testing.assert_frame_equal(summary, result.summary())


def test_the_summary_leaves_the_intervals_out_when_asked_and_where_there_is_one_item(
    result: SweepResult, llama: Any, vector: SteeringVector, items: Items
) -> None:
    single = sweep(llama, vector, items[:1], "resid_post@0", [1])
    for summary in (result.summary(confidence=None), single.summary()):
        assert summary[["low", "high", "rate_low", "rate_high"]].isna().to_numpy().all()
        assert summary["logit_difference"].notna().to_numpy().all()


def test_a_saved_sweep_reads_back_and_a_foreign_file_is_refused(result: SweepResult, tmp_path: Path) -> None:
    path = result.save(tmp_path / "sweep.csv")
    again = SweepResult.load(path)
    pd.testing.assert_frame_equal(again.to_frame(), result.to_frame(), check_exact=True)
    assert (again.sites, again.strengths, again.scale) == (result.sites, result.strengths, "raw")
    assert again.save(tmp_path / "again.csv").read_bytes() == path.read_bytes()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="truncated or edited"):
        SweepResult.load(path)


def test_what_cannot_be_swept_is_refused(llama: Any, gpt2: Any, vector: SteeringVector, items: Items) -> None:
    with pytest.raises(SiteError, match="'money' has no direction at attn_out@0"):
        sweep(llama, vector, items, "attn_out@0", [1])
    with pytest.raises(ScoreError, match="give finite numbers"):
        sweep(llama, vector, items, "resid_post@0", [float("inf")])
    with pytest.raises(MismatchError, match="of different models"):
        sweep(gpt2, vector, items, "resid_post@0", [1])
    with pytest.raises(SteeringError, match="edited no token"):
        sweep(llama, vector, items, "resid_post@0", [1], positions="after_prompt")
    with pytest.raises(SiteError, match="the sweep has no site resid_post@2"):
        sweep(llama, vector, items[:1], "resid_post@0", [1]).differences("resid_post@2")

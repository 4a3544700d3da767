"""The sweep."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import CacheWarning, FormatError, MismatchError, ScoreError, SiteError, SteeringError
from lens_steer.evaluation.score import ScoringOptions, prepare_choices, score_choices, score_prompts
from lens_steer.evaluation.sweep import SweepResult, first_order, rank_agreement, sweep, sweep_together
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention
from lens_steer.metrics.steerability import steerability
from lens_steer.vector import SteeringVector

Items = tuple[ChoiceItem, ...]
sweeping = importlib.import_module("lens_steer.evaluation.sweep.sweep")


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
            assert rows["logit_difference"].tolist() == pytest.approx(
                alone.logit_differences.flatten().tolist(), abs=1e-4
            )
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
    real = sweeping.score_grid

    def spy(model: Any, prompts: Any, configurations: Any, options: ScoringOptions) -> Any:
        asked.extend([intervention.strength for intervention in configuration] for configuration in configurations)
        return real(model, prompts, configurations, options)

    monkeypatch.setattr(sweeping, "score_grid", spy)
    sweep(llama, vector, items[:2], "resid_post@*", [0, 1])
    assert asked == [[1.0], [1.0], [1.0]]


def test_zero_is_in_the_grid_once_also_when_it_is_asked_for(llama: Any, vector: SteeringVector, items: Items) -> None:
    found = sweep(llama, vector, items[:2], "resid_post@1", [0, -0.0, 1, 1.0], options=ScoringOptions(batch_size=1))
    assert found.strengths == (0.0, 1.0)


def test_the_differences_feed_steerability(result: SweepResult, items: Items) -> None:
    slopes = steerability(result.differences("resid_post@0"), torch.tensor(result.strengths).double())
    assert slopes.shape == (len(items),)


def test_the_summary_has_an_interval_and_a_verdict_at_every_point(result: SweepResult) -> None:
    summary = result.summary()
    assert len(summary) == 6
    assert (summary["rate_low"] <= summary["matching_rate"]).all()
    assert (summary["matching_rate"] <= summary["rate_high"]).all() and (
        summary["rate_low"] < summary["rate_high"]
    ).all()
    assert set(summary["why"]) == {"few"} and summary["low"].isna().all(), f"{summary['n'].iloc[0]} items"
    assert summary["collapsed"].tolist() == summary["strength"].ne(0).tolist()
    reasons = summary["reason"].str.removeprefix("unsteered: ")
    assert all(reason.startswith("mean answer probability") for reason in reasons)
    assert summary["reason"].ne(reasons).tolist() == summary["strength"].eq(0).tolist()
    pd.testing.assert_frame_equal(summary, result.summary())


def test_the_summary_leaves_the_intervals_out_when_asked(result: SweepResult) -> None:
    summary = result.summary(confidence=None)
    assert summary[["low", "high", "rate_low", "rate_high"]].isna().to_numpy().all() and set(summary["why"]) == {
        "skipped"
    }
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


@pytest.mark.parametrize("positions", ["all", "last", "2:5"])
def test_a_sweep_by_reuse_says_so_and_gives_what_a_plain_one_gives(
    llama: Any, vector: SteeringVector, items: Items, positions: str
) -> None:
    found = {
        reuse: sweep(llama, vector, items, "resid_post@*", [-1, 2], positions, options=ScoringOptions(reuse=reuse))
        for reuse in (True, False)
    }
    assert (found[True].path, found[False].path) == ("reused", "naive: reuse was switched off")
    one, other = (found[reuse].to_frame() for reuse in (True, False))
    assert list(one.columns) == list(other.columns)
    for column in one.columns:
        if one[column].dtype == float:
            np.testing.assert_allclose(one[column], other[column], atol=1e-4)
        else:
            assert one[column].equals(other[column])


def test_several_vectors_at_once_give_every_combination_of_their_strengths(
    llama: Any, vector: SteeringVector, items: Items
) -> None:
    other = replace(vector * -1.0, name="other")
    grids, sites = [[1], [0.5, 2]], ["resid_post@0", "resid_post@1"]
    frame = sweep_together(llama, [vector, other], items, sites, grids, "last")
    assert frame.attrs["path"] == "reused" and len(frame) == 2 * 3 * len(items) * 2
    for first in (0.0, 1.0):
        for second in (0.0, 0.5, 2.0):
            edits = [
                Intervention.of(v, site, strength, positions="last")
                for v, site, strength in ((vector, sites[0], first), (other, sites[1], second))
                if strength
            ]
            alone = score_choices(llama, items, edits).to_frame()
            rows = frame[(frame["money"] == first) & (frame["other"] == second)]
            np.testing.assert_allclose(rows["logit_difference"], alone["logit_difference"], atol=1e-4)
    for wrong in ([vector, vector], [vector]):
        with pytest.raises(ScoreError, match="one site and one grid of strengths for each"):
            sweep_together(llama, wrong, items, sites, grids)


class Killed(BaseException):
    """What a kill looks like from inside."""


def killed_sweep(model: Any, vector: SteeringVector, items: Items, folder: Path, after: int) -> None:
    """A sweep that is ended when the last block has run so many times, by a hook that is not seen as one."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed

    handle = model.blocks[2].original_component.register_forward_pre_hook(count)
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr("lens_steer.model.stored.why_hooked", lambda _: "")
            patch.setattr("lens_steer.evaluation.grid.trial.is_hooked", lambda _: False)
            sweep(
                model,
                vector,
                items,
                "resid_post@*",
                [-1, 2],
                "last",
                options=ScoringOptions(batch_size=4, checkpoint=folder),
            )
    finally:
        handle.remove()


def test_a_killed_sweep_goes_on_and_gives_the_bytes_of_one_that_was_not(
    llama: Any, vector: SteeringVector, items: Items, tmp_path: Path, count_hooks: Callable[[Any], int]
) -> None:
    options = {name: ScoringOptions(batch_size=4, checkpoint=tmp_path / name) for name in ("whole", "killed")}
    whole = sweep(llama, vector, items, "resid_post@*", [-1, 2], "last", options=options["whole"])
    for after in (1, 4, 7):
        killed_sweep(llama, vector, items, tmp_path / "killed", after)
        assert count_hooks(llama) == 0
    (partial,) = (tmp_path / "killed").glob("*.jsonl")
    done = partial.read_bytes()
    assert 0 < len(done.splitlines()) < len(next((tmp_path / "whole").glob("*.jsonl")).read_bytes().splitlines())
    again = sweep(llama, vector, items, "resid_post@*", [-1, 2], "last", options=options["killed"])
    assert partial.read_bytes().startswith(done)
    assert again.save(tmp_path / "a.csv").read_bytes() == whole.save(tmp_path / "b.csv").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lens_steer.evaluation.grid.run.forward_unsteered", None)
        sweep(llama, vector, items, "resid_post@*", [-1, 2], "last", options=options["killed"])


def test_a_cut_or_edited_line_of_a_checkpoint_is_computed_again_with_a_warning(
    llama: Any, vector: SteeringVector, items: Items, tmp_path: Path
) -> None:
    options = ScoringOptions(checkpoint=tmp_path)
    first = sweep(llama, vector, items, "resid_post@0:2", [1, 2], options=options)
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_bytes()
    for faulty in (whole[:-20], whole.replace(b"0.", b"1.", 1), b"x" + whole, whole + b"{}"):
        path.write_bytes(faulty)
        with pytest.warns(CacheWarning, match=r"is computed again: \d+ of \d+ lines are truncated or edited"):
            again = sweep(llama, vector, items, "resid_post@0:2", [1, 2], options=options)
        pd.testing.assert_frame_equal(again.to_frame(), first.to_frame(), check_exact=True)
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_one_folder_holds_the_checkpoints_of_many_sweeps(
    llama: Any, vector: SteeringVector, items: Items, tmp_path: Path
) -> None:
    options: Any = ScoringOptions(checkpoint=tmp_path)
    plain: dict[str, Any] = {"vector": vector, "items": items, "sites": "resid_post@0", "strengths": [1]}
    plain["options"] = options
    sweep(llama, **plain)
    variants: list[dict[str, Any]] = [
        {"vector": vector * 2.0},
        {"items": items[:3]},
        {"sites": "resid_post@1"},
        {"strengths": [3]},
        {"positions": "last"},
        {"options": ScoringOptions(checkpoint=tmp_path, reuse=False)},
    ]
    for changed in variants:
        before = len(list(tmp_path.glob("*.jsonl")))
        sweep(llama, **(plain | changed))
        assert len(list(tmp_path.glob("*.jsonl"))) == before + 1, changed


@pytest.mark.parametrize("positions", ["all", "last", "2:4"])
@pytest.mark.slow
def test_the_first_order_slope_is_the_finite_difference_at_every_site(
    model: Any, contrast: ContrastSet, items: Items, positions: str
) -> None:
    kinds = ("resid_pre@*", "attn_out@*", "resid_mid@*", "mlp_out@*", "resid_post@*", "z@*")
    vector = extract(model, contrast, sites=kinds)
    frame = first_order(model, [vector, replace(vector * 3.0, name="thrice")], items[:3], positions=positions)
    assert len(frame) == 2 * len(vector.sites) * 3
    slopes = frame.pivot(index="item", columns=["vector", "site"], values="slope")
    np.testing.assert_allclose(slopes["thrice"], 3 * slopes["money"], rtol=1e-3, atol=1e-5)
    h, moved = 5e-3, 0
    found = sweep(model, vector, items[:3], kinds, [-h, h], positions, options=ScoringOptions(reuse=False))
    for site in found.sites:
        values = found.differences(site)
        exact = ((values[:, 2] - values[:, 0]) / (2 * h)).numpy()
        np.testing.assert_allclose(slopes["money", str(site)], exact, rtol=0.03, atol=2e-3)
        moved += int(np.abs(exact).max() > 1e-2)
    assert moved


def test_the_first_order_slope_of_a_steered_model_is_the_finite_difference_around_it(
    model: Any, contrast: ContrastSet, items: Items
) -> None:
    vector = extract(model, contrast, sites="resid_post@*")
    here = [Intervention.of(vector, site, 0.5, positions="1:4") for site in vector.sites]
    slopes, plain = (first_order(model, [vector], items[:3], around=edits) for edits in (here, []))
    h, prompts = 5e-3, prepare_choices(model, items[:3])
    for site in vector.sites:
        below, above = (
            score_prompts(model, prompts, [*here, Intervention.of(vector, site, step)]).item_differences
            for step in (-h, h)
        )
        exact = ((above - below) / (2 * h)).numpy()
        found = slopes.loc[slopes["site"] == str(site), "slope"]
        np.testing.assert_allclose(found, exact, rtol=0.03, atol=2e-3)
    assert not np.allclose(slopes["slope"], plain["slope"], rtol=0.1)


def test_first_order_ranks_agree_with_exact_slopes_where_strengths_are_small(
    llama: Any, vector: SteeringVector, items: Items
) -> None:
    slopes = first_order(llama, [vector], items)
    result = sweep(llama, vector, items, "resid_post@*", [-0.05, 0.05, 50])
    assert rank_agreement(slopes, result, most=0.1) == pytest.approx(1.0)
    turned = slopes.assign(slope=-slopes["slope"])
    assert rank_agreement(turned, result, most=0.1) == pytest.approx(-1.0)
    with pytest.raises(ScoreError, match="a rank correlation needs three"):
        rank_agreement(pd.DataFrame(slopes[slopes["layer"] == 0]), result)


def test_first_order_refuses_what_a_sweep_refuses_and_leaves_the_model_alone(
    llama: Any, gpt2: Any, vector: SteeringVector, items: Items, count_hooks: Callable[[Any], int]
) -> None:
    weights = next(llama.original_model.parameters())
    before = weights.requires_grad
    first_order(llama, [vector], items[:1])
    assert count_hooks(llama) == 0 and weights.requires_grad == before and weights.grad is None
    with pytest.raises(ScoreError, match="no vectors"):
        first_order(llama, [], items)
    with pytest.raises(MismatchError, match="vector 'money' and the model"):
        first_order(gpt2, [vector], items, "resid_post@0")
    with pytest.raises(SiteError, match="no direction at attn_out@0"):
        first_order(llama, [vector], items, "attn_out@0")

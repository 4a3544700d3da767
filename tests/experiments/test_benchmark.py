"""The common benchmark: what is calibrated is calibrated, and a contender that fails stops no other."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lens_steer.cli.benchmark import benchmark_to_folder, personas_of
from lens_steer.cli.options import whole_numbers
from lens_steer.cli.source import ModelSource
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.errors import CacheWarning, FormatError, MethodError, ScoreError, SettingsError
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.evaluation.score import score_choices
from lens_steer.experiments.benchmark import CONTENDERS, Benchmark, BenchmarkSettings, benchmark
from lens_steer.experiments.benchmark.contenders import Contender, Material, contenders
from lens_steer.experiments.benchmark.lab import SETTINGS, lab_data
from lens_steer.experiments.benchmark.trial import Trial, _Calibrated
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.registry import find
from lens_steer.extraction.condition import best_threshold
from lens_steer.extraction.finetune import Tuning
from lens_steer.extraction.methods import METHODS
from lens_steer.hooks.sites import Site
from lens_steer.model import load_model

pytestmark = pytest.mark.slow
NAME = "wealth_seeking"
SMALL = replace(SETTINGS, multiples=(1.0,), n_random=1, n_texts=4, max_tokens=32, shots=2)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def data() -> tuple[dict[str, Splits], Corpus]:
    found, neutral = lab_data([NAME])
    splits = found[NAME]
    small = Splits(train=splits.train[:16], validation=splits.validation, test=splits.test[:8])
    parts = {"validation": neutral.validation[2:6], "test": neutral.test[2:6]}
    return {NAME: small}, replace(neutral, **parts)


def broken(_material: Material) -> Any:
    raise MethodError("there is nothing to fit")


@pytest.fixture(scope="module")
def found(lab: Any) -> Benchmark:
    ring = {name: CONTENDERS[name] for name in ("mean_difference", "mean_matching", "cast", "persona")}
    ring["broken"] = Contender(name="broken", kind="map", fit=broken)
    behaviours, neutral = data()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lens_steer.experiments.benchmark.contenders.CONTENDERS", ring)
        return benchmark(lab, behaviours, neutral, SMALL)


def test_every_contender_that_the_comparison_asks_for_is_in_the_table() -> None:
    maps = {"mean_matching", "mimic", "leace_then_steer", "linear_act", "k_steering", "angular", "spherical", "cast"}
    assert set(CONTENDERS) == {*METHODS, "optimised", *maps, "persona", "few_shot", "lora_sft", "lora_dpo"}
    chosen = contenders(["mimic"], 2)
    assert [one.name for one in chosen] == ["mean_difference", "mimic", "random 0", "random 1"]
    with pytest.raises(MethodError, match=r"'mimik' is not a contender; .* Did you mean 'mimic'\?"):
        contenders(["mimik"])


def test_effects_are_half_the_difference_of_the_ends_that_were_calibrated_to_the_budget(
    lab: Any, found: Benchmark
) -> None:
    behaviours, neutral = data()
    row: Any = found.effects.set_index("method").loc["mean_difference"]
    material = Material(
        model=lab, name=NAME, items=behaviours[NAME].train, documents=neutral.train, site=Site.parse(SMALL.site),
        settings=SMALL, seed=0,
    )  # fmt: skip
    ends = CONTENDERS["mean_difference"].fit(material)
    calibration = PredictedTexts.of(lab, neutral.validation, SMALL.max_tokens)
    asked = []
    for end, side in zip(ends, ("promoting", "suppressing"), strict=True):
        condition = end.at(row[f"strength_{side}"])
        assert condition.side_effects(calibration).kl == pytest.approx(SMALL.kl, rel=0.05)
        asked.append(condition.scores(lab, behaviours[NAME].test, material.options).item_differences)
    assert row["effect"] == pytest.approx(float((asked[0] - asked[1]).mean()) / 2, rel=1e-4)
    assert row["effect_low"] < row["effect"] < row["effect_high"] and row["effect"] > 0.5
    plain = score_choices(lab, behaviours[NAME].test).item_differences
    assert row["promoted"] == pytest.approx(float((asked[0] - plain).mean()), rel=1e-4)
    assert row["sides"] == "both" and row["meets_budget"] and row["monotone"]


def test_an_adapter_ends_as_it_was_trained_and_is_not_scaled_beyond(lab: Any) -> None:
    behaviours, neutral = data()
    settings = replace(SMALL, tuning=Tuning(steps=4))
    material = Material(
        model=lab, name=NAME, items=behaviours[NAME].train[:4], documents=neutral.train, site=Site.parse(SMALL.site),
        settings=settings, seed=0,
    )  # fmt: skip
    (promoting, _), texts = CONTENDERS["lora_sft"].fit(material), PredictedTexts.of(lab, neutral.validation, 32)
    kl = promoting.at(1.0).side_effects(texts).kl
    assert _Calibrated(promoting, texts).at(2 * kl) == (1.0, pytest.approx(kl), True, False)
    strength, at_half, _, meets = _Calibrated(promoting, texts).at(kl / 2)
    assert 0 < strength < 1 and meets and at_half == pytest.approx(kl / 2, rel=0.1)


def test_mean_matching_is_the_mean_difference_a_random_direction_does_less_and_a_gate_costs_neutral_text_nothing(
    found: Benchmark,
) -> None:
    rows: Any = found.leaderboard.set_index("method")
    assert rows.loc["mean_matching", "effect"] == pytest.approx(rows.loc["mean_difference", "effect"], abs=1e-3)
    assert rows.loc["mean_matching", "p"] == 1
    assert bool(rows.loc["mean_difference", "beyond_random"])
    gate, free = rows.loc["cast"], rows.loc["mean_difference"]
    assert gate["effect"] == pytest.approx(free["effect"], rel=0.3) and gate["kl"] < 0.1 * free["kl"]
    assert not gate["meets_budget"] and free["meets_budget"]


def test_a_prompt_moves_answers_has_side_effects_of_its_own_and_is_compared_at_them(found: Benchmark) -> None:
    effects: Any = found.effects.set_index("method")
    prompt = effects.loc["persona"]
    assert prompt["effect"] > 0.5 and prompt["kl"] > 0 and math.isnan(prompt["strength_promoting"])
    assert not prompt["meets_budget"] and 0 < prompt["p"] <= 1
    assert prompt["reference"] != pytest.approx(effects.loc["mean_difference", "effect"], rel=1e-6)


def test_a_contender_that_fails_stands_in_the_tables_with_its_reason_and_the_rest_go_on(found: Benchmark) -> None:
    row: Any = found.leaderboard.set_index("method").loc["broken"]
    assert row["failed"] == 1 and row["note"] == "failed: MethodError: there is nothing to fit"
    assert math.isnan(row["effect"]) and list(found.leaderboard["method"])[-1] == "broken"
    assert bool(found.table[NAME].isna()["broken"])
    assert bool(found.leaderboard.set_index("method").loc[["mean_matching", "cast", "persona"], "effect"].notna().all())
    assert found.leaderboard["family"].iloc[0] == "2 methods"


def test_the_tables_are_read_back_and_the_comparison_of_an_earlier_version_is_refused(
    found: Benchmark, tmp_path: Path
) -> None:
    found.save(tmp_path)
    again = Benchmark.load(tmp_path)
    pd.testing.assert_frame_equal(again.table, found.table, check_names=False)
    assert set(found.costs.columns) >= {"fit_seconds", "calibration_seconds", "asking_seconds"}
    (tmp_path / "methods.csv").write_text("behaviour,method,effect\n")
    with pytest.raises(FormatError, match=r"methods\.csv, the comparison of extraction methods alone"):
        Benchmark.load(tmp_path)


def test_every_contender_runs_on_the_lab_and_the_same_seed_gives_the_same_tables(lab: Any) -> None:
    behaviours, neutral = data()
    tuning = replace(SMALL.tuning, steps=3)
    settings = replace(SMALL, descent=replace(SMALL.descent, steps=3), tuning=tuning)
    one, other = (benchmark(lab, behaviours, neutral, settings) for _ in range(2))
    assert not one.leaderboard["failed"].any() and len(one.leaderboard) == len(CONTENDERS)
    for name in ("leaderboard", "effects", "fronts"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def test_a_folder_of_the_benchmark_holds_tables_figures_and_record_and_the_report_finds_the_leader(
    tmp_path: Path,
) -> None:
    settings = {"methods": ("mean_difference",), "multiples": (1.0,), "n_random": 1, "n_texts": 4, "max_tokens": 24}
    benchmark_to_folder(ModelSource(), tmp_path, behaviours=[NAME], settings=settings)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"benchmark.png", "benchmark_fronts.png", "benchmark/leaderboard.csv", "benchmark/run.json"} <= names
    (findings,) = [found for question, found in find(read_results(tmp_path)) if question.title.startswith("Common")]
    assert findings[0].verdict == "best: mean difference" and findings[0].holds
    assert pd.read_csv(tmp_path / "benchmark.csv")["method"].tolist()[0] == "mean_difference"


def test_behaviours_and_seeds_are_done_once_and_by_any_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"methods": ("mean_difference", "persona"), "multiples": (1.0,), "n_random": 1, "n_texts": 4}
    settings |= {"max_tokens": 24, "seeds": (0, 1), "n_train": 40}

    def run(name: str, workers: int = 0) -> dict[str, bytes]:
        benchmark_to_folder(ModelSource(), tmp_path / name, behaviours=[NAME], settings=settings, workers=workers)
        frames = ("leaderboard", "effects", "fronts", "sites")
        return {frame: (tmp_path / name / "benchmark" / f"{frame}.csv").read_bytes() for frame in frames}

    serial, done, plain = run("serial"), list[tuple[str, int]](), Trial.run
    assert run("workers", 2) == serial

    def counted(trial: Trial, contender: Contender) -> Any:
        done.append((contender.name, trial.material.seed))
        if len(done) == 5:
            raise KeyboardInterrupt
        return plain(trial, contender)

    monkeypatch.setattr(Trial, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        run("ended")
    assert run("ended") == serial
    assert [seed for _, seed in done] == [0, 0, 0, 1, 1, 1, 1, 1], "a finished seed was run again"
    (first, *_) = sorted((tmp_path / "ended" / "checkpoint").iterdir())
    first.write_bytes(first.read_bytes().replace(b"0", b"1", 1))
    with pytest.warns(CacheWarning, match="is computed again: it is truncated or edited"):
        assert run("ended") == serial


def test_a_turn_that_ends_before_the_budget_is_taken_at_its_end(lab: Any) -> None:
    behaviours, neutral = data()
    texts = PredictedTexts.of(lab, neutral.validation, 32)
    material = Material(
        model=lab, name=NAME, items=behaviours[NAME].train, documents=neutral.train, site=Site.parse(SMALL.site),
        settings=SMALL, seed=0,
    )  # fmt: skip
    trial = Trial(material=material, test=behaviours[NAME].test, calibration=texts, reported=texts)
    trial.run(CONTENDERS["mean_difference"])
    (run,), _ = trial.run(CONTENDERS["angular"])
    assert [end.strength for end in run.ends.values()] == [1.0, 1.0] and not run.meets_budget
    assert all(end.kl < SMALL.kl and end.reference is not None for end in run.ends.values())


def test_a_threshold_is_the_one_that_tells_two_sets_apart_best_on_whichever_side() -> None:
    high, low = torch.tensor([3.0, 4.0, 5.0]), torch.tensor([0.0, 1.0, 3.5])
    best = max(
        float(np.mean(side * (high.numpy() - t) > 0) + np.mean(side * (low.numpy() - t) < 0))
        for t in np.arange(-0.5, 6, 0.1) for side in (1, -1)
    )  # fmt: skip
    for inside, outside, side in ((high, low, "above"), (low, high, "below")):
        comparator, threshold = best_threshold(inside, outside)
        sign = 1 if side == "above" else -1
        right = (sign * (inside - threshold) > 0).float().mean() + (sign * (outside - threshold) < 0).float().mean()
        assert comparator == side and float(right) == pytest.approx(best)


def test_what_cannot_be_run_is_refused_with_what_to_give(lab: Any, tmp_path: Path) -> None:
    _, neutral = data()
    with pytest.raises(ScoreError, match="0 behaviours"):
        benchmark(lab, {}, neutral)
    with pytest.raises(SettingsError, match="1 among the multiples"):
        BenchmarkSettings(multiples=(0.5,))
    with pytest.raises(SettingsError, match="NAME=SENTENCE"):
        personas_of(["kind=You are kind."])
    assert personas_of(["kind=You are kind.|You are rude."]) == {"kind": ("You are kind.", "You are rude.")}
    with pytest.raises(SettingsError, match=r"seeds '0,1\.5'; give whole numbers"):
        whole_numbers("0,1.5")
    with pytest.raises(SettingsError, match="--text neutral=PATH"):
        benchmark_to_folder(ModelSource(), tmp_path, data=["a=items.jsonl"])

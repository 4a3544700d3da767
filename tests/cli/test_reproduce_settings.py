"""Settings of a run: from files, records and options; what is unknown or of the wrong type is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick_run import QUICK

from lens_steer.cli.reproduce.settings import (
    RunSettings,
    budget_seconds,
    changed_by,
    merged,
    named,
    read_settings,
    settings_from,
)
from lens_steer.errors import BudgetError, FormatError, SettingsError
from lens_steer.experiments.benchmark import BenchmarkSettings
from lens_steer.experiments.registry import studies

BY_NAME = {study.name: study for study in studies()}


def test_a_toml_file_its_settings_and_a_record_of_them_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f'model = "smollm2"\ntext = {{code = ["a", "b"]}}\n{QUICK}', encoding="utf-8")
    first = read_settings(tmp_path / "a.toml")
    (tmp_path / "run.json").write_text(json.dumps({"run": first.to_dict()}), encoding="utf-8")
    again = read_settings(tmp_path / "run.json")
    assert again == first and first.text == {"code": ("a", "b")} and first.limit == 40
    for study in BY_NAME.values():
        assert not study.run or again.setup(study) == first.setup(study)
    setup = first.setup(BY_NAME["joint"])
    assert setup.settings.strengths == (0, 1) and setup.items["test"] == 2 and setup.settings.resamples == 9


def test_later_files_and_options_override_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("seed = 1\nlimit = 7\n[joint]\nn_random = 3\nkl = 0.5\n", encoding="utf-8")
    (tmp_path / "b.toml").write_text("limit = 8\n[joint]\nkl = 0.7\n", encoding="utf-8")
    found = merged([tmp_path / "a.toml", None, tmp_path / "b.toml"], {"seed": 9})
    joint = found.setup(BY_NAME["joint"]).settings
    assert (found.seed, found.limit, joint.n_random, joint.kl, joint.seed) == (9, 8, 3, 0.7, 9)


def test_a_file_changes_what_it_names_of_a_benchmark_and_of_the_tables_inside(tmp_path: Path) -> None:
    path, default = tmp_path / "b.toml", BenchmarkSettings()
    path.write_text('n_random = 3\ndescent = {steps = 2}\n[personas]\nkind = ["You are kind.", "You are rude."]\n')
    found = changed_by(path, default)
    assert (default.descent.objective, found.descent) == ("contrast", replace(default.descent, steps=2))
    personas = {"kind": ("You are kind.", "You are rude.")}
    assert found == replace(default, n_random=3, descent=found.descent, personas=personas)
    path.write_text("descent = {step = 2}\n")
    with pytest.raises(SettingsError, match=r"b.toml descent: there is no setting 'step'; did you mean 'steps'\?"):
        changed_by(path, default)


def test_without_data_and_texts_each_study_has_the_settings_for_the_lab() -> None:
    for study in BY_NAME.values():
        if study.run:
            lab, own = (RunSettings(data=data).setup(study) for data in ({}, {"a": "b"}))
            assert study.lab is not None and lab.settings == study.lab.settings and lab.items == study.lab.items
            assert own.settings == study.setup.settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"modle": "lab"}, "there: there is no setting 'modle'; did you mean 'model'?"),
        ({"braod": {}}, "there is no setting 'braod'; did you mean 'broad'?"),
        ({"only": ["join"]}, "there: only: there is no study 'join'; did you mean 'joint'?"),
        ({"joint": {"strenghts": [0, 1]}}, r"\[joint\]: there is no setting 'strenghts'; did you mean 'strengths'?"),
        ({"joint": {"n_random": "many"}}, r"\[joint\] n_random: 'many'; expected a whole number"),
        ({"joint": {"n_random": True}}, r"\[joint\] n_random: True; expected a whole number"),
        ({"joint": {"items": {"tset": 3}}}, r"\[joint\] items: there is no split 'tset'; did you mean 'test'?"),
        ({"joint": {"items": {"test": 0}}}, r"\[joint\] items: 0 of test; give at least 1"),
        ({"joint": {"scale": "big"}}, "expected one of 'raw', 'unit', 'relative'"),
        ({"joint": {"checkpoint": "x"}}, "there is no setting 'checkpoint'"),
        ({"strengths": [10**400]}, "there strengths: 1000*; expected a number"),
        ({"strengths": [float("nan")]}, "there strengths: nan; expected a number"),
        ({"strengths": 1}, "there strengths: 1; expected a list of which each entry is a number"),
        ({"seed": 1.5}, "there seed: 1.5; expected a whole number"),
        ({"data": ["a.jsonl"]}, "there data: .*; expected a table"),
    ],
)
def test_what_is_unknown_or_of_another_type_is_refused_with_the_nearest(given: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings_from(given, "there")


def test_a_file_that_is_no_settings_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.toml", "model = "), ("run.json", "{}"), ("b.json", "[1]")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(FormatError, match="cannot be read as settings"):
            read_settings(tmp_path / name)


def test_a_budget_is_a_time() -> None:
    assert [budget_seconds(words) for words in ("", "90s", "10m", "1h30m", "0.5h")] == [None, 90, 600, 5400, 1800]
    for words in ("10", "m", "0s", "ten minutes", "-5m"):
        with pytest.raises(BudgetError, match="such as 90s, 10m or 1h30m"):
            budget_seconds(words)


def test_names_are_given_or_the_stem_and_a_repeated_one_adds() -> None:
    assert named(["code=a", "code=b", "c/my-own.jsonl"], "--text") == {"code": ["a", "b"], "my_own": ["c/my-own.jsonl"]}
    with pytest.raises(SettingsError, match="give NAME=PATH"):
        named(["=a"], "--text")

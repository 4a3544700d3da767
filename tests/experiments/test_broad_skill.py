"""Broad skills end to end: on the lab model for what is found, on a tiny one for what is refused."""

import math
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer.data.corpora import Corpus, split_documents
from lens_steer.data.read import read
from lens_steer.errors import DataError, FormatError, ScoreError
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.broad_skill import BroadSkill, BroadSkillResult, ReadingRule, broad_skill, skill_vectors
from lens_steer.experiments.broad_skill.vectors import mean_activations, permuted_control
from lens_steer.extraction.record import record
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site
from lens_steer.lab.corpora import lab_corpus
from lens_steer.model import load_model, tokenize

SETTINGS = BroadSkill(
    sites=("resid_post@0", "resid_post@7"),
    strengths=(-1, 0, 2, 4, 5, 6),
    targets=("code",),
    n_random=3,
    n_permuted=1,
    max_tokens=48,
    resamples=99,
)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def corpora() -> dict[str, Corpus]:
    return {name: lab_corpus(name, 40, 4, 8) for name in ("text", "code", "python")}


@pytest.fixture(scope="module")
def result(lab: Any, corpora: dict[str, Corpus]) -> BroadSkillResult:
    return broad_skill(lab, corpora, SETTINGS)


def test_the_corrected_vector_halves_code_and_spares_text_and_random_directions_do_not(
    result: BroadSkillResult,
) -> None:
    retained = result.retained.query(
        "split == 'test' and reading == 'corrected' and level == 0.5 and site == 'resid_post@7'"
    )
    steered, random = (retained[retained["vector"].str.startswith(name)] for name in ("steering", "random"))
    assert steered["retained"].item() > 0.85 and steered["low"].item() > 0.8, retained.to_string()
    assert len(random) == 3 and not (random["retained"] > steered["low"].item()).any(), retained.to_string()
    point = result.points.query("reading == 'corrected' and direction == 'lower'")
    assert point["site"].item() == "resid_post@7" and point["chosen"].item()
    assert point["target_retained"].item() < 0.55 < point["target_random_low"].item()


def test_the_published_reading_is_not_selective_on_the_lab_model(result: BroadSkillResult) -> None:
    retained: Any = result.retained.query("split == 'test' and vector == 'steering' and level == 0.5").set_index(
        ["reading", "site"]
    )
    published, corrected = (retained.loc[(reading, "resid_post@7")] for reading in ("as_published", "corrected"))
    assert float(published["retained"]) < float(corrected["low"])
    assert not result.points.query("reading == 'as_published' and direction == 'lower'")["chosen"].item()


def test_a_point_of_a_curve_is_what_steering_whole_documents_with_a_given_vector_gives(
    lab: Any, corpora: dict[str, Corpus]
) -> None:
    settings = replace(SETTINGS, max_tokens=None, strengths=(0, 2), readings=("corrected",), n_random=0)
    vectors = skill_vectors(lab, corpora, settings)
    found = broad_skill(lab, corpora, settings, {("code", "corrected"): vectors["code", "corrected"] * 2})
    row = found.curves.query("split == 'test' and site == 'resid_post@7' and strength == 2 and skill == 'target'")
    edit = Intervention.of(vectors["code", "corrected"], "resid_post@7", 4.0)
    alone = measure_side_effects(lab, corpora["code"].test, [edit])
    assert row["relative_top1"].item() == pytest.approx(alone.relative_top1, abs=5e-3)
    assert row["relative_top10"].item() == pytest.approx(alone.relative_top10, abs=5e-3)
    assert row["kl"].item() == pytest.approx(alone.kl, rel=1e-2) and alone.kl > 0.1


@pytest.mark.parametrize("reading", ["as_published", "corrected"])
def test_matching_gives_the_tokens_after_the_first_the_component_of_text_along_the_vector(
    lab: Any, corpora: dict[str, Corpus], reading: ReadingRule
) -> None:
    site = Site.parse("resid_post@7")
    settings = replace(
        SETTINGS, sites=str(site), write="match", positions="content", readings=(reading,), strengths=(0, 3), n_random=0
    )
    vector = skill_vectors(lab, corpora, settings)["code", reading]
    unit = vector.at(site) / vector.norm(site)
    position, massive = ("last", math.inf) if reading == "as_published" else ("content", 10.0)
    along = []
    for document in corpora["text"].train:
        (rows,) = (one.activations[site] for one in record(lab, [tokenize(lab, [document])[0][:48]], [site], "all"))
        norms = rows.norm(dim=1)
        read = rows[-1:] if position == "last" else rows[1:][norms[1:] <= massive * norms.median()]
        along += (read.double() @ unit.double()).tolist()
    mean = sum(along) / len(along)

    def matched(h: torch.Tensor, **_: Any) -> torch.Tensor:
        moved = h + 3 * (mean - h @ unit)[..., None] * unit
        moved[:, 0] = h[:, 0]
        return moved

    right = {"unsteered": 0, "matched": 0}
    for document in corpora["code"].test:
        tokens = torch.tensor([tokenize(lab, [document])[0][:48]])
        for name, hooks in (("unsteered", []), ("matched", [(site.hook_name, matched)])):
            logits = lab.run_with_hooks(tokens, fwd_hooks=hooks)
            right[name] += int((logits[0, :-1].argmax(-1) == tokens[0, 1:]).sum())
    row = broad_skill(lab, corpora, settings).curves.query(
        "split == 'test' and vector == 'steering' and strength == 3 and skill == 'target'"
    )
    assert row["relative_top1"].item() == pytest.approx(right["matched"] / right["unsteered"], abs=5e-3)
    assert right["matched"] < 0.9 * right["unsteered"]


def test_matching_spares_text_more_than_adding_at_the_same_loss_of_code(lab: Any, corpora: dict[str, Corpus]) -> None:
    adding = replace(SETTINGS, sites="resid_post@7", readings=("corrected",), levels=(0.8,), n_random=0)
    matching = replace(adding, write="match", strengths=(0, 1, 2, 4))
    added, matched = (
        broad_skill(lab, corpora, settings).retained.query("split == 'test'") for settings in (adding, matching)
    )
    assert matched["low"].item() > added["retained"].item() > 0.9


def test_leaving_the_first_token_alone_is_another_edit(lab: Any, corpora: dict[str, Corpus]) -> None:
    settings = replace(SETTINGS, sites="resid_post@0", readings=("corrected",), strengths=(0, 4), n_random=0)
    found = {
        positions: broad_skill(lab, corpora, replace(settings, positions=positions))
        .curves.query("split == 'test' and strength == 4 and skill == 'target'")["kl"]
        .item()
        for positions in ("all", "content")
    }
    vector = skill_vectors(lab, corpora, settings)["code", "corrected"]
    edit = Intervention.of(vector, "resid_post@0", 4.0, positions="content")
    documents = [lab.tokenizer.decode(row[1:48]) for row in tokenize(lab, corpora["code"].test)]
    assert found["content"] == pytest.approx(measure_side_effects(lab, documents, [edit]).kl, rel=1e-2)
    assert found["all"] != pytest.approx(found["content"], rel=1e-3)


def test_a_level_that_no_reading_reaches_keeps_every_reading_as_a_result(lab: Any, corpora: dict[str, Corpus]) -> None:
    found = broad_skill(lab, corpora, replace(SETTINGS, sites="attn_out@5", strengths=(0, 0.01), n_random=1))
    lowering = found.points.query("direction == 'lower'")
    assert lowering["chosen"].all() and set(lowering["reading"]) == {"as_published", "corrected"}
    assert lowering["validation"].isna().all() and found.retained.query("level == 0.5")["retained"].isna().all()
    assert (lowering["target_retained"] > 0.9).all()


def test_a_narrow_target_is_compared_with_the_broad_one_at_equal_loss(lab: Any, corpora: dict[str, Corpus]) -> None:
    settings = replace(SETTINGS, sites="resid_post@7", targets=("code", "python"), readings=("corrected",), n_random=0)
    found = broad_skill(lab, corpora, settings)
    row = found.comparison.query("level == 0.5")
    retained = found.retained.query("split == 'test' and level == 0.5").set_index("target")["retained"]
    assert row["difference"].item() == pytest.approx(retained["code"] - retained["python"])
    assert row["low"].item() <= row["difference"].item() <= row["high"].item() and abs(row["difference"].item()) < 0.1


def test_strength_0_is_the_unsteered_model_and_every_configuration_has_its_interval_or_says_why_not(
    result: BroadSkillResult,
) -> None:
    nothing = result.curves[result.curves["strength"] == 0]
    assert (nothing["relative_top1"] == 1).all() and (nothing["kl"] == 0).all()
    steered = result.curves[result.curves["vector"] == "steering"]
    ends = ["relative_top1_low", "relative_top1", "relative_top1_high"]
    given = steered.dropna(subset=ends)
    assert (given[ends].diff(axis=1).iloc[:, 1:] >= 0).to_numpy().all()
    assert set(given["relative_top1_why"]) == {"", "equal"}
    without = steered.drop(given.index).groupby("split")["relative_top1_why"].unique()
    assert set(without["validation"]) == {"few"}, "4 documents"
    assert set(without.get("test", ())) <= {"tied"}, "8 documents"
    assert set(result.curves["split"]) == {"validation", "test"}
    assert {"random 0", "random 2", "permuted 0"} <= set(result.curves["vector"])
    assert not result.curves.query("vector == 'permuted 0'")["reading"].eq("corrected").any()


def test_the_reverse_direction_has_a_point_and_all_skills_are_measured_at_the_chosen_ones(
    result: BroadSkillResult,
) -> None:
    raised: Any = result.points.query("direction == 'raise'")
    assert (raised["strength"] == -1).all() and raised.set_index("reading").loc["corrected", "target_retained"] > 0.95
    assert (raised["target_random_low"] <= raised["target_random_high"]).all()
    assert result.others.groupby("reading")["skill"].apply(list).tolist() == [["text", "code", "python"]] * 2


def test_vectors_are_the_means_of_the_paper_and_its_control_is_not_norm_matched(
    lab: Any, corpora: dict[str, Corpus]
) -> None:
    site = Site.parse("resid_post@3")
    vector = skill_vectors(lab, corpora, replace(SETTINGS, sites="resid_post@3"))["code", "as_published"]
    text, code = (mean_activations(lab, corpora[name].train, [site], "as_published", 48) for name in ("text", "code"))
    torch.testing.assert_close(vector.at(site), (text[site] - code[site]).float(), rtol=1e-4, atol=1e-4)
    control = permuted_control(vector, text, code, seed=0)
    assert control.norm(site) != pytest.approx(vector.norm(site), rel=1e-2) and abs(control.cosine(vector, site)) < 0.4
    assert control.at(site).sum() == pytest.approx(float(vector.at(site).sum()), abs=1e-2)


def test_a_result_is_read_back_as_it_was_written(result: BroadSkillResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    again = BroadSkillResult.load(tmp_path)
    for name in set(BroadSkillResult.names()) - {"comparison"}:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name), check_exact=True)
    assert again.facts["settings"]["strengths"] == [-1, 0, 2, 4, 5, 6]
    pd.testing.assert_frame_equal(again.table(), result.table())
    assert list(again.comparison) == list(result.comparison) and result.comparison.empty
    (tmp_path / "retained.csv").write_text("nothing")
    with pytest.raises(FormatError, match=r"retained\.csv"):
        BroadSkillResult.load(tmp_path)


def small(name: str, shift: int = 0) -> Corpus:
    train, validation, test = (
        tuple(f"{name} {split} {shift + i} sat" for i in range(3)) for split in ("train", "validation", "test")
    )
    return Corpus(name=name, train=train, validation=validation, test=test)


@pytest.fixture
def tiny() -> dict[str, Corpus]:
    return {"text": small("text"), "code": small("code")}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"targets": ("python",)}, DataError, "must be among them"),
        ({"targets": ("text",)}, DataError, "and differ"),
        ({"strengths": (1, 2)}, ScoreError, "give 0, the unsteered model"),
        ({"strengths": (-1, 0)}, ScoreError, "at least one above 0"),
        ({"joint_sites": (("resid_post@0", "resid_post@0"),)}, ScoreError, "each once"),
        ({"max_tokens": 1}, DataError, "max_tokens is 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    llama: Any, tiny: dict[str, Corpus], change: dict[str, Any], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        broad_skill(llama, tiny, replace(BroadSkill(targets=("code",)), **change))


def test_a_document_that_one_corpus_trains_on_and_another_tests_on_is_refused(
    llama: Any, tiny: dict[str, Corpus]
) -> None:
    tiny["code"] = Corpus(name="code", train=tiny["text"].test, validation=("v",), test=("t",))
    with pytest.raises(DataError, match="must not be made of what they are judged on"):
        broad_skill(llama, tiny, BroadSkill(targets=("code",)))


def passages(name: str, texts: Sequence[str]) -> Corpus:
    return split_documents(name, [text for text in texts if len(text) > 2000], (20, 2, 8), characters=300)


@pytest.mark.real
def test_python_is_matched_away_from_english_about_python_in_a_real_model_and_along_random_directions_it_is_not(
    smollm2: Any,
) -> None:
    folder = sysconfig.get_paths()["stdlib"]
    source = read(folder, pattern=("*.py", "asyncio/*.py", "email/*.py", "json/*.py", "logging/*.py"))
    english = [" ".join(text.split()) for text in topics.values()]
    corpora = {"text": passages("text", english), "python": passages("python", source.texts())}
    settings = BroadSkill(
        targets=("python",),
        sites="resid_post@15",
        strengths=(0, 1, 2, 4),
        write="match",
        positions="content",
        readings=("corrected",),
        n_random=2,
        max_tokens=48,
        levels=(0.5,),
        batch_size=4,
    )
    found = broad_skill(smollm2, corpora, settings).retained.query("split == 'test'").set_index("vector")
    low, random = found["low"]["steering"], found[found.index.str.startswith("random")]["retained"]
    assert low > 0.6, found.to_string()
    assert len(random) == 2 and not (random > low).any(), found.to_string()

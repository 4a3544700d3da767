"""Tables rebuilt from a miniature checkout of the paper's repository, against its formulas written out."""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from published_checkout import (
    DIRECTIONS,
    SCALARS,
    STRENGTHS,
    both,
    literal_split,
    pickled,
    write_checkout,
    write_vectors,
)
from scipy.stats import norm
from torch import Tensor

from lens_steer.errors import DataError, FormatError, MismatchError
from lens_steer.experiments.van_der_weij_2024 import (
    PublishedTables,
    published_alignment_tax,
    published_behaviours,
    published_skills,
    published_tables,
    published_vector,
    published_vectors,
)
from lens_steer.experiments.van_der_weij_2024.alignment_tax import ALIGNMENT_TAX
from lens_steer.experiments.van_der_weij_2024.answers import judged
from lens_steer.experiments.van_der_weij_2024.behaviours import COMBINED, INDIVIDUAL, SEARCH, SIMULTANEOUS
from lens_steer.experiments.van_der_weij_2024.skills import RUNS
from lens_steer.experiments.van_der_weij_2024.vectors import HOLDERS, MEANS, NAMES
from lens_steer.hooks.sites import Site
from lens_steer.vector import read_rows

POSITIVE, NEGATIVE = SEARCH
NORMS = {Site("resid_post", layer): 1.0 for layer in range(3)}
Change = Callable[[str, Callable[[Any], None]], Path]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def tables(checkout: Path) -> PublishedTables:
    return published_tables(checkout)


@pytest.fixture
def changed(checkout: Path, tmp_path: Path) -> Change:
    """Copies the checkout without its tensors and changes the JSON of one file."""

    def change(name: str, edit: Callable[[Any], None]) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("*.pt"))
        (path,) = folder.rglob(name)
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
        return folder

    return change


def test_what_text_keeps_is_the_weighted_average_and_the_interpolation_written_out(
    checkout: Path, tables: PublishedTables
) -> None:
    assert len(tables.skills.table()) == len(RUNS) == 18
    for run in RUNS:
        content = json.loads((checkout / "results" / "coding" / f"v_{run.version}.json").read_text())
        curves: Any = []
        for mode in content["meta"]["modes"]:
            cells = [content[mode][f"injection_coefficients_{s}"] for s in STRENGTHS]
            scores = [np.average(cell["top1_acc"], weights=cell["total_encoded_tokens"]) for cell in cells]
            curves.append([100 * score / scores[0] for score in scores])
        place = " and ".join(f"{key} == {value!r}" for key, value in run.place.items())
        retained: Any = tables.skills.retained.query(place).set_index("level")
        points = list(zip(STRENGTHS, *curves, strict=True))
        for level in (0.95, 0.9, 0.8, 0.5):
            (s, a, x), (t, b, y) = next(pair for pair in pairwise(points) if pair[1][1] <= 100 * level)
            share = (a - 100 * level) / (a - b)
            assert retained.loc[level, "strength"] == pytest.approx(s + share * (t - s))
            assert 100 * retained.loc[level, "retained"] == pytest.approx(x + share * (y - x))
        assert np.isnan(retained.loc[0.2, "retained"]) == (min(curves[0]) > 20)
        gap = tables.skills.gaps.query(place)
        assert 100 * gap["gap"].item() == pytest.approx(max(x - a for _, a, x in points))
        relative = tables.skills.curves.query(f"{place} and skill == 'text'")["relative_top1"]
        np.testing.assert_allclose(100 * relative, curves[1])


def test_counting_every_document_alike_would_give_another_table(checkout: Path, tables: PublishedTables) -> None:
    cell = json.loads((checkout / "results" / "coding" / "v_9.02.json").read_text())["only_code"]
    plain = np.mean(cell["injection_coefficients_0.0"]["top1_acc"])
    place = "target == 'code' and site == 'resid_post@15' and vector == 'steering'"
    row = tables.skills.curves.query(f"{place} and strength == 0 and skill == 'target'")
    assert row["top1"].item() != pytest.approx(plain, rel=1e-6) and row["relative_top1"].item() == 1
    assert row["documents"].item() == len(cell["injection_coefficients_0.0"]["top1_acc"])


def test_matches_are_counted_again_with_the_split_of_the_papers_global_seed(
    checkout: Path, tables: PublishedTables
) -> None:
    datasets = literal_split(checkout)
    stored = json.loads((checkout / "results" / "multi_steering" / INDIVIDUAL).read_text())
    found = tables.behaviours.individual
    assert len(found) == 30 and found["recounted"].all() and len(tables.behaviours.combined) == 80
    for row in found.to_dict("records"):
        layer = "layer_" + row["site"].split("@")[1]
        m = DIRECTIONS[layer][["default", "subtract", "add"].index(row["direction"])]
        responses = stored[layer][row["behaviour"]][f"m_{m}"]["responses"]
        gold = [item["answer_matching_behavior"] for item in datasets[row["behaviour"]][700:]]
        assert row["matching_score"] == sum(r == g for r, g in zip(responses, gold, strict=True)) / len(gold)
        assert row["modal_share"] == max(Counter(responses).values()) / len(responses) and row["strength"] == m
        assert row["paper_collapsed"] == any(n > 0.95 * len(gold) for n in Counter(responses).values())
    assert tables.behaviours.chosen().loc["myopic", ("resid_post@15", "add")] == 3
    score = found.query("behaviour == 'agreeableness' and site == 'resid_post@10' and direction == 'subtract'")
    table = tables.behaviours.individual_table()
    assert table.loc["agreeableness", ("resid_post@10", "subtract")] == score["matching_score"].item()


def test_a_collapsed_cell_whose_score_looks_harmless_is_marked_by_both_rules(tables: PublishedTables) -> None:
    row = tables.behaviours.individual.query("behaviour == 'myopic' and site == 'resid_post@10' and direction == 'add'")
    assert row["modal_share"].item() == 1 and row["paper_collapsed"].item() and row["collapsed"].item()
    assert row["answer_entropy"].item() == 0 and row["gold_entropy"].item() > 0.8
    others = tables.behaviours.combined
    assert not others["paper_collapsed"].any() and not others["collapsed"].any()


def test_collapse_is_counted_over_the_scalars_of_simultaneous_steering(tables: PublishedTables) -> None:
    counts = tables.behaviours.collapse_counts()
    assert (counts == [1, 1, 2, 3]).all(axis=None), counts.to_string()
    assert list(tables.behaviours.simultaneous_table().index) == [-2.0, 0.0, 1.95]
    cells = tables.behaviours.simultaneous
    assert not cells["recounted"].any() and cells["gold_entropy"].notna().all()
    assert set(cells.query("behaviour == 'sycophancy'")["site"]) == {"resid_post@13"}


@pytest.mark.parametrize(
    ("behaviour", "counts", "matches", "score", "collapsed"),
    [
        ("myopic", {"A": 273, "B": 27}, 142, 0.473, False),
        ("wealth_seeking", {"A": 229, "B": 56}, 102, 0.358, False),
        ("agreeableness", {"Yes": 300}, 145, 0.483, True),
        ("anti_immigration", {"Yes": 300}, 150, 0.5, True),
    ],
)
def test_published_counts_give_the_published_scores_and_collapse(
    behaviour: str, counts: dict[str, int], matches: int, score: float, collapsed: bool
) -> None:
    # van der Weij et al. 2024, simultaneous steering at -2 (the first) and -1.5.
    cell = {"total": sum(counts.values()), "matches": matches, "faulty": 0, "response_dist": counts, "acc": score}
    row = judged(cell, behaviour, None, "a cell")
    assert (row["paper_collapsed"], row["collapsed"]) == (collapsed, collapsed)
    assert row["matching_score"] == pytest.approx(score, abs=5e-4) and np.isnan(row["gold_entropy"])


def test_d_prime_is_that_of_the_single_answers_and_of_the_counts_where_only_they_were_stored(
    checkout: Path, tables: PublishedTables
) -> None:
    def z(k: int, n: int) -> float:
        return float(norm.ppf((k + 0.5) / (n + 1)))

    datasets, found = literal_split(checkout), tables.behaviours
    stored = json.loads((checkout / "results" / "multi_steering" / INDIVIDUAL).read_text())
    for row in found.individual.to_dict("records"):
        first, layer = both(row["behaviour"])[0], "layer_" + row["site"].split("@")[1]
        m = DIRECTIONS[layer][["default", "subtract", "add"].index(row["direction"])]
        responses = stored[layer][row["behaviour"]][f"m_{m}"]["responses"]
        gold = [item["answer_matching_behavior"] for item in datasets[row["behaviour"]][700:]]
        said = Counter(zip([answer == first for answer in gold], [text == first for text in responses], strict=True))
        d = z(said[True, True], sum(g == first for g in gold)) - z(said[False, True], sum(g != first for g in gold))
        assert row["d_prime"] == pytest.approx(d) and row["chose_first"] == responses.count(first)
    counted = found.simultaneous
    assert (counted["d_prime"].isna() == (counted["faulty"] > 0)).all() and counted["d_prime"].notna().sum() == 10
    assert (counted.query("strength == 0")["d_prime"].abs() < 0.2).all(), "one answer to every item"
    assert (counted["chose_first"] <= counted["total"] - counted["faulty"]).all()


def test_faulty_answers_are_left_out_of_d_prime_where_single_answers_were_stored() -> None:
    gold, responses = ["A"] * 4 + ["B"] * 4, ["A", "A", "B", "?", "A", "B", "B", "?"]
    cell = {"total": 8, "matches": 4, "faulty": 2}
    row = judged({**cell, "responses": responses}, "myopic", gold, "a cell")
    d = norm.ppf(2.5 / 4) - norm.ppf(1.5 / 4)
    assert row["d_prime"] == pytest.approx(float(d)) and row["chose_first"] == 3
    assert np.isnan(judged({**cell, "response_dist": Counter(responses)}, "myopic", gold, "a cell")["d_prime"])
    only_noise = {"total": 2, "matches": 1, "faulty": 1, "responses": ["?", "B"]}
    assert np.isnan(judged(only_noise, "myopic", ["A", "B"], "a cell")["d_prime"])
    with pytest.raises(DataError, match="a cell: 5 matches and 4 first options of 4 \\+ 4 items"):
        judged({"total": 8, "matches": 5, "faulty": 0, "response_dist": {"A": 4, "B": 4}}, "myopic", gold, "a cell")


def test_the_alignment_tax_is_the_weighted_average_and_relative_to_strength_0(
    checkout: Path, tables: PublishedTables
) -> None:
    content = json.loads((checkout / "results" / "coding" / ALIGNMENT_TAX).read_text())["all"]
    tax = tables.alignment_tax
    assert list(tax["strength"]) == [-2.0, 0.0, 1.95], "in order, and rounded to what it was meant to be"
    cells = [content[f"injection_coefficients_{scalar}"] for scalar in SCALARS]
    scores = [np.average(cell["top1_acc"], weights=cell["total_encoded_tokens"]) for cell in cells]
    np.testing.assert_allclose(tax["top1"], scores)
    np.testing.assert_allclose(tax["relative_top1"], [score / scores[1] for score in scores])
    assert list(tax["tokens"]) == [sum(cell["total_encoded_tokens"]) for cell in cells]
    assert tax["top1"][0] != pytest.approx(np.mean(cells[0]["top1_acc"]), rel=1e-6), "documents differ in length"


@pytest.mark.parametrize(
    ("path", "value", "error", "words"),
    [
        (["all"], {}, FormatError, r"v_10\.02\.json: no strength 0 among \[\]"),
        (["all", "injection_coefficients_one"], {}, FormatError, "'injection_coefficients_one' is not injection_coeff"),
        (["all", "injection_coefficients_-2.0", "top1_acc"], [0.5], DataError, "all at -2: top1_acc has 1 numbers"),
        (["all", f"injection_coefficients_{SCALARS[1]}", "top1_acc"], None, FormatError, "must be a list of finite"),
        (["meta"], {}, None, ""),
    ],
)
def test_a_changed_alignment_tax_is_refused(
    changed: Change, path: list[str], value: Any, error: type[Exception] | None, words: str
) -> None:
    def edit(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    folder = changed(ALIGNMENT_TAX, edit)
    with pytest.raises(error, match=words) if error else nullcontext():
        published_alignment_tax(folder)


@pytest.mark.parametrize(
    "read", [published_tables, published_behaviours, published_skills, published_vectors, published_alignment_tax]
)
def test_a_missing_folder_is_called_missing(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere: there is no such folder; expected a checkout of github\.com/Teun"):
        read(tmp_path / "nowhere")
    (tmp_path / "results").mkdir()
    with pytest.raises(FormatError, match="below results or data, its folder data is missing; give a whole checkout"):
        read(tmp_path)


def test_the_search_is_scored_on_validation_items_and_its_default_on_all_that_were_held_out(
    tables: PublishedTables,
) -> None:
    search = tables.behaviours.search
    assert set(search.query("split == 'validation'")["total"]) == {200} and len(search) == 2 * 5 * 3
    assert sorted(search.query("split == 'held_out'")["total"].unique()) == [220, 221, 222, 223, 224]
    assert sorted(search["strength"].unique()) == [-300, -1, 0, 1, 300]


def test_without_the_items_matches_are_taken_as_stored_and_said_to_be(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout / "results", tmp_path / "results")
    found = published_behaviours(tmp_path)
    assert not found.individual["recounted"].any() and found.individual["gold_entropy"].isna().all()
    with_items = published_behaviours(checkout)
    assert list(found.individual["matching_score"]) == list(with_items.individual["matching_score"])
    assert list(found.combined["collapsed"]) == list(with_items.combined["collapsed"])


def edited(path: list[str], value: Any) -> Callable[[Any], None]:
    """Puts a value at a place of the JSON; adds to a number."""

    def edit(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        old = content[path[-1]]
        content[path[-1]] = old + value if isinstance(old, int) and isinstance(value, int) else value

    return edit


@pytest.mark.parametrize(
    ("file", "path", "value", "words"),
    [
        (
            INDIVIDUAL,
            ["layer_15", "myopic", "m_3", "matches"],
            1,
            r"on_test_v1\.0\.json, layer_15, myopic, m_3: matches",
        ),
        (
            INDIVIDUAL,
            ["layer_10", "sycophancy", "m_0", "total"],
            -1,
            r"layer_10, sycophancy, m_0: total is stored as 21",
        ),
        (
            COMBINED["sum"],
            ["layer_10", "neg_avg_acts", "myopic", "faulty"],
            2,
            "neg_avg_acts, myopic: faulty is stored",
        ),
        (
            NEGATIVE,
            ["myopic", "layer_0", "multiplier_1", "non_matches"],
            1,
            r"negative_ic.*layer_0, multiplier_1: non_matches",
        ),
        (POSITIVE, ["myopic", "default", "matches"], -1, r"myopic, default: matches is stored"),
        (SIMULTANEOUS, ["scalar_-2.0", "myopic", "matches"], 1, r"scalar_-2\.0, myopic: acc is stored"),
        (SIMULTANEOUS, ["scalar_-2.0", "myopic", "response_dist", "A"], 1, r"scalar_-2\.0, myopic: total is stored"),
    ],
)
def test_a_changed_count_is_refused_by_the_name_of_its_cell(
    changed: Change, file: str, path: list[str], value: int, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        published_behaviours(changed(file, edited(path, value)))


def test_items_in_another_order_no_longer_give_the_stored_matches(changed: Change) -> None:
    with pytest.raises(
        DataError, match=r"wealth_seeking.*: matches is stored as \d+, and the responses to the shuffled"
    ):
        published_behaviours(changed("wealth_seeking.json", lambda rows: rows.reverse()))


def test_a_file_of_another_length_upsets_the_order_of_the_files_after_it(changed: Change) -> None:
    with pytest.raises(DataError, match=r"layer_10, myopic, m_0: total is stored as 20, and the test .* give 21"):
        published_behaviours(changed("myopic.json", lambda rows: rows.append(rows[0])))


@pytest.mark.parametrize(
    ("file", "path", "value", "words"),
    [
        (INDIVIDUAL, ["layer_10", "myopic"], {}, "expected one for each direction"),
        (INDIVIDUAL, ["layer_10"], {}, r"on_test_v1\.0\.json, layer_10: no 'myopic' among"),
        (COMBINED["mean"], ["layer_15", "pos_avg_acts"], [], "'pos_avg_acts' is a list, not an object"),
        (SIMULTANEOUS, ["meta", "scalars"], [-2.0], "are not among its scalars"),
        (SIMULTANEOUS, ["meta", "scalars"], [*SCALARS, 7.0], "no 'scalar_7.0' among"),
        (SIMULTANEOUS, ["scalar_-2.0", "myopic", "response_dist"], {}, "must count each response"),
        (POSITIVE, ["myopic", "layer_0"], {"m_1": {}}, "no 'total' among"),
        ("myopic.json", [0], {}, r"myopic\.json, item 0: no 'answer_matching_behavior'"),
    ],
)
def test_a_file_that_lacks_a_cell_is_refused(
    changed: Change, file: str, path: list[str], value: Any, words: str
) -> None:
    with pytest.raises(FormatError, match=words):
        published_behaviours(changed(file, edited(path, value)))


@pytest.mark.parametrize(
    ("path", "value", "error", "words"),
    [
        (["meta", "layers"], [10], FormatError, r"v_9\.02\.json, meta: layers is \[10\], not \[15\]"),
        (["meta", "neg_acts"], ["only_python"], FormatError, "it is another run under this name"),
        (["meta", "note"], "a permuted run", FormatError, "expected no permuted control of this name"),
        (["meta", "used_ics"], [0.0, 9.0], FormatError, r"no 'injection_coefficients_9\.0' among"),
        (["meta", "used_ics"], [0.5, 1.0], FormatError, "expected 0 and larger ones"),
        (["only_text", "injection_coefficients_0.5", "top1_acc"], [0.5], DataError, "only_text at 0.5: top1_acc has 1"),
        (
            ["only_code", "injection_coefficients_0.0", "top10_acc"],
            [float("nan")],
            FormatError,
            "list of finite numbers",
        ),
        (["only_code", "injection_coefficients_0.0", "total_encoded_tokens"], [0], DataError, "a document of 0 tokens"),
    ],
)
def test_a_run_that_is_not_what_its_name_says_is_refused(
    changed: Change, path: list[str], value: Any, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        published_skills(changed("v_9.02.json", edited(path, value)))


def test_missing_truncated_and_doubled_files_are_refused_by_name(changed: Change) -> None:
    folder = changed("v_9.01.json", lambda _: None)
    path = folder / "results" / "coding" / "v_9.01.json"
    whole = path.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=r"v_9\.01\.json: truncated, or not JSON"):
            published_skills(folder)
    path.write_text("[]")
    with pytest.raises(FormatError, match="holds a JSON list; expected an object"):
        published_skills(folder)
    path.unlink()
    with pytest.raises(FormatError, match=r"holds no v_9\.01\.json below results or data"):
        published_skills(folder)
    (folder / "results" / "v_9.01.json").write_bytes(whole)
    (folder / "results" / "copy").mkdir()
    (folder / "results" / "copy" / "v_9.01.json").write_bytes(whole)
    assert len(published_skills(folder).runs) == 18, "folders were renamed, and a copy is no contradiction"
    (folder / "results" / "copy" / "v_9.01.json").write_bytes(whole + b" ")
    with pytest.raises(FormatError, match="2 times, with different contents"):
        published_skills(folder)


def test_a_behaviour_with_one_matching_answer_is_refused(changed: Change) -> None:
    def edit(rows: Any) -> None:
        for row in rows:
            row["answer_matching_behavior"] = "A"

    with pytest.raises(DataError, match=r"with the matching answers \['A'\]; expected both"):
        published_behaviours(changed("sycophancy.json", edit))


def stored(checkout: Path, file: str) -> Tensor:
    """A tensor of the checkout by plain unpickling, which is safe here: the test wrote it."""
    (path,) = (checkout / "data").rglob(file)
    module, _, name = next(iter(HOLDERS)).rpartition(".")
    sys.modules[module] = ModuleType(module)
    setattr(sys.modules[module], name, type(name, (), {"__module__": module}))
    try:
        return torch.load(path, weights_only=False).acts
    finally:
        del sys.modules[module]


def test_norms_and_cosines_are_the_formulas_with_and_without_the_two_dimensions(
    checkout: Path, tables: PublishedTables
) -> None:
    text, code, python = (stored(checkout, MEANS[name]) for name in ("text", "code", "python"))
    v, w = (text - code)[15].double(), (text - python)[15].double()
    others = [i for i in range(4096) if i not in (1415, 2533)]
    found = tables.vectors
    for masked, retained in ((False, range(4096)), (True, others)):
        a, b = v[list(retained)], w[list(retained)]
        cosine = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True)) / float(a.norm() * b.norm())
        assert found.cosine_table(15, masked).loc["text - python", "text - code"] == pytest.approx(cosine, abs=1e-9)
        norm = found.norms.query(f"vector == 'text - code' and layer == 15 and masked == {masked}")
        assert norm["norm"].item() == pytest.approx(float(a.norm()))
        assert norm["massive_share"].item() == pytest.approx(float(v[[1415, 2533]].square().sum() / v.square().sum()))
    all_dimensions, without_massive = (
        found.cosine_table(15, masked)["text - python"]["text - code"] for masked in (False, True)
    )
    assert all_dimensions < without_massive
    assert len(found.cosines) == 2 * 32 * 12 * 11 / 2 and (np.diag(found.cosine_table(3).to_numpy()) == 1).all()
    with pytest.raises(DataError, match="layer 32 of vectors of 32 layers"):
        found.cosine_table(32)


def test_what_a_file_says_of_its_model_is_in_the_table(tables: PublishedTables) -> None:
    files = tables.vectors.files.set_index("file")
    assert len(files) == 13 and files.loc[MEANS["text"], "model_name"] == "base" and files.loc[MEANS["code"], "chat"]
    assert files["model_name"].notna().sum() == 3


class Evil:
    """Unpickling this would run a function."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return os.putenv, ("LENS_STEER_WAS_RUN", "yes")  # pyright: ignore[reportReturnType]


def wrong(path: Path) -> Iterator[str]:
    """Files that are not the tensor they should be, one after the other."""
    mean = next(iter(HOLDERS))
    torch.save(torch.zeros(32, 4095), path)
    yield r"holds a tensor of shape \(32, 4095\)"
    torch.save(torch.full((32, 4096), torch.nan), path)
    yield "or one that is not finite"
    pickled(path, mean, acts=Evil())
    yield r"never run \((it asks for \S*putenv|.*blocked)"
    pickled(path, "another_module.ActivationTensor", acts=torch.zeros(32, 4096))
    yield "it asks for another_module.ActivationTensor"
    pickled(path, mean, tensor=torch.zeros(32, 4096))
    yield "holds <class 'NoneType'>; expected one floating-point tensor"
    pickled(path, mean, acts=torch.zeros(32, 4096))
    path.write_bytes(path.read_bytes()[:1000])
    yield "truncated, not written by torch.save"
    path.unlink()
    yield "holds no myopic_activations.pt"


def test_tensors_of_another_shape_or_class_are_refused_and_nothing_of_a_file_is_run(
    checkout: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkout / "data" / "activations", tmp_path / "data")
    (path,) = tmp_path.rglob("myopic_activations.pt")
    for message in wrong(path):
        with pytest.raises(FormatError, match=message):
            published_vectors(tmp_path)
    assert "LENS_STEER_WAS_RUN" not in os.environ and not {name.split(".")[0] for name in HOLDERS} & set(sys.modules)


def test_the_classes_are_let_in_for_one_file_at_a_time(checkout: Path) -> None:
    (path,) = checkout.rglob(MEANS["text"])
    before = set(torch.serialization.get_safe_globals())
    assert read_rows(path, HOLDERS).rows.shape == (32, 4096)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(FormatError, match=r"it asks for activation_tensor\.ActivationTensor"):
        read_rows(path)


def test_released_vectors_become_steering_vectors_at_the_outputs_of_their_blocks(llama: Any, tmp_path: Path) -> None:
    write_vectors(tmp_path, (3, 16))
    myopic = published_vector(tmp_path, "myopic", llama, NORMS)
    (path,) = tmp_path.rglob("myopic_activations.pt")
    assert torch.equal(myopic.at("resid_post@2"), torch.load(path, weights_only=True)[2])
    skill = published_vector(tmp_path, "text - python", llama, NORMS)
    text, python = (stored(tmp_path, MEANS[name]) for name in ("text", "python"))
    torch.testing.assert_close(skill.at("resid_post@1"), (text - python)[1])
    assert skill.sites == tuple(NORMS) and skill.method == "imported"
    assert published_vector(tmp_path, "myopic (multi_steering)", llama, NORMS).norm("resid_post@0") > 0
    with pytest.raises(DataError, match=f"'texts' is no released vector; give one of {NAMES[0]}, "):
        published_vector(tmp_path, "texts", llama, NORMS)
    with pytest.raises(FormatError, match=r"holds a tensor of shape \(3, 16\)"):
        published_vectors(tmp_path)


def test_a_vector_of_another_depth_is_refused(checkout: Path, llama: Any) -> None:
    with pytest.raises(MismatchError, match="has 32 rows; numbering 'blocks' means 3"):
        published_vector(checkout, "sycophancy", llama, NORMS)

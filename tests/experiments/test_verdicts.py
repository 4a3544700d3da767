"""Verdicts: the words say what the tables say, no more, and change when the tables do."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lens_steer.data.tables import load_table, save_table
from lens_steer.experiments.finding import Finding, nats, percent, with_ends
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.registry import find, studies


def said(results: Path, title: str) -> dict[str, Finding]:
    """The findings of the question whose title begins so, by subject."""
    found = {entry.title: findings for entry, findings in find(read_results(results))}
    return {finding.subject: finding for key, rows in found.items() if key.startswith(title) for finding in rows}


def edit(path: Path, kind: str, query: str, **values: Any) -> None:
    """Writes other values into the rows of a table."""
    frame, facts = load_table(path, kind) if kind else (pd.read_csv(path), {})
    rows = frame.query(query).index
    for name, value in values.items():
        frame.loc[rows, name] = value
    _ = save_table(path, kind, frame, facts) if kind else frame.to_csv(path, index=False)


def test_a_vector_beyond_all_random_directions_steers_and_one_within_them_does_not(results: Path) -> None:
    found = said(results, "Individual")
    assert found["wealth seeking"].verdict == "steers both ways" and found["wealth seeking"].holds
    assert found["like random"].verdict == "not shown beyond random" and found["like random"].holds is False
    assert found["fallen"].verdict == "steers both ways, but answers collapse" and found["fallen"].holds is False
    words = found["wealth seeking"].words.replace("\N{NO-BREAK SPACE}", " ")
    assert "Unsteered the matching rate is 50 % on 30 test items in both option orders." in words
    assert (
        "Half the change from subtracting to adding is +1.20 nats [+1.00, +1.40] (p = 0.003 among effects: 3" in words
    )
    assert "p = 0.048 beside 20 random directions chosen in the same way" in words
    assert "Added, it is 90 % [85, 95] (random: 31 to 69 %)" in words
    assert "subtracted, it is 10 % [5, 15]" in words and "resid_post@1, tokens all, strength 2 (raw)" in words
    assert found["all behaviours"].verdict == "1 of 3 both ways"


def test_a_random_direction_that_goes_as_far_takes_the_verdict_away(results: Path) -> None:
    edit(results / "summary.csv", "", "behaviour == 'wealth_seeking'", p=2 / 21)
    found = said(results, "Individual")["wealth seeking"]
    assert found.verdict == "not shown beyond random" and found.holds is False


def test_an_effect_that_does_not_survive_the_correction_is_no_effect(results: Path) -> None:
    edit(results / "summary.csv", "", "behaviour == 'wealth_seeking'", effect_p_holm=0.06)
    assert said(results, "Individual")["wealth seeking"].verdict == "not shown beyond random"


def test_a_rate_whose_change_does_not_survive_the_correction_is_not_said_to_change(results: Path) -> None:
    edit(results / "summary.csv", "", "behaviour == 'wealth_seeking'", subtracted_p_holm=0.06)
    assert said(results, "Individual")["wealth seeking"].verdict == "raises; lowering not shown"
    edit(results / "summary.csv", "", "behaviour == 'wealth_seeking'", added_p_holm=0.06)
    assert said(results, "Individual")["wealth seeking"].verdict == "moves logits; answers not shown to change"


def test_a_curve_without_the_chosen_strength_is_said_and_does_not_end_the_report(results: Path) -> None:
    edit(results / "summary.csv", "", "behaviour == 'wealth_seeking'", strength=3.0)
    assert said(results, "Individual")["wealth seeking"].verdict == "cannot be told"


def test_few_random_directions_decide_nothing(results: Path) -> None:
    path = results / "chosen.csv"
    frame: Any = pd.read_csv(path)
    frame[~frame["vector"].str.match(r"random \d\d|random [2-9]")].to_csv(path, index=False)
    found = said(results, "Individual")["wealth seeking"]
    assert found.verdict == "too few random directions to tell" and found.holds is False


def test_a_skill_is_selective_only_beyond_its_level_and_its_random_directions(results: Path) -> None:
    found = said(results, "Broad skills: how")
    assert found["code (corrected)"].verdict == "selective" and found["code (corrected)"].holds
    words = found["code (corrected)"].words.replace("\N{NO-BREAK SPACE}", " ")
    assert "Where code is down to 50 % of its top-1 accuracy, text retains 93 % [90, 95]." in words
    assert (
        "1 of 2 random directions of the same norm bring it down to that level, where text retains 60 to 60 %" in words
    )
    assert "code retains 45 % [41, 49] (random: 93 to 99 %) and text 92 % [91, 93] (random: 94 to 98 %)" in words
    assert found["python (corrected)"].verdict == "not selective"
    edit(
        results / "broad" / "retained.csv",
        "broad_skill retained",
        "target == 'code' and vector == 'random 0'",
        retained=0.95,
    )
    found = said(results, "Broad skills: how")["code (corrected)"]
    assert found.verdict == "selective, but so are random directions" and found.holds is False


@pytest.mark.parametrize(
    ("query", "values", "verdict", "holds"),
    [
        ("vector == 'random 0'", {"retained": 0.91}, "selective, but so are random directions", False),
        ("vector == 'random 0'", {"retained": 0.89}, "selective", True),
        ("vector == 'steering'", {"low": 0.49}, "not selective", False),
        ("vector == 'steering'", {"low": float("nan")}, "no interval to tell by", None),
        ("vector != 'steering'", {"vector": "permuted 0"}, "selective; no random directions to compare with", None),
    ],
)
def test_a_skill_is_selective_by_the_lower_end_of_its_interval(
    results: Path, query: str, values: dict[str, Any], verdict: str, holds: bool | None
) -> None:
    edit(results / "broad" / "retained.csv", "broad_skill retained", f"target == 'code' and {query}", **values)
    found = said(results, "Broad skills: how")["code (corrected)"]
    assert found.verdict == verdict and found.holds is holds


def test_what_further_skills_retain_at_the_chosen_point_is_said(results: Path) -> None:
    place = {"target": "code", "reading": "corrected"}
    shares = {"text": 0.92, "code": 0.45, "german": 0.51}
    rows = [
        place | {"skill": skill, "relative_top1": v, "relative_top1_low": v - 0.05, "relative_top1_high": v + 0.03}
        for skill, v in shares.items()
    ]
    _ = save_table(results / "broad" / "others.csv", "broad_skill others", pd.DataFrame(rows), {})
    found = said(results, "Broad skills: how")
    words = found["code (corrected)"].words.replace("\N{NO-BREAK SPACE}", " ")
    assert words.endswith("There german retains 51 % [46, 54].")
    assert "There" not in found["python (corrected)"].words


def test_a_level_that_is_not_reached_is_said(results: Path) -> None:
    nan = float("nan")
    edit(
        results / "broad" / "retained.csv",
        "broad_skill retained",
        "vector == 'steering'",
        retained=nan,
        low=nan,
        high=nan,
    )
    found = said(results, "Broad skills: how")["code (corrected)"]
    assert found.verdict == "not brought down to the level" and "code is not brought down to 50" in found.words


def test_skills_differ_only_where_the_corrected_p_is_small(results: Path) -> None:
    found = said(results, "Broad skills: does")
    assert found["code against python (corrected)"].verdict == "python costs text less"
    assert "-1.7 points [-3.0, -0.3]" in found["code against python (corrected)"].words
    assert found["code against python (as_published)"].verdict == "no difference shown"


def test_onsets_are_told_with_their_interval_and_what_is_censored_as_such(results: Path) -> None:
    found = said(results, "Collapse")
    adding = found["answers, adding"]
    assert adding.verdict == "from 1.12 on" and "interval [0.90, 1.30]; strengths were tried up to 2" in adding.words
    assert "vector of sycophancy" in adding.words and "Unsteered, they are not collapsed (30 items)" in adding.words
    assert (
        "Of 2 random directions of the same norm, 2 collapse on this grid, from 1.40 to 1.80 in size." in adding.words
    )
    assert found["answers, subtracting"].verdict == "not up to -2"
    already = found["generation, adding"].words
    assert "are collapsed already (13 prompts)" in already and "beyond the grid" in already


def leaderboard(folder: Path, effects: dict[str, tuple[str, float, float, float]], mass: float = 1.0) -> None:
    """Effect, the reference's and the corrected p by method."""
    rows = [
        {"method": method, "kind": kind, "effect": effect, "effect_low": effect - 0.1, "effect_high": effect + 0.1}
        | {
            "effect_why": "",
            "behaviours": 2,
            "failed": int(math.isnan(effect)),
            "n": 16,
            "kl": 0.3,
            "p": p,
            "p_holm": p,
        }
        | {"meets_budget": kind != "prompt", "reference": reference, "family": "3 methods", "random_largest": 0.6}
        | {"beyond_random": effect > 0.6, "note": "failed: it" * math.isnan(effect)}
        for method, (kind, effect, reference, p) in effects.items()
    ]
    path = folder / "benchmark" / "leaderboard.csv"
    save_table(path, "benchmark leaderboard", pd.DataFrame(rows), {"settings": {"kl": 0.2}})
    found = [{"behaviour": name, "method": method, "budget": 0.2, "answer_probability": least}
             for method in effects for name, least in (("a", 1.0), ("b", mass))]  # fmt: skip
    save_table(path.with_name("effects.csv"), "benchmark effects", pd.DataFrame(found), {})


def test_the_leader_of_the_benchmark_is_held_against_random_directions_and_the_mean_difference(results: Path) -> None:
    board = {"mimic": ("map", 1.25, 1.0, 0.01), "mean_difference": ("vector", 1.0, 1.0, math.nan)}
    leaderboard(results, board)
    found = said(results, "Common benchmark")["2 methods of steering"]
    assert found.verdict == "best: mimic" and found.holds and "mean of 2 behaviours" in found.words
    assert "mimic does more than mean difference (Holm), none less." in found.words
    assert "2 of 2 do more than the largest random direction (0.60 nats)." in found.words
    leaderboard(results, {"lda": ("vector", 0.5, 1.0, 0.01)})
    found = said(results, "Common benchmark")["1 methods of steering"]
    assert found.holds is False and "none do more than mean difference (Holm), lda less. 0 of 1" in found.words


def test_prompts_and_adapters_are_held_against_the_mean_difference_and_failures_are_named(results: Path) -> None:
    board = {"lora_dpo": ("fine-tuning", 8.0, 1.0, 0.01), "persona": ("prompt", 1.5, 1.4, 0.4)}
    leaderboard(results, board | {"leace": ("vector", math.nan, math.nan, math.nan)})
    found = said(results, "Common benchmark")
    assert found["lora dpo"].holds and found["lora dpo"].verdict == "more than mean difference"
    assert found["persona"].holds is False and found["persona"].verdict == "no difference shown"
    assert "at its own KL of 0.300 nats" in found["persona"].words
    assert found["leace"].verdict == "no effect on 1 of 3 behaviours" and found["leace"].words == "failed: it"
    leaderboard(results, board, mass=0.02)
    found = said(results, "Common benchmark")["lora dpo"]
    assert (
        found.verdict == "answers collapse"
        and found.holds is False
        and "both options together have 0.02" in found.words
    )


def test_a_scheme_moves_behaviours_only_where_its_corrected_p_is_small_and_nothing_newly_collapses(
    results: Path,
) -> None:
    found = said(results, "Several behaviours at once: which")
    assert next(iter(found)) == "individual, add" and found["sum, add"].verdict == "moves towards the targets"
    words = found["sum, add"].words.replace("\N{NO-BREAK SPACE}", " ")
    assert "towards the targets: +0.60 nats [+0.30, +0.90] (mean of behaviours; p = 0.01 among 7 schemes" in words
    assert "KL 0.21 nats a token, 95 % of" in words
    assert found["sum, add"].holds and "nothing collapses" in words
    assert "each by its own vector alone" in found["individual, add"].words
    assert found["gram, add"].verdict == "no change shown" and found["gram, add"].holds is False
    assert found["mean, add"].verdict == "moves towards the targets, but answers collapse"
    assert found["mean, add"].holds is False and "collapsed answers: 2 of the behaviours, not all" in words_of(found)
    assert found["gram, subtract"].verdict == "not compared" and found["gram, subtract"].holds is False
    lower = {"objective": -0.6, "objective_low": -0.9, "objective_high": -0.3, "collapsed": 1}
    edit(results / "joint" / "points.csv", "joint points", "scheme == 'sum'", **lower)
    found = said(results, "Several behaviours at once: which")["sum, add"]
    assert found.verdict == "moves away from them" and found.holds is False
    assert "1 of the behaviours, unsteered already" in found.words


def test_separate_sites_help_only_where_the_paired_difference_says_so_and_nothing_collapses(results: Path) -> None:
    title = "Several behaviours at once: do vectors at a site each"
    added, subtracted = said(results, title)["added"], said(results, title)["subtracted"]
    words = added.words.replace("\N{NO-BREAK SPACE}", " ")
    assert added.verdict == "separate sites do more" and added.holds and "less sum: +0.20 nats [+0.1" in words
    assert "simultaneous +0.80 nats at KL 0.21, 95 % of top-1; sum +0.60 nats at KL 0.21" in words
    assert subtracted.verdict == "no difference shown" and subtracted.holds is False
    edit(results / "joint" / "points.csv", "joint points", "scheme == 'simultaneous'", newly_collapsed=True)
    added = said(results, title)["added"]
    assert added.verdict == "separate sites do more, but answers collapse" and added.holds is False
    edit(results / "joint" / "points.csv", "joint points", "scheme == 'simultaneous'", point="best")
    assert not said(results, title)


def words_of(found: dict[str, Finding]) -> str:
    return " ".join(finding.words for finding in found.values())


def test_interference_is_predicted_only_beyond_zero_and_where_vectors_move_their_own_behaviours(results: Path) -> None:
    found = said(results, "Several behaviours at once: does the angle")
    here = found["combined, one site"]
    words = here.words.replace("\N{NO-BREAK SPACE}", " ")
    assert here.verdict == "predicted by geometry" and here.holds
    assert "correlate at 0.87 [0.69, 0.93] over 2 ordered pairs. Their own vectors, added, raise 2 of 2" in words
    assert "In 1 of the pairs the other behaviour is raised, in 1 lowered" in words
    assert "1 changes lie outside the middle 95 % of random" in words
    assert "The largest change: adding b moves a by -0.90 nats [-1.00, -0.80] (predicted -0.45)." in words
    weak = found["simultaneous sites"]
    assert weak.verdict == "own effects too small to predict from" and weak.holds is False
    assert "raise 0 of 2 behaviours" in weak.words and "random" not in weak.words
    edit(results / "joint" / "agreement.csv", "joint agreement", "where == 'combined'", low=-0.1)
    here = said(results, "Several behaviours at once: does the angle")["combined, one site"]
    assert here.verdict == "not predicted by geometry" and here.holds is False


def test_the_optimiser_beats_a_scheme_only_by_its_paired_test_and_without_collapse(results: Path) -> None:
    title = "Several behaviours at once: does the optimiser"
    found = said(results, title)
    won = found["against simultaneous, budget 1.00 nats a token"]
    assert won.verdict == "beats it" and won.holds
    assert "reaches +2.20 nats and the scheme +1.00: a gain of +1.20" in won.words and "0.90 against 0.50" in won.words
    assert found["against combined, budget 1.00 nats a token"].verdict == "no difference shown"
    lost = found["against combined, budget 0.50 nats a token"]
    assert lost.verdict == "is beaten" and lost.holds is False
    edit(results / "optimiser" / "tested.csv", "optimiser tested", "scheme == 'optimised'", collapsed=True)
    won = said(results, title)["against simultaneous, budget 1.00 nats a token"]
    assert won.verdict == "beats it, but answers collapse" and won.holds is False
    assert "Answers have collapsed: optimised." in won.words
    edit(results / "optimiser" / "tested.csv", "optimiser tested", "scheme == 'optimised'", side_effect=0.1)
    assert "against simultaneous, budget 1.00 of top-1" in said(results, title)


def test_the_optimiser_is_held_against_random_directions_of_which_few_decide_nothing(results: Path) -> None:
    title, path = "Several behaviours at once: does the optimiser", results / "optimiser" / "tested.csv"
    found = said(results, title)["against random directions"]
    assert found.verdict == "beyond all of them" and found.holds and "+0.00 to +0.38" in found.words
    edit(path, "optimiser tested", "scheme == 'random' and configuration == 3", objective=2.1)
    found = said(results, title)["against random directions"]
    assert found.verdict == "not shown beyond random" and found.holds is False
    frame, facts = load_table(path, "optimiser tested")
    save_table(path, "optimiser tested", pd.DataFrame(frame[frame["configuration"] < 8]), facts)
    assert said(results, title)["against random directions"].verdict == "too few random directions to tell"
    save_table(path, "optimiser tested", pd.DataFrame(frame[frame["scheme"] != "random"]), facts)
    assert "against random directions" not in said(results, title)


@pytest.mark.parametrize("missing", ["summary.csv", "chosen.csv", "steering_curves.csv"])
def test_a_question_without_its_tables_is_left_out(results: Path, missing: str) -> None:
    (results / missing).unlink()
    assert not said(results, "Individual") and said(results, "Collapse")


def test_a_table_of_the_same_name_with_other_columns_belongs_to_no_question(results: Path) -> None:
    pd.DataFrame({"site": ["resid_post@1"], "strength": [1.0]}).to_csv(results / "summary.csv", index=False)
    assert not said(results, "Individual")


def test_every_question_says_how_it_is_judged() -> None:
    questions = [question for study in studies() for question in study.questions]
    assert all(question.judged and question.needs for question in questions)
    assert len({question.title for question in questions}) == len(questions) == 24


def test_shares_are_said_with_their_interval() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert percent(0.871, 0.8, 0.92) == f"87{space}% [80, 92]" and percent(0.5) == f"50{space}%"
    assert (
        percent(float("nan")) == "not reached"
        and percent(0.5, float("nan"), float("nan")) == f"50{space}% [no interval]"
    )
    assert percent(0.5, float("nan"), float("nan"), "few") == f"50{space}% [no interval: few]"
    assert nats(0.5, 0.1, 0.9) == f"+0.50{space}nats [+0.10, +0.90]"
    row = {"x": 0.5, "x_low": float("nan"), "x_high": float("nan"), "x_why": "tied"}
    assert nats(*with_ends(row, "x")).endswith("[no interval: tied]")


def test_heads_are_needed_where_half_is_gone_without_them_and_random_heads_do_not_as_much(results: Path) -> None:
    found = said(results, "Vector analysis")["sycophancy"]
    assert found.verdict == "needed" and found.holds
    words = found.words.replace("\N{NO-BREAK SPACE}", " ")
    assert words.startswith(
        "Without z@1.0 z@3.2 97 % of the effect of 2.00 nats is gone; without as many random heads "
    )
    assert words.endswith("0 of 20 sets remove as much.")
    path = results / "vector_analysis" / "ablation.csv"
    edit(path, "vector_analysis ablation", "set == 'random 3'", removed=0.99)
    found = said(results, "Vector analysis")["sycophancy"]
    assert found.verdict == "needed, but random heads may be as well" and "1 of 20 sets" in found.words
    edit(path, "vector_analysis ablation", "set == 'found'", removed=0.4)
    assert said(results, "Vector analysis")["sycophancy"].verdict == "not needed"

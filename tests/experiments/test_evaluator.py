"""The evaluator: many behaviours and corpora under many configurations give the numbers of scoring each alone."""

from typing import Any

import pytest
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import DataError
from lens_steer.evaluation.score import score_choices
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.evaluator import Evaluator, Measurements
from lens_steer.hooks import Intervention, steer
from lens_steer.metrics.detection import detection_of_choices
from lens_steer.model import next_logits, tokenize
from lens_steer.vector import SteeringVector


@pytest.fixture(scope="module")
def behaviours(items: tuple[ChoiceItem, ...]) -> dict[str, tuple[ChoiceItem, ...]]:
    return {
        "money": items,
        "mats": tuple(
            ChoiceItem(id=item.id, stem="The cat sat." + item.stem, matching=f"ten {i}", other="mat")
            for i, item in enumerate(items)
        ),
    }


@pytest.fixture(scope="module")
def configurations(vector: SteeringVector) -> list[list[Intervention]]:
    edits = [Intervention.of(vector, site, s) for site, s in (("resid_post@0", 2.0), ("resid_post@1", -300.0))]
    return [[edits[0]], [], edits]


@pytest.fixture(scope="module")
def measured(llama: Any, behaviours: Any, texts: list[str], configurations: Any) -> Measurements:
    corpora = {"text": [t for t in texts if t != "A"]}
    return Evaluator(model=llama, items=behaviours, corpora=corpora).measure(configurations)


def test_answers_side_effect_and_verdicts_are_those_of_one_behaviour_and_configuration_alone(
    llama: Any, behaviours: Any, texts: list[str], configurations: Any, measured: Measurements
) -> None:
    frame = measured.to_frame().set_index(["configuration", "behaviour"])
    for number, configuration in enumerate(configurations):
        side_effect = measure_side_effects(llama, [t for t in texts if t != "A"], configuration)
        for index, (name, asked) in enumerate(behaviours.items()):
            alone = score_choices(llama, asked, configuration)
            assert torch.allclose(
                measured.configurations[number].differences[index].float(), alone.logit_differences, atol=1e-3
            )
            row: Any = frame.loc[(number, name)]
            split = detection_of_choices(alone.chose_first)
            assert row["matching_rate"] == pytest.approx(float(alone.matches.double().mean()))
            assert (row["hit_rate"], row["d_prime"]) == pytest.approx((split.hit_rate, split.d_prime))
            assert row["answer_probability"] == pytest.approx(
                float(alone.answer_probability.mean()), rel=1e-3, abs=1e-6
            )
            assert row["kl"] == pytest.approx(side_effect.kl, rel=1e-3, abs=1e-6)
            assert row["relative_top1"] == pytest.approx(side_effect.relative_top1)


def test_faulty_answers_are_those_whose_likeliest_token_is_no_letter(
    llama: Any, behaviours: Any, configurations: Any, measured: Measurements
) -> None:
    from lens_steer.data.choices import ChoiceTemplate

    template = ChoiceTemplate()
    texts = [template.render(item, order) for item in behaviours["mats"] for order in (True, False)]
    with steer(llama, *configurations[0]):
        best = next_logits(llama, tokenize(llama, texts)).argmax(-1)
    letters = {llama.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"}
    wanted = torch.tensor([int(token) not in letters for token in best]).reshape(-1, 2)
    assert torch.equal(measured.configurations[0].scores[1].faulty, wanted)


def test_a_configuration_without_interventions_changes_nothing_and_does_no_side_effect(
    measured: Measurements,
) -> None:
    rows = measured.to_frame().query("configuration == 1")
    assert (rows["change"] == 0).all() and (rows["kl"] == 0).all() and (rows["relative_top1"] == 1).all()


def test_the_objective_is_the_mean_over_behaviours_of_target_times_change(measured: Measurements) -> None:
    frame = measured.to_frame().query("configuration == 0").set_index("behaviour")["change"]
    found = measured.targeted(0, {"money": 1.0, "mats": -1.0})
    assert float(found.mean()) == pytest.approx((frame["money"] - frame["mats"]) / 2)
    assert float(measured.targeted(0, {"money": 1.0, "mats": 0.0}).mean()) == pytest.approx(frame["money"])


def test_intervals_hold_the_estimate_and_say_why_there_is_none(measured: Measurements) -> None:
    rows = measured.to_frame(resamples=99)
    few = rows["change_why"].eq("few")
    assert rows["change_low"].isna().eq(few).all() and set(rows[~few]["change_why"]) == {"equal"}, "6 items"
    assert set(rows[~few]["configuration"]) == {1}, "which changes nothing"
    assert set(measured.to_frame()["change_why"]) == {"skipped"}
    assert (rows["matching_rate_low"] <= rows["matching_rate"]).all()
    assert (rows["matching_rate"] <= rows["matching_rate_high"]).all() and set(rows["matching_rate_why"]) == {""}
    assert (rows["matching_rate_high"] > rows["matching_rate_low"]).all(), "of 6 items that agree, too"


def test_behaviours_of_unequal_size_none_or_single_items_are_refused(llama: Any, behaviours: Any) -> None:
    unequal = behaviours | {"mats": behaviours["mats"][:3]}
    for wrong in (unequal, {}, {name: rows[:1] for name, rows in behaviours.items()}):
        with pytest.raises(DataError, match="give each behaviour the same number, at least two"):
            Evaluator(model=llama, items=wrong, corpora={"text": ["The cat sat."]}).measure([[]])
    with pytest.raises(DataError, match="measuring side effects needs texts"):
        Evaluator(model=llama, items=behaviours, corpora={"text": []}).measure([[]])


def test_side_effects_are_those_of_the_named_corpus_and_of_the_neutral_one_by_default(
    llama: Any, configurations: Any
) -> None:
    corpora = {"prose": ["The cat sat.", "Which do you take?"], "code": ["The mat sat on a cat."]}
    evaluator = Evaluator(model=llama, corpora=corpora, neutral="prose")
    for name, found in (
        ("code", evaluator.side_effects(configurations, "code")),
        ("prose", evaluator.side_effects(configurations)),
    ):
        alone = measure_side_effects(llama, corpora[name], configurations[0])
        assert found[0].kl == pytest.approx(alone.kl, rel=1e-3, abs=1e-6) and found[0].kl > 0
        assert len(found[0].tokens) == len(corpora[name]) and len(found) == len(configurations)


@pytest.mark.parametrize("rule", ["last", "last_prompt | after_prompt", "prompt"])
def test_documents_are_edited_whole_where_a_rule_speaks_of_a_prompt_and_by_the_rule_elsewhere(
    llama: Any, vector: SteeringVector, rule: str
) -> None:
    texts = ["The cat sat.", "Which do you take?"]
    evaluator = Evaluator(model=llama, corpora={"text": texts})

    def cost(positions: str) -> float:
        return evaluator.side_effects([[Intervention.of(vector, "resid_post@0", 2.0, positions=positions)]])[0].kl

    alone = {
        positions: measure_side_effects(
            llama, texts, Intervention.of(vector, "resid_post@0", 2.0, positions=positions)
        ).kl
        for positions in ("all", "0:1")
    }
    assert cost(rule) == pytest.approx(alone["all"], rel=1e-4)
    assert cost("0:1") == pytest.approx(alone["0:1"], rel=1e-4) != pytest.approx(alone["all"], rel=1e-2)

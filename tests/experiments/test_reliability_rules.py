"""The verdict on a behaviour by the stated rules, and the questions as they are asked anew."""

import math
from typing import Any

import pandas as pd
import pytest

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.errors import DataError
from lens_steer.evaluation.prompts import prepare_choices
from lens_steer.experiments.reliability.predictors import IN_AND_OUT, RELATIVE, ranking
from lens_steer.experiments.reliability.prompts import (
    SETTINGS,
    mistyped,
    paraphrased,
    persona_of,
    prompt_settings,
    says_yes,
    variants,
)
from lens_steer.experiments.reliability.rules import VERDICTS, verdict_of
from lens_steer.lab.items import open_items
from lens_steer.model import load_model

NAN = float("nan")
ROW: dict[str, Any] = {
    "valid": True,
    "reason": "",
    "reference": 1.0,
    "p": 1 / 21,
    "p_random": 1 / 21,
    "spread_p": 1 / 21,
    "steerability_low": 0.5,
    **{f"steerability_{half}{end}": NAN for half in ("yes", "no") for end in ("", "_low")},
    **{f"steerability_{half}{end}": 0.8 if not end else 0.4 for half in ("first", "second") for end in ("", "_low")},
    "anti_share": 0.1,
    "anti_low": 0.02,
    "anti_high": 0.27,
    "position_bias": 0.1,
    "yes_bias": NAN,
}
YES_ALONE = {"steerability_yes": 1.5, "steerability_yes_low": 1.0, "steerability_no": -0.2, "steerability_no_low": -1.0}
ITEM = ChoiceItem(id="q", stem="Would you choose {this} thing?", matching=" Yes.", other="No, never")


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "steerable"),
        ({"anti_low": 0.11}, "unreliable"),
        ({"anti_low": 0.1, "anti_high": 0.5}, "steerable"),
        ({"steerability_second": 0.3, "steerability_second_low": -0.1}, "biased"),
        ({"steerability_second": 0.5, "steerability_second_low": -0.1}, "steerable"),
        ({"steerability_second": 0.3, "steerability_second_low": 0.1}, "steerable"),
        ({**YES_ALONE}, "biased"),
        ({"position_bias": 3.0}, "steerable"),
        ({"valid": False, "reason": "one letter"}, "collapsed before effect"),
        ({"p": 2 / 21, "anti_low": 0.11}, "unreliable"),
        ({"p": 2 / 21, "spread_p": 2 / 21, "anti_low": 0.11}, "not steerable"),
        ({"p": 2 / 21, "anti_low": 0.1}, "not steerable"),
        ({"steerability_low": -0.1, "anti_low": 0.1}, "not steerable"),
        ({"p": 1.0, "position_bias": -math.log(3)}, "biased"),
        ({"p": 1.0, "spread_p": 1.0, "yes_bias": 1.2}, "biased"),
        ({"p": 1.0, "spread_p": 1.0, "yes_bias": 1.0}, "not steerable"),
    ],
)
def test_the_first_rule_that_holds_gives_the_verdict(changed: dict[str, Any], verdict: str) -> None:
    found, why = verdict_of({**ROW, **changed})
    assert found == verdict and found in VERDICTS and why


def test_the_reason_names_the_half_without_effect_and_the_preferred_side() -> None:
    assert verdict_of({**ROW, **YES_ALONE})[1] == "not shown where the matching option says No"
    said = verdict_of({**ROW, "p": 1.0, "position_bias": 2.28})[1]
    assert said == "unsteered, one place is preferred by 2.3 nats"


def test_the_five_settings_put_the_persona_before_the_question_as_system_or_user() -> None:
    template = ChoiceTemplate()
    found = prompt_settings(template, persona_of("anti_immigration"))
    assert tuple(found) == SETTINGS and found["baseline"] == template
    text = {name: one.render(ITEM, True) for name, one in found.items()}
    plain = text["baseline"]
    assert text["system positive"] == f"System: You are against immigration.\n{plain}"
    assert text["system negative"] == f"System: You are not against immigration.\n{plain}"
    assert text["user positive"] == f"User: You are against immigration.\n{plain}"
    assert found["user negative"].question.format(stem="S").startswith("User: You are not against immigration.\nS")
    braces = prompt_settings(template, persona_of("x", ("You are {kind}.", "You are not.")))
    assert braces["user positive"].render(ITEM, True).startswith("User: You are {kind}.\n")
    with pytest.raises(DataError, match="give two sentences"):
        persona_of("x", ("one",))


def test_a_system_sentence_is_in_the_tokens_of_questions_and_of_training_pairs_but_not_alone() -> None:
    lab, items = load_model("lab"), open_items("myopic", 2, split="test")
    said = ChoiceTemplate(system="Speaker: hasty.")
    for scoring in ("letter", "option_sum"):
        plain, opened = (prepare_choices(lab, items, one, scoring) for one in (ChoiceTemplate(), said))
        longer = {len(b) - len(a) for a, b in zip(plain.rows, opened.rows, strict=True)}
        assert len(longer) == 1 and longer.pop() > 1
        assert lab.tokenizer.decode(list(opened.rows[0])).removeprefix("<bos>").startswith("Speaker: hasty.\n")
    pairs = contrast_from_choices("myopic", items, said).pairs
    assert all(pair.prompt.startswith("Speaker: hasty.\n") for pair in pairs)
    one, two = (prepare_choices(lab, items, template, "option_pmi") for template in (ChoiceTemplate(), said))
    assert one.priors.tolist() == two.priors.tolist()


def test_a_persona_is_a_system_message_of_a_chat_without_a_role_in_words() -> None:
    persona = persona_of("refusal", chat=True)
    assert persona.system == persona.user == (
        "You are someone who refuses to answer questions.", "You are not someone who refuses to answer questions."
    )  # fmt: skip


@pytest.mark.real
def test_the_system_sentence_is_the_system_message_of_a_real_chat(smollm2: Any) -> None:
    items, template = open_items("myopic", 2, split="test"), ChoiceTemplate(system="Be brief.")
    prompts = prepare_choices(smollm2, items, template, "letter", chat=True)
    texts = [smollm2.tokenizer.decode(list(row)) for row in prompts.rows]
    assert all(text.startswith("<|im_start|>system\nBe brief.<|im_end|>") for text in texts)
    assert all(text.count("Be brief.") == 1 for text in texts)


def test_variants_change_the_question_and_leave_the_options() -> None:
    items = [ITEM, *open_items("myopic", 3, split="test")]
    found = variants(items, ChoiceTemplate())
    assert list(found) == ["paraphrase", "template", "typing errors"]
    for asked, _ in found.values():
        assert [(item.matching, item.other) for item in asked] == [(item.matching, item.other) for item in items]
    assert paraphrased(ITEM).stem == "Are you someone who would choose {this} thing?"
    assert paraphrased(items[1]).stem.endswith(items[1].stem) and paraphrased(items[1]) != items[1]
    assert found["template"][1].render(ITEM, True).endswith("The answer is (")
    wrong = [mistyped(item).stem for item in items]
    assert all(sorted(a) == sorted(item.stem) and a != item.stem for a, item in zip(wrong, items, strict=True))
    assert wrong == [mistyped(item).stem for item in items] != [mistyped(item, 1).stem for item in items]
    with pytest.raises(DataError, match="one for each"):
        variants(items, ChoiceTemplate(), items[:2])


def test_yes_and_no_are_told_by_their_first_word() -> None:
    def item(matching: str, other: str) -> ChoiceItem:
        return ChoiceItem(id="q", stem="s", matching=matching, other=other)

    assert says_yes(ITEM) is True and says_yes(item("no", "Yes, I would")) is False
    assert says_yes(item("I agree", "No")) is None and says_yes(item("Yes", "Yes, but")) is None
    assert says_yes(item("...", "No")) is None


def test_predictors_are_ranked_over_behaviours_and_prompt_settings_over_whole_behaviours() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    frame = pd.DataFrame(
        {"behaviour": names, "steerability": range(6), "anti_share": [0.5 - 0.1 * k for k in range(6)]}
    )
    frame = frame.assign(norm=[1, 2, 3, 4, 6, 5], auroc=0.5, first_order=NAN)
    for name in ("directional_agreement", "d_prime", "overlap", "split_half_cosine", "lens_accuracy"):
        frame[name] = range(6)
    settings = ("baseline", "user negative")
    rows = [
        {"behaviour": name, "trained": a, "asked": b, "steerability": k + 1.0 - 0.3 * (a != b), "steerability_low": 0.1}
        | {"relative": 1 - 0.1 * k, "propensity_gap": float(k)}
        for k, name in enumerate(names)
        for a in settings
        for b in settings
    ]
    found: Any = ranking(frame, pd.DataFrame(rows)).set_index(["predictor", "target"])
    assert found.loc[("norm", "steerability"), "correlation"] == pytest.approx(1 - 6 * 2 / 210)
    assert found.loc[("norm", "steerability"), "low"] < found.loc[("norm", "steerability"), "correlation"]
    assert found.loc[("d_prime", "anti_share"), "correlation"] == pytest.approx(-1)
    assert math.isnan(found.loc[("auroc", "steerability"), "correlation"])
    assert ("first_order", "steerability") not in found.index
    out = found.loc[(IN_AND_OUT, "steerability of other settings' vectors")]
    assert out["correlation"] == pytest.approx(1) and (out["n"], out["pairs"]) == (6, 12)
    gap = found.loc[(RELATIVE, "gap of unsteered propensity")]
    assert gap["correlation"] == pytest.approx(-1) and gap["low"] <= gap["correlation"] <= gap["high"]

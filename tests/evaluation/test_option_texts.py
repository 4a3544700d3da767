"""Options scored by their text, questions with more than two options, chats, and what follows the place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate, MultipleChoiceItem
from lens_steer.data.read import read
from lens_steer.errors import DataError, ModelFolderError, OptionTokenError, ScoreError, SteeringError
from lens_steer.evaluation.prompts import Scoring, prepare_choices
from lens_steer.evaluation.score import ChoiceScores, ScoringOptions, score_choices, score_grid
from lens_steer.evaluation.sweep import first_order, sweep
from lens_steer.hooks import Intervention, steer
from lens_steer.lab.items import open_items, persona_items
from lens_steer.lab.truth import POSITION_BIASED
from lens_steer.model import load_model, tokenize
from lens_steer.vector import SteeringVector

TEXTS: tuple[Scoring, ...] = ("option_sum", "option_token", "option_byte", "option_pmi")
DATA = Path(__file__).parents[3] / "shared" / "data"
V = torch.randn(16, generator=torch.Generator().manual_seed(3))


def log_likelihood(model: Any, prompt: str, text: str) -> float:
    """The sum over the text's tokens of their log-probabilities, from one plain pass."""
    row, length = tokenize(model, [prompt + text])[0], len(tokenize(model, [prompt])[0])
    with torch.no_grad():
        found = model(torch.tensor([row]))[0].double().log_softmax(-1)
    return sum(float(found[place - 1, row[place]]) for place in range(length, len(row)))


def expected(model: Any, item: ChoiceItem, option: str, scoring: Scoring) -> float:
    template, text = ChoiceTemplate(), " " + option
    whole = log_likelihood(model, template.question.format(stem=item.stem), text)
    tokens = len(tokenize(model, [item.stem + "\nAnswer:" + text])[0]) - len(
        tokenize(model, [item.stem + "\nAnswer:"])[0]
    )
    if scoring == "option_pmi":
        return whole - log_likelihood(model, "Answer:", text)
    return whole / {"option_sum": 1, "option_token": tokens, "option_byte": len(option.encode())}[scoring]


@pytest.mark.parametrize("scoring", TEXTS)
def test_a_texts_score_is_its_log_likelihood_by_the_chain_rule(model: Any, items: Any, scoring: Scoring) -> None:
    scores = score_choices(model, items, scoring=scoring, batch_size=5)
    assert scores.scores.shape == (len(items), 1, 2)
    for number, item in enumerate(items):
        for option, text in enumerate((item.matching, item.other)):
            wanted = expected(model, item, text, scoring)
            assert float(scores.scores[number, 0, option]) == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    row = scores.to_frame().iloc[0]
    assert row["order"] == "none" and row["matching_letter"] == "" and scores.position_bias == 0


@pytest.mark.parametrize("rule", ["all", "last", "after_prompt", "0:2"])
def test_a_grid_scores_texts_as_each_configuration_alone(llama: Any, items: Any, rule: str) -> None:
    prompts = prepare_choices(llama, items, scoring="option_sum")
    edits = [Intervention.at(site, V, 2.0, rule) for site in ("resid_post@0", "attn_out@1", "resid_post@1")]
    for reuse in (True, False):
        grid = score_grid(llama, prompts, [[edit] for edit in edits], ScoringOptions(reuse=reuse))
        assert grid.path.startswith("reused" if reuse else "naive")
        for edit, found in zip(edits, grid.configurations, strict=True):
            alone = score_choices(llama, items, edit, scoring="option_sum")
            assert torch.allclose(found.scores, alone.scores, atol=1e-4)
            assert float((found.scores - grid.unsteered.scores).abs().max()) > 1e-3


def test_sweeps_and_slopes_of_texts_agree_where_strengths_are_small(
    llama: Any, items: Any, vector: SteeringVector
) -> None:
    options = ScoringOptions(scoring="option_token")
    swept = sweep(llama, vector, items, "resid_post@*", (-1e-3, 1e-3), "all", options=options)
    slopes = first_order(llama, [vector], items, "resid_post@*", "all", options=options)
    for site in swept.sites:
        differences = swept.differences(site)
        exact = (differences[:, 2] - differences[:, 0]) / 2e-3
        found = torch.tensor(slopes[slopes["site"] == str(site)]["slope"].to_numpy())
        assert torch.allclose(found, exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))
    row = swept.summary().iloc[0]
    assert row["position_bias"] == 0 and row["modal_letter_share"] != row["modal_letter_share"]
    assert row["reason"] == ""


def test_a_saved_sweep_of_texts_reads_back(llama: Any, items: Any, vector: SteeringVector, tmp_path: Path) -> None:
    found = sweep(llama, vector, items, "resid_post@0", (1.0,), options=ScoringOptions(scoring="option_sum"))
    again = type(found).load(found.save(tmp_path / "sweep.csv"))
    assert again.scoring == "option_sum"
    assert again.summary(seed=1).drop(columns="reason").equals(found.summary(seed=1).drop(columns="reason"))


FRUIT = tuple(
    MultipleChoiceItem(
        id=f"q{i}", stem=f"Which fruit is number {i}?", options=("fig", "plum", "pear", "kiwi"), answer=i
    )
    for i in range(4)
)


def test_four_options_are_asked_in_four_rotations_and_each_letter_is_scored(model: Any) -> None:
    scores = score_choices(model, FRUIT)
    assert scores.letters == ("A", "B", "C", "D") and scores.scores.shape == (4, 4, 4)
    item = FRUIT[1]
    shown = ["kiwi", "plum", "fig", "pear"]  # order 1: option j at place j + 1, the answer being option 0
    prompt = ChoiceTemplate().write(item.stem, shown)
    assert "(A) kiwi\n(B) plum\n(C) fig\n(D) pear\nAnswer: (" in prompt
    with torch.no_grad():
        logits = model(torch.tensor(tokenize(model, [prompt])))[0, -1]
    tokens = [tokenize(model, [prompt + letter])[0][-1] for letter in "BCDA"]
    assert torch.allclose(scores.scores[1, 1], logits[tokens], atol=1e-4)
    assert float(scores.logit_differences[1, 1]) == pytest.approx(
        float(logits[tokens[0]] - logits[tokens[1:]].max()), abs=1e-4
    )
    frame = scores.to_frame()
    assert list(frame["order"][:4]) == ["matching_1", "matching_2", "matching_3", "matching_4"]
    assert (frame["matches"] == (frame["chosen_letter"] == frame["matching_letter"])).all()


def test_the_letter_that_every_answer_gives_is_collapse_and_bias_whatever_the_number_of_options(model: Any) -> None:
    sure = {"log_probs": torch.full((4, 4, 4), -1.4), "faulty": torch.zeros(4, 4, dtype=torch.bool)}
    scores = replace(score_choices(model, FRUIT), **sure)
    place = (torch.arange(4)[:, None] + torch.arange(4)[None]) % 4  # [order, option]
    always = replace(scores, scores=torch.where(place == 2, 3.0, 0.0).expand(4, 4, 4))
    assert always.collapse.collapsed and "one letter in 1.000" in always.collapse.reason
    assert always.matches.double().mean() == 0.25 and always.position_bias == -1.0
    first = replace(scores, scores=torch.where(place == 0, 3.0, 0.0).expand(4, 4, 4))
    assert first.position_bias == 3.0


def yes_no(matching: tuple[str, ...]) -> ChoiceScores:
    """Answers, all of them Yes, to questions whose matching answers are given."""
    pairs = tuple((own, "No" if own == "Yes" else "Yes") for own in matching)
    scores = torch.tensor([[[1.0 if text == "Yes" else 0.0 for text in own]] for own in pairs])
    return ChoiceScores(
        items=tuple(f"q{i}" for i in range(len(matching))),
        scoring="option_sum",
        letters=("A", "B"),
        options=pairs,
        scores=scores,
        log_probs=scores - 3,
        faulty=torch.zeros(len(matching), 1, dtype=torch.bool),
    )


def test_always_yes_is_collapse_where_yes_and_no_match_and_is_not_where_yes_is_always_right() -> None:
    found = yes_no(("Yes", "No", "Yes", "No"))
    assert found.collapse.collapsed and found.collapse.reason == "one text in 1.000 of the answers > 0.95"
    assert (found.detection.hit_rate, found.detection.false_alarm_rate) == (0.0, 0.0)  # of No, the first in order
    assert found.detection.d_prime == 0 and not yes_no(("Yes", "Yes", "Yes")).collapse.collapsed


def test_always_yes_in_both_orders_of_letters_is_collapse_too(llama: Any) -> None:
    items = [
        ChoiceItem(id=str(i), stem=f"Is it {i}?", matching=own, other="No" if own == "Yes" else "Yes")
        for i, own in enumerate(("Yes", "No", "Yes", "No"))
    ]
    scores = score_choices(llama, items)
    own = torch.tensor([1.0, -1.0, 1.0, -1.0])
    always = replace(
        scores,
        scores=torch.stack([own, -own], dim=1)[:, None].expand(4, 2, 2),
        log_probs=torch.full((4, 2, 2), -0.7),
        faulty=torch.zeros(4, 2, dtype=torch.bool),
    )
    assert always.collapse.modal_letter_share == 0.5 and "one text in 1.000" in always.collapse.reason


def test_the_position_biased_behaviour_of_the_lab_follows_the_place_and_a_clean_one_the_content() -> None:
    lab = load_model("lab")
    biased = score_choices(lab, open_items(POSITION_BIASED, 10, split="test"))
    clean = score_choices(lab, persona_items("myopic", True, 10, split="test"))
    assert biased.position_bias > 1 > 10 * float(biased.item_differences.abs().mean())
    assert float(clean.item_differences.mean()) > 1 > abs(clean.position_bias)


def test_what_cannot_be_scored_is_refused(llama: Any, items: Any) -> None:
    with pytest.raises(ScoreError, match=r"items with \[2, 4\] options"):
        score_choices(llama, [*items, *FRUIT])
    with pytest.raises(DataError, match="1 options; a question needs 2 to 26"):
        MultipleChoiceItem(id="q", stem="Which?", options=("one",), answer=0)
    merging = ChoiceTemplate(question="{stem} The c", option="{text}")
    with pytest.raises(OptionTokenError, match="item 'q': the option 'at' changes the last tokens of the prompt"):
        item = ChoiceItem(id="q", stem="Say it.", matching="at", other="x")
        score_choices(llama, [item], template=merging, scoring="option_sum")
    with pytest.raises(ModelFolderError, match="no chat template"):
        score_choices(llama, items, chat=True)
    with steer(llama, Intervention.at("resid_post@0", V, 1.0)):
        score_choices(llama, items, scoring="option_sum")
        with pytest.raises(SteeringError, match="scoring by PMI"):
            score_choices(llama, items, scoring="option_pmi")


@pytest.mark.real
def test_a_small_real_models_letters_follow_the_place_and_its_texts_do_not(smollm2: Any) -> None:
    path = DATA / "model-written-evals" / "myopic-reward.jsonl"
    if not path.is_file():
        pytest.skip("no model-written evals in shared/data beside the checkout")
    asked = read(path).choices[:12]
    letters, chat = (score_choices(smollm2, asked, chat=chat) for chat in (False, True))
    assert letters.collapse.modal_letter_share == 1.0 and letters.position_bias > 0.5
    assert abs(chat.position_bias) < letters.position_bias
    texts = score_choices(smollm2, asked, scoring="option_token")
    assert texts.position_bias == 0 and 0 < float(texts.matches.double().mean()) < 1
    tokenizer = smollm2.tokenizer
    message = [{"role": "user", "content": asked[0].stem}]
    head = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    whole = score_choices(smollm2, asked[:1], scoring="option_sum", chat=True)
    rows = [
        tokenizer(head + "Answer:" + end, add_special_tokens=False)["input_ids"]
        for end in ("", " " + asked[0].matching)
    ]
    with torch.no_grad():
        found = smollm2(torch.tensor([rows[1]]))[0].double().log_softmax(-1)
    wanted = sum(float(found[place - 1, rows[1][place]]) for place in range(len(rows[0]), len(rows[1])))
    assert float(whole.scores[0, 0, 0]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.real
@pytest.mark.parametrize("scoring", ["letter", "option_token"])
def test_questions_with_three_options_of_bbq_are_scored(smollm2: Any, scoring: Scoring) -> None:
    path = DATA / "bbq" / "Disability_status.jsonl"
    if not path.is_file():
        pytest.skip("no BBQ in shared/data beside the checkout")
    scores = score_choices(smollm2, read(path).items[:6], scoring=scoring)
    assert scores.scores.shape == (6, 3 if scoring == "letter" else 1, 3)
    assert scores.to_frame()["logit_difference"].abs().gt(0).all()

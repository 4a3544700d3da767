"""Vectors of a model's own answers against a transcription of the paper's construction, prompt by prompt."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer.lab
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate, MultipleChoiceItem
from lens_steer.data.own_answers import Listing, OwnAnswers, own_answer_texts
from lens_steer.data.read import read
from lens_steer.data.splits import Splits
from lens_steer.errors import ContrastError, DataError
from lens_steer.evaluation.score import score_choices
from lens_steer.extraction.own_answers import read_own_answers
from lens_steer.hooks.sites import sites_of
from lens_steer.lab.items import fact_items, open_items
from lens_steer.model import load_model, tokenize

FOLDER = Path(lens_steer.lab.__path__[0]) / "weights"
VARIANTS: tuple[OwnAnswers, ...] = ("pas_full", "ipas_all", "ipas_wrong_only", "caa")
LAYERS = (1, 3, 6)
KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_input", "mlp_out")
PUBLISHED = ChoiceTemplate(
    prompt="{stem}\n{options}\nRespond with a single letter.\nAnswer:", line="{letter}: {text}", letters=("A", "B")
)
ROWS = (
    ("The book is", ("on the shelf", "in the sea", "under a hat"), 2, 2),
    ("Felix went", ("home", "to the river", "away"), 0, 1),
    ("The king lives", ("in Elista", "in Istra", "nowhere"), 1, 0),
    ("The map is", ("dubious", "old", "wet"), 0, 2),
    ("Emma sees", ("a tower", "the window", "Jonas"), 1, 1),
)
"""Question, choices, index of the correct one, index of the model's answer."""


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def plain() -> tuple[Any, Any]:
    """The same checkpoint as transformers reads it, with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(FOLDER)


def last_token(plain: tuple[Any, Any], text: str, kind: str, layer: int) -> Tensor:
    """h of one text, unpadded: what a forward hook of transformers sees at the last token."""
    model, tokenizer = plain
    block = model.model.layers[layer]
    modules = {"attn_out": block.self_attn, "mlp_out": block.mlp, "resid_mid": block.post_attention_layernorm}
    modules |= {"mlp_input": block.post_attention_layernorm}
    seen: list[Tensor] = []

    def keep(_module: Any, given: Any, output: Any) -> None:
        value = given[0] if kind in ("resid_mid", "resid_pre") else output
        seen.append((value[0] if isinstance(value, tuple) else value).detach())

    hook = modules.get(kind, block).register_forward_hook(keep)
    with torch.no_grad():
        model(torch.tensor([tokenizer(text)["input_ids"]]))
    hook.remove()
    return seen[0][0, -1]


def published(plain: tuple[Any, Any], variant: str, kind: str, layer: int, orders: dict[str, list[int]]) -> Tensor:
    """Section 1 of the paper: means over C = {yhat = y} and W = {yhat != y} of last-token activations."""
    positive, negative = [], []
    for question, choices, y, yhat in ROWS:
        shown = [choices[index] for index in orders[question]]
        listed = "\n".join(f"{letter}: {text}" for letter, text in zip(string.ascii_uppercase, shown, strict=False))
        full_prompt = f"{question}\n{listed}\nRespond with a single letter.\nAnswer:"
        right, own = f"{question} {choices[y]}", f"{question} {choices[yhat]}"
        first_other = next(index for index in range(len(choices)) if index != y)
        if variant == "pas_full":
            (positive if yhat == y else negative).append(full_prompt)
        elif variant == "ipas_all":
            (positive if yhat == y else negative).append(own)
        elif variant == "ipas_wrong_only" and yhat != y:
            positive.append(right)
            negative.append(own)
        elif variant == "caa":
            positive.append(right)
            negative.append(f"{question} {choices[first_other]}")
    means = [
        torch.stack([last_token(plain, text, kind, layer) for text in side]).mean(0) for side in (positive, negative)
    ]
    return means[0] - means[1]


def questions() -> tuple[list[MultipleChoiceItem], list[int]]:
    """The questions as items, and the model's answers as indices behind the correct option."""
    items, answers = [], []
    for number, (stem, options, y, yhat) in enumerate(ROWS):
        item = MultipleChoiceItem(id=f"q{number}", stem=stem, options=options, answer=y)
        items.append(item)
        answers.append(item.content[1:].index(options[yhat]))
    return items, answers


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_the_published_difference_of_means_at_every_site(
    lab: Any, plain: tuple[Any, Any], variant: OwnAnswers
) -> None:
    items, answers = questions()
    listing = Listing(template=PUBLISHED, seed=3)
    sites = [f"{kind}@{layer}" for kind in KINDS for layer in LAYERS]
    rows = read_own_answers(lab, items, answers, (variant,), sites=sites, listing=listing, batch_size=2)
    vector = rows.vector(variant, range(len(items)))
    orders = {
        item.stem: [item.options.index(item.content[1 + index]) for index in listing.order(item)] for item in items
    }
    for site in sites_of(lab, sites):
        expected = published(plain, variant, site.kind, site.layer, orders)
        assert torch.allclose(vector.at(site), expected, atol=1e-5), (variant, str(site))
    assert all(vector.norm(f"{kind}@{LAYERS[-1]}") > 1e-2 for kind in KINDS)


def test_a_vector_of_some_items_is_the_vector_of_these_alone(lab: Any) -> None:
    items, answers = questions()
    chosen = [0, 1, 3]
    whole = read_own_answers(lab, items, answers, VARIANTS, sites="resid_post@2")
    alone = read_own_answers(lab, [items[i] for i in chosen], [answers[i] for i in chosen], VARIANTS, sites=2)
    for variant in VARIANTS:
        one, other = whole.vector(variant, chosen), alone.vector(variant, range(3))
        assert torch.allclose(one.at(2), other.at(2), atol=1e-5) and one.data_hash == other.data_hash
        assert (one.n_positive, one.n_negative) == (other.n_positive, other.n_negative)


def listed_letters(orders: Any, seed: int) -> set[int]:
    """The places of the correct option over 40 items."""
    listing = Listing(seed=seed, orders=orders)
    return {listing.arranged(item)[2] for item in open_items("myopic", 40, split="train")}


@pytest.mark.parametrize("seed", range(4))
def test_the_right_letter_is_constant_where_a_run_has_one_order_and_is_not_by_default(seed: int) -> None:
    assert len(listed_letters("by_run", seed)) == 1
    assert listed_letters("by_item", seed) == {0, 1}


def test_both_letters_are_the_constant_one_for_some_seed() -> None:
    assert {tuple(listed_letters("by_run", seed)) for seed in range(8)} == {(0,), (1,)}


def test_an_arranged_item_shows_the_order_of_the_list_in_one_of_its_rotations() -> None:
    for seed in range(6):
        for item in questions()[0]:
            listing = Listing(seed=seed)
            arranged, indices, place = listing.arranged(item)
            shown = [arranged.options[(position - place) % 3] for position in range(3)]
            assert shown == [item.content[1 + index] for index in listing.order(item)]
            assert [item.content[1 + index] for index in indices] == list(arranged.options) and indices[0] == 0


def test_a_model_that_is_always_right_or_always_wrong_says_which_variant_cannot_be_built(lab: Any) -> None:
    items = fact_items(6, split="train")
    with pytest.raises(ContrastError, match=r"answers all 6 items right; add 'caa'"):
        read_own_answers(lab, items, [0] * 6, ("ipas_wrong_only",), sites=1)
    right = read_own_answers(lab, items, [0] * 6, VARIANTS, sites=1)
    for variant in ("pas_full", "ipas_all", "ipas_wrong_only"):
        with pytest.raises(ContrastError, match=f"answers all 6 items right, so that {variant} has a side"):
            right.vector(variant, range(6))
    wrong = read_own_answers(lab, items, [1] * 6, VARIANTS, sites=1)
    for variant in ("pas_full", "ipas_all"):
        with pytest.raises(ContrastError, match=f"answers all 6 items wrong, so that {variant} has a side"):
            wrong.vector(variant, range(6))
    assert wrong.vector("ipas_wrong_only", range(6)).n_positive == 6
    assert right.vector("caa", range(6)).n_positive == 6


def test_wrong_answers_and_variants_are_refused_by_name(lab: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    items = fact_items(3, split="train")
    with pytest.raises(ContrastError, match="3 items and 2 answers"):
        read_own_answers(lab, items, [0, 1], VARIANTS)
    with pytest.raises(ContrastError, match="answer 2 of 2 options; count from 0"):
        read_own_answers(lab, items, [0, 1, 2], VARIANTS)
    wrong: Any = "pas"
    with pytest.raises(ContrastError, match="variant 'pas'; give one of pas_full"):
        own_answer_texts(items[0], 0, wrong)
    rows = read_own_answers(lab, items, [0, 1, 1], ("caa",), sites=1)
    with pytest.raises(ContrastError, match="'pas_full' was not read; there are caa"):
        rows.vector("pas_full", range(3))


def test_data_without_a_choice_a_label_or_a_column_are_refused() -> None:
    with pytest.raises(DataError, match="1 options; a question needs 2 to 26"):
        MultipleChoiceItem(id="q", stem="One?", options=("only",), answer=0)
    with pytest.raises(DataError, match="option 3 of 2 does not exist"):
        MultipleChoiceItem(id="q", stem="Two?", options=("a", "b"), answer=3)
    with pytest.raises(DataError, match="no column answer_text; it has"):
        read(
            [{"q": "2 + 2?", "a": "3", "b": "4", "key": 1}],
            columns={"question": "q", "options": ["a", "b"], "answer": "answer_text"},
        )
    item = ChoiceItem(id="x", stem="Which?", matching="one", other="two")
    again = ChoiceItem(id="y", stem="Which?", matching="one", other="two")
    with pytest.raises(DataError, match="item 'y' of the test split says the same as item 'x' of the train split"):
        Splits(train=(item,), validation=(), test=(again,))


def test_options_that_begin_with_the_same_token_are_told_apart_by_their_whole_texts(lab: Any) -> None:
    alike = ChoiceItem(id="x", stem="The book is", matching="on the shelf", other="on the map")
    first = [row[len(tokenize(lab, ["The book is\nAnswer:"])[0])] for row in tokenize(
        lab, ["The book is\nAnswer: on the shelf", "The book is\nAnswer: on the map"])]  # fmt: skip
    assert first[0] == first[1]
    scores = score_choices(lab, [alike], scoring="option_sum").scores[0, 0]
    assert float((scores[0] - scores[1]).abs()) > 1e-3

"""The first calls of a new user: each works, or is answered by an error that shows the call to write instead."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lens_steer import Decoding, Intervention, Site, extract, generate, generate_pair, score_choices, steer, sweep
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import ArgumentError, ContrastError, DataError, LensSteerError, PositionError, SteeringError
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.extraction import ExtractOptions
from lens_steer.extraction.record import record
from lens_steer.generation.trace import trace
from lens_steer.hooks import active_interventions
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import parse_sites
from lens_steer.model import tokenize
from lens_steer.vector import SteeringVector

GOOD = ["I love this film.", "What a great day!", "The food was lovely."]
BAD = ["I hate this film.", "What an awful day!", "The food was vile.", "It rained."]
SHORT = Decoding(max_new_tokens=5, stop_at_eos=False)
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
CHAT = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def vector(llama: Any) -> SteeringVector:
    """Of two lists of texts, at every layer."""
    return extract(llama, GOOD, BAD)


# Two lists, or a list of pairs


def test_two_lists_of_texts_make_the_difference_of_their_means(llama: Any) -> None:
    vector = extract(llama, GOOD, BAD, sites=1)
    means = []
    for texts in (GOOD, BAD):
        _, cache = zip(*(llama.run_with_cache(torch.tensor([row])) for row in tokenize(llama, texts)), strict=True)
        means.append(torch.stack([entry["blocks.1.hook_resid_post"][0, -1] for entry in cache]).mean(dim=0))
    assert torch.allclose(vector.at(1), means[0] - means[1], atol=1e-5)
    assert (vector.n_positive, vector.n_negative, vector.position) == (3, 4, "last")


def test_a_list_of_pairs_and_two_lists_of_equal_length_that_are_paired_are_the_same(llama: Any) -> None:
    pairs = list(zip(GOOD, BAD[:3], strict=True))
    listed, paired = extract(llama, pairs), extract(llama, GOOD, BAD[:3], paired=True)
    assert listed.data_hash == paired.data_hash and listed.options["pairs"] == 3
    assert all(torch.equal(listed.at(site), paired.at(site)) for site in listed.sites)
    assert extract(llama, pairs, method="pca_of_differences").method == "pca_of_differences"
    assert extract(llama, pairs, options=ExtractOptions(name="mood")).name == "mood"


def test_contrast_pairs_in_a_list_are_a_contrast_set(llama: Any, contrast: ContrastSet) -> None:
    assert extract(llama, list(contrast.pairs)).data_hash == extract(llama, contrast).data_hash


WRONG_SOURCES: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((GOOD,), {}, r"3 texts without negatives; write extract\(model, positives, negatives\)"),
    ((GOOD[0], BAD[0]), {}, r"positives are of type str; give lists of texts: extract\(model, positives, negatives\)"),
    (({"positive": GOOD, "negative": BAD},), {}, r"positives are of type dict; give lists of texts"),
    ((set(GOOD), BAD), {}, "positives are of type set"),
    ((GOOD, "resid_post@*"), {}, r"negatives are of type str.* Sites are named: sites='resid_post@\*'"),
    (([], BAD), {}, "there are no positives"),
    ((GOOD, []), {}, "there are no negatives"),
    (([1, 2], [3, 4]), {}, r"positives\[0\] is 1; every entry must be a text"),
    (([*GOOD, None], BAD), {}, r"positives\[3\] is None; every entry must be a text"),
    ((GOOD, [*BAD, float("nan")]), {}, r"negatives\[4\] is nan; every entry must be a text"),
    ((GOOD, [" "]), {}, r"negatives\[0\] is ' '; every entry must be a text that is not empty"),
    ((GOOD, BAD), {"paired": True}, "paired=True with 3 positives and 4 negatives; pairs need as many of both"),
    (([("a", "b", "c")],), {}, r"entry 0 is \('a', 'b', 'c'\); expected a pair \(positive, negative\) of texts"),
    (([("a", "b"), ("c", None)],), {}, r"pair 1\[1\] is None"),
    ((5,), {}, "positives are of type int"),
]


@pytest.mark.parametrize(("given", "named", "message"), WRONG_SOURCES)
def test_what_makes_no_contrast_is_answered_with_the_call(
    llama: Any, unchecked: Callable[[], None], given: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    unchecked()
    with pytest.raises(ContrastError, match=message):
        extract(llama, *given, **named)


def test_sites_follow_the_negatives(llama: Any) -> None:
    assert extract(llama, GOOD, BAD, "attn_out@1").sites == extract(llama, GOOD, BAD, sites="attn_out@1").sites


def test_a_contrast_takes_no_negatives_and_sites_only_by_name(
    llama: Any, contrast: ContrastSet, unchecked: Callable[[], None]
) -> None:
    unchecked()
    with pytest.raises(ContrastError, match=r"holds both sides, .* extract\(model, source, sites='resid_post@\*'\)"):
        extract(llama, contrast, ["resid_post@1"])


# Swapped arguments, and what is no model

SWAPPED: dict[str, Callable[[Any, Any], Any]] = {
    "extract(model, positives, negatives)": lambda model, _: extract(GOOD, model),  # pyright: ignore[reportArgumentType]
    "generate(model, prompts, interventions)": lambda model, _: generate("Hello", model),  # pyright: ignore
    "generate_pair(model, prompts, interventions)": lambda model, v: generate_pair("Hello", model, v),  # pyright: ignore
    "steer(model, Intervention.of(vector, site, strength))": lambda model, v: steer(v, model).__enter__(),
    "vector.apply(model, layer, strength=2.0)": lambda model, v: v.apply(13, model),
    "score_choices(model, items, interventions)": lambda model, _: score_choices([], model),  # pyright: ignore
    "sweep(model, vector, items, sites, strengths)": lambda model, v: sweep(v, model, [], "resid_post@*", [1]),
    "record(model, texts, sites)": lambda model, _: record(GOOD, model, 1),  # pyright: ignore
    "trace(model, prompt, interventions)": lambda model, v: trace("Hello", model, v),  # pyright: ignore
    "measure_side_effects(model, texts, interventions)": lambda model, v: measure_side_effects(GOOD, model, v),  # pyright: ignore
}


@pytest.mark.parametrize("call", SWAPPED)
def test_swapped_arguments_are_told(
    llama: Any, vector: SteeringVector, unchecked: Callable[[], None], call: str
) -> None:
    unchecked()
    with pytest.raises(ArgumentError, match=r"the arguments are swapped; the model comes first\. Write ") as caught:
        SWAPPED[call](llama, vector)
    assert str(caught.value).endswith(f"Write {call}.")


def test_what_is_no_model_is_answered_with_how_to_load_one(llama: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    wrong: Any = "lab"
    with pytest.raises(ArgumentError, match=r"load it first: model = load_model\('lab'\)"):
        extract(wrong, GOOD, BAD)
    wrong = llama.original_model
    with pytest.raises(ArgumentError, match="type LlamaForCausalLM: load one first: model = load_model"):
        generate(wrong, "Hello")


# Sites


@pytest.mark.parametrize(
    ("given", "site"),
    [
        (2, "resid_post@2"),
        ("blocks.2.hook_resid_post", "resid_post@2"),
        ("blocks.2.hook_out", "resid_post@2"),
        ("blocks.0.hook_resid_pre", "resid_pre@0"),
        ("blocks.1.hook_in", "resid_pre@1"),
        ("blocks.1.hook_resid_mid", "resid_mid@1"),
        ("blocks.1.hook_attn_out", "attn_out@1"),
        ("blocks.1.attn.hook_out", "attn_out@1"),
        ("blocks.2.hook_mlp_out", "mlp_out@2"),
        ("blocks.2.mlp.hook_out", "mlp_out@2"),
    ],
)
def test_layers_and_transformer_lens_names_are_sites(llama: Any, given: int | str, site: str) -> None:
    assert Site.parse(given) == Site.parse(site)
    assert parse_sites(given, 3) == parse_sites([given], 3) == (Site.parse(site),)
    if isinstance(given, str) and not site.startswith("resid_mid"):
        assert llama.hook_dict[given] is llama.hook_dict[Site.parse(given).hook_name]


def test_layers_count_from_the_end_where_the_model_is_known(vector: SteeringVector) -> None:
    assert parse_sites([-1, range(1, 3)[0]], 3) == parse_sites(["resid_post@2", "resid_post@1"], 3)
    assert torch.equal(vector.at(-1), vector.at("resid_post@2")) and vector.norm(-3) == vector.norm(0)
    assert Intervention.of(vector, -1, 1.0).site == Site("resid_post", 2)
    assert parse_sites(range(1, 3), 3) == parse_sites("resid_post@1:3", 3)


def test_vectors_are_asked_by_layers_and_transformer_lens_names(vector: SteeringVector) -> None:
    assert vector.only(1, "blocks.2.hook_resid_post").sites == (Site("resid_post", 1), Site("resid_post", 2))
    assert vector.cosine(vector, 1) == pytest.approx(1)
    assert vector.activation_norm("blocks.1.hook_resid_post") == vector.activation_norm(1)


WRONG_SITES: list[tuple[Any, str]] = [
    (True, "True is not a site; expected kind@layer"),
    (1.0, r"1\.0 is not a site; expected kind@layer.* A layer alone, such as 12, is its resid_post"),
    (None, "None is not a site"),
    ("13", "'13' is not a site"),
    (-1, "layer -1: no model is known here to count from its end; count from 0"),
    ("hook_embed", "'hook_embed' is a TransformerLens hook point but not a site.* write 'resid_pre@0'"),
    ("ln_final.hook_normalized", "is a TransformerLens hook point but not a site"),
    ("blocks.3.attn.hook_pattern", "but not a site; layer 3 has 'resid_pre@3'.* and heads 'z@3.0'"),
    ("blocks.3.attn.hook_z", r"holds all heads of layer 3; name one: 'z@3\.0' is its first"),
]


@pytest.mark.parametrize(("given", "message"), WRONG_SITES)
def test_what_is_no_site_is_answered_with_one(given: Any, message: str, unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(LensSteerError, match=message):
        Site.parse(given)


def test_an_unknown_layer_is_answered_with_the_range(llama: Any, vector: SteeringVector) -> None:
    for sites in (99, [1, 99], "blocks.99.hook_resid_post"):
        with pytest.raises(LensSteerError, match="the model has 3 layers, so resid_post@0 to resid_post@2"):
            extract(llama, GOOD, BAD, sites=sites)
    with pytest.raises(LensSteerError, match="layer -4 does not exist: the model has 3 layers, 0 to 2"):
        extract(llama, GOOD, BAD, sites=-4)
    with pytest.raises(LensSteerError, match="the model has 3 layers"):
        vector.apply(llama, 99)
    with pytest.raises(LensSteerError, match="no direction at attn_out@1; it has resid_post@0:3"):
        vector.at("attn_out@1")


def test_a_vector_of_another_model_is_told_by_name_whatever_its_width(vector: SteeringVector, gpt2: Any) -> None:
    with pytest.raises(LensSteerError, match="and the model being steered"), vector.apply(gpt2, 1):
        pass


@pytest.mark.parametrize("given", [None, 1.5, True, {"a": 1}, {1: 2}, ["last"], "~" * 5000 + "last"])
def test_what_is_no_position_is_answered_with_the_rules(given: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(PositionError, match="is not a position rule; expected one of all"):
        Positions.parse(given)


# Interventions and prompts


def test_one_intervention_is_a_list_of_one(llama: Any, vector: SteeringVector, items: tuple[ChoiceItem, ...]) -> None:
    edit = Intervention.of(vector, 1, 3.0)
    calls: list[Callable[[Any], Any]] = [
        lambda given: generate(llama, GOOD, given, SHORT),
        lambda given: generate_pair(llama, GOOD, given, SHORT),
        lambda given: trace(llama, GOOD[0], given, SHORT),
        lambda given: score_choices(llama, items, given).to_frame().values.tolist(),
        lambda given: measure_side_effects(llama, GOOD, given).to_frame().values.tolist(),
    ]
    for call in calls:
        assert call(edit) == call([edit]) == call((edit,))
    plain = score_choices(llama, items).to_frame().values.tolist()
    assert score_choices(llama, items, edit).to_frame().values.tolist() != plain


def test_a_list_of_interventions_may_be_given_where_they_are_listed_one_by_one(
    llama: Any, vector: SteeringVector, unchecked: Callable[[], None]
) -> None:
    unchecked()
    with steer(llama, [Intervention.of(vector, 1, 3.0), Intervention.of(vector, 2, 1.0)]) as steering:
        llama("Hello")
    assert len(steering.edited) == 2 and all(steering.edited)


def test_what_is_no_intervention_is_answered_with_one(
    llama: Any, vector: SteeringVector, items: tuple[ChoiceItem, ...], unchecked: Callable[[], None]
) -> None:
    unchecked()
    alone: Any = vector
    write = (
        r"vector 'contrast' alone .* Intervention\.of\(vector, 'resid_post@1', strength=2\.0\).*vector\.apply\(model"
    )
    with pytest.raises(SteeringError, match=write), steer(llama, alone):
        pass
    for call in (generate, generate_pair, trace):
        with pytest.raises(SteeringError, match=write):
            call(llama, "Hello", alone)
    with pytest.raises(SteeringError, match=write):
        score_choices(llama, items, [alone])
    nothing: Any = None
    with pytest.raises(SteeringError, match=r"NoneType is not an intervention; .* \(\) is none"):
        generate(llama, "Hello", nothing)
    tensor: Any = vector.at(1)
    with pytest.raises(SteeringError, match=r"got Tensor; a bare direction is written by Intervention\.at\(site"):
        Intervention.of(tensor, 1, 2.0)
    with pytest.raises(SteeringError, match="strength '2' is not a number"):
        Intervention.of(vector, 1, "2")  # pyright: ignore[reportArgumentType]
    with pytest.raises(LensSteerError, match=r"2\.0 is not a site"):
        Intervention.of(vector, 2.0, 1)  # pyright: ignore[reportArgumentType]


def test_one_prompt_in_any_form_is_a_list_of_one(llama: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    row = tokenize(llama, "Hello")[0]
    whole = generate(llama, ["Hello"], decoding=SHORT)
    forms: list[Any] = ["Hello", row, [row], torch.tensor(row), torch.tensor([row]), [torch.tensor(row)]]
    assert all(generate(llama, form, decoding=SHORT) == whole for form in forms)
    assert trace(llama, row, Intervention.at(1, torch.ones(16)), SHORT).given_length == len(row)
    assert len(next(record(llama, "Hello", 1)).positions) == len(row)
    assert measure_side_effects(llama, GOOD[0], ()).tokens.tolist() == [len(tokenize(llama, GOOD[0])[0]) - 1]


def test_chats_are_written_by_the_models_template(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LensSteerError, match="has no chat template; load a chat model, or write the prompt's text"):
        generate(llama, CHAT, decoding=SHORT)
    monkeypatch.setattr(llama.tokenizer, "chat_template", TEMPLATE)
    one = generate(llama, CHAT, decoding=SHORT)
    assert llama.tokenizer.decode(one.continuations[0].prompt_tokens) == "<bos>[user] Hello\n[assistant] "
    two = generate(llama, [CHAT, [*CHAT, {"role": "assistant", "content": "Hi"}]], decoding=SHORT)
    assert two.continuations[0] == one.continuations[0] and len(two.continuations) == 2
    with pytest.raises(DataError, match=r"lacks its role or content; write {'role': 'user', 'content': 'Hello'}"):
        generate(llama, [{"role": "user", "text": "Hello"}])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "0 prompts, 0 of them texts, 0 token rows, 0 chats; give all texts"),
        (["Hello", [5, 6]], "2 prompts, 1 of them texts, 1 token rows, 0 chats; give all texts"),
        (["Hello", None], "2 prompts, 1 of them texts, 0 token rows, 0 chats"),
        (None, "1 prompts, 0 of them texts"),
        ([[1.5, 2.5]], "1 prompts, 0 of them texts"),
        ([[]], "prompt 0 is empty"),
    ],
)
def test_what_is_no_prompt_is_told(llama: Any, unchecked: Callable[[], None], prompts: Any, message: str) -> None:
    unchecked()
    with pytest.raises(DataError, match=message):
        generate(llama, prompts)


def test_what_is_no_text_is_not_tokenised(llama: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    wrong: Any = ["Hello", None]
    with pytest.raises(DataError, match="None is no text and cannot be tokenised"):
        tokenize(llama, wrong)


# vector.apply


@pytest.mark.parametrize("positions", ["generated", "after_prompt", "last_prompt | generated", "prompt", "all"])
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("prefill", ["", "The cat"])
def test_generate_inside_apply_is_generate_with_the_intervention(
    llama: Any, vector: SteeringVector, positions: str, cache: bool, prefill: str
) -> None:
    decoding = Decoding(max_new_tokens=6, stop_at_eos=False, cache=cache, prefill=prefill)
    edit = Intervention.of(vector, 1, 4.0, "relative", positions)
    with vector.apply(llama, 1, 4.0, "relative", positions) as steering:
        inside = generate(llama, GOOD, decoding=decoding)
    assert inside == generate(llama, GOOD, edit, decoding) and inside.interventions == (str(edit),)
    assert inside.texts != generate(llama, GOOD, decoding=decoding).texts and steering.edited[0] > 0


def test_the_models_own_generate_inside_apply_is_steered_behind_the_prompt(llama: Any, vector: SteeringVector) -> None:
    tokens = torch.tensor([tokenize(llama, "Hello")[0]])
    own = {"max_new_tokens": 5, "do_sample": False, "verbose": False, "stop_at_eos": False}
    with vector.apply(llama, layer=1, strength=4.0, scale="relative", positions="generated") as steering:
        found = llama.generate(tokens, **own)
    ours = generate(llama, "Hello", Intervention.of(vector, 1, 4.0, "relative", "generated"), SHORT)
    assert found[0, tokens.shape[1] :].tolist() == list(ours.continuations[0].tokens) and steering.edited == [4]
    with (
        pytest.raises(PositionError, match="where the prompt ends cannot be told; generate with the key-value cache"),
        vector.apply(llama, 1, 4.0, positions="generated"),
    ):
        llama.generate(tokens, use_past_kv_cache=False, **own)


def test_apply_never_ends_unsteered_in_silence(llama: Any, vector: SteeringVector) -> None:
    with (
        pytest.raises(
            SteeringError, match=r"results are unsteered.*first pass was taken for its prompt; pass prompt_len"
        ),
        vector.apply(llama, 1, positions="generated"),
    ):
        llama("Hello")
    with vector.apply(llama, 1, positions="generated", prompt_lengths=2) as steering:
        llama("Hello")
    assert steering.edited == [len(tokenize(llama, "Hello")[0]) - 2]


def test_each_forward_pass_inside_apply_has_its_own_prompt(llama: Any, vector: SteeringVector) -> None:
    with vector.apply(llama, 1, positions="last_prompt") as steering:
        steered = [llama(text) for text in GOOD][-1]
    assert steering.edited == [3]
    with steer(llama, Intervention.of(vector, 1, 1.0, positions="last")):
        assert torch.equal(steered, llama(GOOD[-1]))


def test_apply_takes_a_site_by_any_of_its_names_and_several(llama: Any, vector: SteeringVector) -> None:
    logits = []
    for context in (
        vector.apply(llama, layer=1, strength=2.0),
        vector.apply(llama, site="resid_post@1", strength=2.0),
        vector.apply(llama, "blocks.1.hook_resid_post", 2.0),
        vector.apply(llama, Site("resid_post", 1), 2.0),
        vector.only(1).apply(llama, strength=2.0),
    ):
        with context:
            logits.append(llama("Hello"))
    assert all(torch.equal(entry, logits[0]) for entry in logits) and not torch.equal(llama("Hello"), logits[0])
    with vector.apply(llama, range(1, 3)) as steering:
        llama("Hello")
    assert [str(entry.site) for entry in steering.interventions] == ["resid_post@1", "resid_post@2"]


def test_apply_without_a_place_is_answered_with_one(llama: Any, vector: SteeringVector) -> None:
    with pytest.raises(
        LensSteerError, match=r"has 3 sites; give one site, such as vector\.apply\(model, 'resid_post@1'"
    ):
        vector.apply(llama)
    with pytest.raises(LensSteerError, match="give one site"):
        vector.only(1).apply(llama, 1, site=1)


def test_comparisons_with_the_unsteered_model_are_refused_while_it_is_steered(
    llama: Any, vector: SteeringVector
) -> None:
    edit = Intervention.of(vector, 1, 2.0)
    with vector.apply(llama, 1) as steering:
        llama("Hello")
        assert active_interventions(llama) == steering.interventions
        with pytest.raises(
            SteeringError, match=r"an open steering context steers it .*; end that context and pass its"
        ):
            generate_pair(llama, "Hello", edit, SHORT)
        with pytest.raises(SteeringError, match=r"generate\(\.\.\., record=True\) compares with the unsteered model"):
            generate(llama, "Hello", decoding=SHORT, record=True)
    assert active_interventions(llama) == ()
    assert generate_pair(llama, "Hello", edit, SHORT).unsteered == generate(llama, "Hello", decoding=SHORT)

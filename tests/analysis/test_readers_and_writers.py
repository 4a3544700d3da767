"""Which components write a vector, which read it, and that the readers are needed."""

from typing import Any

import pytest
import torch

from lens_steer.analysis.attribution import (
    TokenContrast,
    ablate_heads,
    attribute_reading,
    attribute_writing,
    choice_contrast,
    mean_ablations,
    patch_back,
    token_contrast,
    writing_sites,
)
from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.errors import AttributionError, MismatchError
from lens_steer.evaluation.score import score_choices
from lens_steer.extraction import extract
from lens_steer.extraction.activations import contrast_activations
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site
from lens_steer.lab.items import fact_items, open_items
from lens_steer.model import block_inputs, load_model, output_weights
from lens_steer.vector import SteeringVector
from lens_steer.vector.controls import random_like


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def myopic(lab: Any) -> SteeringVector:
    pairs = contrast_from_choices("myopic", open_items("myopic", 60, split="train"), answer="text")
    return extract(lab, pairs, sites="resid_post@0")


@pytest.fixture(scope="module")
def readers(lab: Any, myopic: SteeringVector) -> tuple[Site, ...]:
    """The three heads whose OV maps carry the vector most, by the weights alone."""
    return attribute_reading(lab, myopic, "resid_post@0").top(3, "ov")


@pytest.fixture(scope="module")
def asked(lab: Any) -> TokenContrast:
    return choice_contrast(lab, open_items("myopic", 12, split="test"))


def test_heads_that_read_the_vector_remove_more_than_half_of_the_effect_and_random_heads_do_not(
    lab: Any, myopic: SteeringVector, readers: tuple[Site, ...], asked: TokenContrast
) -> None:
    edit = Intervention.of(myopic, "resid_post@0", 2.0, positions="0:20")
    found = ablate_heads(lab, asked, [edit], readers, controls=8)
    removed = found.removed
    random = sorted(share for name, share in removed.items() if name.startswith("random"))
    assert found.summary().set_index("set")["effect"]["none"] > 1, "there is an effect to be removed"
    assert removed["none"] == 0 and removed["found"] >= 0.5
    assert len(random) == 8 and sum(random) / 8 < 0.25 and random[-2] < 0.5 and random[-1] < removed["found"]


def test_without_the_heads_that_read_the_vector_the_model_still_answers_other_questions(
    lab: Any, readers: tuple[Site, ...], asked: TokenContrast
) -> None:
    facts = fact_items(16, split="test")
    assert bool(score_choices(lab, facts, mean_ablations(lab, asked, readers)).matches.all())


def test_heads_that_patching_back_finds_on_other_items_are_needed_too(lab: Any, myopic: SteeringVector) -> None:
    edit = [Intervention.of(myopic, "resid_post@0", 2.0, positions="0:20")]
    validation = choice_contrast(lab, open_items("myopic", 6, split="validation"))
    later = [Site("z", layer, head) for layer in (1, 2, 3, 4) for head in range(4)]
    heads = patch_back(lab, validation, edit, later).top(3)
    found = ablate_heads(lab, choice_contrast(lab, open_items("myopic", 8, split="test")), edit, heads, controls=0)
    assert found.removed["found"] >= 0.5


@pytest.mark.parametrize("site", ["resid_post@1", "resid_pre@1", "attn_out@1", "resid_post@0"])
def test_what_writes_the_vector_sums_to_its_norm(model: Any, contrast: ContrastSet, site: str) -> None:
    vector = extract(model, contrast, sites=site)
    found = attribute_writing(
        model, vector, site, contrast_activations(model, contrast, sites=writing_sites(model, site))
    )
    assert float(found.measured.mean()) == pytest.approx(vector.norm(site), rel=1e-3)
    assert float(found.values.mean(dim=0).sum()) == pytest.approx(vector.norm(site), rel=1e-3)
    assert found.components[0].kind == ("head" if site.startswith("attn") else "embedding")


def test_whole_attentions_write_what_their_heads_write(llama: Any, contrast: ContrastSet) -> None:
    vector = extract(llama, contrast, sites="resid_mid@1")
    shares = []
    for heads in (True, False):
        sides = contrast_activations(llama, contrast, sites=writing_sites(llama, "resid_mid@1", heads))
        rows = attribute_writing(llama, vector, "resid_mid@1", sides, heads).summary()
        shares.append(rows[rows["kind"].isin(("head", "attention"))].groupby("layer")["value"].sum())
    assert shares[0].to_dict() == pytest.approx(shares[1].to_dict(), abs=1e-4)


def test_an_architecture_whose_heads_sit_behind_a_norm_is_not_taken_apart_by_head(
    gemma2: Any, contrast: ContrastSet
) -> None:
    vector = extract(gemma2, contrast, sites="resid_post@1")
    with pytest.raises(AttributionError, match=r"miss the difference at resid_post@1.*heads=False"):
        attribute_writing(
            gemma2,
            vector,
            "resid_post@1",
            contrast_activations(gemma2, contrast, sites=writing_sites(gemma2, "resid_post@1")),
        )


def test_readings_are_those_of_the_weights(llama: Any, vector: SteeringVector) -> None:
    found = attribute_reading(llama, vector, "resid_post@0", toward=(40, 70))
    rows = found.to_frame().set_index(["component", "measure"])
    block = llama.original_model.model.layers[2]
    u = vector.at("resid_post@0").double() / vector.norm("resid_post@0")
    normed = u * block.input_layernorm.weight.detach().double()
    weights = {name: getattr(block.self_attn, f"{name}_proj").weight.detach().double() for name in "qkvo"}
    carried = weights["o"][:, 8:] @ (weights["v"] @ normed)  # the second of two heads; both share the one value head
    unembedding = llama.original_model.get_output_embeddings().weight.detach().double()
    r = (unembedding[40] - unembedding[70]) * llama.original_model.model.norm.weight.detach().double()
    wanted = {
        "query": (weights["q"][8:] @ normed).norm(),
        "key": (weights["k"] @ normed).norm(),
        "ov": carried.norm(),
        "toward": carried @ r / r.norm(),
    }
    for measure, value in wanted.items():
        assert rows.loc[("z@2.1", measure), "value"] == pytest.approx(float(value), rel=1e-4)
    mlp = torch.cat([block.mlp.up_proj.weight, block.mlp.gate_proj.weight]).detach().double()
    want = float((mlp @ (u * block.post_attention_layernorm.weight.detach().double())).norm())
    assert rows.loc[("mlp_out@2", "mlp"), "value"] == pytest.approx(want, rel=1e-4)
    assert set(rows.index.get_level_values("component")) == {
        "z@1.0", "z@1.1", "mlp_out@1", "z@2.0", "z@2.1", "mlp_out@2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "self_attn.q_proj",
            r"layer 1: that heads read the stream through its norm and W_Q, does not hold .*patch_back",
        ),
        ("self_attn.v_proj", "heads read the stream through its norm and W_V"),
        ("self_attn.o_proj", "attention adds its heads through W_O"),
        ("mlp.up_proj", "the MLP reads the stream through its norm and W_in"),
        ("input_layernorm", "heads read the stream through its norm and W_Q"),
    ],
)
def test_maps_that_the_model_does_not_use_as_their_names_say_are_refused(
    place: str, said: str, llama: Any, vector: SteeringVector
) -> None:
    module = llama.original_model.model.layers[1].get_submodule(place).original_component
    handle = module.register_forward_hook(lambda _module, _args, output: output * output.sigmoid())
    try:
        with pytest.raises(AttributionError, match=said):
            attribute_reading(llama, vector, "resid_post@0")
        handle.remove()
        handle = module.register_forward_hook(lambda _module, _args, output: output + 1)
        attribute_reading(llama, vector, "resid_post@0")
    finally:
        handle.remove()


def test_a_layer_norm_is_centred_before_it_is_read(gpt2: Any) -> None:
    found = block_inputs(gpt2, 1)
    ones = torch.ones(16)
    assert found.mlp is not None
    for weights in (*found.queries, *found.values, found.mlp):
        assert float((ones @ weights).abs().max()) < 1e-5, "a LayerNorm cannot see a constant"


def test_a_head_made_to_read_a_direction_is_found_and_a_random_direction_does_not_stand_out(
    lab: Any, myopic: SteeringVector
) -> None:
    carried = block_inputs(lab, 5).values[2] @ output_weights(lab, 5)[2]
    planted = torch.linalg.svd(carried).U[:, 0]
    vector = myopic.replaced("planted", {Site("resid_post", 0): planted})
    rows = attribute_reading(lab, vector, "resid_post@0").to_frame().set_index(["component", "measure"])
    assert rows.loc[("z@5.2", "ov"), "p"] == pytest.approx(1 / 201) and rows["ratio"][("z@5.2", "ov")] > 2
    noise = attribute_reading(lab, random_like(myopic, 5), "resid_post@0").to_frame()
    assert (noise["p"] <= 0.05).mean() < 0.2


def test_a_heads_direction_is_read_through_its_output_matrix(llama: Any, contrast: ContrastSet) -> None:
    head = extract(llama, contrast, sites="z@0.1")
    stream = extract(llama, contrast, sites="resid_post@0").replaced(
        "mapped", {Site("resid_post", 0): head.at("z@0.1") @ output_weights(llama, 0)[1]}
    )
    one, two = (attribute_reading(llama, v, s).to_frame() for v, s in ((head, "z@0.1"), (stream, "resid_post@0")))
    merged = one.merge(two, on=["component", "measure"])
    assert merged["value_x"].tolist() == pytest.approx(merged["value_y"].tolist(), rel=1e-4) and len(merged) == len(two)


def test_bad_input_is_refused(llama: Any, other_llama: Any, vector: SteeringVector, contrast: ContrastSet) -> None:
    with pytest.raises(AttributionError, match="0 components come after resid_post@2"):
        attribute_reading(llama, vector, "resid_post@2")
    with pytest.raises(MismatchError, match="the model that reads it"):
        attribute_reading(other_llama, vector, "resid_post@0")
    with pytest.raises(AttributionError, match=r"mlp_out@1 is written by one component alone"):
        writing_sites(llama, "mlp_out@1")
    with pytest.raises(AttributionError, match=r"no activations of resid_pre@0, z@0.0"):
        attribute_writing(llama, vector, "resid_post@1", contrast_activations(llama, contrast, sites="resid_post@1"))
    with pytest.raises(MismatchError, match="the model that writes it"):
        attribute_writing(other_llama, vector, "resid_post@1", {})
    asked = token_contrast(llama, ["The cat sat."], 40, 70)
    edit = [Intervention.of(vector, "resid_post@0", 1.0)]
    with pytest.raises(AttributionError, match=r"give at least one head, such as z@5.3"):
        ablate_heads(llama, asked, edit, [Site("mlp_out", 1)])
    with pytest.raises(AttributionError, match="3 heads were given and only 1 other heads come after the edit"):
        ablate_heads(llama, asked, edit, [Site("z", 1, 0), Site("z", 1, 1), Site("z", 2, 0)])

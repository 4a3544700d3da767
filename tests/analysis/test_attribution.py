"""Attribution of an edit: the parts sum to what was measured, and are those of a literal formula."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_gpt2, save_windowed
from torch import Tensor

from lens_steer.analysis.attribution import attribute_directly, patch_back, token_contrast
from lens_steer.analysis.attribution.contributions import Component, Contributions
from lens_steer.analysis.attribution.runs import later_components
from lens_steer.errors import AttributionError, DataError, PositionError, SiteError, SteeringError
from lens_steer.extraction.record import record
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import load_model, next_logits, tokenize

TEXTS = ["The cat sat on the mat.", "Which do you take?", "one dollar today and ten dollars later, the cat"]
RAISED, LOWERED = 40, 70


def push(model: Any, *sites: str, strength: float = 1.0) -> list[Intervention]:
    generator = torch.Generator().manual_seed(3)
    widths = [model.cfg.d_head if site.startswith("z") else model.cfg.d_model for site in sites]
    return [
        Intervention.at(site, torch.randn(width, generator=generator), strength)
        for site, width in zip(sites, widths, strict=True)
    ]


def difference(model: Any, interventions: list[Intervention]) -> Tensor:
    with steer(model, *interventions):
        logits = torch.cat([next_logits(model, [row]) for row in tokenize(model, TEXTS)])
    return (logits[:, RAISED] - logits[:, LOWERED]).double()


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "qwen3"])
@pytest.mark.parametrize(
    "sites",
    [
        ["resid_pre@0"],
        ["resid_post@0"],
        ["resid_post@1"],
        ["attn_out@0"],
        ["mlp_out@1"],
        ["z@0.1"],
        ["resid_post@0", "z@1.0", "mlp_out@1", "attn_out@1", "attn_out@1"],
    ],
)
def test_the_parts_sum_to_the_measured_change_of_the_logit_difference(
    name: str, sites: list[str], request: pytest.FixtureRequest
) -> None:
    model: Any = request.getfixturevalue(name)
    edits = push(model, *sites)
    asked = token_contrast(model, TEXTS, RAISED, LOWERED)
    want = difference(model, edits) - difference(model, [])
    for heads in (True, False):
        found = attribute_directly(model, asked, edits, heads=heads, batch_size=2)
        torch.testing.assert_close(found.measured, want, atol=1e-4, rtol=1e-4)
        assert float(found.unexplained.abs().max()) < 1e-3 * max(1.0, float(want.abs().max()))
        assert float(want.abs().max()) > 0.01


def test_an_edit_between_attention_and_mlp_is_attributed_too(llama: Any) -> None:
    asked = token_contrast(llama, TEXTS, RAISED)
    for heads in (True, False):
        found = attribute_directly(llama, asked, push(llama, "resid_mid@1", "resid_post@0"), heads=heads)
        assert float(found.unexplained.abs().max()) < 1e-4


def test_the_direct_part_of_the_edit_is_the_formula_and_without_the_norms_part_the_sum_misses(llama: Any) -> None:
    (edit,) = push(llama, "resid_post@1", strength=2.0)
    asked = token_contrast(llama, TEXTS[:1], RAISED, LOWERED)
    found = attribute_directly(llama, asked, [edit])
    inner = llama.original_model
    hidden = []
    handle = inner.model.norm.register_forward_pre_hook(lambda _m, a: hidden.append(a[0][0, -1].double()))
    row = tokenize(llama, TEXTS[:1])
    next_logits(llama, row)
    with steer(llama, edit):
        next_logits(llama, row)
    handle.remove()
    sigma = [(h.pow(2).mean() + llama.cfg.eps).sqrt() for h in hidden]
    unembedding = inner.get_output_embeddings().weight.detach().double()
    r = (unembedding[RAISED] - unembedding[LOWERED]) * inner.model.norm.weight.detach().double()
    want = r @ (2.0 * edit.direction.double()) * (1 / sigma[0] + 1 / sigma[1]) / 2
    assert found.components[0] == Component(label="edit resid_post@1", kind="edit", layer=1)
    assert float(found.values[0, 0]) == pytest.approx(float(want), abs=1e-5)
    norm = found.components.index(Component(label="norm scale", kind="norm"))
    want = r @ (hidden[0] + hidden[1]) / 2 * (1 / sigma[1] - 1 / sigma[0])
    assert float(found.values[0, norm]) == pytest.approx(float(want), abs=1e-5)
    assert abs(float(found.values[0, norm])) > 1e-2


def test_the_components_are_those_of_transformer_lens_own_attribution_on_folded_weights(
    gpt2: Any, tmp_path: Path
) -> None:
    from transformer_lens.tools.analysis import direct_logit_attribution

    folded: Any = load_model(save_gpt2(tmp_path / "gpt2"))
    folded.enable_compatibility_mode()
    edit = push(gpt2, "resid_post@0")
    tokens = torch.tensor(tokenize(gpt2, TEXTS[:1]))
    found, scale = {}, {}
    for name, plan in (("old", []), ("new", edit)):
        with steer(folded, *plan):
            _, cache = folded.run_with_cache(tokens)
        parts = direct_logit_attribution(
            folded, answer_tokens=RAISED, incorrect_tokens=LOWERED, unit="component", cache=cache
        )
        scale[name] = float(cache["ln_final.hook_scale"][0, -1])
        found[name] = dict(zip(parts.labels, parts.attribution.flatten().tolist(), strict=True))
    mine = attribute_directly(gpt2, token_contrast(gpt2, TEXTS[:1], RAISED, LOWERED), edit, heads=False)
    for component, label in (("attn_out@1", "1_attn_out"), ("mlp_out@1", "1_mlp_out")):
        change = found["new"][label] * scale["new"] - found["old"][label] * scale["old"]
        want = change * (1 / scale["new"] + 1 / scale["old"]) / 2
        place = [part.label for part in mine.components].index(component)
        assert float(mine.values[0, place]) == pytest.approx(want, abs=1e-4)


def test_a_capped_model_is_refused_by_the_sum_and_measured_by_patching(gemma2: Any) -> None:
    asked = token_contrast(gemma2, TEXTS, RAISED, LOWERED)
    with pytest.raises(AttributionError, match=r"caps its logits \(30 tanh\(logit / 30\)\).*Use patch_back"):
        attribute_directly(gemma2, asked, push(gemma2, "resid_post@1"))
    found = patch_back(gemma2, asked, push(gemma2, "resid_post@1"))
    assert float(found.values.abs().max()) > 0 and not found.additive


def test_a_model_that_scales_its_logits_is_refused_because_they_are_not_the_sum(
    llama: Any,
) -> None:
    asked, edit = token_contrast(llama, TEXTS, RAISED, LOWERED), push(llama, "resid_post@1")
    norm = llama.original_model.model.norm
    handle = norm.register_forward_hook(lambda _module, _args, output: 2 * output)
    with pytest.raises(AttributionError, match=r"miss the measured logit difference by .* a scale or a cap"):
        attribute_directly(llama, asked, edit)
    handle.remove()
    assert float(attribute_directly(llama, asked, edit).unexplained.abs().max()) < 1e-4


def test_heads_behind_a_norm_are_refused_one_by_one_and_whole_attentions_sum(tmp_path: Path) -> None:
    folder = save_windowed(tmp_path / "uncapped", "gemma2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": None}))
    model: Any = load_model(folder)
    asked, edit = token_contrast(model, TEXTS, RAISED, LOWERED), push(model, "resid_post@0")
    with pytest.raises(AttributionError, match=r"heads of this architecture do not add up.*heads=False"):
        attribute_directly(model, asked, edit)
    found = attribute_directly(model, asked, edit, heads=False)
    assert float(found.unexplained.abs().max()) < 1e-3


@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_in_half_precision_the_sum_is_held_to_the_rounding_of_logits_and_stream_and_heads_are_proved(
    strength: float, llama_folder: Path, tmp_path: Path
) -> None:
    model: Any = load_model(llama_folder, dtype=torch.bfloat16)
    asked, edit = token_contrast(model, TEXTS, RAISED, LOWERED), push(model, "resid_post@0", strength=strength)
    logits = torch.cat([next_logits(model, [row]) for row in asked.rows]).abs().max()
    for heads in (True, False):
        found = attribute_directly(model, asked, edit, heads=heads)
        assert float(found.unexplained.abs().max()) < 0.02 * float(logits)
    folder = save_windowed(tmp_path / "uncapped", "gemma2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": None}))
    normed: Any = load_model(folder, dtype=torch.bfloat16)
    asked = token_contrast(normed, TEXTS, RAISED, LOWERED)
    with pytest.raises(AttributionError, match=r"heads of this architecture do not add up.*heads=False"):
        attribute_directly(normed, asked, push(normed, "resid_post@0", strength=strength))


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_real_models_in_bfloat16_are_attributed_as_in_float32(name: str, request: pytest.FixtureRequest) -> None:
    loaded: Any = request.getfixturevalue(name)
    found = {}
    for model in (loaded, load_model(name, dtype=torch.bfloat16)):
        asked = token_contrast(model, ["The capital of France is", "I think that the movie was"], " the", " a")
        v = torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0))
        site = f"resid_post@{model.cfg.n_layers // 2}"
        (seen,) = record(model, asked.rows, site, "last")
        v = v / v.norm() * seen.activations[Site.parse(site)].norm(dim=-1).median()
        found[model.cfg.dtype] = attribute_directly(model, asked, Intervention.at(site, v), heads=False)
    full, half = found[torch.float32], found[torch.bfloat16]
    assert float(full.unexplained.abs().max()) < 1e-4
    assert float(half.unexplained.abs().max()) <= 0.25, "four logits below 32, each rounded by at most a sixteenth"
    torch.testing.assert_close(half.values, full.values, atol=0.1 * float(full.values.abs().max()), rtol=0.1)


def test_patching_back_is_a_literal_swap_of_one_output_and_leaves_no_hook(
    gpt2: Any, count_hooks: Callable[[Any], int]
) -> None:
    edit, row = push(gpt2, "resid_post@0"), tokenize(gpt2, TEXTS[:1])
    before = count_hooks(gpt2)
    sites = [Site.parse(name) for name in ("z@1.1", "mlp_out@1", "mlp_out@0")]
    found = patch_back(gpt2, token_contrast(gpt2, TEXTS[:1], RAISED, LOWERED), edit, sites)
    assert count_hooks(gpt2) == before
    names = {"z@1.1": "blocks.1.attn.hook_z", "mlp_out@1": "blocks.1.hook_mlp_out"}
    for place, site in enumerate(names):
        seen: list[Tensor] = []
        keep = [(names[site], lambda t, hook, seen=seen: seen.append(t.clone()))]  # noqa: ARG005
        with gpt2.hooks(fwd_hooks=keep):
            next_logits(gpt2, row)

        def swap(tensor: Tensor, hook: Any, old: Tensor = seen[0], head: bool = site == "z@1.1") -> Tensor:  # noqa: ARG001
            tensor = tensor.clone()
            if head:
                tensor[:, :, 1] = old[:, :, 1]
                return tensor
            return old

        with steer(gpt2, *edit):
            whole = next_logits(gpt2, row)[0]
            with gpt2.hooks(fwd_hooks=[(names[site], swap)]):
                patched = next_logits(gpt2, row)[0]
        want = (whole[RAISED] - whole[LOWERED]) - (patched[RAISED] - patched[LOWERED])
        assert float(found.values[0, place]) == pytest.approx(float(want), abs=1e-5)
    assert float(found.values[0, 2]) == 0, "what comes before the edit is the same in both runs"
    assert bool((found.values[0, :2].abs() > 1e-4).all())


def test_an_edited_component_keeps_its_edit_when_it_is_patched_back(gpt2: Any) -> None:
    found = patch_back(
        gpt2, token_contrast(gpt2, TEXTS, RAISED, LOWERED), push(gpt2, "mlp_out@1"), [Site("mlp_out", 1)]
    )
    assert float(found.values.abs().max()) == 0 and float(found.measured.abs().max()) > 0.01


def test_the_later_components_are_those_that_an_edit_can_reach(llama: Any, neox: Any) -> None:
    def names(model: Any, site: str) -> list[str]:
        return [str(found) for found in later_components(model, [Site.parse(site)], heads=False)]

    assert names(llama, "resid_post@1") == ["attn_out@2", "mlp_out@2"]
    assert names(llama, "attn_out@1") == ["mlp_out@1", "attn_out@2", "mlp_out@2"]
    assert names(llama, "resid_pre@2") == ["attn_out@2", "mlp_out@2"]
    assert names(neox, "attn_out@0") == ["attn_out@1", "mlp_out@1"], "parallel blocks: the MLP does not see it"


def test_the_summary_averages_over_items_and_says_why_there_is_no_interval() -> None:
    parts = (Component(label="z@1.0", kind="head", layer=1, head=0), Component(label="mlp_out@1", kind="mlp", layer=1))
    values = torch.tensor([[1.0, 0.0], [3.0, 0.5], [5.0, -0.5], [7.0, 0.0]], dtype=torch.float64)
    measured = values.sum(dim=1)
    found = Contributions(quantity="q", items=("a", "a", "b", "c"), components=parts, values=values, measured=measured)
    frame = found.summary()
    assert frame["component"].tolist() == ["z@1.0", "mlp_out@1"] and frame["n"].tolist() == [3, 3]
    assert frame["value"].iloc[0] == pytest.approx((2 + 5 + 7) / 3)
    assert frame["low"].isna().all() and set(frame["why"]) == {"few"}
    assert found.top(1) == (Site("z", 1, 0),) and len(found.to_frame()) == 8


def test_bad_questions_are_refused_with_what_to_do(llama: Any) -> None:
    with pytest.raises(DataError, match=r"'Which do you take' is \d+ tokens .*; give the text of one token"):
        token_contrast(llama, TEXTS, "Which do you take")
    with pytest.raises(DataError, match="token 9999: the vocabulary has the ids 0 to 299"):
        token_contrast(llama, TEXTS, 9999)
    with pytest.raises(DataError, match="0 prompts"):
        token_contrast(llama, [], 5)
    asked = token_contrast(llama, TEXTS, RAISED)
    with pytest.raises(SteeringError, match="there are no interventions"):
        attribute_directly(llama, asked, [])
    with pytest.raises(SteeringError, match="there are no interventions"):
        patch_back(llama, asked, [])
    with pytest.raises(AttributionError, match="resid_post@2 is not one component's output"):
        patch_back(llama, asked, push(llama, "resid_post@1"), [Site("resid_post", 2)])
    with pytest.raises(PositionError, match="is not a position rule"):
        patch_back(llama, asked, push(llama, "resid_post@1"), positions="lasst")
    with pytest.raises(SiteError, match="resid_post@9"):
        attribute_directly(llama, asked, push(llama, "resid_post@9"))

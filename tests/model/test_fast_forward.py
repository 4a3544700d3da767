"""The plain modules under a bridge: the same logits, every hook heard, and the model as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.generation import Decoding, Token, generate
from lens_steer.hooks import Intervention, hooked, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import fast_forward as fast_forward_module
from lens_steer.model import load_model, may_fast_forward, new_cache, pad, tokenize
from lens_steer.model.fast_forward import FastForward
from lens_steer.model.settings import forward_settings

V = torch.randn(16, generator=torch.Generator().manual_seed(3))
ROWS = [[0, 40, 41, 42, 43], [0, 44, 45]]
MODELS = ["gpt2", "llama", "qwen2", "qwen3", "neox"]
SITES = [Site("resid_pre", 1), Site("attn_out", 1), Site("mlp_out", 1), Site("resid_post", 0), Site("z", 1, 1)]


def two_steps(model: Any, fast: FastForward | None) -> Tensor:
    """The logits of a left-padded batch and of one more token."""
    (tokens, mask), cache, found = pad(model, ROWS, side="left"), new_cache(model), []
    for _ in range(2):
        with torch.no_grad():
            if fast is None:
                found.append(model(tokens, attention_mask=mask, past_key_values=cache)[:, -1])
            else:
                found.append(fast.logits(tokens, mask, cache)[:, -1])
        tokens, mask = torch.tensor([[50], [51]]), torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return torch.stack(found)


def modules(model: Any) -> list[tuple[str, int, list[str]]]:
    return [(name, id(part), list(part._modules)) for name, part in model.original_model.named_modules()]


@pytest.mark.parametrize("name", [*MODELS, "lab"])
def test_plain_modules_give_the_bridges_logits_and_leave_the_model_alone(
    request: pytest.FixtureRequest, name: str
) -> None:
    model = load_model("lab") if name == "lab" else request.getfixturevalue(name)
    assert may_fast_forward(model)
    before, want = modules(model), two_steps(model, None)
    torch.testing.assert_close(two_steps(model, FastForward(model)), want, rtol=1e-4, atol=1e-4)
    assert modules(model) == before and torch.equal(two_steps(model, None), want)


@pytest.mark.parametrize("site", [*SITES, Site("resid_mid", 1)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_site_is_edited_and_read_in_the_plain_modules_as_in_the_bridge(
    request: pytest.FixtureRequest, name: str, site: Site
) -> None:
    model = request.getfixturevalue(name)
    if name == "neox" and site.kind == "resid_mid":
        pytest.skip("parallel blocks have no stream between attention and MLP")
    v = V[: site.width(16, int(model.cfg.d_head))]
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    found = {}
    for plain in (True, False):
        functions = {site.hook_name: lambda h, plain=plain: seen[plain].append(h)}
        with steer(model, Intervention.at(site, v, 3)), hooked(model, functions):
            found[plain] = two_steps(model, FastForward(model) if plain else None)
    torch.testing.assert_close(found[True], found[False], rtol=1e-4, atol=1e-4)
    assert (found[True] - two_steps(model, None)).abs().max() > 1e-2
    assert len(seen[True]) == len(seen[False]) == 2
    for one, other in zip(seen[True], seen[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_hook_that_appears_between_two_steps_is_heard(llama: Any) -> None:
    fast = FastForward(llama)
    plain = two_steps(llama, fast)
    with llama.hooks(fwd_hooks=[("blocks.1.mlp.hook_pre", lambda h, hook: h + 1)]):  # noqa: ARG005
        hooked_plain, hooked_bridge = two_steps(llama, fast), two_steps(llama, None)
        torch.testing.assert_close(hooked_plain, hooked_bridge, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(hooked_plain, plain, atol=1e-2)
    torch.testing.assert_close(two_steps(llama, fast), plain)


def test_what_a_user_hooks_while_tokens_are_told_is_heard_from_the_next_token_on(llama: Any) -> None:
    decoding, handles = Decoding(max_new_tokens=8, stop_at_eos=False), []
    free = generate(llama, ["The cat"], (), decoding).continuations[0].tokens
    heard: list[int] = []

    def tell(token: Token) -> None:
        if token.step == 2:
            point = llama.blocks[1].attn.hook_pattern
            handles.append(point.register_forward_hook(lambda *_: heard.append(token.step)))

    try:
        assert generate(llama, ["The cat"], (), decoding, on_token=tell).continuations[0].tokens == free
    finally:
        for handle in handles:
            handle.remove()
    assert len(heard) == 5


def test_a_model_whose_plain_modules_differ_is_run_through_the_bridge(
    monkeypatch: pytest.MonkeyPatch, llama_folder: Any, count_hooks: Callable[[Any], int]
) -> None:
    model = load_model(llama_folder)
    with steer(model, Intervention.at("resid_post@0", V)):
        assert not may_fast_forward(model)
        model(torch.tensor(ROWS[:1]))
    trial = fast_forward_module._trial
    monkeypatch.setattr(fast_forward_module, "_trial", lambda m, ways: trial(m, ways) * (2 if any(ways) else 1))
    assert not may_fast_forward(model) and count_hooks(model) == 0
    monkeypatch.setattr(FastForward, "logits", None)
    assert generate(model, tokenize(model, ["The cat"]), (), Decoding(max_new_tokens=2)).texts
    again = load_model(llama_folder)
    again.cfg.use_hook_mlp_in = True
    assert not may_fast_forward(again)


def test_a_wrapper_whose_forward_was_replaced_is_not_bypassed(llama_folder: Any) -> None:
    model: Any = load_model(llama_folder)
    assert may_fast_forward(model)
    decoding = Decoding(max_new_tokens=4, stop_at_eos=False)
    free = generate(model, ["The cat"], (), decoding).continuations[0].tokens
    wrapper = model.blocks[1].mlp
    own = wrapper.forward
    vars(wrapper)["forward"] = lambda *args, **kwargs: -9 * own(*args, **kwargs)
    assert not may_fast_forward(model)
    assert generate(model, ["The cat"], (), decoding).continuations[0].tokens != free
    del vars(wrapper)["forward"]
    assert may_fast_forward(model)


def test_the_trial_is_run_again_when_a_setting_has_changed(llama_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = load_model(llama_folder)
    trials: list[Any] = []
    trial = fast_forward_module._trial
    monkeypatch.setattr(fast_forward_module, "_trial", lambda *given: (trials.append(given), trial(*given))[1])
    for eps in (1e-6, 1e-6, 1e-2):
        model.blocks[0].ln1.original_component.variance_epsilon = eps
        may_fast_forward(model)
    assert len(trials) == 2 * 3  # by the wrappers, by the modules, by the modules behind the wrappers' cache


@pytest.mark.parametrize("name", MODELS)
def test_a_steered_generation_takes_the_plain_modules_too(request: pytest.FixtureRequest, name: str) -> None:
    model = request.getfixturevalue(name)
    assert may_fast_forward(model)
    before = forward_settings(model)
    with steer(model, Intervention.at("resid_post@0", V), learn_prompts=True):
        assert may_fast_forward(model) and forward_settings(model) == before
        generate(model, ROWS, decoding=Decoding(max_new_tokens=2, stop_at_eos=False))

"""Steering: what is edited, what is refused, and that nothing is left behind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.errors import (
    DirectionError,
    LensSteerError,
    MismatchError,
    PositionError,
    SiteError,
    SteeringError,
    SteeringWarning,
)
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention, hooked, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import forward, pad, tokenize
from lens_steer.vector import SteeringVector

V = torch.randn(16, generator=torch.Generator().manual_seed(3))
TOKENS = torch.tensor([[0, 40, 41, 42, 43]])
Count = Callable[[Any], int]


def logits(model: Any) -> Tensor:
    return forward(model, TOKENS, torch.ones_like(TOKENS))


def by_hand(model: Any, site: Site, edit: Callable[[Tensor], Tensor]) -> Tensor:
    """The literal edit, through TransformerLens' own API."""

    def run(tensor: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return edit(tensor)

    with model.hooks(fwd_hooks=[(site.hook_name, run)]):
        return logits(model)


@pytest.mark.parametrize("kind", ["resid_pre", "attn_out", "mlp_out", "resid_post"])
def test_steering_is_the_literal_addition_at_the_site(model: Any, kind: str) -> None:
    want = by_hand(model, Site(kind, 1), lambda h: h + 2.5 * V)
    with steer(model, Intervention.at(f"{kind}@1", V, 2.5)):
        assert torch.equal(logits(model), want)
    assert not torch.equal(want, logits(model))


def test_only_the_chosen_tokens_are_edited(model: Any) -> None:
    def edit(h: Tensor) -> Tensor:
        edited = h.clone()
        edited[:, 2:4] += 2.5 * V
        return edited

    want = by_hand(model, Site("resid_post", 0), edit)
    with steer(model, Intervention.at("resid_post@0", V, 2.5, "2:4")) as steering:
        assert torch.equal(logits(model), want)
    assert steering.edited == [2] and steering.forwards == 1


def test_strength_zero_is_bit_identical_to_the_unhooked_model(model: Any, count_hooks: Count) -> None:
    plain = logits(model)
    for positions in ("all", "last", "1:3"):
        with steer(model, Intervention.at("resid_post@1", V, 0, positions)):
            assert count_hooks(model) > 0
            assert torch.equal(logits(model), plain)


def test_add_then_subtract_is_the_identity_and_order_is_that_of_the_call(model: Any) -> None:
    plain = logits(model)
    up, down = Intervention.at("resid_post@0", V, 3), Intervention.at("resid_post@0", V, -3)
    with steer(model, up, down):
        torch.testing.assert_close(logits(model), plain, rtol=0, atol=1e-4)
    with steer(model, up):
        assert (logits(model) - plain).abs().max() > 0.1


def test_nested_contexts_add_up_and_unwind_one_by_one(model: Any, count_hooks: Count) -> None:
    plain = logits(model)
    one, two = Intervention.at("resid_post@0", V, 1), Intervention.at("attn_out@1", V.flip(0), 2)
    with steer(model, one, two):
        both = logits(model)
    with steer(model, one):
        outer = logits(model)
        with steer(model, two):
            assert torch.equal(logits(model), both)
        assert torch.equal(logits(model), outer)
    assert torch.equal(logits(model), plain) and count_hooks(model) == 0


def test_transformer_lens_own_caching_sees_the_steered_model_and_leaves_it_steered(
    model: Any, count_hooks: Count
) -> None:
    name = Site("resid_post", 0).hook_name
    _, plain = model.run_with_cache(TOKENS, names_filter=lambda hook: "hook_in" in hook or "hook_out" in hook)
    with steer(model, Intervention.at("resid_post@0", V, 2.0)):
        first = logits(model)
        _, cache = model.run_with_cache(TOKENS)
        assert torch.equal(logits(model), first)
    torch.testing.assert_close(cache["blocks.1.hook_resid_pre"], plain["blocks.0.hook_out"] + 2.0 * V)
    assert name in cache and count_hooks(model) == 0


def break_body(model: Any, _vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1)):
        logits(model)
        raise LensSteerError("the body broke")


def break_hook(model: Any, _vector: SteeringVector) -> None:
    def bad(activation: Tensor, direction: Tensor, strength: float) -> Tensor:
        raise LensSteerError(f"the hook broke at {tuple(activation.shape)} {direction.shape} {strength}")

    with steer(model, Intervention.at("resid_post@0", V, 1), Intervention.at("mlp_out@1", V, 1, operator=bad)):
        logits(model)


def break_site(model: Any, _vector: SteeringVector) -> None:
    with steer(model, *(Intervention.at(site, V, 1) for site in ("resid_post@0", "resid_post@99", "attn_out@1"))):
        pytest.fail("the body must not run")


def break_width(model: Any, _vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1), Intervention.at("resid_post@1", torch.ones(17), 1)):
        pytest.fail("the body must not run")


def break_model(model: Any, vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1), Intervention.of(vector, "resid_post@1", 1)):
        pytest.fail("the body must not run")


def break_lengths(model: Any, _vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1, "after_prompt")):
        pytest.fail("the body must not run")


def break_batch(model: Any, _vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1, "prompt"), prompt_lengths=[2, 3]):
        logits(model)


def break_positions(model: Any, _vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1, "100:200")):
        logits(model)


def break_inner(model: Any, vector: SteeringVector) -> None:
    with steer(model, Intervention.at("resid_post@0", V, 1)):
        logits(model)
        break_site(model, vector)


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        (break_body, LensSteerError, "the body broke"),
        (break_hook, LensSteerError, r"the hook broke at \(1, 5, 16\)"),
        (break_site, SiteError, "'resid_post@99' does not exist: the model has"),
        (break_width, DirectionError, "the direction has 17 entries; the site is 16 wide"),
        (break_model, MismatchError, "'money' at resid_post@1 x 1, positions all and the model being steered"),
        (break_lengths, PositionError, "this position rule needs the prompt's length; pass prompt_lengths"),
        (break_batch, PositionError, "prompt_lengths has 2 entries and the forward pass 1 rows"),
        (break_positions, SteeringError, "1 forward passes ran and .*100:200 edited no token in any of them"),
        (break_inner, SiteError, "'resid_post@99' does not exist"),
    ],
)
def test_after_every_failure_there_are_no_hooks_and_the_model_is_bit_identical(
    gpt2: Any,
    vector: SteeringVector,
    count_hooks: Count,
    fail: Callable[[Any, SteeringVector], None],
    error: type[Exception],
    message: str,
) -> None:
    plain = logits(gpt2)
    with pytest.raises(error, match=message):
        fail(gpt2, vector)
    assert count_hooks(gpt2) == 0
    assert torch.equal(logits(gpt2), plain)


def test_hooks_that_someone_else_installed_stay(model: Any, count_hooks: Count) -> None:
    seen: list[int] = []

    def look(tensor: Tensor, hook: Any) -> None:  # noqa: ARG001
        seen.append(tensor.shape[1])

    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", look)]):
        before = count_hooks(model)
        with steer(model, Intervention.at("resid_post@0", V, 1)):
            logits(model)
        assert count_hooks(model) == before
        logits(model)
    assert seen == [5, 5]


def test_a_direction_or_strength_that_is_not_finite_is_refused_when_it_is_made(unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(DirectionError, match="16 entries are NaN or infinite"):
        Intervention.at("resid_post@0", torch.full((16,), float("nan")), 1)
    with pytest.raises(DirectionError, match="finite and not zero"):
        Intervention.at("resid_post@0", torch.zeros(16), 1)
    with pytest.raises(DirectionError, match=r"must be one axis, real.*complex64"):
        Intervention.at("resid_post@0", V.to(torch.complex64), 1)
    with pytest.raises(SteeringError, match="strength inf is not a finite number"):
        Intervention.at("resid_post@0", V, float("inf"))


def test_the_three_scales_are_their_formulas(vector: SteeringVector, llama: Any) -> None:
    site = Site("resid_post", 1)
    v = vector.at(site)
    raw = Intervention.of(vector, site, 2)
    unit = Intervention.of(vector, site, 2, scale="unit")
    relative = Intervention.of(vector, site, 2, scale="relative")
    assert torch.equal(raw.direction, v)
    torch.testing.assert_close(unit.direction, v / v.norm())
    torch.testing.assert_close(relative.direction, v / v.norm() * vector.activation_norm(site))
    for plan, factor in ((raw, 2.0), (unit, 2 / v.norm()), (relative, 2 * vector.activation_norm(site) / v.norm())):
        want = by_hand(llama, site, lambda h, factor=factor: h + factor * v)
        with steer(llama, plan):
            torch.testing.assert_close(logits(llama), want)


def test_a_context_without_a_forward_pass_warns(llama: Any) -> None:
    with pytest.warns(SteeringWarning, match="ended without a forward pass") as caught:
        with steer(llama, Intervention.at("resid_post@0", V, 1)):
            pass
    assert len(caught) == 1


def test_no_interventions_leave_the_model_unhooked(llama: Any, count_hooks: Count) -> None:
    with steer(llama):
        assert count_hooks(llama) == 0


@pytest.mark.parametrize("positions", ["all", "prompt", "last_prompt", "answer", "after_prompt", "0,3:9"])
def test_cached_and_uncached_generation_agree_token_for_token(model: Any, positions: str) -> None:
    def generate(cached: bool, strength: int) -> tuple[list[int], Tensor]:
        settings: dict[str, Any] = {"do_sample": False, "stop_at_eos": False, "verbose": False, "output_logits": True}
        plan = Intervention.at("resid_post@0", V, strength, positions)
        with steer(model, plan, prompt_lengths=TOKENS.shape[1]):
            out = model.generate(TOKENS, max_new_tokens=12, use_past_kv_cache=cached, **settings)
        return out.sequences[0].tolist(), torch.stack(list(out.logits))

    (tokens, steered), (uncached_tokens, uncached) = generate(True, 20), generate(False, 20)
    assert tokens == uncached_tokens
    torch.testing.assert_close(steered, uncached, rtol=0, atol=1e-4)
    assert (steered - generate(True, 0)[1]).abs().max() > 1e-2


def test_what_each_generation_step_edits_is_what_the_rule_says(llama: Any) -> None:
    plan = Intervention.at("resid_post@0", V, 1, "after_prompt")
    with steer(llama, plan, prompt_lengths=5) as steering:
        llama.generate(TOKENS, max_new_tokens=4, do_sample=False, stop_at_eos=False, verbose=False)
    assert (steering.forwards, steering.edited) == (4, [3])


def test_hugging_faces_own_generation_is_steered_at_the_same_tokens(llama: Any) -> None:
    with steer(llama, Intervention.at("resid_post@0", V, 6, "after_prompt"), prompt_lengths=5):
        ours = llama.generate(TOKENS, max_new_tokens=6, do_sample=False, stop_at_eos=False, verbose=False)
        theirs = llama.original_model.generate(
            TOKENS, attention_mask=torch.ones_like(TOKENS), max_new_tokens=6, min_new_tokens=6, do_sample=False
        )
    assert ours[0].tolist() == theirs[0].tolist()


def test_last_is_refused_where_a_cache_makes_it_move(llama: Any) -> None:
    with pytest.raises(PositionError, match=r"continues 5 cached tokens.*Use 'last_prompt', 'after_prompt'"):
        with steer(llama, Intervention.at("resid_post@0", V, 1, "last")):
            llama.generate(TOKENS, max_new_tokens=3, do_sample=False, stop_at_eos=False, verbose=False)


RULES = ["all", "prompt", "last", "last_prompt", "answer", "after_prompt", "1,2:4"]


@pytest.mark.parametrize("positions", RULES)
def test_left_padding_right_padding_and_no_padding_agree(model: Any, texts: list[str], positions: str) -> None:
    rows = [row for row in tokenize(model, texts) if len(row) > 4]
    lengths = [3, 4, 2][: len(rows)]
    plan = Intervention.at("resid_post@0", V, 4, positions)
    tokens, mask = pad(model, rows)
    left = torch.stack([row.roll(int((m == 0).sum())) for row, m in zip(tokens, mask, strict=True)])
    left_mask = torch.stack([m.roll(int((m == 0).sum())) for m in mask])
    with steer(model, plan, prompt_lengths=lengths):
        right_out, left_out = forward(model, tokens, mask), forward(model, left, left_mask)
    for i, row in enumerate(rows):
        with steer(model, plan, prompt_lengths=[lengths[i]]):
            alone = forward(model, *pad(model, [row]))[0]
        plain = forward(model, *pad(model, [row]))[0]
        torch.testing.assert_close(right_out[i, : len(row)], alone, rtol=0, atol=1e-4)
        torch.testing.assert_close(left_out[i, -len(row) :], alone, rtol=0, atol=1e-4)
        assert (alone - plain).abs().max() > 1e-2


def test_a_left_padded_batch_generates_what_each_row_generates_alone(llama: Any, texts: list[str]) -> None:
    plan = Intervention.at("resid_post@0", V, 6, "after_prompt")
    rows = tokenize(llama, texts[:2])
    settings = {"max_new_tokens": 6, "do_sample": False, "stop_at_eos": False, "verbose": False}
    with steer(llama, plan, prompt_lengths=[len(row) for row in rows]):
        together = llama.generate(texts[:2], return_type="tokens", **settings)
    for i, row in enumerate(rows):
        with steer(llama, plan, prompt_lengths=len(row)):
            alone = llama.generate(torch.tensor([row]), **settings)
        assert together[i, -6:].tolist() == alone[0, -6:].tolist()


def test_last_without_a_mask_on_padded_rows_is_refused_and_all_is_not(llama: Any, texts: list[str]) -> None:
    with pytest.raises(PositionError, match="rows of the batch end with padding, but the forward pass was given no"):
        with steer(llama, Intervention.at("resid_post@0", V, 1, "last")):
            llama(texts[:2])
    with steer(llama, Intervention.at("resid_post@0", V, 1, "all")):
        llama(texts[:2])
    left = torch.tensor([[2, 0, 40], [0, 41, 42]])
    with pytest.raises(PositionError, match="rows of the batch begin with padding"):
        with steer(llama, Intervention.at("resid_post@0", V, 1, "1:3")):
            llama(left)


def test_a_mask_that_does_not_cover_the_tokens_is_refused(llama: Any) -> None:
    with pytest.raises(PositionError, match=r"attention_mask \(1, 1, 5, 5\) does not say"):
        with steer(llama, Intervention.at("resid_post@0", V, 1)):
            llama.original_model(TOKENS, attention_mask=torch.zeros(1, 1, 5, 5))


@pytest.mark.parametrize("lengths", [[0], "3", [1.5], [], torch.tensor([1.0])])
def test_prompt_lengths_that_are_not_whole_numbers_from_one_on_are_refused(
    llama: Any, lengths: Any, unchecked: Callable[[], None]
) -> None:
    unchecked()
    with pytest.raises(PositionError, match="each a whole number of 1 or more"):
        with steer(llama, Intervention.at("resid_post@0", V, 1, "prompt"), prompt_lengths=lengths):
            pass


def test_a_direction_is_copied_to_the_device_once_a_context_however_many_passes_run(llama: Any) -> None:
    class Counted(Tensor):
        copies = 0

        def to(self, *args: Any, **kwargs: Any) -> Tensor:
            Counted.copies += 1
            return self.as_subclass(Tensor).to(*args, **kwargs)

    direction, want = V.as_subclass(Counted), by_hand(llama, Site("resid_post", 0), lambda h: h + 2.5 * V)
    with steer(llama, Intervention.at("resid_post@0", direction, 2.5)):
        assert all(torch.equal(logits(llama), want) for _ in range(3))
    assert Counted.copies == 1


def test_gradients_flow_through_the_direction(llama: Any) -> None:
    v = V.clone().requires_grad_()
    with steer(llama, Intervention.at("resid_post@0", v, 1.0)):
        llama(TOKENS).sum().backward()
    assert v.grad is not None and float(v.grad.abs().sum()) > 0
    llama.original_model.zero_grad()


def test_an_unknown_hook_name_is_refused_with_the_nearest_one(llama: Any, count_hooks: Count) -> None:
    with pytest.raises(SiteError, match=r"no hook point 'blocks.0.hook_resid_pots'. Did you mean"):
        with hooked(llama, {"blocks.0.hook_resid_post": lambda h: h, "blocks.0.hook_resid_pots": lambda h: h}):
            pytest.fail("the body must not run")
    assert count_hooks(llama) == 0


def test_a_vector_works_on_the_model_it_came_from(vector: SteeringVector, llama: Any, contrast: Any) -> None:
    plain = logits(llama)
    with steer(llama, *(Intervention.of(vector, site, 0.5) for site in vector.sites)) as steering:
        assert not torch.equal(logits(llama), plain)
    assert steering.edited == [5, 5, 5]
    assert extract(llama, contrast).fingerprint == vector.fingerprint

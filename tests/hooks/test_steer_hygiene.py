"""The battery: whatever happens inside `steer`, afterwards there are no hooks and the logits are bit-equal."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.errors import DirectionError, LensSteerError, PositionError, SiteError, SteeringError
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.operators import ConditionGate, Operator, ProbeGate
from lens_steer.hooks.sites import Site
from lens_steer.model import forward

V = torch.randn(16, generator=torch.Generator().manual_seed(3))
W = V.flip(0)
TOKENS = torch.tensor([[0, 40, 41, 42, 43]])
Count = Callable[[Any], int]


def logits(model: Any) -> Tensor:
    return forward(model, TOKENS, torch.ones_like(TOKENS))


def raising(error: BaseException) -> Operator:
    """An operator of the user's that breaks."""

    def run(activation: Tensor, direction: Tensor, strength: float) -> Tensor:  # noqa: ARG001
        raise error

    return run


def exception_in_the_body(model: Any) -> None:
    with steer(model, Intervention.at("resid_post@0", V), Intervention.at("resid_mid@1", V)):
        logits(model)
        raise RuntimeError("the body broke")


def interrupt_in_the_body(model: Any) -> None:
    with steer(model, Intervention.at("resid_post@0", V)):
        logits(model)
        raise KeyboardInterrupt


def exception_in_an_operator(model: Any) -> None:
    with steer(
        model,
        Intervention.at("resid_mid@0", V),
        Intervention.at("z@1.0", V[:8], operator=raising(KeyError("x"))),  # pyright: ignore
    ):
        logits(model)


def interrupt_in_an_operator(model: Any) -> None:
    with steer(model, Intervention.at("resid_post@0", V, operator=raising(KeyboardInterrupt()))):  # pyright: ignore
        logits(model)


def exception_in_a_gate(model: Any) -> None:
    class Broken(ProbeGate):
        def fires(self, activation: Tensor, real: Tensor | None = None) -> Tensor:  # noqa: ARG002
            raise LensSteerError("the gate broke")

    with steer(model, Intervention.at("resid_post@1", V, gate=Broken(V), gate_site="resid_pre@1")):
        logits(model)


def bad_site_in_the_middle(model: Any) -> None:
    with steer(model, *(Intervention.at(site, V) for site in ("resid_post@0", "resid_post@99", "attn_out@1"))):
        pytest.fail("the body must not run")


def operator_of_another_width(model: Any) -> None:
    from lens_steer.hooks.operators import Slerp

    with steer(model, Intervention.at("resid_post@0", V), Intervention.at("z@0.0", V, operator=Slerp())):
        pytest.fail("the body must not run")


def map_of_another_width(model: Any) -> None:
    from lens_steer.hooks.operators import MeanMatch

    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with steer(model, Intervention.at("resid_post@0", V, operator=MeanMatch.fit(rows, rows + 1))):
        logits(model)


def nested_contexts(model: Any) -> None:
    with steer(model, Intervention.at("resid_post@0", V)):
        outer = logits(model)
        with pytest.raises(RuntimeError, match="inner"):
            with steer(model, Intervention.at("resid_post@0", W)):
                assert not torch.equal(logits(model), outer)
                raise RuntimeError("inner")
        assert torch.equal(logits(model), outer)
        bad_site_in_the_middle(model)


def caching_inside(model: Any) -> None:
    with steer(model, Intervention.at("resid_post@0", V)):
        steered = logits(model)
        model.run_with_cache(TOKENS)
        assert torch.equal(logits(model), steered)
        raise RuntimeError("after caching")


def exclusive_positions_that_meet(model: Any) -> None:
    one = Intervention.at("resid_post@0", V, positions="0:3").exclusively()
    with steer(model, one, Intervention.at("resid_pre@1", W, positions="2:5")):
        logits(model)


def positions_outside_the_sequence(model: Any) -> None:
    with steer(model, Intervention.at("resid_post@0", V, positions="2:4"), Intervention.at("z@0.1", V[:8], 1, 70)):
        logits(model)


def another_thread(model: Any) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            logits(model)
        except SteeringError as error:
            caught.append(error)

    with steer(model, Intervention.at("resid_post@0", V)):
        steered = logits(model)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert torch.equal(logits(model), steered)
    raise caught[0]


def interrupted_generation(model: Any) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    generate(model, ["The cat", "A"], [Intervention.at("resid_post@0", V)], Decoding(), record=True, on_token=stop)


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        (exception_in_the_body, RuntimeError, "the body broke"),
        (interrupt_in_the_body, KeyboardInterrupt, None),
        (exception_in_an_operator, KeyError, "x"),
        (interrupt_in_an_operator, KeyboardInterrupt, None),
        (exception_in_a_gate, LensSteerError, "the gate broke"),
        (bad_site_in_the_middle, SiteError, "'resid_post@99' does not exist"),
        (operator_of_another_width, DirectionError, "the direction has 16 entries; the site is 8 wide"),
        (map_of_another_width, DirectionError, "has 8 entries; the activation is 16 wide"),
        (nested_contexts, SiteError, "'resid_post@99' does not exist"),
        (caching_inside, RuntimeError, "after caching"),
        (exclusive_positions_that_meet, PositionError, "select the same tokens, and one of them shares its tokens"),
        (positions_outside_the_sequence, SteeringError, r"z@0.1 x 1, positions 70 edited no token"),
        (another_thread, SteeringError, "another thread than the steering context"),
        (interrupted_generation, KeyboardInterrupt, None),
    ],
)
def test_afterwards_there_are_no_hooks_and_the_logits_are_bit_equal(
    llama: Any, count_hooks: Count, fail: Callable[[Any], None], error: type[BaseException], message: str | None
) -> None:
    plain = logits(llama)
    with pytest.raises(error, match=message):
        fail(llama)
    assert count_hooks(llama) == 0 and torch.equal(logits(llama), plain)
    with steer(llama, Intervention.at("resid_post@0", V)):
        assert not torch.equal(logits(llama), plain)


def test_a_context_that_a_cycle_of_objects_abandons_is_taken_off_the_model_when_the_cycle_is_collected(
    llama: Any, count_hooks: Count
) -> None:
    class Holder:
        """Holds a generator that holds an open context, and itself."""

        def __init__(self) -> None:
            self.steps, self.me = self.run(), self
            next(self.steps)

        def run(self) -> Iterator[None]:
            with steer(llama, Intervention.at("resid_post@0", V), Intervention.at("resid_mid@1", V)):
                yield

    plain = logits(llama)
    Holder()
    gc.collect()
    assert count_hooks(llama) == 0 and torch.equal(logits(llama), plain)


def test_two_threads_that_steer_one_model_at_once_are_refused_and_both_unwind(llama: Any, count_hooks: Count) -> None:
    plain, found, both = logits(llama), [], threading.Barrier(2)

    def run(direction: Tensor) -> None:
        with pytest.raises(SteeringError, match="another thread"):
            with steer(llama, Intervention.at("resid_post@0", direction)):
                both.wait()
                try:
                    logits(llama)
                finally:
                    both.wait()
        found.append(direction)

    threads = [threading.Thread(target=run, args=(direction,)) for direction in (V, W)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and count_hooks(llama) == 0 and torch.equal(logits(llama), plain)


def test_threads_that_take_turns_are_each_steered_by_their_own(llama: Any) -> None:
    lock, found = threading.Lock(), {}

    def run(name: str, direction: Tensor) -> None:
        for _ in range(3):
            with lock, steer(llama, Intervention.at("resid_post@0", direction)):
                found.setdefault(name, []).append(logits(llama))

    threads = [threading.Thread(target=run, args=entry) for entry in (("v", V), ("w", W))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, direction in (("v", V), ("w", W)):
        with steer(llama, Intervention.at("resid_post@0", direction)):
            want = logits(llama)
        assert all(torch.equal(seen, want) for seen in found[name])


def double(activation: Tensor, direction: Tensor, strength: float) -> Tensor:
    """An operator that does not commute with addition."""
    return activation * (1 + strength * direction)


def test_two_interventions_on_one_hook_act_once_each_in_the_order_given(model: Any) -> None:
    add, scale = Intervention.at("resid_post@0", V, 2), Intervention.at("resid_post@0", W, 0.5, operator=double)
    name = "blocks.1.hook_resid_pre"
    h = model.run_with_cache(TOKENS)[1][name]
    for plans, want in (((add, scale), (h + 2 * V) * (1 + 0.5 * W)), ((scale, add), h * (1 + 0.5 * W) + 2 * V)):
        with steer(model, *plans) as steering:
            torch.testing.assert_close(model.run_with_cache(TOKENS)[1][name], want)
        assert steering.edited == [5, 5]
    assert not torch.allclose((h + 2 * V) * (1 + 0.5 * W), h * (1 + 0.5 * W) + 2 * V, atol=1e-2)


def test_the_end_of_a_block_and_the_beginning_of_the_next_are_one_tensor_edited_in_the_models_order(model: Any) -> None:
    assert Site("resid_pre", 1).tensor == Site("resid_post", 0).tensor == Site("resid_post", 0)
    assert Site("resid_pre", 0).tensor == Site("resid_pre", 0)
    post, pre = Intervention.at("resid_post@0", V, 2), Intervention.at("resid_pre@1", W, 0.5, operator=double)
    h = model.run_with_cache(TOKENS)[1]["blocks.0.hook_resid_post"]
    want = (h + 2 * V) * (1 + 0.5 * W)
    for plans in ((post, pre), (pre, post)):
        with steer(model, *plans) as steering:
            torch.testing.assert_close(model.run_with_cache(TOKENS)[1]["blocks.1.hook_resid_pre"], want)
        assert steering.edited == [5, 5]


def test_exclusive_interventions_that_do_not_meet_go_on(llama: Any) -> None:
    one = Intervention.at("resid_post@0", V, positions="prompt").exclusively()
    other = Intervention.at("resid_post@0", W, positions="~prompt")
    found = generate(llama, ["The cat"], [one, other], Decoding(max_new_tokens=4, stop_at_eos=False))
    assert len(found.continuations[0].tokens) == 4
    elsewhere = Intervention.at("resid_post@1", W)
    with steer(llama, one, elsewhere, prompt_lengths=5) as steering:
        logits(llama)
    assert steering.edited == [5, 5]


@pytest.mark.parametrize("per", ["row", "token"])
def test_a_closed_gate_leaves_the_logits_bit_equal(llama: Any, per: Any) -> None:
    plain = logits(llama)
    with steer(llama, Intervention.at("resid_mid@0", V, 9, gate=ConditionGate(V, 1.0, per=per)), prompt_lengths=5):
        assert torch.equal(logits(llama), plain)


def test_steered_gradients_flow_through_an_open_gate(llama: Any) -> None:
    v = V.clone().requires_grad_()
    with steer(llama, Intervention.at("resid_post@0", v, gate=ConditionGate(V, -1.0, per="token"))):
        llama(TOKENS).sum().backward()
    assert v.grad is not None and float(v.grad.abs().sum()) > 0
    llama.original_model.zero_grad()


def test_hooks_that_someone_else_removes_are_missed_at_once(llama: Any) -> None:
    tokens = torch.tensor([[1, 2, 3]])
    with pytest.raises(SteeringError, match=r"the hook did not run in this forward pass.*reset_hooks"):
        with steer(llama, Intervention.at("resid_post@1", torch.randn(16))):
            llama(tokens)
            llama.reset_hooks()
            llama(tokens)
    with torch.no_grad():
        llama(tokens)

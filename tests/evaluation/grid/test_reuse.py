"""Reuse against plain passes: the same logits, on every architecture, at every site, for every position rule."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pairs import crossed
from torch import Tensor

from lens_steer.errors import DataError, SteeringError
from lens_steer.evaluation.grid import Configuration, GridOptions, GridTokens, Numbers, run_grid, why_not_reused
from lens_steer.evaluation.grid import passes as passes_module
from lens_steer.evaluation.grid import trial as trial_module
from lens_steer.evaluation.grid.plan import plan_grid
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.operators import Add, ConditionGate, InContextAdd, NormPreserving, ProbeGate
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import HEADS, Site
from lens_steer.model import Logits, may_fast_forward, next_logits, tokenize
from lens_steer.model.fast_forward import FastForward

MODELS = ["llama", "gpt2", "neox", "mistral", "qwen3", "gemma2"]
RULES = ["all", "last", "last_prompt(2)", "prompt & ~content", "content", "3:5", "0,7", "1 | last", "tokens(9)"]
KINDS = ("resid_pre", "attn_out", "resid_mid", "mlp_input", "mlp_out", "resid_post", HEADS)
ROWS = [[5, 9, 4, 3, 8, 6, 7, 3, 4, 5, 9, 8], [7, 3, 5, 4, 6, 9, 8, 3], [4, 8, 6], [9, 3, 7, 5, 8, 4, 6, 9, 5]]


def keep_logits(_: list[int], __: GridTokens) -> Numbers:
    return lambda logits: logits


def direction(model: Any, site: Site, seed: int = 0) -> Tensor:
    width = site.width(int(model.cfg.d_model), int(model.cfg.d_head))
    return torch.randn(width or 0, generator=torch.Generator().manual_seed(seed))


def sites_of(model: Any) -> list[Site]:
    layers = range(int(model.cfg.n_layers))
    kinds = [kind for kind in KINDS if kind != "resid_mid" or "blocks.0.hook_resid_mid" in model.hook_dict]
    return [Site(kind, layer, 1 if kind == HEADS else None) for kind in kinds for layer in layers]


def grid(model: Any, rule: str) -> list[Configuration]:
    return [
        [Intervention.at(site, direction(model, site), strength, rule)]
        for site in sites_of(model)
        for strength in (-1.5, 2.0)
    ]


def both(
    model: Any, configurations: Sequence[Configuration], rows: Sequence[Sequence[int]] = ROWS, **how: Any
) -> tuple[Any, Any]:
    reused, plain = (
        run_grid(model, rows, configurations, keep_logits, GridOptions(**how, reuse=reuse)) for reuse in (True, False)
    )
    return reused, plain


def worst(one: Any, other: Any) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one.configurations, other.configurations, strict=True))


@pytest.mark.parametrize(("name", "rule"), crossed(MODELS, RULES))
def test_reuse_gives_the_logits_of_plain_passes(request: pytest.FixtureRequest, name: str, rule: str) -> None:
    model = request.getfixturevalue(name)
    reused, plain = both(model, grid(model, rule))
    assert reused.path == "reused" and plain.path == "naive: reuse was switched off"
    assert worst(reused, plain) <= 1e-4
    moved = sorted(float((configuration - plain.unsteered).abs().max()) for configuration in plain.configurations)
    assert moved[2 * len(moved) // 3] > 1e-3
    assert torch.equal(reused.unsteered, next_logits(model, ROWS).double())


@pytest.mark.parametrize("name", MODELS)
def test_passes_by_reuse_run_by_plain_modules_and_give_what_the_bridge_gives(
    request: pytest.FixtureRequest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, runs, own = request.getfixturevalue(name), [], FastForward.run
    assert may_fast_forward(model)
    monkeypatch.setattr(FastForward, "run", lambda *args: runs.append(args) or own(*args))
    fast = run_grid(model, ROWS, grid(model, "last"), keep_logits)
    assert runs
    runs.clear()
    monkeypatch.setattr(passes_module, "may_fast_forward", lambda _: False)
    bridged = run_grid(model, ROWS, grid(model, "last"), keep_logits)
    assert not runs and fast.path == bridged.path == "reused"
    assert worst(fast, bridged) <= 1e-5 * float(bridged.unsteered.abs().max())


@pytest.mark.parametrize("scored", ["last", "all"])
@pytest.mark.parametrize("batch_size", [1, 3, 9, 64])
def test_batches_of_every_size_give_the_same(mistral: Any, batch_size: int, scored: Any) -> None:
    configurations = grid(mistral, "2:4")

    def at_the_end(rows: list[int], tokens: GridTokens) -> Numbers:
        ends = [len(ROWS[row]) - (1 if scored == "last" else 2) for row in rows]
        at_end = torch.tensor(ends) == torch.tensor(tokens.positions)
        return lambda logits: torch.where(at_end[:, None], logits, 0.0)

    found = [
        run_grid(mistral, ROWS, configurations, at_the_end, GridOptions(batch_size=size, reuse=reuse), scored)
        for size, reuse in ((batch_size, True), (2, False))
    ]
    assert found[0].path == "reused" and worst(*found) <= 1e-4


@pytest.mark.parametrize("rule", ["all", "last", "last_prompt(2)", "after_prompt", "0:2 | generated", "5"])
def test_continuations_are_scored_behind_their_prompts_whatever_is_edited(model: Any, rule: str) -> None:
    prompts = [7, 6, 1, 8]

    def where(_: list[int], tokens: GridTokens) -> Numbers:
        place = torch.nn.functional.one_hot(torch.tensor(tokens.positions), 12)[:, :, None]
        return lambda logits: (place * logits[:, None]).flatten(1)

    configurations = grid(model, rule)
    reused, plain = (
        run_grid(
            model,
            ROWS,
            configurations,
            where,
            GridOptions(batch_size=30, reuse=reuse),
            "continuation",
            prompt_lengths=prompts,
        )
        for reuse in (True, False)
    )
    assert reused.path == "reused" and worst(reused, plain) <= 1e-4
    named = grid(model, "last_prompt" if rule == "last" else rule)
    for number in (0, len(configurations) // 2):
        for row, (tokens, length) in enumerate(zip(ROWS, prompts, strict=True)):
            if rule == "5" and len(tokens) < 6:
                continue
            with steer(model, *named[number], prompt_lengths=[length]), torch.no_grad():
                whole = model(torch.tensor([tokens]))[0].double()
            found = plain.configurations[number][row].reshape(12, -1)
            assert float((found[length - 1 : len(tokens) - 1] - whole[length - 1 : -1]).abs().max()) <= 1e-4
            assert not found[: length - 1].any() and not found[len(tokens) - 1 :].any()


@pytest.mark.parametrize("lengths", [None, [7, 6, 1], [7, 6, 3, 8], [0, 6, 1, 8]])
def test_a_sequence_without_a_continuation_is_refused(llama: Any, lengths: Any) -> None:
    with pytest.raises(DataError, match="to score continuations, give each sequence a prompt"):
        run_grid(llama, ROWS, [[]], keep_logits, scored="continuation", prompt_lengths=lengths)


def test_every_tokens_logits_are_those_of_plain_passes_when_all_are_scored(model: Any) -> None:
    def best(_: list[int], tokens: GridTokens) -> Numbers:
        place = torch.nn.functional.one_hot(torch.tensor(tokens.positions), 12)[:, :, None]

        def every(logits: Tensor) -> Tensor:
            both = torch.cat([logits, logits - tokens.unsteered], dim=1)
            return (place * both[:, None]).flatten(1)

        return every

    for rule in ("all", "1"):
        reused, plain = (
            run_grid(model, ROWS, grid(model, rule), best, GridOptions(batch_size=30, reuse=reuse), "all")
            for reuse in (True, False)
        )
        assert reused.path == "reused" and worst(reused, plain) <= 1e-4


def test_configurations_of_several_interventions_operators_and_rules_share_passes(llama: Any) -> None:
    vectors = [direction(llama, Site("resid_post", 0), seed) for seed in range(3)]
    configurations: list[Configuration] = [
        [Intervention.at("resid_post@0", vectors[0], 1.0, "last"), Intervention.at("resid_pre@2", vectors[1], 2.0)],
        [
            Intervention.at("resid_post@1", vectors[0], 1.0, "2"),
            Intervention.at("resid_post@0", vectors[1], -1.0, "last"),
        ],
        [Intervention.at("resid_post@1", vectors[0], 0.7, "last", InContextAdd()) for _ in range(2)],
        [Intervention.at("resid_mid@1", vectors[2], 0.7, "last", NormPreserving(Add()))],
        [Intervention.at("resid_mid@1", vectors[2], 0.0, "last")],
        [],
    ]
    reused, plain = both(llama, configurations)
    assert reused.path == "reused" and worst(reused, plain) <= 1e-4
    assert torch.equal(reused.configurations[-1], reused.unsteered)


def test_an_intervention_acts_only_on_the_sequences_that_have_its_positions(llama: Any) -> None:
    configuration = [Intervention.at("resid_post@1", direction(llama, Site("resid_post", 1)), positions="10")]
    reused, plain = both(llama, [configuration], batch_size=1)
    moved = (reused.configurations[0] - reused.unsteered).abs().amax(dim=1) > 0
    assert moved.tolist() == [True, False, False, False] and worst(reused, plain) <= 1e-4
    with pytest.raises(SteeringError, match=r"would have edited no token in any of the 4 sequences"):
        both(
            llama,
            [configuration, [Intervention.at("resid_post@1", direction(llama, configuration[0].site), positions="20")]],
        )


def test_what_does_not_change_is_forwarded_once_and_earlier_blocks_not_at_all(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: dict[int, list[int]] = {layer: [] for layer in range(3)}

    def count(layer: int) -> Callable[..., None]:
        return lambda _, args: tokens[layer].append(args[0].shape[:2].numel())

    configurations = [
        [Intervention.at(f"resid_post@{layer}", direction(llama, Site("resid_post", 0)), strength, "last")]
        for layer in range(3)
        for strength in (-1.0, 1.0, 2.0)
    ]
    assert why_not_reused(llama, configurations) == ""
    monkeypatch.setattr(trial_module, "is_hooked", lambda _: False)  # the hooks that count change nothing
    handles = [block.original_component.register_forward_pre_hook(count(i)) for i, block in enumerate(llama.blocks)]
    try:
        run_grid(llama, ROWS, configurations, keep_logits)
    finally:
        for handle in handles:
            handle.remove()
    whole = len(ROWS) * max(len(row) for row in ROWS)
    assert tokens == {0: [whole], 1: [whole, 6 * len(ROWS)], 2: [whole, 6 * len(ROWS)]}


@pytest.mark.parametrize(
    ("n_tokens", "batch_size", "passes"),
    [(1, 99, [(0, 1, 2, 3), (4, 5)]), (64, 99, [(0, 1), (2, 3), (4, 5)]), (1, 3, [(0, 1), (2, 3), (4, 5)])],
)
def test_layers_share_a_pass_where_its_tokens_are_few_and_fit_the_batch(
    llama: Any, n_tokens: int, batch_size: int, passes: list[tuple[int, ...]]
) -> None:
    configurations = [
        [
            Intervention.at(
                f"resid_post@{layer}", direction(llama, Site("resid_post", 0)), strength, f"last_prompt({n_tokens})"
            )
        ]
        for layer in range(3)
        for strength in (-1.0, 1.0)
    ]
    plan = plan_grid(llama, [[5, 9, 4, 3] * 17], configurations, batch_size, "last")
    assert [one_pass.configurations for one_pass in plan[0].passes] == passes
    assert [one_pass.skipped for one_pass in plan[0].passes] == [1 + min(found) // 2 for found in passes]


def test_operators_that_do_not_declare_to_be_token_wise_are_run_plainly_and_the_reason_is_said(llama: Any) -> None:
    vector = direction(llama, Site("resid_post", 1))

    class Mean:
        def __call__(self, activation: Tensor, direction: Tensor, strength: float) -> Tensor:  # noqa: ARG002
            return activation + strength * activation.mean(dim=1, keepdim=True)

    for operator, name in ((NormPreserving(Mean()), "NormPreserving"), (Mean(), "Mean")):
        reused, plain = both(llama, [[Intervention.at("resid_post@1", vector, operator=operator)]])
        assert reused.path == f"naive: operator {name} does not declare token_wise = True"
        assert worst(reused, plain) == 0


def test_a_one_site_sweep_calls_the_operator_once_a_configuration(llama: Any) -> None:
    class Counted:
        calls, token_wise = 0, True

        def __call__(self, activation: Tensor, direction: Tensor, strength: float) -> Tensor:
            Counted.calls += 1
            return activation + strength * direction

    why_not_reused(llama, [])
    vector = direction(llama, Site("resid_post", 1))
    strengths = (-2.0, -1.0, 1.0, 2.0)
    configurations = [[Intervention.at("resid_post@1", vector, s, operator=Counted())] for s in strengths]
    table = run_grid(llama, ROWS, configurations, keep_logits)
    assert table.path == "reused" and Counted.calls == len(strengths)


def test_gates_of_tokens_share_passes_wherever_they_look_and_gates_of_rows_do_not(llama: Any) -> None:
    vector = direction(llama, Site("resid_post", 1))
    for looks in (None, "resid_post@0", "resid_pre@1"):
        configurations = [
            [Intervention.at("resid_post@1", vector, strength, rule, gate=ProbeGate(vector), gate_site=looks)]
            for strength in (-2.0, 2.0)
            for rule in ("all", "last")
        ]
        reused, plain = both(llama, configurations)
        assert reused.path == "reused" and worst(reused, plain) <= 1e-4
    moved = [float((configuration - plain.unsteered).abs().max()) for configuration in plain.configurations]
    assert max(moved) > 1e-2
    rows = [[Intervention.at("resid_post@1", vector, gate=ConditionGate(vector, 0.0))]]
    reused, plain = both(llama, rows)
    assert reused.path == "naive: gate ConditionGate decides whole rows" and worst(reused, plain) == 0
    alone = [[Intervention.at("resid_post@1", vector, positions="last").exclusively()]]
    assert both(llama, alone)[0].path == "naive: exclusive interventions do not share a pass"


def test_a_model_on_which_the_trial_differs_is_run_plainly(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "_REASONS", {})
    real = trial_module.reused_passes

    class Doubled:
        def __init__(self, logits: Logits) -> None:
            self.whole = lambda: 2 * logits.whole()

    monkeypatch.setattr(trial_module, "reused_passes", lambda *g: ((p, map(Doubled, found)) for p, found in real(*g)))
    assert why_not_reused(llama, []) == "its passes by reuse differ from plain passes by 1.0e+00 of their norm"
    configurations = grid(llama, "last")[:2]
    reused, plain = both(llama, configurations)
    assert reused.path.startswith("naive: its passes by reuse differ") and worst(reused, plain) == 0


def test_inside_an_open_context_configurations_are_run_plainly_on_top_of_it(llama: Any) -> None:
    outer = Intervention.at("resid_post@0", direction(llama, Site("resid_post", 0), 5))
    configurations = grid(llama, "last")[:4]
    with steer(llama, outer):
        inside = run_grid(llama, ROWS, configurations, keep_logits)
    assert inside.path == "naive: hooks are installed on the model"
    assert worst(inside, run_grid(llama, ROWS, configurations, keep_logits)) > 1e-2


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_run_the_model_is_as_before(
    llama: Any, count_hooks: Callable[[Any], int], reuse: bool, error: type[BaseException]
) -> None:
    class Bomb:
        calls, token_wise = 0, True

        def __call__(self, activation: Tensor, direction: Tensor, strength: float) -> Tensor:  # noqa: ARG002
            Bomb.calls += activation.shape[0] == 1
            if Bomb.calls > 2:
                raise error
            return activation + direction

    before = next_logits(llama, ROWS)
    vector = direction(llama, Site("resid_post", 1))
    with pytest.raises(error):
        configurations = [[Intervention.at(f"resid_pre@{layer}", vector, operator=Bomb())] for layer in (0, 1, 2)]
        run_grid(llama, ROWS, configurations, keep_logits, GridOptions(batch_size=1, reuse=reuse))
    assert count_hooks(llama) == 0 and not any("forward" in vars(block) for block in llama.blocks)
    assert torch.equal(next_logits(llama, ROWS), before)


def test_positions_of_the_last_token_are_read_alike_by_both_ways(gpt2: Any) -> None:
    rows = tokenize(gpt2, ["The cat sat on the mat.", "A"])
    configuration = [Intervention.at("resid_pre@1", direction(gpt2, Site("resid_pre", 1)), positions=Positions("last"))]
    reused, plain = both(gpt2, [configuration], rows)
    assert reused.path == "reused" and worst(reused, plain) <= 1e-4

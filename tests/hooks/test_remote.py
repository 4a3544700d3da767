"""Interventions on remote engines: their logits with compiled specs are those under `steer`, for all that compiles."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer.lab
from lens_steer import Intervention, load_model, steer
from lens_steer.errors import ArgumentError, LensSteerError, MismatchError, PositionError, SiteError, SteeringError
from lens_steer.hooks import remote_specs
from lens_steer.hooks.operators import Ablate, Add, LinearTransport, MeanMatch, Operator, ProbeGate, Replace
from lens_steer.hooks.positions import Positions
from lens_steer.model import fingerprint, forward, pad, tokenize
from lens_steer.model.packaged import packaged_folder

pytestmark = [  # of Inspect and what it stands on
    pytest.mark.usefixtures("contained"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FOLDER = Path(lens_steer.lab.__path__[0]) / "weights"
ROW = [5, 9, 14, 13, 8, 6, 7, 11]
PROMPT = 5
WIDTH, HEAD = 128, 32


def boot(folder: Path) -> Any:
    from transformer_lens.model_bridge import RemoteBridge

    return RemoteBridge.boot_inspect(str(folder))


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def remote() -> Iterator[Any]:
    with boot(FOLDER) as engine:
        yield engine


def drawn(width: int, seed: int = 0) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def edit(site: str, strength: float = 2.5, seed: int = 0, **how: Any) -> Intervention:
    return Intervention.at(site, drawn(HEAD if site.startswith("z") else WIDTH, seed), strength, **how)


def said(given: Any) -> str:
    """The name of a case: its edits and their operators."""
    return (
        str(given)
        if not given or isinstance(given[0], str)
        else "; ".join(f"{type(entry.operator).__name__} {entry.site} {entry.strength}" for entry in given)
    )


def transport(omega: float, beta: float) -> Operator:
    return LinearTransport(torch.full((WIDTH,), omega), beta * drawn(WIDTH, 7))


def compared(model: Any, remote: Any, row: list[int], *edits: Intervention) -> tuple[list[str], float, float]:
    """The ops used; how far the engine is from `steer`, and from the unsteered model."""
    specs = remote_specs(model, remote, edits, row, prompt_lengths=PROMPT)
    theirs = remote.forward(torch.tensor([row]), intervene=json.loads(json.dumps(specs)))
    tokens, mask = pad(model, [row])
    plain = forward(model, tokens, mask)
    with steer(model, *edits, prompt_lengths=PROMPT):
        ours = forward(model, tokens, mask)
    ops = [spec["op"] for spec in specs.values()]
    return ops, float((theirs - ours).abs().max()), float((theirs - plain).abs().max())


@pytest.mark.parametrize(
    ("edits", "ops"),
    [
        ([edit("resid_post@3")], ["add"]),
        ([edit("resid_post@7")], ["add"]),
        ([edit("resid_pre@0", 0.5)], ["add"]),
        ([edit("resid_pre@4")], ["add"]),
        ([edit("resid_mid@2")], ["add"]),
        ([edit("attn_out@1")], ["add"]),
        ([edit("mlp_out@6")], ["add"]),
        ([edit("z@3.1", 20.0)], ["add"]),
        ([edit("resid_post@3", 1.0, operator=Replace())], ["set"]),
        ([edit("attn_out@2", 1.0, operator=Replace())], ["set"]),
        ([edit("resid_post@3", 0.7, operator=MeanMatch(drawn(WIDTH, 1), drawn(WIDTH, 2)))], ["add"]),
        ([edit("resid_post@3", 0.7, operator=transport(1.0, 3.0))], ["add"]),
        ([edit("mlp_out@0", 0.8, operator=transport(0.0, 0.0))], ["scale"]),
        ([edit("mlp_out@0", -2.0, operator=transport(0.0, 0.0))], ["scale"]),
        ([edit("mlp_out@0", 1.0, operator=transport(0.0, 0.0))], ["suppress"]),
        ([edit("attn_out@0", 1.0, operator=transport(0.0, 1.0))], ["set"]),
    ],
    ids=said,
)
@pytest.mark.parametrize("positions", ["all", "content & ~last"])
def test_every_site_and_op_steers_the_engine_as_steer_does(
    lab: Any, remote: Any, edits: list[Intervention], ops: list[str], positions: str
) -> None:
    placed = [replace(entry, positions=Positions.parse(positions)) for entry in edits]
    found, apart, effect = compared(lab, remote, ROW, *placed)
    assert found == ops and apart < 1e-4 and effect > 0.1


@pytest.mark.parametrize(
    ("rule", "selected"),
    [
        ("all", None),
        ("content", [1, 2, 3, 4, 5, 6, 7]),
        ("last", [7]),
        ("prompt", [0, 1, 2, 3, 4]),
        ("last_prompt", [4]),
        ("last_prompt(2)", [3, 4]),
        ("answer", [5]),
        ("after_prompt", [5, 6, 7]),
        ("generated", [5, 6, 7]),
        ("after(3)", [3, 4, 5, 6, 7]),
        ("tokens(9,11)", [1, 7]),
        ("3", [3]),
        ("0,2:4", [0, 2, 3]),
        ("after(2) & ~tokens(6) | 0", [0, 2, 3, 4, 6, 7]),
        ("prompt | after_prompt", None),
    ],
)
def test_every_position_rule_edits_the_tokens_that_steer_edits(
    lab: Any, remote: Any, rule: str, selected: list[int] | None
) -> None:
    edits = edit("resid_post@2", 4.0, positions=rule)
    (spec,) = remote_specs(lab, remote, edits, ROW, prompt_lengths=PROMPT).values()
    assert spec.get("pos") == selected
    _, apart, effect = compared(lab, remote, ROW, edits)
    assert apart < 1e-4 and effect > 0.1


def test_of_an_answer_that_was_begun_only_what_the_model_wrote_is_generated(lab: Any, remote: Any) -> None:
    edits = edit("resid_post@2", positions="generated")
    (spec,) = remote_specs(lab, remote, edits, torch.tensor([ROW]), prompt_lengths=PROMPT, given_lengths=6).values()
    assert spec["pos"] == [6, 7]


@pytest.mark.parametrize(
    ("edits", "ops"),
    [
        ([edit("resid_post@2"), edit("resid_post@2", seed=1)], ["add"]),
        ([edit("resid_pre@3", seed=1), edit("resid_post@2", 1.0, operator=Replace())], ["set"]),
        ([edit("resid_post@2", 1.0, operator=Replace()), edit("resid_post@2", seed=1)], ["set"]),
        ([edit("resid_post@2", seed=1), edit("resid_post@2", 0.5, operator=transport(0.0, 0.0))], None),
        ([edit("attn_out@2", 1.0, operator=Replace()), edit("resid_mid@2", seed=1)], ["set"]),
        ([edit("z@3.1", 20.0), edit("z@3.2", -20.0)], ["add"]),
        ([edit("resid_post@1"), edit("mlp_out@4", seed=1, positions="last"), edit("z@5.0", 20.0)], ["add"] * 3),
        ([edit("resid_post@2"), edit("resid_post@2", 0.0, positions="last")], ["add"]),
    ],
    ids=said,
)
def test_several_edits_act_in_the_order_in_which_steer_runs_them(
    lab: Any, remote: Any, edits: list[Intervention], ops: list[str] | None
) -> None:
    if ops is None:
        with pytest.raises(SteeringError, match=r"together 0\.5 times the activation and something added"):
            remote_specs(lab, remote, edits, ROW)
        return
    found, apart, effect = compared(lab, remote, ROW, *edits)
    assert found == ops and apart < 1e-4 and effect > 0.1


def test_nothing_to_write_is_no_spec_and_the_engine_runs_the_plain_model(lab: Any, remote: Any) -> None:
    assert remote_specs(lab, remote, [], ROW) == {}
    assert remote_specs(lab, remote, edit("resid_post@1", 0.0), ROW) == {}
    tokens, mask = pad(lab, [ROW])
    torch.testing.assert_close(remote.forward(tokens), forward(lab, tokens, mask), rtol=0, atol=1e-4)


GATE = ProbeGate(drawn(WIDTH), bias=0.0)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ([edit("resid_post@1", gate=GATE)], SteeringError, "behind a ProbeGate at resid_post@1 cannot run on a remote "
         "engine: it has a gate, and specs act always. Leave the gate out, or steer here"),
        ([edit("resid_post@1", gate=replace(GATE, per="row"))], SteeringError, "has a gate, and specs act always"),
        ([edit("resid_post@1", operator=Ablate())], SteeringError, "is written by Ablate, and specs add, set or scale: "
         "use Add, Replace at strength 1"),
        ([edit("resid_post@1", 1.0, operator=LinearTransport(drawn(WIDTH), drawn(WIDTH)))], SteeringError,
         "is written by LinearTransport, and specs add, set or scale"),
        ([edit("resid_post@1", 0.5, operator=Replace())], SteeringError,
         "together 0.5 times the activation and something added, and a spec does one of the two. Use Add"),
        ([edit("z@1.0", 1.0, operator=Replace())], SteeringError,
         "is written by Replace at strength 1, and there specs write all heads at once, so that only additions"),
        ([edit("resid_mid@1", 1.0, operator=Replace())], SteeringError, "there specs write attention's output"),
        ([edit("mlp_input@1")], SiteError, "has no hook 'blocks.1.mlp.hook_in', or a norm or a scale stands behind "
         "that module on this architecture; it writes here to resid_pre, attn_out, resid_mid, mlp_out, resid_post, z."),
        ([edit("resid_post@2", positions="last"), edit("resid_post@2")], SteeringError,
         "edit different tokens at blocks.2.hook_out, and an engine takes one spec a hook"),
        ([edit("resid_pre@3", positions="last"), edit("resid_post@2")], SteeringError,
         "edit different tokens at blocks.2.hook_out"),
        ([edit("resid_post@2"), edit("resid_post@2").exclusively()], PositionError, "select the same tokens"),
        ([edit("resid_post@2", positions="8")], SteeringError,
         "positions 8 edits none of the 8 tokens: the engine would go on unsteered. Choose positions"),
        ([edit("resid_post@2", positions="last_prompt")], PositionError, "needs the prompt's length; pass prompt_leng"),
        ([edit("resid_post@2", 1e39)], SteeringError, "writes values that are no longer finite; lower the strength"),
        ([edit("resid_post@8")], SiteError, "the model has 8 layers"),
    ],
)  # fmt: skip
def test_what_a_spec_cannot_say_is_refused(
    lab: Any, remote: Any, wrong: list[Intervention], error: type[LensSteerError], said: str
) -> None:
    with pytest.raises(error) as found:
        remote_specs(lab, remote, [edit("resid_post@6"), *wrong], ROW)
    assert said in str(found.value)


def test_an_operator_of_ones_own_is_refused_even_if_it_is_an_add(lab: Any, remote: Any) -> None:
    class Twice(Add):
        """Which a compiler that asks for kinds of Add would take for one."""

    with pytest.raises(SteeringError, match="is written by Twice, and specs add, set or scale"):
        remote_specs(lab, remote, edit("resid_post@1", operator=Twice()), ROW)


def test_another_model_and_what_is_no_engine_are_refused(
    lab: Any, remote: Any, llama: Any, unchecked: Callable[[], None]
) -> None:
    unchecked()
    with pytest.raises(ArgumentError, match=r"RemoteBridge\.boot_vllm\(folder\).*A model that is loaded here is st"):
        remote_specs(lab, lab, edit("resid_post@1"), ROW)
    with pytest.raises(ArgumentError, match="the remote engine is of type str; boot one"):
        remote_specs(lab, "lab", edit("resid_post@1"), ROW)
    with pytest.raises(ArgumentError, match=r"Write remote_specs\(model, remote, interventions, tokens\)"):
        remote_specs(remote, lab, edit("resid_post@1"), ROW)
    with pytest.raises(MismatchError, match=r"n_layers, d_model, n_heads, d_head = \[.*\] and the engine's has \[8"):
        remote_specs(llama, remote, edit("resid_post@1"), ROW)
    other = replace(edit("resid_post@1"), fingerprint=replace(fingerprint(lab), config_hash="0" * 64))
    with pytest.raises(MismatchError, match="the model being steered"):
        remote_specs(lab, remote, other, ROW)


def test_weights_that_were_processed_are_refused(remote: Any) -> None:
    model = load_model("lab")
    model.compatibility_mode = True
    with pytest.raises(MismatchError, match=r"have been processed \(compatibility mode\) and the engine runs them as"):
        remote_specs(model, remote, edit("resid_post@1"), ROW)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (torch.tensor([ROW, ROW]), r"tokens of shape \(2, 8\) and type torch.int64; a remote engine runs one sequence"),
        ([], r"tokens of shape \(1, 0\)"),
        (torch.tensor([1.5, 2.0]), "type torch.float32; a remote engine runs one sequence at a time"),
        ("text", "tokens of type str are no row of numbers; a remote engine"),
    ],
)
def test_tokens_that_are_not_one_sequence_are_refused(
    lab: Any, remote: Any, tokens: Any, said: str, unchecked: Any
) -> None:
    unchecked()
    with pytest.raises(ArgumentError, match=said):
        remote_specs(lab, remote, edit("resid_post@1"), tokens)


class Offering:
    """An engine of the model's sizes that has some hooks only; what it would run is not asked."""

    def __init__(self, model: Any, *hooks: str) -> None:
        self.cfg = model.cfg
        self.hook_dict = dict.fromkeys(hooks)


def test_an_engine_without_inputs_of_blocks_is_written_at_the_outputs_before_them(lab: Any) -> None:
    vllm = Offering(lab, *(f"blocks.{i}.{part}" for i in range(8) for part in ("hook_out", "attn.hook_out")))
    assert set(remote_specs(lab, vllm, edit("resid_pre@4"), ROW)) == {"blocks.3.hook_out"}
    with pytest.raises(SiteError, match=r"no hook 'blocks\.0\.hook_in', .*here to attn_out, resid_mid, resid_post\."):
        remote_specs(lab, vllm, edit("resid_pre@0"), ROW)
    with pytest.raises(SiteError, match=r"no hook 'blocks\.3\.attn\.hook_z', .*to resid_pre, attn_out, resid_mid"):
        remote_specs(lab, vllm, edit("z@3.1"), ROW)


def test_a_norm_behind_attention_is_no_hook_of_the_engine(gemma2: Any) -> None:
    engine = Offering(gemma2, "blocks.0.hook_out", "blocks.0.attn.hook_out")
    direction = torch.randn(int(gemma2.cfg.d_model))
    with pytest.raises(SiteError, match=r"a norm or a scale stands behind that module.*writes here to resid_post\."):
        remote_specs(gemma2, engine, Intervention.at("attn_out@0", direction), [1, 2, 3])
    assert remote_specs(gemma2, engine, Intervention.at("resid_post@0", direction), [1, 2, 3])


@pytest.fixture(scope="module")
def real_engine() -> Iterator[Any]:
    with boot(packaged_folder("smollm2")) as engine:
        yield engine


@pytest.mark.real
@pytest.mark.parametrize(
    ("site", "strength", "how"),
    [
        ("resid_post@14", 5.0, {}),
        ("resid_pre@15", 5.0, {"positions": "last_prompt | after_prompt"}),
        ("resid_mid@10", 5.0, {"positions": "content"}),
        ("mlp_out@20", 1.0, {"operator": Replace(), "positions": "2:5"}),
        ("attn_out@3", 5.0, {"positions": "last"}),
        ("z@8.2", 20.0, {}),
    ],
)
def test_a_real_model_on_an_engine_is_steered_as_here(
    smollm2: Any, real_engine: Any, site: str, strength: float, how: Any
) -> None:
    width = smollm2.cfg.d_head if site.startswith("z") else smollm2.cfg.d_model
    direction = drawn(int(width))
    edits = Intervention.at(site, direction, strength, **how)
    (row,) = tokenize(smollm2, ["The weather in the north is often"])
    _, apart, effect = compared(smollm2, real_engine, row, edits)
    assert apart < 1e-4 and effect > 1.0

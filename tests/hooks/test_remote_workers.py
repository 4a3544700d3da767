"""What servers make of compiled interventions, on a plain model: TransformerLens' worker for vLLM, and vllm-lens."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer import Intervention, load_model, steer
from lens_steer.errors import LensSteerError, MismatchError, PositionError, SiteError, SteeringError
from lens_steer.hooks import check_engine, remote_specs, vllm_lens_vectors
from lens_steer.hooks.operators import Ablate, Add, LinearTransport, MeanMatch, ProbeGate, Replace
from lens_steer.hooks.positions import Positions
from lens_steer.model import LAB_FOLDER, fingerprint, forward, pad

ROW, PROMPT = [5, 9, 14, 13, 8, 6, 7, 11], 5
PARTS = {"hook_out": "", "attn.hook_out": "self_attn", "mlp.hook_out": "mlp"}
MODULES = {f"blocks.{i}.{hook}": f"layers.{i}.{part}".rstrip(".") for i in range(8) for hook, part in PARTS.items()}
"""The hooks of the lab's blocks on vLLM, and the modules whose output they are."""


class Engine:
    """A stand-in for an engine: sizes, hooks, and a forward pass of any model."""

    def __init__(self, model: Any, runs: Any = None) -> None:
        self.cfg, self.hook_dict, self.runs = model.cfg, dict.fromkeys(MODULES), runs or model

    def forward(self, tokens: Tensor) -> Tensor:
        return forward(self.runs, *pad(self.runs, tokens.tolist()))


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def drawn(seed: int, width: int = 128) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def edit(site: str, strength: float = 2.5, seed: int = 0, **how: Any) -> Intervention:
    return Intervention.at(site, drawn(seed), strength, **how)


def steered(model: Any, edits: Any) -> tuple[Tensor, Tensor]:
    """Logits under `steer`, and without."""
    tokens, mask = pad(model, [ROW])
    with steer(model, edits, prompt_lengths=PROMPT):
        ours = forward(model, tokens, mask)
    return ours, forward(model, tokens, mask)


def rewritten(writes: dict[str, Callable[[Tensor, int], Tensor]], cut: int) -> Tensor:
    """Logits of the plain model in two cached passes, whose modules' outputs are rewritten; begun tokens are told."""
    from transformers import AutoModelForCausalLM, DynamicCache

    model: Any = AutoModelForCausalLM.from_pretrained(LAB_FOLDER, dtype=torch.float32).eval()
    begun, cache, found = [0], DynamicCache(), []

    def hook_of(write: Callable[[Tensor, int], Tensor]) -> Callable[..., Any]:
        def hook(_module: Any, _given: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (write(output[0], begun[0]), *output[1:])
            return write(output, begun[0])

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name, write in writes.items():
            stack.callback(model.base_model.get_submodule(name).register_forward_hook(hook_of(write)).remove)
        for part in filter(None, (ROW[:cut], ROW[cut:])):
            found.append(model(torch.tensor([part]), past_key_values=cache).logits)
            begun[0] += len(part)
    return torch.cat(found, dim=1)


def as_the_worker_runs_it(specs: dict[str, dict[str, Any]]) -> Tensor:
    """Logits where each module ends in the scale and bias that TransformerLens' worker for vLLM makes of the specs."""
    from transformer_lens.model_bridge.sources.vllm.worker_extension import TLWorkerExtension

    worker, shape = TLWorkerExtension(), (16, 128)
    scale = worker._tl_scale_buffers = {name: torch.full(shape, 7.0) for name in MODULES}
    bias = worker._tl_bias_buffers = {name: torch.full(shape, 7.0) for name in MODULES}
    worker.tl_set_interventions(specs)

    def write(name: str) -> Callable[[Tensor, int], Tensor]:
        return lambda h, _: h * scale[name][: h.shape[1]] + bias[name][: h.shape[1]]

    return rewritten({module: write(name) for name, module in MODULES.items()}, len(ROW))


def as_vllm_lens_runs_it(vectors: list[dict[str, Any]]) -> Tensor:
    """Logits where `_apply_steering` of vllm-lens, written out, adds the vectors while a prompt is continued."""

    def write(layer: int) -> Callable[[Tensor, int], Tensor]:
        def run(h: Tensor, begun: int) -> Tensor:
            h = h.clone()
            for fields in vectors:
                assert not fields["norm_match"] and len(fields["activations"]) == len(fields["layer_indices"])
                if layer in fields["layer_indices"]:
                    added = fields["activations"][fields["layer_indices"].index(layer)]
                    if added.ndim == 1:
                        h += added * fields["scale"]
                    for row, position in zip(added, fields["position_indices"] or (), strict=False):
                        if begun <= position < begun + h.shape[1]:
                            h[:, position - begun] += row * fields["scale"]
            return h

        return run

    return rewritten({f"layers.{layer}": write(layer) for layer in range(8)}, PROMPT)


NOTHING = LinearTransport(torch.zeros(128), torch.zeros(128))
WRITES = {
    "add": [edit("resid_post@3")],
    "add before a block": [edit("resid_pre@4")],
    "add between": [edit("resid_mid@2"), edit("attn_out@2", seed=1)],
    "set": [edit("mlp_out@2", 1.0, operator=Replace())],
    "set, then add": [edit("resid_pre@4", seed=1), edit("resid_post@3", 1.0, operator=Replace())],
    "scale": [edit("mlp_out@0", -2.0, operator=NOTHING)],
    "suppress": [edit("attn_out@0", 1.0, operator=NOTHING)],
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("positions", ["all", "1:4,5"])
def test_the_worker_for_vllm_makes_logits_of_steering_of_specs(lab: Any, name: str, positions: str) -> None:
    edits = [replace(entry, positions=Positions.parse(positions)) for entry in WRITES[name]]
    ours, plain = steered(lab, edits)
    specs = remote_specs(lab, Engine(lab), edits, ROW)
    torch.testing.assert_close(as_the_worker_runs_it(specs), ours, rtol=0, atol=1e-4)
    assert (ours - plain).abs().max() > 0.1


@pytest.mark.parametrize("positions", ["all", "content", "prompt", "after_prompt", "last_prompt | generated", "2,6"])
def test_vllm_lens_adds_what_steering_adds_in_the_prompt_and_behind_it(lab: Any, positions: str) -> None:
    edits = [
        edit("resid_post@3", positions=positions),
        edit("resid_pre@6", 1.5, operator=MeanMatch(drawn(3), drawn(4)), positions=positions),
        edit("resid_post@3", seed=5, positions="1:3"),
    ]
    vectors = vllm_lens_vectors(lab, edits, ROW[:PROMPT], new_tokens=len(ROW) - PROMPT)
    assert [fields["layer_indices"] for fields in vectors] == [[3], [5], [3]]
    ours, plain = steered(lab, edits)
    torch.testing.assert_close(as_vllm_lens_runs_it(vectors), ours, rtol=0, atol=1e-4)
    assert (ours - plain).abs().max() > 0.1


def test_without_new_tokens_rules_of_the_last_token_and_of_ids_are_compiled(lab: Any) -> None:
    edits = [edit("resid_post@3", positions="last"), edit("resid_post@3", positions="tokens(9)")]
    assert [fields["position_indices"] for fields in vllm_lens_vectors(lab, edits, ROW)] == [[7], [1]]


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (edit("attn_out@3"), SiteError, "cannot run on vllm-lens, which adds to what blocks give. Use resid_post"),
        (edit("resid_pre@0"), SiteError, "cannot run on vllm-lens, which adds to what blocks give"),
        (edit("resid_post@3", 1.0, operator=Replace()), SteeringError, "Replace does more than add. Use Add or MeanM"),
        (edit("resid_post@3", operator=Ablate()), SteeringError, "is written by Ablate, and specs add, set or scale"),
        (edit("resid_post@3", gate=ProbeGate(drawn(1), bias=0.0)), SteeringError, "has a gate, and specs act always"),
        (
            edit("resid_post@3", positions="last"),
            PositionError,
            "before its 4 new tokens are known: its positions speak",
        ),
        (edit("resid_post@3", positions="tokens(14)"), PositionError, "Use 'last_prompt', 'after_prompt', 'all' or"),
        (edit("resid_post@3", positions="20"), SteeringError, "edits none of the 12 tokens: the server would go on"),
        (edit("resid_post@8"), SiteError, "the model has 8 layers"),
    ],
)
def test_what_vllm_lens_cannot_add_is_refused(
    lab: Any, wrong: Intervention, error: type[LensSteerError], said: str
) -> None:
    with pytest.raises(error) as found:
        vllm_lens_vectors(lab, [edit("resid_post@6"), wrong], ROW, new_tokens=4)
    assert said in str(found.value)


def test_a_vector_of_another_model_is_none_of_the_server(lab: Any) -> None:
    other = replace(edit("resid_post@1"), fingerprint=replace(fingerprint(lab), config_hash="0" * 64))
    with pytest.raises(MismatchError, match="the model being steered"):
        vllm_lens_vectors(lab, other, ROW)


def test_an_engine_of_the_same_sizes_with_other_weights_is_refused(lab: Any) -> None:
    other = load_model(LAB_FOLDER)
    inner: Any = other.original_model
    with torch.no_grad():
        inner.get_input_embeddings().weight.mul_(1.1)
    assert remote_specs(lab, Engine(lab, runs=other), edit("resid_post@1", operator=Add()), ROW)  # sizes say nothing
    with pytest.raises(MismatchError, match=r"at most 0\.001 is rounding: their weights are not the same. Boot"):
        check_engine(lab, Engine(lab, runs=other))
    assert check_engine(lab, Engine(lab)) < 1e-6
    with steer(lab, edit("resid_post@1")):
        with pytest.raises(SteeringError, match="check the engine outside it"):
            check_engine(lab, Engine(lab))
        forward(lab, *pad(lab, [ROW]))

"""Interventions for engines behind TransformerLens' `RemoteBridge`: vLLM, and Inspect's providers.

Such an engine runs no function of ours. It takes one spec a hook, a plain dict, and knows four ways to write:

    add       h <- h + value          set        h <- value
    scale     h <- factor h           suppress   h <- 0              at the tokens in `pos`, or at all of them

Interventions that write `h <- factor h + bias`, one factor for all coordinates, are compiled:

    Add              1, strength v                           MeanMatch         1, strength (mu_t - mu_s)
    Replace          1 - strength, strength v                LinearTransport   1 - strength + strength omega,
                                                                               strength beta

Those of one hook are put together in the order in which `steer` runs them; they must edit the same tokens. Position
rules become the indices that they select in one given sequence. What a spec cannot say exactly is refused by name.

    site            hook                      here it is
    resid_pre@0     blocks.0.hook_in          as read
    resid_pre@l     blocks.(l-1).hook_out     the same tensor as resid_post@l-1; vLLM has no input of a block
    resid_mid@l     blocks.l.attn.hook_out    additions only, since attn_out is a term of the stream there
    attn_out@l      blocks.l.attn.hook_out    where no norm or scale stands behind attention
    mlp_out@l       blocks.l.mlp.hook_out     where none stands behind the MLP
    resid_post@l    blocks.l.hook_out         as read
    z@l.h           blocks.l.attn.hook_z      additions only; the engine has all heads there, in one axis

vllm-lens adds vectors to what blocks give, at absolute positions and while generating too; `vllm_lens_vectors` compiles
to these. TransformerLens' own codec for it drops `pos` and asks for another norm: give vllm-lens its vectors directly.

Sources: `model_bridge/sources/inspect/intervention.py` and `sources/vllm/intervention_specs.py` of TransformerLens 4.3;
`_helpers/types.py` and `_worker_ext.py` of vllm-lens 1.3.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lens_steer.errors import ArgumentError, MismatchError, PositionError, SiteError, SteeringError
from lens_steer.hooks.chunk import Lengths
from lens_steer.hooks.intervention import Intervention, Interventions, as_interventions
from lens_steer.hooks.operators import Add, LinearTransport, MeanMatch, Replace
from lens_steer.hooks.operators.arithmetic import placed, widened
from lens_steer.hooks.sites import HEADS, KINDS, Site
from lens_steer.hooks.steer import check_intervention, require_unsteered
from lens_steer.hooks.steering import Steering
from lens_steer.hooks.terms import allowed_error
from lens_steer.model import SteerableModel, module_names, next_logits, require_model

Spec = dict[str, Any]
"""One edit of one hook in RemoteBridge's words: `op`, and `value`, `factor` and `pos` where they are needed."""
_HOOKS = {
    "resid_pre": "hook_in",
    "resid_mid": "attn.hook_out",
    "attn_out": "attn.hook_out",
    "mlp_input": "mlp.hook_in",
    "mlp_out": "mlp.hook_out",
    "resid_post": "hook_out",
    HEADS: "attn.hook_z",
}
_SIZES = ("n_layers", "d_model", "n_heads", "d_head")
_TRIED = [1, 2, 3, 4, 3, 2, 1, 4]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Write:
    """What one intervention does at a hook: `h <- factor h + bias` at some positions."""

    entry: Intervention
    positions: tuple[int, ...]
    factor: float
    bias: Tensor


def remote_specs(
    model: SteerableModel,
    remote: Any,
    interventions: Interventions,
    tokens: Sequence[int] | Tensor,
    prompt_lengths: Lengths = None,
    given_lengths: Lengths = None,
) -> dict[str, Spec]:
    """Compiles interventions to the specs with which a remote engine steers one sequence as `steer` does here.

    The specs hold for these tokens: `remote.forward(tokens, intervene=specs)`. They are plain numbers, strings and
    lists, and can be written as JSON.

    Args:
        model: the engine's model, loaded here too; sites, widths and the vectors' fingerprint are checked on it.
        remote: TransformerLens' `RemoteBridge`, from `boot_vllm` or `boot_inspect`.
        interventions: as for `steer`, in the same order.
        tokens: of one sequence, unpadded, BOS included.
        prompt_lengths: tokens of its prompt, where a position rule speaks of the prompt.
        given_lengths: tokens that the model has not written itself, where that is more than the prompt.

    Returns:
        For each hook that is written, its spec; none where nothing is written (no interventions, or strength 0).

    Raises:
        ArgumentError: no model, no remote engine, or tokens that are not one sequence.
        MismatchError: the engine's model has other sizes, or the model's weights have been processed.
        SiteError: the engine has no hook for a site.
        SteeringError: a gate, an operator or several edits of one hook that specs cannot say; an intervention that
            selects none of the tokens; or a value that is too large.
        DirectionError, PositionError: as for `steer`.
    """
    require_model(model, "remote_specs(model, remote, interventions, tokens)", remote)
    _check_sizes(model, remote)
    edits, row = as_interventions(interventions), _one_row(tokens)
    plan = [_planned(model, remote, entry) for entry in edits]
    steering = Steering(edits, model.tokenizer, prompt_lengths, given_lengths)
    steering.enter_forward((row,), {})
    writes: dict[str, list[_Write]] = {}
    for index, entry in sorted(enumerate(edits), key=lambda numbered: numbered[1].site.kind == "resid_pre"):
        positions = tuple(steering.selection(index)[0].nonzero().flatten().tolist())
        if not positions:
            raise SteeringError(
                f"{entry} edits none of the {row.shape[1]} tokens: the engine would go on unsteered. Choose positions "
                "that this sequence has."
            )
        name, factor, bias = plan[index]
        if factor != 1 or bool(bias.any()):
            write = _Write(entry=entry, positions=positions, factor=factor, bias=bias)
            writes.setdefault(name, []).append(write)
    return {name: _spec(name, found, row.shape[1]) for name, found in writes.items()}


def check_engine(model: SteerableModel, remote: Any) -> float:
    """Refuses an engine that runs other weights, by what it and the model expect behind eight tokens.

    Args:
        model: the engine's model, loaded here too.
        remote: TransformerLens' `RemoteBridge`.

    Returns:
        The largest difference of their log-probabilities of the next token, relative to the largest of these.

    Raises:
        ArgumentError, MismatchError: as for `remote_specs`; or the difference is above 1e-3, or above 5e-2 where one of
            them runs in half precision.
        SteeringError: the model is being steered.
    """
    require_model(model, "check_engine(model, remote)", remote)
    _check_sizes(model, remote)
    require_unsteered(model, "check_engine(model, remote)", "check the engine outside it")
    mine = next_logits(model, [_TRIED])[0].log_softmax(dim=-1)
    logits = remote.forward(torch.tensor([_TRIED], device="cpu"))[0, -1, : len(mine)]
    theirs = logits.detach().float().cpu().log_softmax(dim=-1)
    whole = remote.cfg.dtype in (torch.float32, torch.float64)
    limit = max(allowed_error(model), 1e-3 if whole else 5e-2)
    error = float((mine - theirs).abs().max() / mine.abs().max()) if mine.shape == theirs.shape else float("inf")
    if not error <= limit:
        raise MismatchError(
            f"unsteered, the engine and the model differ by {error:.2g} of the largest log-probability of the next "
            f"token, and at most {limit:g} is rounding: their weights are not the same. Boot the engine from what the "
            "model was loaded from."
        )
    return error


def vllm_lens_vectors(
    model: SteerableModel, interventions: Interventions, prompt: Sequence[int] | Tensor, new_tokens: int = 0
) -> list[dict[str, Any]]:
    """Compiles additions to vectors with which vllm-lens steers one request, generated tokens included.

    Args:
        model: the server's model, loaded here too.
        interventions: additions at resid_post, or at resid_pre behind block 0.
        prompt: tokens of the request's prompt, unpadded, BOS included.
        new_tokens: how many tokens the request may generate (`max_tokens`).

    Returns:
        Fields of a `vllm_lens.SteeringVector` for each intervention. vLLM in this process takes them as they are
        (`SamplingParams(extra_args={"apply_steering_vectors": vectors})`); `SteeringVector(**fields)` for its client.

    Raises:
        ArgumentError: no model, or a prompt that is not one sequence.
        MismatchError: a vector of another model, or the model's weights have been processed.
        SiteError: another site than the stream behind a block.
        PositionError: a rule that speaks of the last token, or of ids of tokens that are not generated yet.
        SteeringError: a gate, an operator that does not add, or an intervention that selects no token.
        DirectionError: as for `steer`.
    """
    require_model(model, "vllm_lens_vectors(model, interventions, prompt)")
    _check_weights(model)
    edits, row = as_interventions(interventions), _one_row(prompt)
    length = row.shape[1]
    for entry in edits:
        check_intervention(model, entry)
        if new_tokens and (entry.positions.needs_total_lengths or entry.positions.needs_tokens):
            raise PositionError(
                f"{entry} cannot be compiled before its {new_tokens} new tokens are known: its positions speak of the "
                "last token or of token ids. Use 'last_prompt', 'after_prompt', 'all' or absolute positions."
            )
    steering = Steering(edits, model.tokenizer, length)
    steering.enter_forward((torch.nn.functional.pad(row, (0, new_tokens)),), {})
    return [_vector(model, entry, steering.selection(index)[0]) for index, entry in enumerate(edits)]


def _vector(model: SteerableModel, entry: Intervention, selected: Tensor) -> dict[str, Any]:
    """The fields of one vector of vllm-lens."""
    site = entry.site.tensor
    if site.kind != "resid_post":
        raise SiteError(f"{entry} cannot run on vllm-lens, which adds to what blocks give. Use resid_post.")
    factor, bias = _affine(model, entry)
    if factor != 1:
        raise SteeringError(
            f"{entry} cannot run on vllm-lens: {type(entry.operator).__name__} does more than add. Use Add or "
            "MeanMatch."
        )
    positions = selected.nonzero().flatten().tolist()
    if not positions:
        raise SteeringError(
            f"{entry} edits none of the {len(selected)} tokens: the server would go on unsteered. Choose positions "
            "that this sequence has, or give new_tokens."
        )
    everywhere = str(entry.positions) == "all"
    return {
        "activations": bias[None] if everywhere else bias.repeat(1, len(positions), 1),
        "layer_indices": [site.layer],
        "scale": 1.0,
        "norm_match": False,
        "position_indices": None if everywhere else positions,
    }


def _check_sizes(model: SteerableModel, remote: Any) -> None:
    """Refuses what is no remote engine, or runs another model than this one."""
    if isinstance(remote, SteerableModel) or not (hasattr(remote, "hook_dict") and hasattr(remote, "cfg")):
        raise ArgumentError(
            f"the remote engine is of type {type(remote).__name__}; boot one: RemoteBridge.boot_inspect(folder) or "
            "RemoteBridge.boot_vllm(folder), of transformer_lens.model_bridge. A model that is loaded here is steered "
            "by steer()."
        )
    here, there = ([getattr(one.cfg, size, None) for size in _SIZES] for one in (model, remote))
    if here != there:
        raise MismatchError(
            f"the model has {', '.join(_SIZES)} = {here} and the engine's has {there}; load the model that the engine "
            "runs."
        )
    _check_weights(model)


def _check_weights(model: SteerableModel) -> None:
    """Refuses a model whose weights are not those that an engine loads."""
    if model.compatibility_mode:
        raise MismatchError(
            "the model's weights have been processed (compatibility mode) and the engine runs them as they are stored; "
            "load the model again without it."
        )


def _one_row(tokens: Sequence[int] | Tensor) -> Tensor:
    """The tokens as a batch of one row."""
    wanted = "a remote engine runs one sequence at a time: give the token ids of one, unpadded"
    try:
        found = torch.as_tensor(tokens, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"tokens of type {type(tokens).__name__} are no row of numbers; {wanted}.") from None
    found = found[None] if found.ndim == 1 else found
    if found.ndim != 2 or found.shape[0] != 1 or not found.numel() or found.dtype not in (torch.int32, torch.int64):
        raise ArgumentError(f"tokens of shape {tuple(found.shape)} and type {found.dtype}; {wanted}.")
    return found


def _planned(model: SteerableModel, remote: Any, entry: Intervention) -> tuple[str, float, Tensor]:
    """The hook at which an intervention is written, and by which factor and bias."""
    check_intervention(model, entry)
    return _hook(model, remote, entry), *_affine(model, entry)


def _hook(model: SteerableModel, remote: Any, entry: Intervention) -> str:
    """The engine's hook at which an intervention is written."""
    name = _name(model, remote, entry.site)
    if name:
        return name
    layer = entry.site.layer
    others = [Site(kind, layer, 0 if kind == HEADS else None) for kind in KINDS if kind != entry.site.kind]
    usable = [other.kind for other in others if _name(model, remote, other)]
    raise SiteError(
        f"{entry} cannot run on this engine: it has no hook {_canonical(entry.site)!r}, or a norm or a scale stands "
        f"behind that module on this architecture; it writes here to {', '.join(usable) or 'no site'}."
    )


def _name(model: SteerableModel, remote: Any, site: Site) -> str:
    """The engine's hook of a site; empty where it has none that shows this tensor."""
    name = _canonical(site)
    part = {"resid_mid": "attn", "attn_out": "attn", "mlp_out": "mlp"}.get(site.kind, "")
    there = name in remote.hook_dict and part in {"", *module_names(model, site.layer)}
    return name if there else ""


def _canonical(site: Site) -> str:
    """What an engine that has a site calls its hook."""
    return f"blocks.{site.tensor.layer}.{_HOOKS[site.tensor.kind]}"


def _affine(model: SteerableModel, entry: Intervention) -> tuple[float, Tensor]:
    """Factor and bias of what an intervention writes, the bias as wide as the engine's hook."""
    v, strength, operator = widened(entry.direction.detach().cpu()), entry.strength, entry.operator
    refused = f"{entry} cannot run on a remote engine: it"
    if entry.gate is not None:
        raise SteeringError(f"{refused} has a gate, and specs act always. Leave the gate out, or steer here.")
    if type(operator) is Add:
        factor, bias = 1.0, strength * v
    elif type(operator) is Replace:
        factor, bias = 1.0 - strength, strength * v
    elif type(operator) is MeanMatch:
        means = placed(operator.target_mean, v, "target_mean"), placed(operator.source_mean, v, "source_mean")
        factor, bias = 1.0, strength * (means[0] - means[1])
    elif type(operator) is LinearTransport and bool((operator.omega == operator.omega[0]).all()):
        factor = 1.0 - strength + strength * float(operator.omega[0])
        bias = strength * placed(operator.beta, v, "beta")
    else:
        raise SteeringError(
            f"{refused} is written by {type(operator).__name__}, and specs add, set or scale: use Add, Replace at "
            "strength 1, MeanMatch, or a LinearTransport with one omega for all coordinates; or steer here."
        )
    if not bool(bias.isfinite().all()):
        raise SteeringError(f"{refused} writes values that are no longer finite; lower the strength.")
    if entry.site.kind in ("resid_mid", HEADS) and factor != 1:
        whole = "attention's output" if entry.site.kind == "resid_mid" else "all heads at once"
        raise SteeringError(
            f"{refused} is written by {type(operator).__name__} at strength {strength:g}, and there specs write "
            f"{whole}, so that only additions are exact. Use Add or MeanMatch, or another site."
        )
    if entry.site.head is not None:
        heads = bias.new_zeros(int(model.cfg.n_heads), int(model.cfg.d_head))
        heads[entry.site.head] = bias
        bias = heads.flatten()
    return factor, bias


def _spec(name: str, writes: Sequence[_Write], length: int) -> Spec:
    """The one spec that does what some interventions do at a hook, one after the other."""
    said = "; ".join(str(write.entry) for write in writes)
    if len({write.positions for write in writes}) > 1:
        raise SteeringError(
            f"{said} edit different tokens at {name}, and an engine takes one spec a hook, for one set of tokens. Give "
            "them the same positions, or sites with different hooks."
        )
    factor, bias = 1.0, torch.zeros_like(writes[0].bias)
    for write in writes:
        factor, bias = write.factor * factor, write.factor * bias + write.bias
    if factor == 1:
        spec: Spec = {"op": "add", "value": bias.tolist()}
    elif not bool(bias.any()):
        spec = {"op": "scale", "factor": factor} if factor else {"op": "suppress"}
    elif factor == 0:
        spec = {"op": "set", "value": bias.tolist()}
    else:
        raise SteeringError(
            f"{said}: together {factor:g} times the activation and something added, and a spec does one of the two. "
            "Use Add, or Replace at strength 1."
        )
    return spec if len(writes[0].positions) == length else {**spec, "pos": list(writes[0].positions)}

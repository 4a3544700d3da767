"""Steering: interventions act while a context is open, and only then.

    with steer(model, Intervention.of(vector, "resid_post@12", strength=2.0)):
        logits = model(tokens)

Everything is checked and built before the first hook is installed; hooks are gone when the context ends, whatever
ended it, and the model is bit-identical to before. Several interventions at one site act in the order given; contexts
nest. Device and dtype are taken from the activation. Positions are absolute: the same tokens are edited with and
without a key-value cache and padding.

    resid_mid   attn_out <- attn_out + f(resid_pre + attn_out) - (resid_pre + attn_out)
    z@l.h       the slice of head h, and nothing else, is f(z[h])

TransformerLens 4.3's `hook_resid_mid` writes to the MLP's input only, so the edit is made where attention is added;
`resid_pre` is what enters the block itself, after every edit of it.

A context that ends normally after forward passes in which an intervention selected no token raises `SteeringError`;
one that saw no forward pass at all warns with `SteeringWarning`. Going on unsteered without saying so is the worst
bug of this field.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lens_steer.errors import DirectionError, PositionError, SteeringError, SteeringWarning
from lens_steer.model import SteerableModel, fingerprint
from lens_steer.sites import check_site
from lens_steer.steer.chunk import Chunk, read_chunk
from lens_steer.steer.hooked import hooked, watched, watched_inputs
from lens_steer.steer.intervention import Intervention
from lens_steer.vector import require_same_model

Lengths = int | Sequence[int] | None


class Steering:
    """The state of one open steering context: which forward pass is running, and what has been edited.

    `forwards` counts forward passes; `edited` counts the tokens that each intervention has edited; `inputs` holds what
    entered each block at which `resid_mid` is written.
    """

    def __init__(self, interventions: Sequence[Intervention], tokenizer: Any, prompt_lengths: Lengths) -> None:
        self.interventions = tuple(interventions)
        self.forwards = 0
        self.edited = [0] * len(self.interventions)
        self._tokenizer = tokenizer
        self.inputs: dict[int, Tensor] = {}
        self._chunk: Chunk | None = None
        self._lengths: Tensor | None = None
        self.set_prompt_lengths(prompt_lengths)

    def set_prompt_lengths(self, prompt_lengths: Lengths) -> None:
        """Says how long the prompts of the next forward passes are.

        Args:
            prompt_lengths: tokens of each row's prompt, BOS included and padding excluded; or one number for all rows.

        Raises:
            PositionError: an intervention needs lengths and none are given, or a length is below 1.
        """
        needing = [str(entry) for entry in self.interventions if entry.positions.needs_prompt_lengths]
        if prompt_lengths is None:
            if needing:
                raise PositionError(
                    f"{needing[0]}: this position rule needs the prompt's length; pass prompt_lengths (tokens of each "
                    "row's prompt, BOS included), or use 'all', 'last' or explicit positions."
                )
            self._lengths = None
            return
        given = [prompt_lengths] if isinstance(prompt_lengths, int) else [int(length) for length in prompt_lengths]
        lengths = torch.tensor(given)
        if lengths.numel() == 0 or int(lengths.min()) < 1:
            raise PositionError(f"prompt_lengths {lengths.tolist()}; give at least one length, each 1 or more.")
        self._lengths = lengths

    def enter_forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Reads where the forward pass that begins stands in its sequences."""
        self.forwards += 1
        self._chunk = read_chunk(args, kwargs, self._tokenizer)

    def leave_forward(self) -> None:
        """Forgets the forward pass that has ended."""
        self._chunk = None
        self.inputs.clear()

    def edit(self, index: int, activation: Tensor) -> Tensor:
        """Applies one intervention to the activation of the running forward pass.

        Args:
            index: which intervention.
            activation: the activation at the hook where its site is written, (batch, pos, d_model or heads, d_head).

        Returns:
            The edited activation; the very tensor that came in where no token is selected.
        """
        intervention, chunk = self.interventions[index], self._chunk
        site = intervention.site
        part = site.read(activation)
        if chunk is None or part.shape[:-1] != chunk.absolute.shape:
            seen = "no forward pass" if chunk is None else f"a forward pass of {tuple(chunk.absolute.shape)} tokens"
            raise SteeringError(
                f"while applying {intervention}: the activation has shape {tuple(activation.shape)} in {seen}; "
                "expected (batch, pos, d_model) inside a forward pass of the whole model."
            )
        mask = chunk.mask(intervention.positions, self._lengths)
        selected = int(mask.sum())
        if not selected:
            return activation
        self.edited[index] += selected
        direction = intervention.direction.to(activation.device)
        before = self.inputs[site.layer] + part if site.kind == "resid_mid" else part
        written = intervention.operator(before, direction, intervention.strength)
        if written is before:
            return activation
        if site.kind == "resid_mid":
            written = part + (written - before)
        if selected < mask.numel():
            written = torch.where(mask.to(activation.device)[..., None], written, part)
        return site.put(activation, written)

    def check_edited(self) -> None:
        """Refuses to end in silence when an intervention has edited nothing.

        Raises:
            SteeringError: forward passes ran, and an intervention selected no token in any of them.
        """
        if not self.interventions:
            return
        if not self.forwards:
            warnings.warn(
                "a steering context ended without a forward pass of its model; nothing was steered.",
                SteeringWarning,
                stacklevel=4,
            )
            return
        idle = [str(entry) for entry, count in zip(self.interventions, self.edited, strict=True) if not count]
        if idle:
            raise SteeringError(
                f"{self.forwards} forward passes ran and {'; '.join(idle)} edited no token in any of them: the results "
                "are unsteered. Choose positions that these sequences have."
            )


@contextmanager
def steer(model: SteerableModel, *interventions: Intervention, prompt_lengths: Lengths = None) -> Iterator[Steering]:
    """Lets interventions act on every forward pass of a model while the context is open.

    Args:
        model: a loaded model.
        interventions: what to write where; several at one site act in this order. None leaves the model unhooked.
        prompt_lengths: tokens of each row's prompt (BOS included, padding excluded), or one number for all rows; needed
            by position rules that speak of the prompt. `set_prompt_lengths` on the context's value changes them.

    Returns:
        A context manager giving the `Steering`, which counts forward passes and edited tokens.

    Raises:
        SiteError: the model has no such site.
        DirectionError: a direction is not as long as its site is wide.
        MismatchError: a vector of another model.
        PositionError: a rule needs prompt lengths that were not given, or cannot be resolved on a forward pass.
        SteeringError: forward passes ran and an intervention edited no token in any of them.

    Example:
        >>> import torch
        >>> from lens_steer import Intervention, load_model, steer
        >>> from lens_steer.model import next_logits, tokenize
        >>> model = load_model("lab")
        >>> rows = tokenize(model, ["Once upon a time"])
        >>> with steer(model, Intervention.at("resid_post@3", torch.randn(128))):
        ...     steered = next_logits(model, rows)
        >>> torch.equal(steered, next_logits(model, rows))
        False
    """
    for intervention in interventions:
        _check(model, intervention)
    steering = Steering(interventions, getattr(model, "tokenizer", None), prompt_lengths)
    if not interventions:
        yield steering
        return
    by_hook: dict[str, list[int]] = {}
    for index, intervention in enumerate(interventions):
        by_hook.setdefault(intervention.site.write_name, []).append(index)
    functions = {name: _chain(steering, indices) for name, indices in by_hook.items()}
    layers = {entry.site.layer for entry in interventions if entry.site.kind == "resid_mid"}
    with (
        watched(model, steering.enter_forward, steering.leave_forward),
        watched_inputs(model, steering.inputs, layers),
        hooked(model, functions),
    ):
        yield steering
    steering.check_edited()


def _chain(steering: Steering, indices: Sequence[int]) -> Callable[[Tensor], Tensor | None]:
    """All interventions of one hook point, one after the other."""

    def run(activation: Tensor) -> Tensor | None:
        edited = activation
        for index in indices:
            edited = steering.edit(index, edited)
        return None if edited is activation else edited

    return run


def _check(model: SteerableModel, intervention: Intervention) -> None:
    """Refuses an intervention that does not belong on this model."""
    check_site(model, intervention.site)
    width = intervention.site.width(int(model.cfg.d_model), int(model.cfg.d_head))
    if intervention.direction.shape != (width,):
        raise DirectionError(
            f"{intervention}: the direction has {intervention.direction.numel()} entries; the site is {width} wide."
        )
    if intervention.fingerprint is not None:
        require_same_model(intervention.fingerprint, fingerprint(model), f"{intervention} and the model being steered")

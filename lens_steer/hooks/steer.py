"""Steering: interventions act while a context is open, and only then.

    with steer(model, Intervention.of(vector, "resid_post@12", strength=2.0)):
        logits = model(tokens)

`vector.apply(model, 12, strength=2.0)` is short for it, for one vector.
Everything is checked and built before the first hook is installed; hooks are gone when the context ends, whatever
ended it, and the model is bit-identical to before. Contexts nest; inner ones act after outer ones. Device and dtype
are taken from the activation. Positions are absolute: the same tokens are edited with and without a key-value cache
and padding.

    resid_mid   attn_out <- attn_out + f(resid_pre + attn_out) - (resid_pre + attn_out)
    z@l.h       the slice of head h, and nothing else, is f(z[h])

TransformerLens 4.3's `hook_resid_mid` writes to the MLP's input only, so the edit is made where attention is added;
`resid_pre` is what enters the block itself, after every edit of it.

Several interventions act once each: at one site in the order given, at different sites in the order of the model.
resid_post@l comes before resid_pre@l+1, though they are the same tensor; attn_out@l and resid_mid@l are written at one
place, in the order given. A gate of another site sees what the interventions given before it have done there.

The hooks are on the model, so other threads would meet them too: a forward pass in another thread than the context's
is refused, and the context's own is not harmed.

A context that ends normally after forward passes in which an intervention selected no token raises `SteeringError`;
one that saw no forward pass at all warns with `SteeringWarning`. Going on unsteered without saying so is the worst
bug of this field.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor

from lens_steer.errors import DirectionError, NotFiniteError, SteeringError
from lens_steer.hooks.chunk import Lengths
from lens_steer.hooks.hooked import HookFunction, hooked, watched, watched_inputs
from lens_steer.hooks.intervention import Intervention, Interventions, as_interventions
from lens_steer.hooks.sites import Site, check_site
from lens_steer.hooks.steering import Steering
from lens_steer.model import SteerableModel, fingerprint, prove_head, require_model, require_same_model

_OPEN: "weakref.WeakKeyDictionary[Any, list[Steering]]" = weakref.WeakKeyDictionary()
"""The contexts that are open on each model, outermost first."""


@contextmanager
def steer(
    model: SteerableModel,
    *interventions: Interventions,
    prompt_lengths: Lengths = None,
    given_lengths: Lengths = None,
    learn_prompts: bool = False,
) -> Iterator[Steering]:
    """Lets interventions act on every forward pass of a model while the context is open.

    Args:
        model: a loaded model.
        interventions: what to write where, one by one or in lists; several at one site act in this order. None leaves
            the model unhooked.
        prompt_lengths: tokens of each row's prompt (BOS included, padding excluded), or one number for all rows; needed
            by position rules that speak of the prompt, and by gates of rows. `set_prompt_lengths` on the context's
            value changes them.
        given_lengths: tokens of each row that the model does not write itself, where that is more than the prompt.
        learn_prompts: where no lengths are given, take those of `generate` and other functions of this package that run
            inside the context, and otherwise all tokens of the pass that begins a sequence for its prompt, as they are
            where `model.generate` runs.

    Returns:
        A context manager giving the `Steering`, which counts forward passes and edited tokens.

    Raises:
        ArgumentError: no model, or it does not come first.
        SiteError: the model has no such site.
        DirectionError: a direction is not as long as its site is wide.
        MismatchError: a vector of another model.
        PositionError: a rule needs prompt lengths that were not given, or cannot be resolved on a forward pass; or
            exclusive interventions meet at a token.
        NotFiniteError: logits or activations that are read meanwhile are NaN or infinite; it names the interventions.
        SteeringError: what is given is no intervention; forward passes ran and an intervention selected no token in any
            of them; a pass ran in another thread; a gate of rows does not see a whole prompt.

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
    require_model(model, "steer(model, Intervention.of(vector, site, strength))", *interventions)
    plan = as_interventions(interventions)
    for intervention in plan:
        check_intervention(model, intervention)
    prove_head(model)  # here, where these hooks are not installed yet
    opened = _OPEN.setdefault(model, [])
    steering = Steering(plan, model.tokenizer, prompt_lengths, given_lengths, learn_prompts, opened)
    opened.append(steering)
    try:
        with named(plan), _installed(model, steering) if plan else nullcontext():
            yield steering
    finally:
        opened.remove(steering)
        steering.close()
    steering.check_edited()


@contextmanager
def named(interventions: Sequence[Intervention]) -> Iterator[None]:
    """Lets errors about numbers that are NaN or infinite say which interventions acted.

    Args:
        interventions: those that act while the context is open.

    Returns:
        A context manager; errors pass through it.
    """
    try:
        yield
    except NotFiniteError as error:
        error.under(tuple(interventions))
        raise


def active_interventions(model: SteerableModel) -> tuple[Intervention, ...]:
    """The interventions of all steering contexts that are open on a model, the outermost context's first.

    Args:
        model: a loaded model.

    Returns:
        None where the model is not being steered.
    """
    return tuple(entry for steering in _OPEN.get(model, ()) for entry in steering.interventions)


def require_unsteered(model: SteerableModel, call: str, advice: str) -> None:
    """Refuses a comparison with the unsteered model while a steering context is open.

    Args:
        model: a loaded model.
        call: what compares, for the message.
        advice: what to do with the context's interventions.

    Raises:
        SteeringError: a context with interventions is open; the first of them is named.
    """
    active = active_interventions(model)
    if active:
        raise SteeringError(
            f"{call} compares with the unsteered model, and an open steering context steers it ({active[0]}); end that "
            f"context and {advice}."
        )


@contextmanager
def _installed(model: SteerableModel, steering: Steering) -> Iterator[None]:
    """The hooks of a steering context, on the model while this one is open."""
    interventions = steering.interventions
    steps: dict[str, list[HookFunction]] = {}
    for index, entry in enumerate(interventions):
        if entry.gate_site is not None:
            steps.setdefault(entry.gate_site.hook_name, []).append(_decider(steering, index, entry.gate_site))
        steps.setdefault(entry.site.write_name, []).append(partial(steering.edit, index))
    layers = {entry.site.layer for entry in interventions if entry.site.kind == "resid_mid"}
    with (
        watched(model, steering.enter_forward, steering.leave_forward),
        watched_inputs(model, steering.inputs, layers),
        hooked(model, {name: _chain(functions) for name, functions in steps.items()}),
    ):
        yield


def _decider(steering: Steering, index: int, site: Site) -> HookFunction:
    """Shows one intervention's gate the site that it looks at, and changes nothing."""

    def run(activation: Tensor) -> None:
        steering.decide(index, site.read(activation))

    return run


def _chain(functions: Sequence[HookFunction]) -> HookFunction:
    """All functions of one hook point, one after the other."""

    def run(activation: Tensor) -> Tensor | None:
        edited = activation
        for function in functions:
            found = function(edited)
            edited = edited if found is None else found
        return None if edited is activation else edited

    return run


def check_intervention(model: SteerableModel, intervention: Intervention) -> None:
    """Refuses an intervention that does not belong on this model.

    Args:
        model: a loaded model.
        intervention: which has not been used yet.

    Raises:
        MismatchError: its vector is of another model.
        SiteError: the model has no such site.
        DirectionError: the direction is not as wide as the site.
    """
    if intervention.fingerprint is not None:
        require_same_model(intervention.fingerprint, fingerprint(model), f"{intervention} and the model being steered")
    check_site(model, intervention.site)
    if intervention.gate_site is not None:
        check_site(model, intervention.gate_site)
    width = intervention.site.width(int(model.cfg.d_model), int(model.cfg.d_head))
    if intervention.direction.shape != (width,):
        raise DirectionError(
            f"{intervention}: the direction has {intervention.direction.numel()} entries; the site is {width} wide."
        )

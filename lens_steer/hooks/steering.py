"""The state of one open steering context: which forward pass is running, and what has been edited.

The hooks that `lens_steer.hooks.steer` installs call it for every forward pass and every activation. A gate of rows
decides on the pass that begins a sequence, by the tokens of the prompt; passes that continue the key-value cache keep
its decision.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from lens_steer.errors import NotFiniteError, PositionError, SteeringError, SteeringWarning
from lens_steer.hooks.chunk import Chunk, Lengths, lengths_of, read_chunk
from lens_steer.hooks.intervention import Intervention
from lens_steer.hooks.positions import Positions

Watcher = Callable[[int, Chunk, Tensor, Tensor, Tensor], None]
"""Told of an edit: which intervention, the chunk, where (batch, pos), and the site's activation before and after."""

_PROMPT = Positions("prompt")


class Steering:
    """The state of one open steering context.

    `forwards` counts forward passes; `selected` counts the tokens that each intervention's positions have selected,
    `edited` those of them at which its gate was open; `watcher`, where set, is told of every edit; `inputs` holds what
    entered each block at which `resid_mid` is written. Where `learn_prompts`, prompt lengths that are not given are
    those of the contexts opened inside this one or, where these give none, all tokens of the pass that began the rows.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        tokenizer: Any,
        prompt_lengths: Lengths = None,
        given_lengths: Lengths = None,
        learn_prompts: bool = False,
        outer: Sequence["Steering"] = (),
    ) -> None:
        self.interventions = tuple(interventions)
        self.forwards = 0
        self.selected = [0] * len(self.interventions)
        self.edited = [0] * len(self.interventions)
        self.watcher: Watcher | None = None
        self.inputs: dict[int, Tensor] = {}
        self._tokenizer = tokenizer
        self._thread = threading.get_ident()
        self._paused = False
        self._chunk: Chunk | None = None
        self._reached: set[int] = set()
        self._fired: dict[int, Tensor] = {}
        self._rows: dict[int, Tensor] = {}
        self._directions: dict[tuple[int, torch.device], Tensor] = {}
        self._learns = learn_prompts and prompt_lengths is None
        self._told, self._begun = False, None
        self._outer = tuple(outer)
        pairs = combinations(range(len(self.interventions)), 2)
        self._exclusive = [(a, b) for a, b in pairs if self._excludes(self.interventions[a], self.interventions[b])]
        self.set_prompt_lengths(prompt_lengths, given_lengths)

    def set_prompt_lengths(self, prompt_lengths: Lengths, given_lengths: Lengths = None) -> None:
        """Says how long the prompts of the next forward passes are.

        Args:
            prompt_lengths: tokens of each row's prompt, BOS included and padding excluded; or one number for all rows.
            given_lengths: tokens of each row that the model does not write itself; the prompt's where absent.

        Raises:
            PositionError: an intervention needs lengths and none are given, or a length is below 1.
        """
        if prompt_lengths is None and not self._learns:
            for entry in self.interventions:
                if _needs_prompt(entry):
                    what = (
                        "position rule" if entry.positions.needs_prompt_lengths else "gate, which decides whole rows,"
                    )
                    raise PositionError(
                        f"{entry}: this {what} needs the prompt's length; pass prompt_lengths (tokens of each "
                        "row's prompt, BOS included), or use 'all', 'last' or explicit positions, and gates of tokens."
                    )
        self._prompts, self._given = lengths_of(prompt_lengths), lengths_of(given_lengths)
        for other in self._outer:
            other.hear(prompt_lengths, given_lengths)

    def hear(self, prompt_lengths: Lengths, given_lengths: Lengths = None) -> None:
        """Takes over the lengths of a context that is opened inside this one, where it learns them; None forgets them.

        Args:
            prompt_lengths: as for `set_prompt_lengths`.
            given_lengths: as for `set_prompt_lengths`.
        """
        if self._learns:
            self._prompts, self._given = lengths_of(prompt_lengths), lengths_of(given_lengths)
            self._told = prompt_lengths is not None

    def close(self) -> None:
        """Lets the outer contexts learn prompt lengths from forward passes again."""
        for other in self._outer:
            other.hear(None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lets forward passes go by unsteered and uncounted while the inner context is open."""
        self._paused = True
        try:
            yield
        except NotFiniteError as error:
            error.settle()
            raise
        finally:
            self._paused = False

    def enter_forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Reads where the forward pass that begins stands in its sequences.

        Raises:
            SteeringError: the pass runs in another thread than the context.
            PositionError: the attention mask is not readable, or exclusive interventions meet at a token.
        """
        self._require_own_thread()
        if self._paused:
            return
        self.forwards += 1
        self._chunk = read_chunk(args, kwargs, self._tokenizer)
        if self._learns and not self._told and not self._chunk.cached:
            self._learn(self._chunk)
        for one, other in self._exclusive:
            if bool((self._mask(self._chunk, one) & self._mask(self._chunk, other)).any()):
                raise PositionError(
                    f"{self.interventions[one]} and {self.interventions[other]} select the same tokens, and one of "
                    "them shares its tokens with no other; choose positions that do not overlap."
                )

    def leave_forward(self, complete: bool) -> None:
        """Forgets the forward pass that has ended.

        Args:
            complete: whether the pass came to its end.

        Raises:
            SteeringError: it did, and the hook of an intervention did not run in it.
        """
        if threading.get_ident() != self._thread:
            return
        missed = set() if self._chunk is None or not complete else set(range(len(self.interventions))) - self._reached
        self._chunk = None
        self._fired.clear()
        self._reached.clear()
        self.inputs.clear()
        if missed:
            raise SteeringError(
                f"{'; '.join(str(self.interventions[index]) for index in sorted(missed))}: the hook did not run in "
                "this forward pass, so the pass was unsteered. Its hooks were removed inside the steering context, for "
                "example by model.reset_hooks(); leave hooks alone while the context is open."
            )

    def decide(self, index: int, activation: Tensor) -> None:
        """Asks the gate of one intervention where it is open in the running forward pass.

        Args:
            index: which intervention.
            activation: the part of the activation that is the gate's site, (batch, pos, width).

        Raises:
            SteeringError: rows are to be decided, and the prompt is not all in one forward pass.
        """
        gate, chunk = self.interventions[index].gate, self._chunk
        if gate is None or chunk is None or self._paused:
            return
        if gate.per == "token":
            self._fired[index] = gate.fires(activation)
            return
        if not chunk.cached:
            self._rows.pop(index, None)
            prompt = chunk.mask(_PROMPT, self._prompts)
            if self._prompts is not None and bool((prompt.sum(dim=1) >= self._prompts).all()):
                self._rows[index] = gate.fires(activation, prompt.to(activation.device))[:, :1]
        rows = self._rows.get(index)
        if rows is None or len(rows) != len(activation):
            raise SteeringError(
                f"while applying {self.interventions[index]}: its gate decides whole rows by their prompts, and the "
                "forward pass that began these rows did not hold their whole prompts. Give each prompt in one pass, "
                "or use a gate of tokens."
            )
        self._fired[index] = rows.expand(activation.shape[:-1])

    def edit(self, index: int, activation: Tensor) -> Tensor:
        """Applies one intervention to the activation of the running forward pass.

        Args:
            index: which intervention.
            activation: the activation at the hook where its site is written, (batch, pos, d_model or heads, d_head).

        Returns:
            The edited activation; the very tensor that came in where no token is selected.
        """
        if self._paused:
            return activation
        self._require_own_thread()
        self._reached.add(index)
        intervention, chunk = self.interventions[index], self._chunk
        site = intervention.site
        part = site.read(activation)
        if chunk is None or part.shape[:-1] != chunk.absolute.shape:
            seen = "no forward pass" if chunk is None else f"a forward pass of {tuple(chunk.absolute.shape)} tokens"
            raise SteeringError(
                f"while applying {intervention}: the activation has shape {tuple(activation.shape)} in {seen}; "
                "expected (batch, pos, d_model) inside a forward pass of the whole model."
            )
        before = self.inputs[site.layer] + part if site.kind == "resid_mid" else part
        mask, count = self._where(index, before, chunk)
        if not count:
            return activation
        written = intervention.operator(before, self._direction(index, part.device), intervention.strength)
        if self.watcher is not None:
            self.watcher(index, chunk, mask, before, written)
        if written is before:
            return activation
        if site.kind == "resid_mid":
            written = part + (written - before)
        if count < mask.numel():
            written = torch.where(mask.to(part.device)[..., None], written, part)
        return site.put(activation, written)

    def check_edited(self) -> None:
        """Refuses to end in silence when an intervention has selected nothing.

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
        idle = [str(entry) for entry, count in zip(self.interventions, self.selected, strict=True) if not count]
        if idle:
            raise SteeringError(
                f"{self.forwards} forward passes ran and {'; '.join(idle)} edited no token in any of them: the results "
                "are unsteered. Choose positions that these sequences have."
                + " Each sequence's first pass was taken for its prompt; pass prompt_lengths where it is not."
                * self._learns
            )

    def selection(self, index: int) -> Tensor:
        """The tokens of the running forward pass that an intervention's positions select, whatever its gate says.

        Args:
            index: which intervention.

        Returns:
            True where a token is selected, (batch, pos), on the CPU.

        Raises:
            SteeringError: no forward pass runs.
            PositionError: the rule cannot be resolved on this pass.
        """
        if self._chunk is None:
            raise SteeringError("no forward pass runs; call enter_forward with its arguments first.")
        return self._mask(self._chunk, index)

    def _direction(self, index: int, device: torch.device) -> Tensor:
        """One intervention's direction, copied to a device once; operators themselves choose the working dtype."""
        key = index, device
        if key not in self._directions:
            self._directions[key] = self.interventions[index].direction.to(device)
        return self._directions[key]

    def _learn(self, chunk: Chunk) -> None:
        """Takes all tokens of a pass that begins sequences for their prompts."""
        if not any(map(_needs_prompt, self.interventions)):
            return
        if self._begun is not None and chunk.continues(self._begun):
            raise PositionError(
                f"{self.forwards} forward passes repeat the same sequences with more tokens each time, so where the "
                "prompt ends cannot be told; generate with the key-value cache, by lens_steer.generate, or pass "
                "prompt_lengths (tokens of each row's prompt, BOS included)."
            )
        self._begun, self._prompts, self._given = chunk, chunk.total_lengths, None

    def _where(self, index: int, before: Tensor, chunk: Chunk) -> tuple[Tensor, int]:
        """The tokens to edit, where selected and where the gate is open, and how many they are."""
        mask = self._mask(chunk, index)
        count = int(mask.sum())
        self.selected[index] += count
        intervention = self.interventions[index]
        if intervention.gate is not None:
            if intervention.gate_site is None:
                self.decide(index, before)
            if index not in self._fired:
                raise SteeringError(
                    f"while applying {intervention}: its gate looks at {intervention.gate_site}, which this forward "
                    "pass has not reached; give a gate at the same site or an earlier one."
                )
            mask = mask.to(before.device) & self._fired[index]
            count = int(mask.sum())
        self.edited[index] += count
        return mask, count

    def _mask(self, chunk: Chunk, index: int) -> Tensor:
        return chunk.mask(self.interventions[index].positions, self._prompts, self._given)

    def _require_own_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise SteeringError(
                "a forward pass runs in another thread than the steering context that is open on its model; it would "
                "be steered unasked. Open the context in the thread that runs the model, and one at a time."
            )

    @staticmethod
    def _excludes(one: Intervention, other: Intervention) -> bool:
        """Whether two interventions may not edit the same token."""
        return (one.exclusive or other.exclusive) and one.site.tensor == other.site.tensor


def _needs_prompt(entry: Intervention) -> bool:
    """Whether an intervention acts only where the prompt's length is known."""
    return entry.positions.needs_prompt_lengths or (entry.gate is not None and entry.gate.per == "row")

"""Records each step of a generation: entropy, log-probability, KL to the unsteered model, and projections.

The unsteered distribution after the same tokens comes from a second pass with its own cache, while steering is paused.
Projections are read after all edits, at the token from which the next one is predicted. Formulas:
`lens_steer.generation.results`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.hooks import HookFunction, Intervention, Steering
from lens_steer.model import DecodingState, SteerableModel, require_finite


class Recorder:
    """The record of one batch.

    Args:
        model: a loaded model.
        rows: the tokens that the batch begins with.
        watched: whose directions are projected on, whether they steer or not.
        cached: as in `DecodingState`.
    """

    def __init__(
        self, model: SteerableModel, rows: Sequence[Sequence[int]], watched: Sequence[Intervention], cached: bool
    ) -> None:
        self._model, self._watched = model, tuple(watched)
        self._plain = DecodingState(model, rows, cached)
        self._seen: dict[str, Tensor] = {}
        self._steps: list[dict[str, Tensor]] = []

    def functions(self) -> dict[str, HookFunction]:
        """What to install behind all edits: it keeps each watched hook's last activation and changes nothing."""

        def keep(name: str) -> HookFunction:
            def run(activation: Tensor) -> None:
                self._seen[name] = activation

            return run

        return {name: keep(name) for name in {entry.site.hook_name for entry in self._watched}}

    def note(
        self,
        logits: Float[Tensor, "batch d_vocab"],
        chosen: Int[Tensor, " batch"],
        ends: Int[Tensor, " batch"],
        steering: Steering,
    ) -> None:
        """Adds a step, right after the pass that gave its logits.

        Args:
            logits: of the next token.
            chosen: the tokens that were chosen.
            ends: where in the chunk each row's last real token stands.
            steering: what is paused for the unsteered pass; nothing is run where it holds no intervention.
        """
        rows = torch.arange(len(ends), device="cpu")
        step: dict[str, Tensor] = {}
        for number, entry in enumerate(self._watched):
            last = entry.site.read(self._seen[entry.site.hook_name])[rows, ends].float()
            step[f"projection_{number}"] = last @ (entry.direction / entry.direction.norm()).to(last)
        log_probs = logits.log_softmax(dim=-1)
        plain = log_probs
        if steering.interventions:
            with steering.paused():
                plain = self._plain.read().log_softmax(dim=-1)
        probabilities = log_probs.exp()
        known = {
            "log_prob": log_probs.gather(1, chosen.to(logits.device)[:, None])[:, 0],
            "entropy": -torch.xlogy(probabilities, probabilities).sum(dim=-1),
            "kl": torch.where(probabilities > 0, probabilities * (log_probs - plain), 0).sum(dim=-1),
        }
        for name, values in known.items():
            require_finite(self._model, values, f"the {name} of step {len(self._steps)}")
        self._steps.append({name: values.cpu() for name, values in {**known, **step}.items()})

    def append(self, chosen: Int[Tensor, " batch"], alive: Bool[Tensor, " batch"]) -> None:
        """Appends the same tokens to the unsteered pass."""
        self._plain.append(chosen, alive)

    def of_row(self, row: int, tokens: int) -> dict[str, tuple[float, ...]]:
        """The record of one row of the batch.

        Args:
            row: which one.
            tokens: how many tokens it has.

        Returns:
            For each name, one number a token.
        """
        names = self._steps[0]
        return {name: tuple(float(step[name][row]) for step in self._steps[:tokens]) for name in names}

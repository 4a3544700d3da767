"""Texts that the unsteered model has predicted once, to be compared with any number of changes of it.

    under(interventions)       the same tokens with the model steered
    under(before="...")        the same tokens behind other words, as a prompt changes a model
    under() in a context       the same tokens with whatever the context changes, such as weights

The numbers are those of `evaluation.side_effects`. Kept are what the head reads at each token, not logits: tokens x
d_model numbers. Behind other words every token of a text is still predicted but its first, so that all is paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import DataError
from lens_steer.evaluation.grid import followed_tokens, of_prompt
from lens_steer.evaluation.side_effects import SideEffects, numbers_of
from lens_steer.hooks import Interventions, as_interventions, require_unsteered, steer
from lens_steer.model import Logits, SteerableModel, opening_tokens, pad, pass_logits, tokenize
from lens_steer.model.batching import length_buckets


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedTexts:
    """Texts with what the unsteered model predicts; made by `PredictedTexts.of`."""

    model: SteerableModel
    rows: tuple[tuple[int, ...], ...]
    batches: tuple[tuple[int, ...], ...]
    unsteered: tuple[Logits, ...]

    @classmethod
    def of(
        cls, model: SteerableModel, texts: str | Sequence[str], max_tokens: int | None = None, batch_size: int = 32
    ) -> "PredictedTexts":
        """Predicts texts with the unsteered model.

        Args:
            model: a loaded model.
            texts: whole documents.
            max_tokens: cut texts to their first tokens, BOS included; whole texts where absent.
            batch_size: texts in one forward pass.

        Returns:
            The texts, ready to be compared.

        Raises:
            DataError: no texts, or a text without a token to predict.
            SteeringError: a steering context is open.
        """
        require_unsteered(model, "measuring side effects", "give its interventions to `under`")
        rows = tuple(tuple(row[:max_tokens]) for row in tokenize(model, texts))
        if not rows or min(map(len, rows)) < 2:
            raise DataError(
                f"{len(rows)} texts; measuring side effects needs texts of at least two tokens each, BOS included."
            )
        batches = tuple(map(tuple, length_buckets([len(row) for row in rows], batch_size)))
        found = tuple(_predicted(model, [rows[index] for index in batch], 0) for batch in batches)
        return cls(model=model, rows=rows, batches=batches, unsteered=found)

    def under(self, interventions: Interventions = (), before: str = "") -> SideEffects:
        """Predicts the texts again.

        Args:
            interventions: what steers the model; none predicts with the model as it stands.
            before: words in front of every text.

        Returns:
            Sums a text, in the order of the texts.

        Raises:
            SteeringError: an intervention selected no token of any text.
            DataError: a text with the words before it is longer than the model's context.
        """
        opening = len(opening_tokens(self.model))
        words = tuple(tokenize(self.model, before)[0]) if before else ()
        skipped, moved = (opening, len(words) - opening) if before else (0, 0)
        edits = [of_prompt(entry) for entry in as_interventions(interventions)]
        found = torch.empty(len(self.rows), len(fields(SideEffects)), dtype=torch.float32, device="cpu")
        with steer(self.model, *edits, prompt_lengths=1) as steering:
            for batch, unsteered in zip(self.batches, self.unsteered, strict=True):
                rows = [words + self.rows[index][skipped:] for index in batch]
                steering.set_prompt_lengths([len(row) for row in rows])
                found[list(batch)] = self._summed(batch, unsteered, _predicted(self.model, rows, moved))
        return SideEffects(**dict(zip([field.name for field in fields(SideEffects)], found.T, strict=True)))

    def _summed(self, batch: Sequence[int], unsteered: Logits, steered: Logits) -> Tensor:
        """The sums of each text of a batch."""
        pairs = zip(unsteered.of.tolist(), unsteered.positions.tolist(), strict=True)
        following = torch.tensor([self.rows[batch[row]][position + 1] for row, position in pairs], device="cpu")

        def read(logits: Tensor, part: slice) -> Tensor:
            own = following[part][:, None].to(logits.device)
            return numbers_of(unsteered.at(part), own)(logits)

        each = steered.read(read).cpu().double()
        sums = torch.zeros(len(batch), each.shape[1], dtype=torch.float64, device="cpu")
        return sums.index_add(0, unsteered.of, each).float()


def _predicted(model: SteerableModel, rows: Sequence[Sequence[int]], start: int) -> Logits:
    """The logits of every token of some rows, from a first one on, that another token follows."""
    tokens, mask = pad(model, rows)
    wanted = followed_tokens(mask, torch.full((len(rows),), start, device="cpu"))
    return pass_logits(model, tokens, mask, wanted)

"""Fine-tuning on a contrast: the baseline that steering by a vector is held against, at equal data.

    sft   minimise  - mean over pairs of  log p(positive | prompt) / tokens of the positive completion
    dpo   minimise  - mean over pairs of  log sigma( beta [ (l+ - r+) - (l- - r-) ] )
          l: log-likelihood of a completion under the adapted model, r: under the model as it is

Trained is a low-rank adapter (`lens_steer.model.adapter`), whose strength can be scaled afterwards, so that its side
effects can be made equal to those of a vector. Sources: Hu et al. 2021 (LoRA, arXiv 2106.09685); Rafailov et al. 2023
(DPO, arXiv 2305.18290), equation 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from lens_steer._util.progress import track
from lens_steer._util.torch_state import gradients_on
from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import MethodError
from lens_steer.extraction.optimise import Completion, batches_of, completions
from lens_steer.model import Adapter, SteerableModel, adapted, frozen, new_adapter, pad, sequence_log_probs

Loss = Literal["sft", "dpo"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Settings of the fine-tuning.

    `steps` batches of `batch_size` pairs; `learning_rate` is Adam's. `beta` is DPO's: how far the adapted model may go
    from the model as it is. `rank` and `scaling` are the adapter's.

    Raises:
        MethodError: a number that is not above 0, or a loss that does not exist.
    """

    loss: Loss = "sft"
    steps: int = 60
    batch_size: int = 8
    learning_rate: float = 1e-3
    beta: float = 0.1
    rank: int = 8
    scaling: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        names = ("steps", "batch_size", "learning_rate", "beta", "rank", "scaling")
        wrong = {name: getattr(self, name) for name in names if not 0 < getattr(self, name) < float("inf")}
        if wrong or self.loss not in get_args(Loss):
            raise MethodError(f"Tuning: {wrong or {'loss': self.loss}}; expected numbers above 0, and a loss 'sft' or "
                              "'dpo'.")  # fmt: skip


@gradients_on()
def train_adapter(
    model: SteerableModel, contrast_set: ContrastSet, tuning: Tuning | None = None, progress: bool = False
) -> Adapter:
    """Trains an adapter to prefer the positive completions of a contrast.

    Args:
        model: a loaded model; its weights are not changed.
        contrast_set: prompts with completions; `sft` uses the positive ones only.
        tuning: loss, steps, learning rate, rank, seed; the defaults where absent.
        progress: draw a progress bar.

    Returns:
        The adapter after the last step, which acts while `adapted(model, adapter, strength)` is open.

    Raises:
        ArgumentError: the package `peft` is missing.
        PositionError: a prompt's tokens change when it is completed.

    Source:
        Hu et al. 2021, arXiv 2106.09685; Rafailov et al. 2023, arXiv 2305.18290, for `dpo`.
    """
    tuning = tuning or Tuning()
    pairs = completions(model, contrast_set, "contrast" if tuning.loss == "dpo" else "promote")
    adapter = new_adapter(model, tuning.rank, tuning.scaling, tuning.seed)
    adam = torch.optim.Adam(adapter.parameters, lr=tuning.learning_rate)
    numbered = list(enumerate(pairs))
    drawn = track(
        batches_of(numbered, tuning.batch_size, tuning.steps, tuning.seed), "fine-tuning", tuning.steps, progress
    )
    with frozen(model):
        kept = _kept(model, pairs, tuning) if tuning.loss == "dpo" else None
        with adapted(model, adapter):
            for batch in drawn:
                adam.zero_grad()
                found = _log_probs(model, [pair for _, pair in batch])
                reference = None if kept is None else kept[[number for number, _ in batch]]
                loss_of(found, reference, [pair for _, pair in batch], tuning).backward()
                adam.step()
    for parameter in adapter.parameters:
        parameter.requires_grad_(False)
    return adapter


def loss_of(
    found: Float[Tensor, "pair side"],
    reference: Float[Tensor, "pair side"] | None,
    pairs: Sequence[tuple[Completion, ...]],
    tuning: Tuning,
) -> Float[Tensor, ""]:
    """The loss of a batch, from the log-likelihoods of its completions."""
    if reference is None:
        sizes = torch.tensor([len(pair[0].row) - pair[0].prompt for pair in pairs], device=found.device)
        return -(found[:, 0] / sizes).mean()
    moved = found - reference.to(found.device)
    return -logsigmoid(tuning.beta * (moved[:, 0] - moved[:, 1])).mean()


def _kept(model: SteerableModel, pairs: Sequence[tuple[Completion, ...]], tuning: Tuning) -> Float[Tensor, "pair side"]:
    """The log-likelihoods under the model as it is."""
    starts = range(0, len(pairs), tuning.batch_size)
    return torch.cat([_log_probs(model, pairs[start : start + tuning.batch_size]).detach() for start in starts])


def _log_probs(model: SteerableModel, pairs: Sequence[tuple[Completion, ...]]) -> Float[Tensor, "pair side"]:
    """The log-likelihood of each side's completion."""
    sides = [completion for pair in pairs for completion in pair]
    tokens, mask = pad(model, [completion.row for completion in sides])
    lengths = torch.tensor([completion.prompt for completion in sides], device="cpu")
    return sequence_log_probs(model, tokens, mask, lengths).reshape(len(pairs), -1)

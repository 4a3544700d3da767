"""Optimised vectors: the direction that maximises the likelihood of target completions, by gradient descent.

    promote    maximise  mean over pairs of  log p(positive | prompt, v)
    contrast   maximise  mean over pairs of  log p(positive | prompt, v) - log p(negative | prompt, v)
    each step  v <- Adam(v),   then   v <- v min(1, bound / ||v||)

p( . | prompt, v) is the model with v added at one site by `steer`. Sources: Subramani et al. 2022 (arXiv 2205.05124)
fit a vector by the likelihood of a target; Cao et al. 2024 (BiPO, arXiv 2406.00045) by the preference of one completion
over another. Unlike BiPO, `contrast` has no sigmoid and no reference model and is not bidirectional; it is limited by
the norm bound. The reported loss is on the training pairs; use `sweep` to test v on other items, and -v.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean
from typing import Literal, TypeVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.torch_state import gradients_on
from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import MethodError, PositionError
from lens_steer.extraction.norms import activation_norms
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike, check_site
from lens_steer.model import (
    SteerableModel,
    fingerprint,
    frozen,
    pad,
    sequence_log_probs,
    tokenize,
    versions,
)
from lens_steer.vector import SteeringVector

CURVE = 20
T = TypeVar("T")
_START = 1e-2


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Settings of the optimisation.

    `positions` are the steered tokens. `norm_bound` is the largest norm of the direction, in the units of the site's
    activations; their median norm where absent. `learning_rate` is Adam's, as a fraction of the bound.

    Raises:
        MethodError: a number that is not above 0, or an objective that does not exist.
    """

    objective: Literal["promote", "contrast"] = "promote"
    positions: str = "all"
    norm_bound: float | None = None
    steps: int = 100
    learning_rate: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {"norm_bound": self.norm_bound, "steps": self.steps, "learning_rate": self.learning_rate}
        wrong = {name: value for name, value in numbers.items() if value is not None and not 0 < value < float("inf")}
        if wrong or self.objective not in ("promote", "contrast"):
            raise MethodError(
                f"Descent: {wrong or {'objective': self.objective}}; expected numbers above 0, and an objective "
                "'promote' or 'contrast'."
            )


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A prompt with one completion, in tokens."""

    row: tuple[int, ...]
    prompt: int


@gradients_on()
def extract_optimised(
    model: SteerableModel,
    contrast_set: ContrastSet,
    site: SiteLike,
    descent: Descent | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> SteeringVector:
    """Fits one direction at one site by the likelihood of completions under the model steered with it.

    Args:
        model: a loaded model; its weights are not changed.
        contrast_set: prompts with completions; `promote` uses the positive ones only.
        site: where the direction is added.
        descent: objective, positions, norm bound, steps, learning rate, seed; the defaults where absent.
        batch_size: pairs in one step; all of them in one forward pass.
        progress: draw a progress bar.

    Returns:
        The direction after the last step, no longer than the bound (to float32's rounding). `options` holds the
        settings, the bound and the loss, averaged over up to 20 stretches of the descent, in natural-log units a
        completion.

    Raises:
        SiteError: the model has no such site.
        PositionError: a prompt's tokens change when it is completed, or the positions select nothing.
        DirectionError: the descent left a direction of zero or NaN; lower the learning rate.

    Source:
        Subramani et al. 2022, "Extracting Latent Steering Vectors from Pretrained Language Models", arXiv 2205.05124;
        Cao et al. 2024, "Personalized Steering of Large Language Models", arXiv 2406.00045, for `contrast`.
    """
    descent, place = descent or Descent(), Site.parse(site)
    check_site(model, place)
    pairs = completions(model, contrast_set, descent.objective)
    ready = [completion for pair in pairs for completion in pair]
    rows, lengths = [completion.row for completion in ready], [completion.prompt for completion in ready]
    norm = activation_norms(model, rows, place, descent.positions, lengths)[place]
    bound = descent.norm_bound or norm
    batches = track(batches_of(pairs, batch_size, descent.steps, descent.seed), "descending", descent.steps, progress)
    direction, losses = _descend(model, batches, place, bound, descent)
    return SteeringVector(
        name=contrast_set.name,
        directions={place: direction},
        method="optimised",
        position=str(Positions.parse(descent.positions)),
        data_hash=contrast_set.hash,
        n_positive=contrast_set.n,
        n_negative=contrast_set.n if descent.objective == "contrast" else 0,
        activation_norms={place: norm},
        fingerprint=fingerprint(model),
        options={**asdict(descent), "norm_bound": bound, "batch_size": batch_size, "loss": _curve(losses)},
        versions=versions(),
    )


def _descend(
    model: SteerableModel,
    batches: Iterable[Sequence[tuple[Completion, ...]]],
    site: Site,
    bound: float,
    descent: Descent,
) -> tuple[Float[Tensor, " width"], list[float]]:
    """The direction after one step per batch, and the loss before each step."""
    width = site.width(int(model.cfg.d_model), int(model.cfg.d_head)) or 0
    start = torch.randn(width, generator=torch.Generator().manual_seed(descent.seed), dtype=torch.float32, device="cpu")
    direction = (start * _START * bound / start.norm()).requires_grad_()
    adam, losses = torch.optim.Adam([direction], lr=descent.learning_rate * bound), []
    with frozen(model):
        for batch in batches:
            adam.zero_grad()
            loss = _loss(model, batch, Intervention.at(site, direction, positions=descent.positions))
            loss.backward()
            adam.step()
            with torch.no_grad():
                direction.mul_((bound / direction.norm()).clamp(max=1))
            losses.append(float(loss.detach()))
    return direction.detach(), losses


def _loss(
    model: SteerableModel, batch: Sequence[tuple[Completion, ...]], intervention: Intervention
) -> Float[Tensor, ""]:
    """Minus the objective over a batch: positive completions alone, or positive minus negative."""
    sides = [completion for pair in batch for completion in pair]
    lengths = [completion.prompt for completion in sides]
    tokens, mask = pad(model, [completion.row for completion in sides])
    with steer(model, intervention, prompt_lengths=lengths):
        log_probs = sequence_log_probs(model, tokens, mask, torch.tensor(lengths, device="cpu"))
        found = rearrange(log_probs, "(pair completion) -> pair completion", pair=len(batch))
    sign = torch.tensor([1.0, -1.0][: found.shape[1]], dtype=found.dtype, device=found.device)
    return -(found @ sign).mean()


def completions(
    model: SteerableModel, contrast_set: ContrastSet, objective: Literal["promote", "contrast"]
) -> list[tuple[Completion, ...]]:
    """Each pair's completions, in tokens: the positive one, and for `contrast` the negative one.

    Args:
        model: whose tokens they are.
        contrast_set: prompts with completions.
        objective: which sides are wanted.

    Raises:
        PositionError: a prompt is empty and has no first token, or its tokens change when it is completed.
    """
    prompts = tokenize(model, [pair.prompt for pair in contrast_set.pairs])
    sides = ("positive", "negative") if objective == "contrast" else ("positive",)
    columns = []
    for side in sides:
        rows = tokenize(model, [pair.prompt + getattr(pair, side) for pair in contrast_set.pairs])
        for pair, prompt, row in zip(contrast_set.pairs, prompts, rows, strict=True):
            if not prompt:
                raise PositionError(
                    f"contrast set {contrast_set.name!r}, pair {pair.id!r}: the prompt is empty, and texts do not "
                    "begin with BOS, so the completion's first token has no likelihood. Write a prompt, or load the "
                    "model with prepend_bos=True."
                )
            if row[: len(prompt)] != prompt or len(row) == len(prompt):
                raise PositionError(
                    f"contrast set {contrast_set.name!r}, pair {pair.id!r}: the prompt's tokens change when it is "
                    "completed, so the completion's likelihood is not defined. Move the space or bracket between "
                    "prompt and completion to the other side."
                )
        columns.append([Completion(row=tuple(r), prompt=len(p)) for p, r in zip(prompts, rows, strict=True)])
    return list(zip(*columns, strict=True))


def batches_of(entries: Sequence[T], batch_size: int, steps: int, seed: int) -> Iterator[list[T]]:
    """One batch per step, from epochs over all entries in an order given by the seed.

    Args:
        entries: such as pairs.
        batch_size: the most in one batch; the last batch of an epoch holds what is left.
        steps: how many batches.
        seed: the same seed gives the same batches.

    Raises:
        MethodError: the batch size is below 1.
    """
    if batch_size < 1:
        raise MethodError(f"batch_size is {batch_size}; give 1 or more.")
    rng, waiting = random.Random(seed), []
    for _ in range(steps):
        if not waiting:
            waiting = rng.sample(list(entries), len(entries))
        batch, waiting = waiting[:batch_size], waiting[batch_size:]
        yield batch


def _curve(losses: Sequence[float]) -> list[float]:
    """The losses, averaged over at most 20 intervals of about equal length."""
    edges = [len(losses) * place // min(CURVE, len(losses)) for place in range(min(CURVE, len(losses)) + 1)]
    return [fmean(losses[start:stop]) for start, stop in pairwise(edges)]

"""Persistence of an edit over later layers and later tokens.

    d_l = h'_l - h_l          the residual stream behind block l, steered minus unsteered, at the same token
    along      = < d_l, u >                      u = v / ||v||,  v: the sum of all interventions' strength x direction
    orthogonal = || d_l - along u ||             the change that later layers add
    off        = Mahalanobis distance of h'_l from unsteered activations (`lens_steer.analysis.activation_statistics`)

Both are given in the stream's units and relative to ||h_l||. Each control is the same edit in a random direction, with
its own u. Over generation steps, both runs process the same tokens, those generated under steering (`continued`), which
separates the persistence of a prompt edit from the effect of the text it produced. A change along u need not affect the
output; use `attribution` for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.analysis.activation_statistics import ActivationStatistics, fit_manifold
from lens_steer.analysis.steered import collect
from lens_steer.errors import SteeringError
from lens_steer.extraction.record import ReadSpec, Recording, token_rows
from lens_steer.generation import Generations
from lens_steer.hooks import Intervention, Interventions, as_interventions
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site
from lens_steer.metrics.statistics import RESAMPLES, mean_interval
from lens_steer.model import Prompts, SteerableModel, output_weights

STEERING = "steering"
RELATIVE = ("along_relative", "orthogonal_relative", "off_manifold")


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Persistence:
    """Persistence of an edit and its controls; one row of `frame` per run, sequence, token and layer."""

    interventions: tuple[str, ...]
    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Columns vector (`steering` or `random k`), sequence, position, step, layer, norm, along, orthogonal,
        along_relative, orthogonal_relative and, with a reference, off_manifold and off_manifold_unsteered."""
        return self.frame.copy()

    def summary(self, over: str = "layer", confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """Means for each run and layer (or step), as `figures.persistence_curves` draws them.

        Args:
            over: `layer` or `step`; the mean is over all else, each sequence with the same weight.
            confidence: of the steered runs' intervals over sequences (columns `_low`, `_high`, `_why` of `RELATIVE`).
            seed: of their bootstrap.

        Returns:
            One row a run and layer (or step).
        """
        numbers = list(self.frame.columns.difference(["vector", "sequence", "position", "step", "layer"], sort=False))
        each = self.frame.groupby(["vector", over, "sequence"], sort=False)[numbers].mean()
        rows = []
        for (name, place), group in each.groupby(["vector", over], sort=False):
            row = {"vector": name, over: place, "n": len(group), **group.mean().to_dict()}
            resamples = RESAMPLES if name == STEERING else 0
            for column in [column for column in RELATIVE if column in numbers]:
                values = torch.tensor(group[column].to_numpy(), device="cpu")
                row |= mean_interval(values, confidence, resamples, seed).columns(column)
            rows.append(row)
        return pd.DataFrame(rows)


def persistence(
    model: SteerableModel,
    sequences: Prompts,
    interventions: Interventions,
    controls: Sequence[Sequence[Intervention]] = (),
    reference: Sequence[str] | Sequence[Sequence[int]] = (),
    positions: str | int | Sequence[int] | Positions = "last",
    prompt_lengths: Sequence[int] | None = None,
    batch_size: int = 32,
) -> Persistence:
    """Measures an edit and its controls at the later layers.

    Args:
        model: a loaded model.
        sequences: texts or token rows; the same in every run.
        interventions: what steers.
        controls: other edits, from `random_edits`.
        reference: unsteered texts that show where activations lie; none, and no distance is measured.
        positions: at which tokens the stream is compared; every later layer is read there.
        prompt_lengths: tokens of each sequence's prompt; the whole sequence where absent.
        batch_size: sequences in one forward pass.

    Returns:
        The components of the edit at each token and layer; `step` counts tokens from the prompt's last one.

    Raises:
        SteeringError: nothing steers, or an intervention selected no token.
        PositionError: the rule selects no token.
        ScoreError: too few reference tokens.
    """
    interventions = as_interventions(interventions)
    if not interventions:
        raise SteeringError("there are no interventions to follow; give at least one intervention.")
    first = min(entry.site.layer - (entry.site.kind == "resid_pre") for entry in interventions)
    sites = tuple(Site("resid_post", layer) for layer in range(max(first, 0), int(model.cfg.n_layers)))
    rows = token_rows(model, sequences)
    lengths = list(prompt_lengths or [rows.length(index) for index in range(len(rows))])
    reading = ReadSpec(sites=sites, rule=Positions.parse(positions), prompt_lengths=lengths)
    manifolds = _manifolds(model, sites, reference, batch_size)
    plain = collect(model, rows, reading, (), batch_size, lambda recording: recording)
    frames = []
    named = {STEERING: interventions} | {f"random {k}": tuple(edits) for k, edits in enumerate(controls)}
    for name, edits in named.items():
        along = _direction(model, edits)
        steered = collect(model, rows, reading, edits, batch_size, lambda recording: recording)
        for before, after in zip(plain, steered, strict=True):
            frames.append(_compared(before, after, along, lengths, manifolds).assign(vector=name))
    whole = pd.concat(frames, ignore_index=True)
    ordered = whole[["vector", *whole.columns.drop("vector")]]
    return Persistence(interventions=tuple(str(entry) for entry in interventions), frame=ordered)


def random_edits(interventions: Interventions, n: int = 20, seed: int = 0) -> tuple[tuple[Intervention, ...], ...]:
    """The same edits in random directions of the same norms, n times.

    Args:
        interventions: what is imitated: sites, strengths, positions, operators.
        n: how many.
        seed: of the directions.

    Returns:
        n lists of interventions.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(n):
        edits = []
        for entry in as_interventions(interventions):
            noise = torch.randn(entry.direction.shape, generator=generator, dtype=torch.float32, device="cpu")
            direction = noise * (entry.direction.float().cpu().norm() / noise.norm())
            edits.append(replace(entry, direction=direction, name=f"random {number}"))
        found.append(tuple(edits))
    return tuple(found)


def continued(generations: Generations) -> tuple[list[list[int]], list[int]]:
    """Generated sequences as token rows, to be forwarded again by `persistence`.

    Args:
        generations: from `generate`, without a prefill.

    Returns:
        Prompt and continuation of each, without the last token, which was never forwarded; and the prompts' lengths.
    """
    prompts = [list(entry.prompt_tokens) for entry in generations.continuations]
    tokens = [list(entry.tokens[:-1]) for entry in generations.continuations]
    return [prompt + more for prompt, more in zip(prompts, tokens, strict=True)], [len(prompt) for prompt in prompts]


def _direction(model: SteerableModel, interventions: Sequence[Intervention]) -> Float[Tensor, " d_model"]:
    """The unit direction of all edits together, in the stream, float64."""
    total = torch.zeros(int(model.cfg.d_model), dtype=torch.float64, device="cpu")
    for entry in interventions:
        direction = entry.direction.double().cpu()
        if entry.site.head is not None:
            direction = direction @ output_weights(model, entry.site.layer)[entry.site.head].double()
        total += (entry.strength or 1.0) * direction
    return total / total.norm().clamp_min(1e-12)


def _manifolds(
    model: SteerableModel,
    sites: Sequence[Site],
    reference: Sequence[str] | Sequence[Sequence[int]],
    batch_size: int,
) -> Mapping[Site, ActivationStatistics]:
    """The Gaussian reference of each site, without BOS."""
    if not reference:
        return {}
    reading = ReadSpec(sites=tuple(sites), rule=Positions("content"))
    found = collect(model, token_rows(model, reference), reading, (), batch_size, lambda recording: recording)
    return {site: fit_manifold(torch.cat([entry.activations[site] for entry in found])) for site in sites}


def _compared(
    before: Recording,
    after: Recording,
    along: Float[Tensor, " d_model"],
    lengths: Sequence[int],
    manifolds: Mapping[Site, ActivationStatistics],
) -> pd.DataFrame:
    """Two recordings of the same tokens, compared at every site."""
    starts = torch.tensor(lengths, device="cpu")[before.sequences] - 1
    frames = []
    for site, old in before.activations.items():
        new, norm = after.activations[site], old.double().norm(dim=1)
        moved = new.double() - old.double()
        part = moved @ along
        rest = (moved - part[:, None] * along).norm(dim=1)
        columns = {
            "sequence": before.sequences.tolist(),
            "position": before.positions.tolist(),
            "step": (before.positions - starts).tolist(),
            "layer": site.layer,
            "norm": norm.tolist(),
            "along": part.tolist(),
            "orthogonal": rest.tolist(),
            "along_relative": (part / norm).tolist(),
            "orthogonal_relative": (rest / norm).tolist(),
        }
        if site in manifolds:
            columns["off_manifold"] = manifolds[site].distance(new).tolist()
            columns["off_manifold_unsteered"] = manifolds[site].distance(old).tolist()
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)

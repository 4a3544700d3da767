"""Ablation test: how much of the steering effect remains without the heads found to read the vector.

    e(S) = mean over prompts of [ s(steered, heads S ablated) - s(heads S ablated) ]
    removed(S) = 1 - e(S) / e(none)

Mean ablation: at every token, the head's z is replaced by its mean over all tokens of the unsteered prompts (zero
ablation would be off-distribution). Controls are random sets of as many later heads. A head that the model needs to
answer at all also removes the effect: compare with the controls, and test another task under `mean_ablations`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.analysis.attribution.contrast import TokenContrast
from lens_steer.analysis.attribution.runs import later_components, run
from lens_steer.errors import AttributionError
from lens_steer.extraction.record import record
from lens_steer.hooks import Intervention, Interventions, as_interventions
from lens_steer.hooks.operators import Replace
from lens_steer.hooks.sites import Site, site_fault
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel

FOUND, INTACT = "found", "none"


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Ablation:
    """Steered and unsteered answers under each set of ablated heads: `none`, `found` and the random ones."""

    items: tuple[str, ...]
    sets: tuple[tuple[str, tuple[Site, ...]], ...]
    steered: Float[Tensor, "component n"]
    unsteered: Float[Tensor, "component n"]

    @property
    def removed(self) -> dict[str, float]:
        """The share of the steering effect that ablating each set of heads removes, by the set's name."""
        effects = (self.steered - self.unsteered).mean(dim=1)
        return {name: float(1 - effect / effects[0]) for (name, _), effect in zip(self.sets, effects, strict=True)}

    def to_frame(self) -> pd.DataFrame:
        """One tidy row for each prompt and set: steered and unsteered answer, and the effect."""
        rows = [
            {
                "set": name,
                "heads": " ".join(map(str, heads)),
                "item": item,
                "steered": float(self.steered[index, prompt]),
                "unsteered": float(self.unsteered[index, prompt]),
                "effect": float(self.steered[index, prompt] - self.unsteered[index, prompt]),
            }
            for index, (name, heads) in enumerate(self.sets)
            for prompt, item in enumerate(self.items)
        ]
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """One row a set: its heads, mean answers, mean effect with its interval over items, the share it removes."""
        frame = self.to_frame()
        means = frame.groupby(["set", "heads"], sort=False)[["steered", "unsteered", "effect"]].mean().reset_index()
        by_item = frame.groupby(["set", "item"], sort=False)["effect"].mean()
        bounds = [mean_interval(torch.tensor(by_item.loc[name].to_numpy(), device="cpu")) for name in means["set"]]
        low, high = zip(*bounds, strict=True)
        return means.assign(effect_low=low, effect_high=high, removed=list(self.removed.values()))


def ablate_heads(
    model: SteerableModel,
    asked: TokenContrast,
    interventions: Interventions,
    heads: Sequence[Site],
    controls: int = 20,
    seed: int = 0,
    batch_size: int = 32,
) -> Ablation:
    """Mean-ablates heads, with and without steering, and random sets of as many heads as control.

    Args:
        model: a loaded model.
        asked: prompts other than those on which the heads were found.
        interventions: what steers.
        heads: sites such as `z@5.3`.
        controls: how many random sets; drawn without replacement inside a set, from later heads that are not `heads`.
        seed: of the random sets.
        batch_size: prompts in one forward pass.

    Returns:
        The answers under each set.

    Raises:
        AttributionError: no heads, something else than heads, or too few other heads to draw controls from.
        SteeringError: an intervention selected no token of any prompt.
    """
    chosen = tuple(dict.fromkeys(heads))
    if not chosen or any(site.head is None for site in chosen):
        raise AttributionError(f"{[str(site) for site in chosen]}: give at least one head, such as z@5.3.")
    interventions = as_interventions(interventions)
    later = later_components(model, [entry.site for entry in interventions])
    heads_of_model = [site for site in later if site.head is not None and not site_fault(model, site)]
    pool = [site for site in heads_of_model if site not in chosen]
    if controls and len(pool) < len(chosen):
        raise AttributionError(
            f"{len(chosen)} heads were given and only {len(pool)} other heads come after the edit, too few to draw "
            "controls from; give fewer heads, or controls=0."
        )
    generator = torch.Generator().manual_seed(seed)
    sets = [(INTACT, ()), (FOUND, chosen)]
    for number in range(controls):
        places = torch.randperm(len(pool), generator=generator, device="cpu")[: len(chosen)].tolist()
        sets.append((f"random {number}", tuple(sorted(pool[place] for place in places))))
    wanted = sorted({site for _, members in sets for site in members})
    ablations = dict(zip(wanted, mean_ablations(model, asked, wanted, batch_size), strict=True))
    steered, unsteered = [], []
    for _, members in sets:
        gone = [ablations[site] for site in members]
        unsteered.append(run(model, asked, (), gone, batch_size).read)
        steered.append(run(model, asked, (), [*gone, *interventions], batch_size).read)
    return Ablation(items=asked.items, sets=tuple(sets), steered=torch.stack(steered), unsteered=torch.stack(unsteered))


def mean_ablations(
    model: SteerableModel, asked: TokenContrast, heads: Sequence[Site], batch_size: int = 32
) -> tuple[Intervention, ...]:
    """Interventions that mean-ablate heads, for use with `steer` or any other function that takes interventions.

    Args:
        model: a loaded model.
        asked: the prompts over whose tokens each head's output is averaged, unsteered.
        heads: sites such as `z@5.3`.
        batch_size: prompts in one forward pass.

    Returns:
        One intervention a head.

    Raises:
        SiteError: the model has no such head.
    """
    total, count = {site: torch.zeros(int(model.cfg.d_head), dtype=torch.float64, device="cpu") for site in heads}, 0
    for batch in record(model, asked.rows, list(heads), batch_size=batch_size):
        count += len(batch.sequences)
        for site in heads:
            total[site] += batch.activations[site].double().sum(dim=0)
    means = {site: (summed / count).float() for site, summed in total.items()}
    return tuple(Intervention.at(site, means[site], operator=Replace(), name="mean") for site in heads)

"""Feeds activations to a method: separates the classes, checks values, drops massive tokens and collects norms.

    massive at a site    ||h|| > 10 median of ||h|| over all tokens of the sequence      (as BOS often is)
    activation norm      median of ||h|| over the remaining tokens: of all of them up to 32768 per site, beyond that of
                         every 2nd, 4th, 8th ... in the order of the stream

Massive tokens are determined within their sequence, so that the result does not depend on the batches. For a paired
method, both rows of a pair are dropped where one is massive.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.errors import DirectionError, MethodError
from lens_steer.extraction.methods import Fit, Fitter, find_method, make_fitter
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.record import Recording
from lens_steer.extraction.sequences import Sequences
from lens_steer.hooks.sites import Site

_CAPACITY = 32768
_ALIKE = "the direction is zero, because both classes are alike there"


class RunningMedian:
    """The median of a stream in bounded memory; deterministic."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity, self._stride, self._seen = capacity, 1, 0
        self._kept = torch.empty(0, dtype=torch.float32, device="cpu")

    def update(self, values: Float[Tensor, " n"]) -> None:
        """Adds values; beyond the capacity, every second stored value is dropped and every second new one skipped."""
        first = -self._seen % self._stride
        self._seen += len(values)
        self._kept = torch.cat([self._kept, values[first :: self._stride]])
        while len(self._kept) > self._capacity:
            self._kept, self._stride = self._kept[::2].clone(), 2 * self._stride

    def value(self) -> float:
        """The (lower) median of the stored values; NaN where there are none."""
        return float(self._kept.median())


class Fitting:
    """The fitters of one extraction: one per site, or one for all sites concatenated where the method is joint."""

    def __init__(self, method: str, options: ExtractOptions, sequences: Sequences, sites: tuple[Site, ...]) -> None:
        self.method = method
        self._method, self._sequences, self._sites = find_method(method), sequences, sites
        places = [sites] if self._method.joint else [(site,) for site in sites]
        self._fitters: dict[tuple[Site, ...], Fitter] = {place: make_fitter(method, options.method) for place in places}
        self._widths: dict[Site, int] = {}
        self._medians = {site: RunningMedian() for site in sites}
        self._groups = _group_numbers(sequences) if self._method.grouped else None
        self.dropped = dict.fromkeys(sites, 0)
        self.left_out: dict[Site, str] = {}

    def update(self, recording: Recording) -> None:
        """Adds one batch.

        Args:
            recording: whole sequences, with both sequences of a pair, sorted by sequence and position.

        Raises:
            ActivationError: an activation is NaN or infinite.
        """
        recording.require_finite(self._sequences.label)
        positive = self._sequences.is_positive(recording.sequences)
        kept = {site: self._keep(recording, site, positive) for site in self._sites}
        for place, fitter in self._fitters.items():
            keep = torch.stack([kept[site] for site in place]).all(dim=0)
            rows = torch.cat([recording.activations[site] for site in place], dim=1)
            groups = None if self._groups is None else self._groups[recording.sequences[keep & positive] // 2]
            fitter.update(rows[keep & positive], rows[keep & ~positive], groups)
            for site in place:
                self._widths[site] = recording.activations[site].shape[1]
                self._medians[site].update(recording.activations[site].norm(dim=-1)[keep])
                self.dropped[site] += int((~keep).sum())

    def fit(self) -> tuple[dict[Site, Tensor], dict[str, dict[str, float | str]]]:
        """The direction at each site, and the method's notes by site (under `all` for a joint method).

        A site at which there is no direction, while there is one at others, is left out and joins `left_out`.

        Raises:
            MethodError: too few activations, or none that vary, at every site.
            DirectionError: the direction is zero at every site.
        """
        directions: dict[Site, Tensor] = {}
        notes: dict[str, dict[str, float | str]] = {}
        failures: list[MethodError] = []
        for place, fitter in self._fitters.items():
            try:
                fit: Fit = fitter.fit()
            except MethodError as error:
                failures.append(error)
                self.left_out |= dict.fromkeys(place, str(error))
                continue
            parts = fit.direction.split([self._widths[site] for site in place])
            found = dict(zip(place, parts, strict=True))
            self.left_out |= {site: _ALIKE for site, part in found.items() if not bool(part.any())}
            directions |= found
            if fit.notes:
                notes["all" if self._method.joint else str(place[0])] = dict(fit.notes)
        kept = {site: direction for site, direction in directions.items() if site not in self.left_out}
        if not kept and failures:
            raise failures[0]
        if not kept:
            first, *rest = map(str, self._sites)
            others = f", as at the other {len(rest)} sites" if rest else ""
            raise DirectionError(
                f"{self._sequences.source.name!r} at {first}: {_ALIKE}{others}; choose another site or "
                "position, or look at the data."
            )
        return kept, notes

    def norms(self) -> Mapping[Site, float]:
        """The median norm of the kept activations at each site."""
        return {site: median.value() for site, median in self._medians.items()}

    def _keep(self, recording: Recording, site: Site, positive: Bool[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """A mask of the rows of one site that are not massive; for a paired method, equal for both rows of a pair."""
        keep = recording.ordinary(site)
        if recording.medians and self._method.paired:
            both = keep[positive] & keep[~positive]
            keep[positive], keep[~positive] = both, both
        return keep


def _group_numbers(sequences: Sequences) -> Int[Tensor, " n"]:
    """A number for the group of each pair: its place among the groups' names in order."""
    groups = [pair.group for pair in getattr(sequences.source, "pairs", ())]
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    return torch.tensor([numbers[group] for group in groups], dtype=torch.long, device="cpu")

"""Activations into a method: classes told apart, bad values refused, massive ones left out, norms remembered.

    massive at a site    ||h|| > 10 median of ||h|| over all tokens of the sequence      (as BOS often is)
    activation norm      median of ||h|| over the tokens kept: of all of them up to 32768 a site, beyond that of every
                         2nd, 4th, 8th ... in the order of the stream

Whether a token is massive is a matter of its own sequence, so that batches do not enter. A paired method is given row i
of both classes from one pair and loses both where one is massive. This module runs no model.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.extraction.methods import Fit, Fitter, find_method, make_fitter
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.record import Recording
from lens_steer.extraction.sequences import Sequences
from lens_steer.hooks.sites import Site

MASSIVE = 10.0
_CAPACITY = 32768


class RunningMedian:
    """The median of a stream in bounded memory; the same stream always gives the same value."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity, self._stride, self._seen = capacity, 1, 0
        self._kept = torch.empty(0)

    def update(self, values: Float[Tensor, " n"]) -> None:
        """Takes in values; beyond the capacity every other kept value is let go, and every other new one."""
        first = -self._seen % self._stride
        self._seen += len(values)
        self._kept = torch.cat([self._kept, values[first :: self._stride]])
        while len(self._kept) > self._capacity:
            self._kept, self._stride = self._kept[::2].clone(), 2 * self._stride

    def value(self) -> float:
        """The median of what is kept (the lower one of two); NaN of nothing."""
        return float(self._kept.median())


class Fitting:
    """The fitters of one extraction: one a site, or one for all sites side by side where the method is joint."""

    def __init__(self, method: str, options: ExtractOptions, sequences: Sequences, sites: tuple[Site, ...]) -> None:
        self.method = method
        self._method, self._sequences, self._sites = find_method(method), sequences, sites
        places = [sites] if self._method.joint else [(site,) for site in sites]
        self._fitters: dict[tuple[Site, ...], Fitter] = {place: make_fitter(method, options.method) for place in places}
        self._widths: dict[Site, int] = {}
        self._medians = {site: RunningMedian() for site in sites}
        self._groups = _group_numbers(sequences) if self._method.grouped else None
        self.dropped = dict.fromkeys(sites, 0)

    def update(self, recording: Recording) -> None:
        """Takes in one batch.

        Args:
            recording: whole sequences, pairs unparted, in the order of sequences and positions.

        Raises:
            ActivationError: an activation is NaN or infinite.
        """
        recording.require_finite(self._sequences.label)
        positive = self._sequences.is_positive(recording.sequences)
        norms = {site: recording.activations[site].norm(dim=-1) for site in self._sites}
        kept = {site: self._keep(recording, site, norms[site], positive) for site in self._sites}
        for place, fitter in self._fitters.items():
            keep = torch.stack([kept[site] for site in place]).all(dim=0)
            rows = torch.cat([recording.activations[site] for site in place], dim=1)
            groups = None if self._groups is None else self._groups[recording.sequences[keep & positive] // 2]
            fitter.update(rows[keep & positive], rows[keep & ~positive], groups)
            for site in place:
                self._widths[site] = recording.activations[site].shape[1]
                self._medians[site].update(norms[site][keep])
                self.dropped[site] += int((~keep).sum())

    def fit(self) -> tuple[dict[Site, Tensor], dict[str, dict[str, float | str]]]:
        """The direction at each site, and the method's notes by site (under `all` for a joint method).

        Raises:
            MethodError: too few activations, or none that vary.
        """
        directions: dict[Site, Tensor] = {}
        notes: dict[str, dict[str, float | str]] = {}
        for place, fitter in self._fitters.items():
            fit: Fit = fitter.fit()
            parts = fit.direction.split([self._widths[site] for site in place])
            directions |= dict(zip(place, parts, strict=True))
            if fit.notes:
                notes["all" if self._method.joint else str(place[0])] = dict(fit.notes)
        return directions, notes

    def norms(self) -> Mapping[Site, float]:
        """The median norm of the kept activations at each site."""
        return {site: median.value() for site, median in self._medians.items()}

    def _keep(
        self, recording: Recording, site: Site, norms: Float[Tensor, " n"], positive: Bool[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """The rows of one site that are not massive; for a paired method both or neither row of a pair."""
        if not recording.medians:
            return torch.ones_like(positive)
        keep = norms <= MASSIVE * recording.medians[site]
        if self._method.paired:
            both = keep[positive] & keep[~positive]
            keep[positive], keep[~positive] = both, both
        return keep


def _group_numbers(sequences: Sequences) -> Int[Tensor, " n"]:
    """A number for the group of each pair: its place among the groups' names in order."""
    groups = [pair.group for pair in getattr(sequences.source, "pairs", ())]
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    return torch.tensor([numbers[group] for group in groups], dtype=torch.long)

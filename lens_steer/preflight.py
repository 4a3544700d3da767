"""Proof, on the model at hand, that its sites are what the grammar says.

    reading   resid_pre + attn_out + mlp_out = resid_post, at every layer, within a tolerance
    writing   a direction v added at a site fires once, and its term moves by v:  share = <moved, v> / <v, v> = 1

For resid_pre, attn_out and mlp_out, `moved` is resid_post minus the other two terms as they are after the write,
minus the term as it was before. For resid_post it is what the next block reads (after the last block: the logits must
move). The input is random tokens and v is random: a constant v would be invisible to a LayerNorm. Tolerances,
relative to the largest entry: 1e-3 in float32 and wider, 5e-2 in half precision. A model whose blocks rescale or mix
their terms fails here, and so it should.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.model import SteerableModel, forward
from lens_steer.sites import KINDS, Site, SiteLike, check_site
from lens_steer.steer import hooked

TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class SiteCheck:
    """What was found at one site; `reason` is empty where it passed."""

    site: Site
    fires: int
    share: float
    identity_error: float
    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """The checks of every site of a model, and the tolerance they were held to."""

    checks: tuple[SiteCheck, ...]
    tolerance: float

    def require(self, site: SiteLike) -> None:
        """Refuses a site that failed.

        Args:
            site: the place.

        Raises:
            SiteError: it failed, or was not checked.
        """
        parsed = Site.parse(site)
        found = [check for check in self.checks if check.site == parsed]
        if not found:
            raise SiteError(f"site {parsed} was not checked; the model has {len(self.checks) // len(KINDS)} layers.")
        if not found[0].passed:
            raise SiteError(f"site {parsed} failed its preflight: {found[0].reason}; choose a site that passed.")

    def to_frame(self) -> pd.DataFrame:
        """One row a site: fires, share, identity error, verdict and reason."""
        rows = [
            {
                "site": str(check.site),
                "kind": check.site.kind,
                "layer": check.site.layer,
                "fires": check.fires,
                "share": check.share,
                "identity_error": check.identity_error,
                "passed": check.passed,
                "reason": check.reason,
            }
            for check in self.checks
        ]
        return pd.DataFrame(rows)


def preflight(model: SteerableModel, seed: int = 0) -> Preflight:
    """Checks every site of every layer, with one short forward pass for each.

    Args:
        model: a loaded model.
        seed: of the random tokens and directions.

    Returns:
        The checks; a site that fails is reported, and refused by `require`.
    """
    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(model.original_model.get_input_embeddings().weight.shape[0])
    tokens = torch.randint(vocabulary, (1, TOKENS), generator=generator)
    parameter = next(model.original_model.parameters())
    tolerance = 1e-3 if parameter.dtype in (torch.float32, torch.float64) else 5e-2
    sites = [Site(kind, layer) for layer in range(int(model.cfg.n_layers)) for kind in KINDS]
    missing = {site: reason for site in sites if (reason := _absence(model, site))}
    there = [site for site in sites if site not in missing]
    tokens = tokens.to(parameter.device)
    before, logits, _ = _observe(model, tokens, there)
    checks = []
    for site in sites:
        if site in missing:
            checks.append(_check(site, 0, float("nan"), float("nan"), tolerance, missing[site]))
            continue
        v = torch.randn(int(model.cfg.d_model), generator=generator)
        v = v * before[site].norm(dim=-1).max().clamp(min=1e-3) / v.norm()
        after, moved_logits, fires = _observe(model, tokens, there, site, v)
        error = _identity_error(before, site.layer)
        checks.append(_check(site, fires, _share(before, after, (logits, moved_logits), site, v), error, tolerance, ""))
    return Preflight(checks=tuple(checks), tolerance=tolerance)


def _observe(
    model: SteerableModel,
    tokens: Int[Tensor, "batch pos"],
    sites: list[Site],
    written: Site | None = None,
    v: Tensor | None = None,
) -> tuple[dict[Site, Tensor], Tensor, int]:
    """Every term of every layer and the logits, with v added at one site; and how often that site fired."""
    seen: dict[Site, Tensor] = {}
    fires = [0]

    def look(site: Site) -> Callable[[Tensor], Tensor | None]:
        def run(activation: Tensor) -> Tensor | None:
            edited = None
            if site == written and v is not None:
                fires[0] += 1
                edited = activation + v.to(activation)
            seen[site] = (activation if edited is None else edited)[0].detach().float().cpu()
            return edited

        return run

    with hooked(model, {site.hook_name: look(site) for site in sites}):
        logits = forward(model, tokens, torch.ones_like(tokens))
    return seen, logits.float().cpu(), fires[0]


def _share(
    before: dict[Site, Tensor], after: dict[Site, Tensor], logits: tuple[Tensor, Tensor], site: Site, v: Tensor
) -> float:
    """How much of what was written arrived: 1 is all of it."""
    if site.kind == "resid_post":
        reader = Site("resid_pre", site.layer + 1)
        if reader not in after:
            return float((logits[0] - logits[1]).abs().max() > 0)
        moved = after[reader] - before[site]
    else:
        others = [Site(kind, site.layer) for kind in KINDS if kind not in ("resid_post", site.kind)]
        whole = Site("resid_post", site.layer)
        if whole not in after or any(other not in after for other in others):
            return float("nan")
        moved = after[whole] - sum((after[other] for other in others), before[site])
    return float((moved.double() @ v.double() / (v.double() @ v.double())).mean())


def _identity_error(before: dict[Site, Tensor], layer: int) -> float:
    """How far the sum of the terms is from resid_post, relative to its largest entry; NaN where a term is missing."""
    terms = [before.get(Site(kind, layer)) for kind in KINDS]
    pre, attention, mlp, post = terms
    if pre is None or attention is None or mlp is None or post is None:
        return float("nan")
    return float((pre + attention + mlp - post).abs().max() / post.abs().max())


def _absence(model: SteerableModel, site: Site) -> str:
    """Why a site cannot be checked, or nothing."""
    try:
        check_site(model, site)
    except SiteError as error:
        return str(error)
    return ""


def _check(site: Site, fires: int, share: float, error: float, tolerance: float, reason: str) -> SiteCheck:
    """The verdict on one site."""
    if not reason and fires != 1:
        reason = f"a write fired {fires} times instead of once"
    if not reason and not error <= tolerance:
        reason = f"resid_pre + attn_out + mlp_out misses resid_post by {error:.2g} of its size (limit {tolerance:g})"
    if not reason and not abs(share - 1) <= tolerance:
        reason = f"{share:.3f} of a written direction arrives instead of 1 (tolerance {tolerance:g})"
    return SiteCheck(site=site, fires=fires, share=share, identity_error=error, passed=not reason, reason=reason)

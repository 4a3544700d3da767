"""Proof, on the model at hand, that its sites are what the grammar says.

    reading   resid_pre + attn_out + mlp_out = resid_post   and   resid_pre + attn_out = resid_mid, at every layer
    writing   a direction v added by `steer` acts once at every token, and its term moves by v:
                  share = <moved, v> / <v, v> = 1
    MLP input v added at mlp_input moves what the MLP reads by v, and what it gives to what it gives of that by itself
    heads     v added at z@l.h moves what attention gives, before a norm or a scale behind it, by W_O[h]^T v, and no
              other head:  share = <moved, W v> / <W v, W v> = 1

The equations judge attn_out, resid_mid and mlp_out; a block without these terms, or with a norm behind their sum,
still has resid_pre and resid_post. For attn_out and mlp_out, and for resid_pre where the equation holds, `moved` is
resid_post minus the other two terms as they are after the write, minus the term as it was before. resid_mid must move
both what resid_post has without mlp_out, and what the MLP reads; the worse of the two counts. For resid_post `moved`
is what the next block reads (after the last block: the logits must move), and for any other resid_pre what the block
itself reads. In a layer that lacks a term, as those of hybrids do, attn_out and resid_mid must move resid_mid alone,
and mlp_out must move resid_post by v and by nothing else. All heads of a layer are written in one pass, each at a token
of its own, which is valid because the output matrix acts token by token. The input is random tokens and v is random: a
constant v would be invisible to a LayerNorm. Tolerances, relative to the largest entry: 1e-3 in float32 and wider, 5e-2
in half precision. A model whose blocks rescale or mix their terms fails here, and so it should.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import SiteError, SteeringError
from lens_steer.hooks import Intervention, hooked, steer
from lens_steer.hooks.sites import HEADS, Site, SiteLike, by_hook_name, site_fault
from lens_steer.hooks.terms import MLP_INPUT, STREAM, SUM, Equation, allowed_error, equations, mlp_misses
from lens_steer.model import SteerableModel, forward, output_weights, vocabulary_size

TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class SiteCheck:
    """What was found at one site; `reason` is empty where it passed.

    `fires` is how often a write acted at each token, `share` how much of it arrived, `identity_error` how far the
    site's identity is from holding: for a head, how far attn_out moved by anything but `W_O v`.
    """

    site: Site
    fires: float
    share: float
    identity_error: float
    passed: bool
    reason: str


@shown("to_frame")
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
            layers = 1 + max(check.site.layer for check in self.checks)
            raise SiteError(f"site {parsed} was not checked; the model has {layers} layers.")
        if not found[0].passed:
            here = [check.site for check in self.checks if check.passed and check.site.layer == parsed.layer]
            others = dict.fromkeys("z" if site.head is not None else site.kind for site in here)
            raise SiteError(
                f"site {parsed} failed its preflight: {found[0].reason}; choose a site that passed, at this layer "
                f"{', '.join(others) or 'none did'}."
            )

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


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Every site of one forward pass (its first row, float32 on the CPU), and how many tokens each write has edited."""

    terms: dict[Site, Tensor]
    logits: Tensor
    edited: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What was found at one site, before it is judged."""

    fires: float
    share: float
    error: float
    equation: str = ""
    reason: str = ""


def preflight(model: SteerableModel, seed: int = 0) -> Preflight:
    """Checks every site of every layer, with one short forward pass for each, and one for all heads of a layer.

    Args:
        model: a loaded model.
        seed: of the random tokens and directions.

    Returns:
        The checks, layer by layer; a site that fails is reported, and refused by `require`.
    """
    generator = torch.Generator().manual_seed(seed)
    vocabulary = vocabulary_size(model)
    n_heads = int(model.cfg.n_heads)
    tokens = torch.randint(vocabulary, (1, max(TOKENS, n_heads)), generator=generator, device="cpu")
    tokens, tolerance = tokens.to(next(model.original_model.parameters()).device), allowed_error(model)
    checks: list[SiteCheck] = []
    for layer in range(int(model.cfg.n_layers)):
        stream = {Site(kind, layer): site_fault(model, Site(kind, layer)) for kind in STREAM}
        there = [site for site, reason in stream.items() if not reason]
        following = [Site("resid_pre", layer + 1)] if layer + 1 < int(model.cfg.n_layers) else []
        before = _observe(model, tokens, there + following)
        for site, reason in stream.items():
            silent = reason or ("" if site in before.terms else "has a hook that does not run in a forward pass")
            found = _missing(silent) if silent else _written(model, tokens, before, site, generator, tolerance)
            checks.append(_check(site, found, tolerance))
        site = Site(MLP_INPUT, layer)
        checks.append(_check(site, _into_mlp(model, tokens, site, generator), tolerance))
        checks += [_check(site, found, tolerance) for site, found in _heads(model, tokens, layer, generator).items()]
    return Preflight(checks=tuple(checks), tolerance=tolerance)


def _observe(
    model: SteerableModel,
    tokens: Int[Tensor, "batch pos"],
    sites: Collection[Site],
    writes: Sequence[Intervention] = (),
    raw: Site | None = None,
) -> _Seen:
    """One forward pass, with every site as it is after the writes; `raw` (attn_out, mlp_out) as its module gives it."""
    terms: dict[Site, Tensor] = {}

    def look(here: list[Site]) -> Callable[[Tensor], None]:
        def run(activation: Tensor) -> None:
            terms.update({site: site.read(activation)[0].detach().float().cpu() for site in here})

        return run

    functions = {name: look(here) for name, here in by_hook_name(tuple(sites)).items()}
    if raw is not None:
        functions[f"blocks.{raw.layer}.{raw.kind.removesuffix('_out')}.hook_out"] = look([raw])
    with steer(model, *writes) as steering, hooked(model, functions):
        logits = forward(model, tokens, torch.ones_like(tokens))
    return _Seen(terms=terms, logits=logits.float().cpu(), edited=tuple(steering.edited))


def _written(
    model: SteerableModel,
    tokens: Int[Tensor, "batch pos"],
    before: _Seen,
    site: Site,
    generator: torch.Generator,
    tolerance: float,
) -> _Found:
    """What a random direction does that is added at every token of a site of the stream."""
    here = {kind: before.terms[place] for kind in STREAM if (place := Site(kind, site.layer)) in before.terms}
    judged = equations(site.kind, here)
    if site.kind in ("attn_out", "resid_mid") and not judged:
        return _missing("cannot be proved, because the layer shows neither mlp_out nor resid_mid")
    v = _direction(before.terms[site], generator)
    try:
        after = _observe(model, tokens, before.terms, [Intervention.at(site, v)])
    except SteeringError as error:
        return _missing(str(error))
    errors = {str(equation): equation.error(here) for equation in judged}
    if site.kind == "resid_post" or (site.kind == "resid_pre" and not errors.get(str(SUM), 1) <= tolerance):
        judged = ()
    moved = _moved(before, after, site, judged)
    if site.kind == "mlp_out" and not judged:
        errors["resid_post moves by v and by nothing else, which"] = float((moved[0] - v).abs().max() / v.abs().max())
    equation = max(errors, key=lambda name: errors[name], default="")
    share = min((_share(part, v) for part in moved), key=lambda share: -abs(share - 1), default=float("nan"))
    if site.kind == "resid_post" and not moved:
        share = float((before.logits - after.logits).abs().max() > 0)
    fires = after.edited[0] / tokens.numel()
    return _Found(fires=fires, share=share, error=errors.get(equation, float("nan")), equation=equation)


def _into_mlp(
    model: SteerableModel, tokens: Int[Tensor, "batch pos"], site: Site, generator: torch.Generator
) -> _Found:
    """What a random direction does that is added at every token of what an MLP reads."""
    if fault := site_fault(model, site):
        return _missing(fault)
    out = Site("mlp_out", site.layer)
    before = _observe(model, tokens, [site]).terms[site]
    v = _direction(before, generator)
    try:
        after = _observe(model, tokens, [site], [Intervention.at(site, v)], raw=out)
        error = mlp_misses(model, site.layer, before + v, after.terms[out])
    except (SiteError, SteeringError) as fault:
        return _missing(str(fault))
    share = _share(after.terms[site] - before, v)
    equation = "the MLP, run by itself on what it reads and v,"
    return _Found(fires=after.edited[0] / tokens.numel(), share=share, error=error, equation=equation)


def _heads(
    model: SteerableModel, tokens: Int[Tensor, "batch pos"], layer: int, generator: torch.Generator
) -> dict[Site, _Found]:
    """What random directions do that are added to all heads of a layer, head h at token h."""
    sites = [Site(HEADS, layer, head) for head in range(int(model.cfg.n_heads))]
    out, faults = Site("attn_out", layer), [site_fault(model, site) for site in sites[:1]]
    if any(faults):
        return {site: _missing(faults[0]) for site in sites}
    try:
        matrices = output_weights(model, layer)
        before = _observe(model, tokens, sites, raw=out)
        directions = [_direction(before.terms[site], generator) for site in sites]
        plans = [Intervention.at(sites[head], v, positions=head) for head, v in enumerate(directions)]
        after = _observe(model, tokens, sites, plans, raw=out)
    except (SiteError, SteeringError) as error:
        return {site: _missing(str(error)) for site in sites}
    found = {}
    for head, site in enumerate(sites):
        wanted = directions[head] @ matrices[head]
        moved = (after.terms[out] - before.terms[out])[head]
        strangers = [(after.terms[other] - before.terms[other])[head] for other in sites if other != site]
        error = max(float(off.abs().max()) for off in (moved - wanted, *strangers)) / float(wanted.abs().max())
        equation = f"attn_out moves by W_O[{head}]^T v and no other head moves, which"
        fires, share = float(after.edited[head]), _share(moved, wanted)
        found[site] = _Found(fires=fires, share=share, error=error, equation=equation)
    return found


def _direction(activation: Float[Tensor, "pos width"], generator: torch.Generator) -> Float[Tensor, " width"]:
    """A random direction as long as the longest activation."""
    v = torch.randn(activation.shape[-1], generator=generator, dtype=torch.float32, device="cpu")
    return v * activation.norm(dim=-1).max().clamp(min=1e-3) / v.norm()


def _moved(before: _Seen, after: _Seen, site: Site, judged: Sequence[Equation]) -> list[Float[Tensor, "pos d_model"]]:
    """What moved where the write should arrive, by each equation; nothing where the place is not shown."""
    old, new = before.terms, after.terms
    if not judged:
        shows = {"resid_post": Site("resid_pre", site.layer + 1), "mlp_out": Site("resid_post", site.layer)}
        place = shows.get(site.kind, site)
        return [new[place] - old[site if site.kind == "resid_post" else place]] if place in new else []
    found = []
    for equation in judged:
        whole = site if site.kind == equation.whole else Site(equation.whole, site.layer)
        behind = ("mlp_out",) if site.kind == "resid_mid" else tuple(k for k in equation.kinds if k != site.kind)
        others = [] if whole == site else [new[Site(kind, site.layer)] for kind in behind]
        found.append(new[whole] - sum(others, old[site]))
    return found


def _share(moved: Float[Tensor, "*pos d_model"], v: Float[Tensor, " d_model"]) -> float:
    """How much of what was written arrived: 1 is all of it."""
    return float((moved.double() @ v.double() / (v.double() @ v.double())).mean())


def _missing(reason: str) -> _Found:
    """A site that could not be looked at."""
    return _Found(fires=0.0, share=float("nan"), error=float("nan"), reason=reason)


def _check(site: Site, found: _Found, tolerance: float) -> SiteCheck:
    """The verdict on one site."""
    reason = found.reason
    if not reason and found.fires != 1:
        reason = f"a write acted {found.fires:g} times at each token instead of once"
    if not reason and site.kind not in ("resid_pre", "resid_post") and not found.error <= tolerance:
        reason = f"{found.equation} misses by {found.error:.2g} of its size (limit {tolerance:g})"
    if not reason and not abs(found.share - 1) <= tolerance:
        reason = f"{found.share:.3f} of a written direction arrives instead of 1 (tolerance {tolerance:g})"
    return SiteCheck(
        site=site,
        fires=found.fires,
        share=found.share,
        identity_error=found.error,
        passed=not reason,
        reason=reason,
    )

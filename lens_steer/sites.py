"""The grammar of places in a model: `kind@layer`.

    resid_pre@0   the residual stream before block 0        attn_out@3   what attention 3 adds to it
    resid_post@12 the residual stream after block 12        mlp_out@7    what MLP 7 adds to it
    resid_post@8:16   layers 8 to 15        resid_post@*   every layer

    resid_pre + attn_out + mlp_out = resid_post          (proved for each layer of a model by `lens_steer.preflight`)

A site is parsed once; everything else holds the frozen object. `resid_post@l` and `resid_pre@(l+1)` are the same
tensor seen from two hook points: an edit at both is applied twice. There is no `resid_mid` yet: TransformerLens 4.3's
own hook of that name does not write to the stream. This module knows how a hook is named, not how one is installed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.model import SteerableModel

KINDS = ("resid_pre", "attn_out", "mlp_out", "resid_post")
_SITE = re.compile(r"([a-z_]+)@(\d+)")
_RANGE = re.compile(r"([a-z_]+)@(?:(\*)|(\d+)(?::(\d+))?)")


@dataclass(frozen=True, order=True)
class Site:
    """One place in every forward pass: a kind of activation at one layer; ordered by kind, then layer.

    Raises:
        SiteError: an unknown kind or a negative layer.
    """

    kind: str
    layer: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.layer < 0:
            raise SiteError(_grammar(f"{self.kind}@{self.layer}"))

    @classmethod
    def parse(cls, site: "str | Site") -> "Site":
        """Reads one site.

        Args:
            site: such as `"resid_post@12"`, or a site.

        Returns:
            The site. `str(site)` gives back what parses to it.

        Raises:
            SiteError: it does not parse.
        """
        if isinstance(site, Site):
            return site
        match = _SITE.fullmatch(site.strip())
        if match is None:
            raise SiteError(_grammar(site))
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.kind}@{self.layer}"

    @property
    def hook_name(self) -> str:
        """The canonical TransformerLens name, such as `blocks.12.hook_resid_post`."""
        return f"blocks.{self.layer}.hook_{self.kind}"

    def read(self, activation: Tensor) -> Tensor:
        """The part of a hook's activation that is this site."""
        return activation


SiteLike = str | Site


def parse_sites(sites: SiteLike | Sequence[SiteLike], n_layers: int) -> tuple[Site, ...]:
    """Reads one site, a range, a star, or a list of these.

    Args:
        sites: such as `"resid_post@12"`, `"resid_post@8:16"` (8 to 15), `"resid_post@*"`, or a list.
        n_layers: how many layers the model has.

    Returns:
        The sites in the order given, each once.

    Raises:
        SiteError: it does not parse, names a layer the model lacks, or names no site.

    Example:
        >>> [str(site) for site in parse_sites(["resid_pre@0", "attn_out@1:3"], n_layers=8)]
        ['resid_pre@0', 'attn_out@1', 'attn_out@2']
    """
    found: dict[Site, None] = {}
    for entry in [sites] if isinstance(sites, str | Site) else sites:
        match = _RANGE.fullmatch(str(entry).strip())
        if match is None:
            raise SiteError(_grammar(str(entry)))
        start = 0 if match[2] else int(match[3])
        stop = n_layers if match[2] else int(match[4]) if match[4] else start + 1
        if not start < stop:
            raise SiteError(f"site range {str(entry)!r} is empty; {match[1]}@8:16 means layers 8 to 15.")
        for layer in range(start, stop):
            site = Site(match[1], layer)
            _check_layer(site, n_layers)
            found[site] = None
    if not found:
        raise SiteError("no sites were given; name at least one, such as 'resid_post@12' or 'resid_post@*'.")
    return tuple(found)


def check_site(model: SteerableModel, site: Site) -> None:
    """Refuses a site that the model does not have.

    Args:
        model: a loaded model.
        site: the place.

    Raises:
        SiteError: the model has no such layer, or its architecture no such hook.
    """
    _check_layer(site, int(model.cfg.n_layers))
    names = getattr(model, "hook_dict", None)
    if names is not None and site.hook_name not in names:
        raise SiteError(
            f"site {str(site)!r} does not exist on this architecture (no hook {site.hook_name!r}); "
            f"choose another of {', '.join(KINDS)}."
        )


def _check_layer(site: Site, n_layers: int) -> None:
    if site.layer >= n_layers:
        raise SiteError(
            f"site {str(site)!r} does not exist: the model has {n_layers} layers, so {site.kind}@0 to "
            f"{site.kind}@{n_layers - 1}."
        )


def _grammar(site: str) -> str:
    return (
        f"{site!r} is not a site; expected kind@layer, such as 'resid_post@12', 'resid_post@8:16' or 'resid_post@*', "
        f"with kind one of {', '.join(KINDS)}."
    )

"""The grammar of places in a model: `kind@layer`, and `z@layer.head` for one attention head.

    resid_pre@0   the residual stream before block 0        attn_out@3   what attention 3 adds to it
    resid_mid@4   the stream between attention 4 and MLP 4  mlp_out@7    what MLP 7 adds to it
    resid_post@12 the residual stream after block 12        z@5.3        head 3 of layer 5, before its output matrix
    mlp_input@7   what MLP 7 reads, behind its norm: an edit reaches the MLP alone, not the stream
    resid_post@8:16   layers 8 to 15    resid_post@*   every layer    z@5.*   every head of layer 5    z@*   every head

A layer alone (`12`, `range(8, 16)`) means its `resid_post`, and TransformerLens' own names of these places are read too
(`"blocks.12.hook_resid_post"`). Where the model is known, layers may be counted from the end: -1 is the last.

    resid_pre + attn_out = resid_mid,   resid_mid + mlp_out = resid_post,   attn_out = sum_h W_O[h] z[h] + b_O
                                                   (proved for each layer of a model by `lens_steer.hooks.preflight`)

A site is parsed once; everything else holds the frozen object. `resid_post@l` and `resid_pre@(l+1)` are the same
tensor seen from two hook points: an edit at both is applied twice. TransformerLens 4.3's own `hook_resid_mid` shows
the stream but does not write to it, so `resid_mid` is read there and written through `attn_out`. This module knows how
a hook is named and which part of its activation a site is, not how a hook is installed.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.hooks.terms import MLP_INPUT, STREAM, hook_of, site_faults
from lens_steer.model import SteerableModel

HEADS = "z"
KINDS = (*STREAM, MLP_INPUT, HEADS)
_SITE = re.compile(r"([a-z_]+)@(\d+)(?:\.(\d+))?")
_RANGE = re.compile(r"([a-z_]+)@(?:(\*)|(\d+)(?::(\d+))?)(?:\.(?:(\*)|(\d+)))?")
_HOOK = re.compile(r"(?:blocks\.(\d+)\.)?((?:\w+\.)*hook_\w+)")
_HOOKS = {f"hook_{kind}": kind for kind in STREAM} | {
    "mlp.hook_in": MLP_INPUT,
    "hook_in": "resid_pre",
    "hook_out": "resid_post",
    "attn.hook_out": "attn_out",
    "mlp.hook_out": "mlp_out",
}


@dataclass(frozen=True, order=True)
class Site:
    """One place in every forward pass: a kind of activation at one layer; ordered by kind, layer, head.

    `z` has a head; no other kind has.

    Raises:
        SiteError: an unknown kind, a negative layer, or a head too many or too few.
    """

    kind: str
    layer: int
    head: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.layer < 0 or (self.head or 0) < 0:
            raise SiteError(_grammar(str(self)))
        if (self.kind == HEADS) != (self.head is not None):
            wanted = "needs a head, such as 'z@5.3'" if self.kind == HEADS else "has no heads; only z has"
            raise SiteError(f"site {str(self)!r}: {self.kind} {wanted}.")

    @classmethod
    def parse(cls, site: "int | str | Site", n_layers: int | None = None) -> "Site":
        """Reads one site.

        Args:
            site: such as `"resid_post@12"` or `"z@5.3"`, a layer (its `resid_post`), a TransformerLens name such as
                `"blocks.12.hook_mlp_out"`, or a site.
            n_layers: how many layers the model has, where that is known; then -1 is the last.

        Returns:
            The site. `str(site)` gives back what parses to it.

        Raises:
            SiteError: it does not parse, or is a TransformerLens name of another place.

        Example:
            >>> [str(Site.parse(site)) for site in (12, "blocks.3.hook_attn_out", "z@5.3")]
            ['resid_post@12', 'attn_out@3', 'z@5.3']
        """
        if isinstance(site, Site):
            return site
        match = _SITE.fullmatch(_in_grammar(site, n_layers))
        if match is None:
            raise SiteError(_grammar(site))
        return cls(match[1], int(match[2]), None if match[3] is None else int(match[3]))

    def __str__(self) -> str:
        return f"{self.kind}@{self.layer}" + ("" if self.head is None else f".{self.head}")

    @property
    def hook_name(self) -> str:
        """The TransformerLens name at which the site is read, such as `blocks.12.hook_resid_post`."""
        return hook_of(self.kind, self.layer)

    @property
    def write_name(self) -> str:
        """The TransformerLens name at which the site is written; another one for `resid_mid`."""
        return hook_of("attn_out", self.layer) if self.kind == "resid_mid" else self.hook_name

    @property
    def tensor(self) -> "Site":
        """The same tensor under its first name in the forward pass: resid_pre@l+1 is resid_post@l."""
        return Site("resid_post", self.layer - 1) if self.kind == "resid_pre" and self.layer else self

    def width(self, d_model: int, d_head: int | None) -> int | None:
        """How long a direction at this site is, of a model of these widths; None where that is not known."""
        return d_head if self.kind == HEADS else d_model

    def read(self, activation: Float[Tensor, "batch pos *part"]) -> Float[Tensor, "batch pos width"]:
        """The part of a hook's activation that is this site.

        Args:
            activation: what the hook point `hook_name` shows.

        Returns:
            The activation itself; for a head, its slice.

        Raises:
            SiteError: the activation at `z` is not split into heads, or has no such head.
        """
        if self.head is None:
            return activation
        if activation.ndim != 4 or self.head >= activation.shape[2]:
            raise SiteError(
                f"site {str(self)!r}: the activation at {self.hook_name!r} has shape {tuple(activation.shape)}; "
                f"expected (batch, pos, heads, d_head) with more than {self.head} heads. Choose another site."
            )
        return activation[:, :, self.head]

    def put(
        self, activation: Float[Tensor, "batch pos *part"], written: Float[Tensor, "batch pos width"]
    ) -> Float[Tensor, "batch pos *part"]:
        """The hook's activation with this site's part replaced: the other way round of `read`.

        Args:
            activation: what the hook point shows; it is not changed.
            written: what the site's part becomes.

        Returns:
            A new activation, or `written` where the site is all of it.
        """
        if self.head is None:
            return written
        whole = activation.clone()
        whole[:, :, self.head] = written
        return whole


SiteLike = int | str | Site
"""One site: a layer (its resid_post), `kind@layer`, a TransformerLens name, or a `Site`."""

Sites = SiteLike | Sequence[SiteLike]
"""One site, a range or star of them, or a list of these."""


def parse_sites(sites: Sites, n_layers: int, n_heads: int = 0) -> tuple[Site, ...]:
    """Reads one site, a range, a star, or a list of these.

    Args:
        sites: such as `"resid_post@12"`, `"resid_post@8:16"` (8 to 15), `"resid_post@*"`, `"z@5.3"`, `"z@5.*"`,
            `"z@*"` (all heads of all layers), anything that `Site.parse` reads, or a list or range of these.
        n_layers: how many layers the model has.
        n_heads: how many heads each of its layers has; needed for `z`.

    Returns:
        The sites in the order given, each once.

    Raises:
        SiteError: it does not parse, names a layer or head the model lacks, or names no site.

    Example:
        >>> [str(site) for site in parse_sites(["resid_pre@0", "attn_out@1:3"], n_layers=8)]
        ['resid_pre@0', 'attn_out@1', 'attn_out@2']
        >>> [str(site) for site in parse_sites("z@5.*", n_layers=8, n_heads=2)]
        ['z@5.0', 'z@5.1']
    """
    found: dict[Site, None] = {}
    for entry in sites if isinstance(sites, Iterable) and not isinstance(sites, str) else [sites]:
        match = _RANGE.fullmatch(_in_grammar(entry, n_layers))
        if match is None:
            raise SiteError(_grammar(entry))
        start = 0 if match[2] else int(match[3])
        stop = n_layers if match[2] else int(match[4]) if match[4] else start + 1
        if not start < stop:
            raise SiteError(f"site range {str(entry)!r} is empty; {match[1]}@8:16 means layers 8 to 15.")
        for layer in range(start, stop):
            for head in _heads(match, n_heads):
                site = Site(match[1], layer, head)
                _check_there(site, n_layers, n_heads)
                found[site] = None
    if not found:
        raise SiteError("no sites were given; name at least one, such as 'resid_post@12' or 'resid_post@*'.")
    return tuple(found)


def span(sites: Sequence[Site]) -> str:
    """Sites in few words: consecutive layers of one kind as a range, such as `resid_post@0:30`."""
    said: list[tuple[str, int, int, str]] = []
    for site in sorted(sites):
        head = "" if site.head is None else f".{site.head}"
        if said and said[-1][0] == site.kind and said[-1][2] == site.layer and not head:
            said[-1] = (site.kind, said[-1][1], site.layer + 1, head)
        else:
            said.append((site.kind, site.layer, site.layer + 1, head))
    return ", ".join(f"{k}@{a}{h}" if b == a + 1 else f"{k}@{a}:{b}" for k, a, b, h in said)


def sites_of(model: SteerableModel, sites: Sites) -> tuple[Site, ...]:
    """The sites of a model, as `parse_sites` reads them.

    Args:
        model: a loaded model.
        sites: one site, a range, a star, or a list of these.

    Returns:
        The sites in the order given, each once.

    Raises:
        SiteError: as `parse_sites` and `check_site` say.
    """
    wanted = parse_sites(sites, int(model.cfg.n_layers), int(model.cfg.n_heads))
    check_site(model, *wanted)
    return wanted


def by_hook_name(sites: Sequence[Site]) -> dict[str, list[Site]]:
    """The sites that are read at each hook point; the heads of a layer share one.

    Args:
        sites: any sites.

    Returns:
        For each hook name, its sites, in the order given.
    """
    found: dict[str, list[Site]] = {}
    for site in sites:
        found.setdefault(site.hook_name, []).append(site)
    return found


def check_site(model: SteerableModel, *sites: Site) -> None:
    """Refuses sites that the model does not have, or that are not what the grammar says on it.

    Args:
        model: a loaded model.
        sites: the places.

    Raises:
        SiteError: the model has no such layer or head, its architecture no such hook, or one short forward pass, run
            once a model, shows another tensor there (`lens_steer.hooks.terms`).
    """
    for site in sites:
        fault = site_fault(model, site)
        if fault:
            others = [Site(kind, site.layer, 0 if kind == HEADS else None) for kind in KINDS if kind != site.kind]
            usable = [other.kind for other in others if not site_fault(model, other)]
            advice = f"choose another at layer {site.layer}: {', '.join(usable)}" if usable else "choose another layer"
            raise SiteError(f"site {str(site)!r} {fault}; {advice}.")


def site_fault(model: SteerableModel, site: Site) -> str:
    """What `check_site` says of a site that the model's architecture does not have, or shows as something else.

    Args:
        model: a loaded model.
        site: the place.

    Returns:
        The end of a sentence about the site; empty where it can be used.

    Raises:
        SiteError: the model has no such layer or head.
    """
    layers, names = int(model.cfg.n_layers), set(model.hook_dict)
    _check_there(site, layers, int(model.cfg.n_heads))
    lacking = [name for name in (site.hook_name, site.write_name) if name not in names]
    if lacking:
        if site.kind == "resid_mid" and site.write_name in names:
            return "does not exist on this architecture (blocks that run attention and MLP side by side have none)"
        same = (replace(site, layer=layer) for layer in range(layers))
        first = next((other.layer for other in same if {other.hook_name, other.write_name} <= names), None)
        where = "on this architecture" if first is None else f"at this layer; the first layer that has it is {first}"
        return f"does not exist {where} (no hook {lacking[0]!r})"
    fault = site_faults(model).get((site.kind, site.layer))
    return f"cannot be used on this architecture: {fault}" if fault else ""


def _heads(match: re.Match[str], n_heads: int) -> Sequence[int | None]:
    """The heads that one entry names: one, all of them, or none where its kind has none."""
    if match[1] != HEADS and not match[5] and not match[6]:
        return [None]
    if n_heads < 1:
        raise SiteError(f"site {match[0]!r} speaks of heads, and how many there are was not given; pass n_heads.")
    return [int(match[6])] if match[6] else range(n_heads)


def _check_there(site: Site, n_layers: int, n_heads: int) -> None:
    if site.layer >= n_layers:
        raise SiteError(
            f"site {str(site)!r} does not exist: the model has {n_layers} layers, so {site.kind}@0 to "
            f"{site.kind}@{n_layers - 1}."
        )
    if site.head is not None and site.head >= n_heads:
        raise SiteError(
            f"site {str(site)!r} does not exist: the model has {n_heads} heads a layer, so z@{site.layer}.0 to "
            f"z@{site.layer}.{n_heads - 1}."
        )


def _in_grammar(site: object, n_layers: int | None) -> str:
    """A site in the grammar: of a layer, a TransformerLens name, a site, or what is written in the grammar already."""
    if isinstance(site, Integral) and not isinstance(site, bool):
        layer = int(site) + (n_layers or 0) * (site < 0)
        if layer < 0:
            if n_layers is None:
                raise SiteError(f"layer {site}: no model is known here to count from its end; count from 0.")
            raise SiteError(f"layer {site} does not exist: the model has {n_layers} layers, 0 to {n_layers - 1}.")
        return f"resid_post@{layer}"
    if not isinstance(site, str | Site):
        raise SiteError(_grammar(site))
    text = str(site).strip()
    match = _HOOK.fullmatch(text)
    if match is None:
        return text
    if match[1] is None or match[2] not in _HOOKS:
        raise SiteError(_other_hook(text, match[1]))
    return f"{_HOOKS[match[2]]}@{match[1]}"


def _other_hook(name: str, layer: str | None) -> str:
    """What to say about a hook point that is not a site."""
    if layer is None:
        return (
            f"{name!r} is a TransformerLens hook point but not a site, which belongs to a layer: write 'resid_pre@0' "
            "for what enters the first block, or 'resid_post@12' for what leaves block 12."
        )
    if name.endswith(("attn.hook_z", "attn.o.hook_in")):
        return f"{name!r} holds all heads of layer {layer}; name one: 'z@{layer}.0' is its first (z@layer.head)."
    places = ", ".join(f"'{kind}@{layer}'" for kind in KINDS if kind != HEADS)
    return (
        f"{name!r} is a TransformerLens hook point but not a site; layer {layer} has {places} and heads 'z@{layer}.0'."
    )


def _grammar(site: object) -> str:
    return (
        f"{site!r} is not a site; expected kind@layer, such as 'resid_post@12', 'resid_post@8:16' or 'resid_post@*', "
        f"with kind one of {', '.join(KINDS)}; heads are 'z@5.3', 'z@5.*' or 'z@*'. A layer alone, such as 12, is its "
        "resid_post, and TransformerLens' names, such as 'blocks.12.hook_mlp_out', are read too."
    )

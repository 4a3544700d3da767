"""The Hugging Face model, read and written by plain torch hooks: what every number of the table is compared with."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from checkpoints import Architecture, Spot, plain_model
from torch import Tensor

from lens_steer.hooks.sites import HEADS, Site
from lens_steer.hooks.terms import MLP_INPUT

ROWS = [[5, 9, 14, 13, 8, 6, 7, 11], [7, 3, 15, 4, 6], [14, 8, 6]]
TOLERANCE = 1e-4


class Reference:
    """The Hugging Face model, read and written by plain torch hooks."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        self.architecture = architecture
        self.model, self.blocks, self.n_heads = plain_model(architecture, folder)

    def spots(self, site: Site) -> list[Spot]:
        """Where a site is in its block: the first is read, all are written; none where the block has none."""
        a = self.architecture
        found = {
            "resid_pre": [("", "in")],
            "resid_post": [("", "out")],
            "attn_out": [(a.attn, "out")] if a.attn else [],
            "mlp_out": [(a.mlp, "out")] if a.mlp else [],
            "resid_mid": [a.mid, *([("", "out")] if a.mid[1] == "in" else [])] if a.mid[0] else [],
            MLP_INPUT: [(a.into_mlp or a.mlp, "in")] if a.mlp else [],
            HEADS: [(a.heads, "in")] if a.heads else [],
        }
        there = dict(self.blocks[site.layer].named_modules())
        return found[site.kind] if all(name in there for name, _ in found[site.kind]) else []

    def logits(self, row: list[int]) -> Tensor:
        """Of one sequence, uncached, unpadded."""
        with torch.no_grad():
            return self.model(torch.tensor([row]), use_cache=False).logits[0]

    @property
    def last(self) -> Site:
        """The stream behind the last block."""
        return Site("resid_post", len(self.blocks) - 1)

    def readout(self, stream: Tensor) -> Tensor:
        """The logits as a function of what leaves the last block, (n, d_model) to (n, d_vocab)."""
        with self.changed(self.last, self.spots(self.last), lambda _: stream[None].to(self.model.dtype)):
            return self.logits([5] * len(stream))

    @cached_property
    def centred(self) -> bool:
        """Whether norms take the mean away, as a LayerNorm does."""
        stream = torch.randn(2, int(self.model.config.hidden_size), generator=torch.Generator().manual_seed(1))
        return relative_error(self.readout(stream + 3), self.readout(stream)) < TOLERANCE

    def sigma(self, stream: Tensor) -> Tensor:
        """What a norm divides each row by."""
        centred = stream - stream.mean(dim=-1, keepdim=True) if self.centred else stream
        return centred.pow(2).mean(dim=-1).sqrt()

    def folded(self, directions: Tensor) -> Tensor:
        """Directions through the final norm's gain and the unembedding, without scale, bias and cap."""
        cap, far = getattr(self.model.config, "final_logit_softcapping", None), 100 * directions
        cap = cap or getattr(self.model.config, "logits_soft_cap", None)
        plus, minus = (cap * (side / cap).atanh() if cap else side for side in map(self.readout, (far, -far)))
        return (plus - minus) / 2 * self.sigma(directions)[:, None]

    def scale(self, site: Site) -> float:
        """What a module's output is multiplied by before it joins the stream."""
        return getattr(self.model.config, "residual_multiplier", 1.0) if site.kind in ("attn_out", "mlp_out") else 1.0

    @contextmanager
    def changed(self, site: Site, spots: list[Spot], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Replaces a site's tensor while the context is open."""
        block = self.blocks[site.layer]

        def enter(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (change(args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

        def leave(_module: Any, _args: Any, output: Any) -> Any:
            return change(output) if isinstance(output, Tensor) else type(output)((change(output[0]), *output[1:]))

        with ExitStack() as stack:
            for name, end in spots:
                module = block.get_submodule(name)
                handle = (
                    module.register_forward_pre_hook(enter, with_kwargs=True)
                    if end == "in"
                    else module.register_forward_hook(leave)
                )
                stack.callback(handle.remove)
            yield

    def read(self, site: Site, row: list[int]) -> Tensor:
        """The activation of one sequence, (pos, width)."""
        seen: list[Tensor] = []

        def look(tensor: Tensor) -> Tensor:
            seen.append(tensor.reshape(1, len(row), -1)[0].clone() * self.scale(site))
            return tensor

        with self.changed(site, self.spots(site)[:1], look):
            self.logits(row)
        if site.head is None:
            return seen[0]
        return seen[0].reshape(len(row), self.n_heads, -1)[:, site.head]

    @contextmanager
    def adding(self, site: Site, v: Tensor, start: int, stop: int | None) -> Iterator[None]:
        """Adds a vector to a site at tokens start to stop - 1 of one sequence."""

        def add(tensor: Tensor) -> Tensor:
            shape, n = tensor.shape, tensor.numel() // tensor.shape[-1]
            if site.head is None:
                moved = tensor.reshape(1, n, -1).clone()
                moved[:, start:stop] += v / self.scale(site)
            else:
                moved = tensor.reshape(1, n, self.n_heads, -1).clone()
                moved[:, start:stop, site.head] += v
            return moved.reshape(shape)

        with self.changed(site, self.spots(site), add):
            yield

    def raw(self, site: Site, row: list[int]) -> Tensor:
        """What a site's module takes or gives, as it is there."""
        seen: list[Tensor] = []
        with self.changed(site, self.spots(site)[:1], lambda tensor: (seen.append(tensor.clone()), tensor)[1]):
            self.logits(row)
        return seen[0]

    @contextmanager
    def putting_back(self, site: Site, kept: Tensor) -> Iterator[None]:
        """Gives a module's earlier output back, or one head's part of it."""

        def put(tensor: Tensor) -> Tensor:
            if site.head is None:
                return kept.reshape(tensor.shape)
            by_head = tensor.reshape(-1, self.n_heads, tensor.numel() // tensor.shape[1] // self.n_heads).clone()
            by_head[:, site.head] = kept.reshape(by_head.shape)[:, site.head]
            return by_head.reshape(tensor.shape)

        with self.changed(site, self.spots(site), put):
            yield

    @property
    def logit_factor(self) -> float:
        """What the configuration multiplies logits by."""
        config = self.model.config
        return getattr(config, "logit_scale", None) or 1 / getattr(config, "logits_scaling", 1.0)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest entry where that is above 1."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1))


def verdict(errors: dict[str, float], tolerance: float = TOLERANCE) -> str:
    """`agrees`, or what is WRONG and by how much."""
    wrong = [f"{what} off by {error:.2g}" for what, error in errors.items() if not error <= tolerance]
    return f"WRONG: {', '.join(wrong)}" if wrong else "agrees"

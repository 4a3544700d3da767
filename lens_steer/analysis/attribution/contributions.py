"""Contributions of components for each item: the common result type of the attributions.

    additive       sum over components of values[i, c] = measured[i], up to `unexplained`
    not additive   values[i, c] is the effect of changing c alone; the effects need not sum to the total

The mean over items of a component has an interval (`metrics.statistics`); prompts of one item are averaged first.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.hooks.sites import HEADS, Site
from lens_steer.metrics.statistics import mean_interval

KIND_OF = {HEADS: "head", "attn_out": "attention", "mlp_out": "mlp", "resid_pre": "embedding"}


@dataclass(frozen=True, kw_only=True)
class Component:
    """A contributing component; `kind` is edit, embedding, head, attention (of a whole layer), mlp or norm."""

    label: str
    kind: str
    layer: int | None = None
    head: int | None = None

    @classmethod
    def at(cls, site: Site) -> "Component":
        """The component whose output a site is."""
        if site.kind == "resid_pre":
            return cls(label="embedding", kind="embedding")
        return cls(label=str(site), kind=KIND_OF[site.kind], layer=site.layer, head=site.head)


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """Values of components on each prompt, with the measured total; `quantity` names the quantity and its unit."""

    quantity: str
    items: tuple[str, ...]
    components: tuple[Component, ...]
    values: Float[Tensor, "n component"]
    measured: Float[Tensor, " n"]
    additive: bool = True

    @property
    def unexplained(self) -> Float[Tensor, " n"]:
        """The measured total minus the sum of the parts; only rounding where the result is additive."""
        return self.measured - self.values.sum(dim=1)

    def to_frame(self) -> pd.DataFrame:
        """One tidy row per prompt and component; `measured` is the prompt's total."""
        rows = [
            {
                "quantity": self.quantity,
                "prompt": prompt,
                "item": item,
                "component": part.label,
                "kind": part.kind,
                "layer": -1 if part.layer is None else part.layer,
                "head": -1 if part.head is None else part.head,
                "value": value,
                "measured": float(self.measured[prompt]),
            }
            for prompt, item in enumerate(self.items)
            for part, value in zip(self.components, self.values[prompt].tolist(), strict=True)
        ]
        return pd.DataFrame(rows)

    def summary(self, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """The mean of each component over items, largest size first, with its interval and its share of the whole.

        Args:
            confidence: of the interval, between 0 and 1.
            seed: of the bootstrap.

        Returns:
            One row a component: quantity, component, kind, layer and head (-1 where there is none), value, low, high,
            why (there is no interval), share (value / measured), measured, n (items) and additive.
        """
        values, measured = self._by_item()
        whole = float(measured.mean())
        rows = []
        for part, column in zip(self.components, values.T, strict=True):
            found = mean_interval(column, confidence, seed=seed)
            rows.append(
                {
                    "quantity": self.quantity,
                    "component": part.label,
                    "kind": part.kind,
                    "layer": -1 if part.layer is None else part.layer,
                    "head": -1 if part.head is None else part.head,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "why": found.why,
                    "share": found.value / whole if whole else float("nan"),
                    "measured": whole,
                    "n": len(column),
                    "additive": self.additive,
                }
            )
        frame = pd.DataFrame(rows)
        return frame.sort_values("value", key=abs, ascending=False, kind="stable").reset_index(drop=True)

    def top(self, k: int, kind: str = "head") -> tuple[Site, ...]:
        """The sites of the components with the largest contribution of the same sign as the total.

        Args:
            k: how many.
            kind: head, mlp or attention.

        Returns:
            The sites, the largest contribution first.
        """
        sign = 1 if float(self.measured.mean()) >= 0 else -1
        frame = self.summary()
        ranked = frame[frame["kind"] == kind].assign(signed=lambda rows: sign * rows["value"])
        return tuple(Site.parse(label) for label in ranked.nlargest(k, "signed")["component"])

    def _by_item(self) -> tuple[Tensor, Tensor]:
        """Values and wholes, averaged over the prompts of each item."""
        names = list(dict.fromkeys(self.items))
        place = torch.tensor([names.index(item) for item in self.items], device="cpu")
        share = torch.nn.functional.one_hot(place, len(names)).double()
        share = share / share.sum(dim=0)
        values = einsum(share, self.values.double(), "n item, n component -> item component")
        return values, einsum(share, self.measured.double(), "n item, n -> item")

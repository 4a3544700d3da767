"""Views for notebooks, drawn by CircuitsVis from results alone.

A view carries its script with it: CircuitsVis' own display asks the network first, and is not used. This module runs no
model.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from lens_steer.audit import Audit


@dataclass(frozen=True, kw_only=True)
class View:
    """A piece of HTML that a notebook shows; it needs no network."""

    html: str

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        return self.html

    def save(self, path: str | Path) -> Path:
        """Writes it as a page of its own.

        Args:
            path: where to, usually ending in `.html`.

        Returns:
            The path written.
        """
        target = Path(path)
        target.write_text(f'<!doctype html><meta charset="utf-8">{self.html}', encoding="utf-8")
        return target


def audit_view(audit: Audit, relative: bool = False) -> View:
    """The tokens of a generation, coloured by how far each was moved; one layer of colour for each intervention.

    Args:
        audit: from `lens_steer.audit.audit`.
        relative: colour by the change as a fraction of the activation's norm instead of by the change itself.

    Returns:
        The view; tokens that an intervention did not edit stand at 0.
    """
    from circuitsvis.tokens import colored_tokens_multi

    frame = audit.to_frame()
    values = torch.zeros(len(audit.tokens), len(audit.interventions))
    for position, intervention, size in zip(
        frame["position"], frame["intervention"], frame["relative" if relative else "change"], strict=True
    ):
        values[position, intervention] = size
    drawn = colored_tokens_multi(list(audit.pieces), values, list(audit.interventions))
    return View(html=drawn.local_src)

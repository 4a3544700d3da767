"""Every site of every architecture against plain torch hooks on the Hugging Face model; the table of docs.

    reading      `record` of a padded batch = what a torch hook shows, sequence by sequence, without padding
    writing      logits of a padded batch while `steer` adds v at tokens 1 and 2 = those while a torch hook adds it
    generation   greedy tokens with the cache = without it = the Hugging Face model's own, hooked and without a cache
    sweep        logits of a grid by reuse = by plain passes
    model        the bridge's logits = the Hugging Face model's, and a vector comes back from its file

A kind of site agrees, is refused (with the reason), or is WRONG; so do lenses and attribution, in `analyses`.
Running this module writes docs/architectures.md.
"""

import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from analyses import CRASHES, analyse, guarded
from checkpoints import ARCHITECTURES as ARCHITECTURES
from checkpoints import Architecture as Architecture
from checkpoints import save_checkpoint as save_checkpoint
from reference import ROWS, TOLERANCE, Reference, relative_error, verdict
from torch import Tensor

from lens_steer.errors import LensSteerError
from lens_steer.evaluation.grid import GridOptions, run_grid, why_not_reused
from lens_steer.extraction import extract
from lens_steer.extraction.record import record
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import HEADS, KINDS, Site
from lens_steer.model import forward, load_model, pad
from lens_steer.vector import load_vector

NEW_TOKENS = 4
SITES = ("logits", *KINDS, "vector file", "preflight", "chat", "reuse")
ANALYSES = ("lens", "reading", "writing", "direct", "patching")


@dataclass(kw_only=True)
class Row:
    """What was found of one architecture: one cell a column, `agrees`, `refused: why` or WRONG."""

    architecture: Architecture
    cells: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> dict[str, str]:
        """The cells that neither agree nor refuse."""
        return {name: cell for name, cell in self.cells.items() if "WRONG" in cell}


def examine(architecture: Architecture, folder: Path) -> Row:
    """Every cell of one architecture."""
    row = Row(architecture=architecture)
    save_checkpoint(architecture, folder)
    try:
        model = load_model(folder)
    except LensSteerError as error:
        row.cells["logits"] = f"refused: {error}".replace(str(folder), "FOLDER")
        return row
    except CRASHES as error:
        row.cells["logits"] = f"WRONG: {type(error).__name__} {error}"
        return row
    reference = Reference(architecture, folder)
    plain = [reference.logits(tokens) for tokens in ROWS]
    error = max(relative_error(ours, theirs) for ours, theirs in zip(_logits(model), plain, strict=True))
    row.cells["logits"] = verdict({"logits": error})
    found = {site: _compared(model, reference, site) for site in _sites(reference)}
    for kind in KINDS:
        by_layer: dict[int, list[str]] = {}
        for site, cell in found.items():
            if site.kind == kind:
                by_layer.setdefault(site.layer, []).append(cell)
        row.cells[kind] = _together([max(cells, key="agrees".__ne__) for cells in by_layer.values()])
    row.cells["vector file"] = guarded(lambda: verdict({"file": _saved(model, folder)}))
    row.cells |= analyse(model, reference, found)
    reason = why_not_reused(model, [])
    row.cells["reuse"] = f"naive: {reason}" if reason else "exact"
    return row


def _sites(reference: Reference) -> list[Site]:
    """All kinds at all layers; of heads, the first and the last."""
    heads = {kind: [None] if kind != HEADS else [0, max(reference.n_heads - 1, 0)] for kind in KINDS}
    layers = range(len(reference.blocks))
    return [Site(kind, layer, head) for kind in KINDS for layer in layers for head in dict.fromkeys(heads[kind])]


def _compared(model: Any, reference: Reference, site: Site, tolerance: float = TOLERANCE) -> str:
    """What a site's readings and writings are, beside the reference's."""
    direction = torch.randn(1024, generator=torch.Generator().manual_seed(3 + site.layer))
    try:
        read = _recorded(model, site)
        v = direction[: read[0].shape[-1]] * read[0].norm(dim=-1).mean() / read[0].shape[-1] ** 0.5
        steered = _logits(model, Intervention.at(site, v, positions="1:3"))
        cached, uncached = (
            [tuple(c.tokens) for c in generate(model, ROWS, Intervention.at(site, v), how).continuations]
            for how in (_decoding(True), _decoding(False))
        )
        grid = [[Intervention.at(site, v, strength, where)] for where in ("1:3", "last") for strength in (1, 2)]
        reused, naive = (
            run_grid(model, ROWS, grid, lambda *_: lambda logits: logits.flatten(1), GridOptions(reuse=reuse))
            for reuse in (True, False)
        )
    except LensSteerError as error:
        return f"refused: {error}"
    except CRASHES as error:
        return f"WRONG: {type(error).__name__} {error}"
    if not reference.spots(site):
        return "WRONG: read and written, though this architecture has no such site"
    errors = {"reading": 0.0, "writing": 0.0, "generation": 0.0, "cache": float(cached != uncached), "sweep": 0.0}
    for index, row in enumerate(ROWS):
        theirs = reference.read(site, row)
        if theirs.shape != read[index].shape:
            return f"WRONG: read {read[index].shape[-1]} wide, is {theirs.shape[-1]} wide"
        errors["reading"] = max(errors["reading"], relative_error(read[index], theirs))
        with reference.adding(site, v, 1, 3):
            errors["writing"] = max(errors["writing"], relative_error(steered[index], reference.logits(row)))
        grown = list(row)
        for _ in range(NEW_TOKENS):
            with reference.adding(site, v, 0, None):
                grown.append(int(reference.logits(grown)[-1].argmax()))
        errors["generation"] = max(errors["generation"], float(tuple(grown[len(row) :]) != cached[index]))
    both = zip(reused.configurations, naive.configurations, strict=True)
    errors["sweep"] = max(relative_error(one, other) for one, other in both)
    return verdict(errors, tolerance)


def _decoding(cache: bool) -> Decoding:
    return Decoding(max_new_tokens=NEW_TOKENS, stop_at_eos=False, cache=cache)


def _logits(model: Any, *interventions: Intervention) -> list[Tensor]:
    """Logits of every row, from one padded batch."""
    tokens, mask = pad(model, ROWS)
    with steer(model, *interventions):
        logits = forward(model, tokens, mask)
    return [logits[index, : len(row)] for index, row in enumerate(ROWS)]


def _recorded(model: Any, site: Site) -> list[Tensor]:
    """The activation of every row, from one padded batch."""
    (found,) = record(model, ROWS, site)
    return [found.activations[site][found.sequences == index] for index in range(len(ROWS))]


def _saved(model: Any, folder: Path) -> float:
    """How far a vector is from what its file gives back."""
    vector = extract(model, ["a cat", "one dollar"], ["a dog", "ten"], sites="resid_post@*")
    again = load_vector(vector.save(folder / "vector.safetensors"), model)
    return max(relative_error(again.at(site), vector.at(site)) for site in vector.sites)


def _together(cells: list[str]) -> str:
    """One cell of the cells of all layers."""
    if len(set(cells)) == 1 or all(cell.startswith("refused") for cell in cells):
        return cells[0]
    return "; ".join(f"layer {layer} {cell.rstrip('.')}" for layer, cell in enumerate(cells))


def table_lines(row: Row) -> list[str]:
    """One architecture's line of each table."""
    name, cells = row.architecture, row.cells
    found = {column: "by layer" if cell.startswith("layer ") else cell.split(":")[0] for column, cell in cells.items()}
    first, second = ([found.get(column, "–") for column in columns] for columns in (SITES, ANALYSES))
    return [f"| {' | '.join([name.name, *line])} |" for line in ([name.model_class, *first], second)]


def table(rows: list[Row]) -> str:
    """The document: two tables of one line an architecture, and under them what was refused and why."""
    lines = [table_lines(row) for row in rows]

    def written(columns: tuple[str, ...], place: int) -> list[str]:
        return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(line[place] for line in lines), ""]

    notes: list[str] = []
    for row in rows:
        said = [f"  - {name}: {cell}" for name, cell in row.cells.items() if cell not in ("agrees", "exact")]
        notes += [f"- **{row.architecture.name}**", *said] if said else []
    return "\n".join(
        [
            "# Architectures",
            "",
            "Tiny random checkpoints, compared with plain torch hooks on the Hugging Face model (1e-4, relative to",
            "the largest entry). Written by `python tests/model/architectures.py`, and every cell is held by",
            "`tests/model/test_architectures.py`.",
            "",
            "## Sites",
            "",
            "Every kind of site at every layer, read and written: padded batches against single sequences, generation",
            "with the cache, without it and by Hugging Face, sweeps by reuse against plain passes. `preflight` passes",
            "what agrees and fails what is refused; `chat` holds the positions of a templated prompt.",
            "",
            *written(("architecture", "transformers", *SITES), 0),
            "## Lenses and attribution",
            "",
            "Lenses against the model's own logits, reading against central differences, writing and direct",
            "attribution against changes of the modules' outputs, patching against modules whose outputs are put",
            "back. `by attention`: heads cannot be told apart, whole attentions can (`heads=False`).",
            "",
            *written(("architecture", *ANALYSES), 1),
            "## What is refused, and why",
            "",
            *notes,
            "",
        ]
    )


def main() -> None:
    """Examines all architectures, or those whose names are given, and writes the table."""
    wanted = [a for a in ARCHITECTURES if not sys.argv[1:] or any(word in a.name for word in sys.argv[1:])]
    rows = []
    for architecture in wanted:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows.append(examine(architecture, Path(folder) / "tiny"))
    text = table(rows)
    sys.stdout.write(text)
    if len(wanted) == len(ARCHITECTURES):
        (Path(__file__).parents[2] / "docs" / "architectures.md").write_text(text)


if __name__ == "__main__":
    main()

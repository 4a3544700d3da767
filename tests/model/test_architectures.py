"""Every cell of the table of architectures, as docs/architectures.md prints it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, ROWS, Architecture, examine, save_checkpoint, table_lines

from lens_steer.evaluation.grid import GridOptions, run_grid
from lens_steer.hooks import Intervention, kept_outputs
from lens_steer.model import forward, is_hooked, load_model, pad

TABLE = Path(__file__).parents[2] / "docs" / "architectures.md"
PARAMETERS = [pytest.param(a, id=a.name, marks=[pytest.mark.slow] if a.slow else []) for a in ARCHITECTURES]


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_sites_lenses_and_attribution_are_what_the_hugging_face_model_shows_or_are_refused_as_the_table_says(
    architecture: Architecture, tmp_path: Path
) -> None:
    row = examine(architecture, tmp_path / "tiny")
    assert not row.wrong
    assert set(table_lines(row)) <= set(TABLE.read_text().splitlines())


IN_TUPLES = ("GPT-J", "BLOOM", "Falcon, parallel", "Falcon, sequential", "MPT", "GPT-Neo", "CodeGen")
OFTEN = ("GPT-J", "BLOOM")
REPLAYED = [
    pytest.param(a, id=a.name, marks=[] if a.name in OFTEN else [pytest.mark.slow])
    for a in ARCHITECTURES
    if a.name in (*IN_TUPLES, "OPT-125m style", "OPT-350m style", "XGLM")
]


@pytest.mark.parametrize("architecture", REPLAYED)
def test_blocks_that_give_tuples_of_any_length_are_replayed_exactly(architecture: Architecture, tmp_path: Path) -> None:
    model: Any = load_model(save_checkpoint(architecture, tmp_path / "tiny"))
    with kept_outputs(model, [0]) as outputs:
        forward(model, *pad(model, ROWS))
    assert isinstance(outputs[0], tuple) == (architecture.name in IN_TUPLES) and not is_hooked(model)
    generator, last = torch.Generator().manual_seed(0), int(model.cfg.n_layers) - 1
    configurations = [
        Intervention.at(site, torch.randn(32, generator=generator), strength, rule)
        for site in ("resid_pre@0", "resid_post@0", f"resid_pre@{last}", f"resid_post@{last}")
        for rule in ("all", "last", "1:3", "2")
        for strength in (-2.0, 1.0)
    ]
    reused, plain = (
        run_grid(model, ROWS, configurations, lambda *_: lambda logits: logits.flatten(1), GridOptions(reuse=reuse))
        for reuse in (True, False)
    )
    assert reused.path == "reused" and plain.path.startswith("naive")
    scale = plain.unsteered.abs().max()
    for one, other in zip(reused.configurations, plain.configurations, strict=True):
        assert (one - other).abs().max() <= 1e-5 * scale
        assert (one - plain.unsteered).abs().max() > 1e-3

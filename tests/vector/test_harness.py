"""Files for lm-evaluation-harness: what they add is what steering adds, on a plain Hugging Face model."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer.lab
from lens_steer import Intervention, steer
from lens_steer.errors import FormatError, MismatchError, SiteError
from lens_steer.hooks.operators import Ablate
from lens_steer.model import fingerprint, forward, load_model, module_names, pad
from lens_steer.vector import export_lm_eval

FOLDER = Path(lens_steer.lab.__path__[0]) / "weights"
ROWS = [[5, 9, 14, 13, 8, 6, 7, 11]]


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def edit(site: str, seed: int = 0, **how: Any) -> Intervention:
    return Intervention.at(site, torch.randn(128, generator=torch.Generator().manual_seed(seed)), 2.5, **how)


def as_the_harness_runs_it(path: Path) -> Tensor:
    """Logits of the plain model, with the file's vectors added by torch hooks to what the named modules give."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()

    def adding(entry: dict[str, Any]) -> Callable[..., Any]:
        added = entry["steering_coefficient"] * entry["steering_vector"]

        def run(_module: Any, _given: Any, output: Any) -> Any:
            return (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added

        return run

    modules = dict(model.base_model.named_modules())
    with ExitStack() as stack, torch.no_grad():
        for name, entry in torch.load(path, weights_only=True).items():
            assert entry["action"] == "add"
            stack.callback(modules[name].register_forward_hook(adding(entry)).remove)
        return model(torch.tensor(ROWS)).logits


@pytest.mark.parametrize(
    "sites", [("resid_post@3",), ("attn_out@1",), ("mlp_out@6",), ("resid_post@2", "resid_post@2", "mlp_out@0")]
)
def test_the_harness_steers_as_we_do(lab: Any, sites: tuple[str, ...], tmp_path: Path) -> None:
    edits = [edit(site, seed) for seed, site in enumerate(sites)]
    path = export_lm_eval(lab, edits, tmp_path / "steer.pt")
    tokens, mask = pad(lab, ROWS)
    plain = forward(lab, tokens, mask)
    with steer(lab, *edits):
        ours = forward(lab, tokens, mask)
    torch.testing.assert_close(as_the_harness_runs_it(path), ours, rtol=0, atol=5e-5)
    assert (ours - plain).abs().max() > 0.1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (edit("resid_post@3", positions="last"), "edits the positions last, and the harness edits all"),
        (edit("resid_post@3", operator=Ablate()), "is written by Ablate, and the harness only adds"),
        (edit("resid_pre@3"), "is at resid_pre@3; the harness edits resid_post, attn_out, mlp_out"),
    ],
)
def test_what_the_harness_cannot_do_is_refused_and_nothing_is_written(
    lab: Any, wrong: Intervention, said: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=said):
        export_lm_eval(lab, [edit("resid_post@1"), wrong], tmp_path / "steer.pt")
    assert not list(tmp_path.iterdir())


def test_wrong_names_and_sites_are_refused(lab: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"reads files that end in \.pt or \.pth"):
        export_lm_eval(lab, edit("resid_post@1"), tmp_path / "steer.safetensors")
    with pytest.raises(FormatError, match="with 0 interventions"):
        export_lm_eval(lab, [], tmp_path / "steer.pt")
    other = replace(edit("resid_post@1"), fingerprint=replace(fingerprint(lab), config_hash="0" * 64))
    with pytest.raises(MismatchError, match="the model being steered"):
        export_lm_eval(lab, other, tmp_path / "steer.pt")
    with pytest.raises(SiteError, match="the model has 8 layers"):
        export_lm_eval(lab, edit("resid_post@8"), tmp_path / "steer.pt")


def test_a_norm_behind_attention_is_no_module_of_the_harness(gemma2: Any, tmp_path: Path) -> None:
    assert set(module_names(gemma2, 0)) == {""}
    direction = torch.randn(int(gemma2.cfg.d_model))
    with pytest.raises(FormatError, match="a norm or a scale stands behind it"):
        export_lm_eval(gemma2, Intervention.at("attn_out@0", direction), tmp_path / "steer.pt")

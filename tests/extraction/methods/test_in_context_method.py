"""In-context vectors, against a literal transcription of the published computation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.in_context import fit_in_context_vector, in_context_vector

LAYERS, WIDTH = 3, 5


def demonstrations(n: int, seed: int) -> Tensor:
    """Activations of n demonstrations at all layers, layer by layer."""
    return torch.randn(n, LAYERS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal(outputs: Tensor, inputs: Tensor) -> np.ndarray:
    """components_.sum(0) + mean_ of a PCA of the stacked differences, rank 1, signs by the columns of U."""
    d = np.stack([(y - x).reshape(-1) for y, x in zip(outputs.numpy(), inputs.numpy(), strict=True)])
    mean = d.mean(axis=0)
    u, _, vt = np.linalg.svd(d - mean, full_matrices=False)
    signs = np.sign(u[np.abs(u).argmax(axis=0), range(u.shape[1])])
    components = (vt * signs[:, None])[:1]
    return components.sum(axis=0) + mean


@pytest.mark.parametrize("n", [3, 8, 40])
@pytest.mark.parametrize("seed", range(4))
def test_the_vector_is_the_published_one(n: int, seed: int) -> None:
    outputs, inputs = demonstrations(n, seed) + 0.5, demonstrations(n, seed + 100)
    found = in_context_vector(outputs.flatten(1), inputs.flatten(1))
    torch.testing.assert_close(found, torch.from_numpy(literal(outputs, inputs)).float(), rtol=1e-5, atol=1e-6)


def test_the_component_alone_has_norm_1_and_follows_the_mean() -> None:
    pos, neg = demonstrations(8, 0).flatten(1) + 0.5, demonstrations(8, 1).flatten(1)
    both, alone = in_context_vector(pos, neg), in_context_vector(pos, neg, part="component")
    mean = (pos - neg).mean(dim=0).float()
    component = both - mean
    assert float(alone.norm()) == pytest.approx(1.0, abs=1e-6) and float(alone @ mean) > 0
    torch.testing.assert_close(alone, component * torch.sign(component @ mean), rtol=1e-5, atol=1e-6)


def test_the_sites_of_one_vector_share_one_unit_of_the_component() -> None:
    pos, neg = demonstrations(8, 0) + 0.5, demonstrations(8, 1)
    joint = in_context_vector(pos.flatten(1), neg.flatten(1), part="component").reshape(LAYERS, WIDTH)
    apart = torch.stack([in_context_vector(pos[:, i], neg[:, i], part="component") for i in range(LAYERS)])
    assert float(joint.square().sum()) == pytest.approx(1.0, abs=1e-6)
    assert float(apart.square().sum()) == pytest.approx(LAYERS, abs=1e-6)


def test_the_notes_give_the_length_of_the_mean_and_the_share_of_the_component() -> None:
    pos, neg = demonstrations(8, 0).flatten(1) + 0.5, demonstrations(8, 1).flatten(1)
    notes, d = fit_in_context_vector(pos, neg).notes, pos - neg
    s = torch.linalg.svdvals(d - d.mean(dim=0))
    assert notes["mean_norm"] == pytest.approx(float(d.mean(dim=0).norm()))
    assert notes["explained"] == pytest.approx(float(s[0] ** 2 / s.square().sum()))


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(MethodError, match="part 'mean'; expected 'sum' or 'component'"):
        fit_in_context_vector(torch.randn(3, 4), torch.randn(3, 4), part="mean")

"""Head effects of in-context tasks by a grid: every head's patch reads the last token alone, and forwards only that.

    CIE_lh = P(y | corrupted prompt, z@l.h := zbar_lh at its last token) - P(y | corrupted prompt)

The numbers are those of `extraction.function_vector.head_effects`, within rounding: the tokens before the last one, and
the blocks before the head's, are forwarded once for all heads. Source: Todd et al. 2023 (arXiv 2310.15213).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation.grid import GridOptions, GridTokens, Numbers, run_grid
from lens_steer.extraction.function_vector import Asked
from lens_steer.extraction.methods.head_sums import average_indirect_effects
from lens_steer.hooks import Intervention
from lens_steer.hooks.operators import Replace
from lens_steer.hooks.sites import HEADS, parse_sites
from lens_steer.model import SteerableModel


def reused_head_effects(
    model: SteerableModel,
    corrupted: Asked,
    means: Float[Tensor, "layer head d_head"],
    options: GridOptions | None = None,
) -> Float[Tensor, "layer head"]:
    """The average indirect effect of each head.

    Args:
        model: a loaded model.
        corrupted: prompts that do not show the task, from `extraction.function_vector.ask`.
        means: each head's mean output at the last token of clean prompts.
        options: batch size, checkpoint and progress bar; the defaults where absent.

    Returns:
        The mean difference of the answers' probabilities, between -1 and 1.

    Raises:
        SiteError: heads that cannot be told apart.
        SteeringError: a steering context is open.
    """
    n_layers, n_heads = means.shape[:2]
    sites = parse_sites(f"{HEADS}@*", n_layers, n_heads)
    patches = [
        [Intervention.at(site, means[site.layer, site.head], positions="last", operator=Replace())] for site in sites
    ]

    def probability(rows: list[int], _tokens: GridTokens) -> Numbers:
        answers = corrupted.answers[rows][:, None]
        return lambda logits: logits.softmax(dim=-1).gather(1, answers.to(logits.device))

    table = run_grid(model, corrupted.rows, patches, probability, options, scored="last", meaning="P(answer)")
    patched = torch.stack([found[:, 0] for found in table.configurations], dim=1)
    base = table.unsteered[:, 0]
    return average_indirect_effects(patched.unflatten(1, (n_layers, n_heads)), base)

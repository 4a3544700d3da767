"""The vectors that are compared, each with the edit that its authors make and with controls of its own kind.

    icv_last, icv_last_four   in-context vector of all layers, written at every MLP output and token by `InContextAdd`
                              control: random directions, written alike; both readings share them, because the write
                              does not depend on the length of a direction
    function_vector           sum of head outputs, added at the end of the prompt and at every later token of layer l*
                              control: sums of as many other heads drawn at random, of the same norm
    mean_difference           right against wrong answers (or y against x), added where the function vector is
                              control: random directions of the same norm

Sources: Liu et al. 2023 (arXiv 2311.06668); Todd et al. 2023 (arXiv 2310.15213); Rimsky et al. 2024 (arXiv 2312.06681).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lens_steer.data.in_context import InContextTask, contrast_from_task
from lens_steer.experiments.in_context.settings import InContext
from lens_steer.extraction import extract
from lens_steer.extraction.function_vector import Demonstrations, measure_heads, sum_heads
from lens_steer.extraction.in_context_vector import TOKENS, extract_in_context_vector
from lens_steer.hooks import Intervention
from lens_steer.hooks.operators import InContextAdd
from lens_steer.hooks.sites import Site
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

ANSWERING = "last_prompt | after_prompt"
Edits = Callable[[float], list[Intervention]]
"""What steers at a strength."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One method on one task: its strengths, what steers, and what steers for each of its controls.

    `shares` names the method whose controls are also its own.
    """

    name: str
    strengths: Sequence[float]
    edits: Edits
    controls: Sequence[Edits]
    shares: str = ""


def compared_methods(
    model: SteerableModel, task: InContextTask, transfer: bool, settings: InContext, progress: bool = False
) -> tuple[Compared, ...]:
    """The four vectors of a task, made of its training pairs.

    Args:
        model: a loaded model.
        task: the training pairs.
        transfer: whether y is another way to say x, so that texts are contrasted and not answers.
        settings: layers, strengths, numbers of prompts and controls.
        progress: draw a progress bar.

    Returns:
        In-context vectors of both readings, function vector, mean difference.

    Raises:
        DataError: too few pairs for the demonstrations.
    """
    contrast = contrast_from_task(task, transfer, settings.seed)
    layer = math.ceil(int(model.cfg.n_layers) / 3) if settings.layer < 0 else settings.layer
    site, found = Site("resid_post", layer), list[Compared]()
    for reading in TOKENS:
        vector = extract_in_context_vector(model, contrast, reading=reading, batch_size=settings.batch_size)  # pyright: ignore
        found.append(
            Compared(
                name=f"icv_{reading}",
                strengths=settings.in_context_strengths,
                edits=partial(_pushed, vector),
                controls=() if found else [partial(_pushed, other) for other in _random(vector, settings)],
                shares=found[0].name if found else "",
            )
        )
    vector, sums = _function_vectors(model, task, layer, settings, progress)
    difference = extract(model, contrast, sites=str(site), batch_size=settings.batch_size)
    for name, own, others in (
        ("function_vector", vector, sums),
        ("mean_difference", difference, _random(difference, settings)),
    ):
        found.append(
            Compared(
                name=name,
                strengths=settings.raw_strengths,
                edits=partial(_added, own, site),
                controls=[partial(_added, other, site) for other in others],
            )
        )
    return tuple(found)


def _random(vector: SteeringVector, settings: InContext) -> list[SteeringVector]:
    return [random_like(vector, settings.seed + k) for k in range(settings.n_random)]


def _pushed(vector: SteeringVector, strength: float) -> list[Intervention]:
    """The in-context write: the direction of every layer at that layer's MLP output."""
    return [
        Intervention.at(Site("mlp_out", site.layer), vector.at(site), strength, "all", InContextAdd(), vector.name)
        for site in vector.sites
    ]


def _added(vector: SteeringVector, site: Site, strength: float) -> list[Intervention]:
    return [Intervention.of(vector, site, strength, positions=ANSWERING)]


def _function_vectors(
    model: SteerableModel, task: InContextTask, layer: int, settings: InContext, progress: bool
) -> tuple[SteeringVector, list[SteeringVector]]:
    """The function vector; and sums of as many other heads, drawn at random, each of the function vector's norm."""
    shown = Demonstrations(
        n_shots=settings.demonstrations,
        n_prompts=settings.prompts,
        n_corrupted=settings.corrupted_prompts,
        corrupted=settings.corrupted,
        seed=settings.seed,
    )
    measured = measure_heads(model, task, shown, settings.batch_size, progress)
    vector = sum_heads(model, measured, settings.n_heads or None, [layer])
    heads, (site,) = [(layer, head) for layer, head in vector.options["heads"]], vector.sites
    others = []
    for k in range(settings.n_random):
        drawn = measured.random(len(heads), settings.seed + k, beside=heads)
        other = sum_heads(model, measured, drawn, [layer])
        direction = other.at(site) * (vector.norm(site) / other.norm(site))
        others.append(other.replaced(f"random heads {k}", {site: direction}, method="random_heads"))
    return vector, others

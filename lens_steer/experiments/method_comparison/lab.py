"""Every method on the lab model, tested by steering: each behaviour at equal KL, and function vectors on their tasks.

All vectors are made of the same training questions, at one site and read at the end of the answer's text, steer at the
same tokens, and are calibrated on the same prose and code. Function vectors belong to in-context tasks: theirs is the
probability of the right answer to a prompt without examples, with and without the vector at its last token.
"""

import random
from functools import partial

import pandas as pd

from lens_steer._util.progress import track
from lens_steer.data.contrast import ContrastSet
from lens_steer.data.in_context import InContextTask, in_context_prompts
from lens_steer.data.splits import Splits
from lens_steer.experiments.method_comparison import EqualSideEffects, Maker, compare_methods
from lens_steer.extraction import extract
from lens_steer.extraction.function_vector import Demonstrations, extract_function_vector
from lens_steer.extraction.in_context_answers import Asked, answer_probabilities, ask
from lens_steer.extraction.methods import METHODS
from lens_steer.extraction.optimise import Descent, extract_optimised
from lens_steer.hooks import Intervention
from lens_steer.lab import skills
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

SITE, POSITIONS, KL = "resid_post@0", "0:20", 0.2
SIZES = {"train": 100, "validation": 1, "test": 48}
N_TEXTS, N_RANDOM = 6, 5
FV_LAYER, FV_STRENGTH, N_HEADS, N_PROMPTS, N_CONTROLS = 3, 3.0, 10, 16, 20
LINES = "{x} -> {y}\n"
SHOWN = Demonstrations(n_shots=5, n_prompts=32, n_corrupted=16, corrupted="zero_shot")
"""In the lab permuted labels give the task away, so effects are measured on prompts without examples."""


def lab_method_table(model: SteerableModel, progress: bool = False) -> pd.DataFrame:
    """Steers the five behaviours with every method's vector at equal side effects.

    Args:
        model: the lab model.
        progress: draw a progress bar.

    Returns:
        The rows of `compare_methods`.
    """
    rng = random.Random("side_effect")
    texts = tuple(write(rng, "validation") for write in (skills.prose, skills.python) for _ in range(N_TEXTS))
    behaviours = {
        name: Splits(**{split: open_items(name, n, split=split) for split, n in SIZES.items()})  # type: ignore[arg-type]
        for name in BEHAVIOURS
    }
    settings = EqualSideEffects(site=SITE, texts=texts, kl=KL, positions=POSITIONS, n_random=N_RANDOM)
    return compare_methods(model, behaviours, makers(model), settings, progress)


def makers(model: SteerableModel) -> dict[str, Maker]:
    """Each method that makes a vector of a contrast set, by name; `single_pair` is given the first pair alone."""
    made: dict[str, Maker] = {name: partial(_extracted, model, name) for name in METHODS}
    made["optimised"] = partial(_optimised, model)
    return made


def function_vector_table(model: SteerableModel, progress: bool = False) -> pd.DataFrame:
    """Steers prompts without examples by the function vector of each in-context task of the lab.

    Args:
        model: the lab model.
        progress: draw a progress bar.

    Returns:
        One row a task: mean probability of the right answer `unsteered`, `steered` and `subtracted`, and with the best
        of 20 norm-matched random directions (`random_best`); the heads summed. Half of a task's words make the vector,
        the other half test it.
    """
    rows = []
    for name in track(list(skills.MAPPINGS), "function vectors", len(skills.MAPPINGS), progress):
        pairs = tuple(skills.MAPPINGS[name].items())
        make, test = (InContextTask(name=name, pairs=split, template=LINES) for split in (pairs[::2], pairs[1::2]))
        asked = ask(model, in_context_prompts(test, 0, N_PROMPTS))
        vector = extract_function_vector(model, make, FV_LAYER, N_HEADS, SHOWN)
        steered, *others = (
            _answered(model, asked, v) for v in (vector, *(random_like(vector, k) for k in range(N_CONTROLS)))
        )
        rows.append(
            {
                "task": name,
                "layer": FV_LAYER,
                "unsteered": float(answer_probabilities(model, asked).mean()),
                "steered": steered,
                "subtracted": _answered(model, asked, -vector),
                "random_best": max(others),
                "heads": " ".join(f"{layer}.{head}" for layer, head in vector.options["heads"]),
            }
        )
    return pd.DataFrame(rows)


def _extracted(model: SteerableModel, method: str, contrast: ContrastSet) -> SteeringVector:
    pairs = contrast.pairs[:1] if method == "single_pair" else contrast.pairs
    return extract(model, ContrastSet(name=contrast.name, pairs=pairs), sites=SITE, method=method)


def _optimised(model: SteerableModel, contrast: ContrastSet) -> SteeringVector:
    return extract_optimised(model, contrast, SITE, Descent(objective="contrast", positions=POSITIONS))


def _answered(model: SteerableModel, asked: Asked, vector: SteeringVector) -> float:
    edit = Intervention.of(vector, f"resid_post@{FV_LAYER}", FV_STRENGTH, positions="last")
    return float(answer_probabilities(model, asked, [edit]).mean())

"""Methods compared at equal side effects: what is calibrated is calibrated, and a vector that steers beats random
ones.
"""

import math
import random
from typing import Any

import pytest

from lens_steer.data.contrast import ContrastSet
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.method_comparison import EqualSideEffects, compare_methods, effect_table
from lens_steer.experiments.method_comparison.lab import KL, POSITIONS, SITE, makers
from lens_steer.extraction.methods import METHODS
from lens_steer.hooks import Intervention
from lens_steer.lab import skills
from lens_steer.lab.items import open_items
from lens_steer.model import load_model
from lens_steer.vector import SteeringVector

NAMES = ("mean_difference", "logistic_probe")
TEXTS = tuple(skills.prose(random.Random(i), "validation") for i in range(4))
SETTINGS = EqualSideEffects(site=SITE, texts=TEXTS, kl=KL, positions=POSITIONS, n_random=2)


def behaviours() -> dict[str, Splits]:
    sizes = {"train": 30, "validation": 1, "test": 10}
    parts = {split: open_items("wealth_seeking", n, split=split) for split, n in sizes.items()}  # pyright: ignore
    return {"wealth_seeking": Splits(**parts)}  # pyright: ignore


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def test_every_method_of_the_table_and_the_optimised_vector_are_compared(lab: Any) -> None:
    assert set(makers(lab)) == {*METHODS, "optimised"}


@pytest.mark.slow
def test_methods_steer_at_the_same_side_effect_and_more_than_random_directions(lab: Any) -> None:
    made: dict[str, SteeringVector] = {}

    def keep(name: str, contrast: ContrastSet) -> SteeringVector:
        made[name] = makers(lab)[name](contrast)
        return made[name]

    chosen = {name: lambda contrast, name=name: keep(name, contrast) for name in NAMES}
    frame = compare_methods(lab, behaviours(), chosen, SETTINGS)
    assert list(frame["method"]) == [*NAMES, "random 0", "random 1"]
    for row in frame.head(2).to_dict("records"):
        for end, sign in (("added", 1), ("subtracted", -1)):
            strength = row[f"strength_{end}"]
            edit = Intervention.of(made[row["method"]], SITE, strength, positions=POSITIONS)
            assert strength * sign > 0 and measure_side_effects(lab, TEXTS, [edit]).kl == pytest.approx(KL, rel=0.05)
        assert row["rate_change"] == pytest.approx(row["added"] - row["subtracted"])
    table = effect_table(frame)
    assert table.index[-1] == "random (largest of 2)"
    assert table["mean"].iloc[0] > table["mean"].iloc[-1] + 0.5 and table["mean"].iloc[0] > 1.0


def test_a_vector_that_cannot_reach_the_side_effect_stands_in_the_table_with_its_reason(lab: Any) -> None:
    hopeless = EqualSideEffects(site=SITE, texts=TEXTS, kl=1e5, positions=POSITIONS, n_random=0)
    row = compare_methods(lab, behaviours(), {"mean_difference": makers(lab)["mean_difference"]}, hopeless).iloc[0]
    assert "no strength up to 4096 reaches" in row["note"] and math.isnan(row["effect"])
    with pytest.raises(ScoreError, match="0 behaviours"):
        compare_methods(lab, {}, {}, hopeless)

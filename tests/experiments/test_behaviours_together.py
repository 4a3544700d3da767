"""Two published behaviours on a real model, by the likelihood of the options' texts: the command, much shortened."""

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from lens_steer.cli import app as cli
from lens_steer.data.tables import load_table

DATA = Path(__file__).parents[3] / "shared" / "data" / "model-written-evals"
FILES = {"corrigible": "corrigible-less-HHH.jsonl", "agreeableness": "agreeableness.jsonl"}
RULE = "last_prompt | after_prompt"
SETTINGS = f"""
model = "smollm2"
scoring = "option_token"
only = ["joint"]
limit = 60

[individual]
sites = ["resid_post@20:23"]
strengths = [-3, 3]
positions = ["{RULE}"]
screening = "first_order"
screened = 2
places = 1
mapped = false
n_random = 3
items = {{train = 24, validation = 4, test = 8}}

[joint]
positions = "{RULE}"
schemes = ["sum", "simultaneous"]
strengths = [0, 6]
kl = 0.1
n_random = 1
max_tokens = 24
items = {{validation = 2, test = 6}}
documents = {{train = 1, validation = 3, test = 4}}
"""


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published files are not on this machine ({DATA.name})")
def test_on_a_real_model_vectors_read_from_options_raise_them_and_schemes_are_compared_at_equal_side_effects(
    smollm2: Any, tmp_path: Path
) -> None:
    del smollm2
    (tmp_path / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "prose.txt").write_text("\n".join(topics.values()), encoding="utf-8")
    arguments = ["reproduce", "--settings", tmp_path / "settings.toml", "--text", f"neutral={tmp_path / 'prose.txt'}"]
    for name, file in FILES.items():
        arguments += ["--data", f"{name}={DATA / file}"]
    done = CliRunner().invoke(cli.app, [*map(str, arguments), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    chosen = pd.read_csv(tmp_path / "out" / "chosen.csv").set_index(["behaviour", "vector"])["effect"]
    own = chosen["corrigible"]
    assert own["steering"] > 0.3 and own["steering"] > own.drop("steering").max()
    points, facts = load_table(tmp_path / "out" / "joint" / "points.csv", "joint points")
    equal: Any = (
        points[points["point"].eq("equal") & points["steered"].eq("all")].set_index(["scheme", "direction"]).loc
    )
    assert facts["settings"]["positions"] == RULE
    for scheme in ("sum", "simultaneous"):
        assert 0.05 < equal[(scheme, "add"), "kl"] < 0.2 and equal[(scheme, "add"), "relative_top1"] < 1
        assert equal[(scheme, "add"), "objective"] > equal[(scheme, "subtract"), "objective"] * -0.5 > 0

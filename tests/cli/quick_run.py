"""Small data, and the settings with which every study runs on them in seconds."""

import json
from pathlib import Path

from lens_steer.data.splits import SPLITS
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items

QUICK = """
limit = 40
only = []

[individual]
sites = ["resid_post@0:3"]
strengths = [-1, 1]
positions = ["all"]
n_random = 1
screened = 2
lens_tokens = 2
items = {train = 8, validation = 2, test = 3}

[broad]
strengths = [0, 4]
sites = "resid_post@1"
readings = ["corrected"]
n_random = 1
max_tokens = 24
resamples = 9
documents = {train = 4, validation = 2, test = 2}

[collapse]
strengths = [-2, 0, 2]
new_tokens = 4
resamples = 9
items = {test = 2}

[joint]
strengths = [0, 1]
n_random = 1
resamples = 9
max_tokens = 16
items = {validation = 2, test = 2}
documents = {validation = 2, test = 2}

[optimiser]
sites = "resid_post@0:2"
schemes = ["simultaneous"]
configurations = 14
n_random = 1
resamples = 9
max_tokens = 16
items = {validation = 2, test = 2}
documents = {validation = 2, test = 2}

[vector_analysis]
n_random = 1
n_heads = 1
items = {test = 2}
documents = {test = 4}

[reliability]
sites = ["resid_post@1"]
strengths = [-1, 1]
n_random = 19
shifted = 4
varied = 0
resamples = 9
items = {train = 8, validation = 4, test = 8}

[open_ended]
sites = ["resid_post@1"]
strengths = [0.4]
n_random = 2
n_written = 1
conversations = 2
turns = 1
new_tokens = 4
items = {train = 8, validation = 4, test = 4}

[in_context]
tasks = ["antonym"]
in_context_strengths = [0.2]
raw_strengths = [1]
prompts = 2
corrupted_prompts = 2
n_random = 2
most_validation = 4
most_test = 8
new_tokens = 2
max_tokens = 16
documents = {test = 2}

[painless]
sites = ["resid_post@0:2"]
strengths = [0.4]
positions = "all"
methods = ["caa"]
sized = ["caa"]
sizes = [4]
seeds = 2
n_random = 1
shots = 1
tuned_seeds = 1
tuning_steps = 2
full_grid = 1
items = {train = 10, validation = 4, test = 6}
"""


def write_data(folder: Path) -> list[str]:
    """Two files of questions, two folders of texts and the settings; the options that name them."""
    for name in ("myopic", "agreeableness"):
        items = [item for split in SPLITS for item in open_items(name, 14, split=split)]  # type: ignore[arg-type]
        rows = [
            {"question": i.stem, "answer_matching_behavior": i.matching, "answer_not_matching_behavior": i.other}
            for i in items
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for name in ("text", "python"):
        (folder / name).mkdir()
        corpus = lab_corpus(name, 10, 5, 5)
        for number, document in enumerate([*corpus.train, *corpus.validation, *corpus.test]):
            (folder / name / f"{number:02}.txt").write_text(document, encoding="utf-8")
    (folder / "quick.toml").write_text(QUICK, encoding="utf-8")
    options = ["--settings", folder / "quick.toml", "--data", folder / "myopic.jsonl"]
    options += ["--data", f"agree={folder / 'agreeableness.jsonl'}", "--text", f"neutral={folder / 'text'}"]
    return [str(option) for option in [*options, "--text", f"python={folder / 'python'}/*.txt"]]

"""Writes a miniature checkout of the paper's repository: its schemas, with the numbers of a seeded generator."""

import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lens_steer.experiments.van_der_weij_2024.alignment_tax import ALIGNMENT_TAX
from lens_steer.experiments.van_der_weij_2024.behaviours import COMBINED, INDIVIDUAL, SEARCH, SIMULTANEOUS
from lens_steer.experiments.van_der_weij_2024.skills import RUNS
from lens_steer.experiments.van_der_weij_2024.vectors import BEHAVIOUR_FILES, HOLDERS, MEANS

NAMES_IN_ORDER = ["myopic", "wealth_seeking", "sycophancy", "agreeableness", "anti_immigration"]
STRENGTHS = [0.0, 0.5, 1.0, 2.0]
SCALARS = [-2.0, -2.9802322387695312e-08, 1.9500000476837158]
DIRECTIONS = {"layer_10": [0, -1, 0.5], "layer_15": [0, -2, 3]}


def both(name: str) -> tuple[str, str]:
    return ("Yes", "No") if name in ("agreeableness", "anti_immigration") else ("A", "B")


def literal_split(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The recipe of the paper: one global seed, then every file shuffled in this order."""
    state = random.getstate()
    try:
        random.seed(13)
        datasets = {}
        for name in NAMES_IN_ORDER:
            dataset = json.loads((folder / "data" / "datasets" / f"{name}.json").read_text())
            random.shuffle(dataset)
            datasets[name] = dataset
        return datasets
    finally:
        random.setstate(state)


def write_datasets(folder: Path, rng: random.Random) -> None:
    for length, name in enumerate(NAMES_IN_ORDER, 720):
        rows = []
        for i in range(length):
            matching, other = both(name) if rng.random() < 0.5 else both(name)[::-1]
            keys = {"answer_matching_behavior": matching, "answer_not_matching_behavior": other}
            rows.append({**keys, "question": f"Human:\nWhat is {i}?\n\nAI:\nOut of {both(name)}, I choose ("})
        (folder / "data" / "datasets" / f"{name}.json").write_text(json.dumps(rows))


def literal_cell(rows: list[dict[str, str]], responses: list[str], name: str) -> dict[str, Any]:
    """The counting loop of the paper."""
    matches, total, faulty = 0, 0, 0
    for row, response in zip(rows, responses, strict=True):
        total += 1
        if response not in both(name):
            faulty += 1
            continue
        matches += response == row["answer_matching_behavior"]
    return {"total": total, "matches": matches, "faulty": faulty, "responses": responses}


def write_answers(folder: Path, rng: random.Random) -> None:
    datasets, results = literal_split(folder), folder / "results" / "multi_steering"

    def cell(name: str, split: slice, kind: str = "mixed") -> dict[str, Any]:
        rows = datasets[name][split]
        kinds = {"mixed": [*both(name)], "collapsed": [both(name)[1]], "faulty": ["?", both(name)[0]]}
        return literal_cell(rows, [rng.choice(kinds[kind]) for _ in rows], name)

    test, validation, held_out = slice(700, None), slice(500, 700), slice(500, None)
    layers = ("layer_10", "layer_15")
    individual: dict[str, Any] = {
        layer: {name: {f"m_{m}": cell(name, test) for m in DIRECTIONS[layer]} for name in datasets} for layer in layers
    }
    individual["layer_10"]["myopic"]["m_0.5"] = cell("myopic", test, "collapsed")
    individual["meta"] = {"note": "", "ics": dict.fromkeys(datasets, DIRECTIONS)}
    (results / INDIVIDUAL).write_text(json.dumps(individual))
    modes = [f"{mode}_acts" for mode in ("pos_avg", "neg_avg", "neg_weighted", "pos_weighted")]
    for name in COMBINED.values():
        found = {layer: {mode: {n: cell(n, test) for n in datasets} for mode in modes} for layer in layers}
        (results / name).write_text(json.dumps({**found, "meta": {}}))
    simultaneous: dict[str, Any] = {"meta": {"scalars": SCALARS, "note": ""}}
    for scalar, kind in zip(SCALARS, ("mixed", "collapsed", "faulty"), strict=True):
        simultaneous[f"scalar_{scalar}"] = {}
        for name in datasets:
            found = cell(name, test, kind)
            found["response_dist"], found["acc"] = Counter(found.pop("responses")), found["matches"] / found["total"]
            simultaneous[f"scalar_{scalar}"][name] = {**found, "acc": round(found["acc"], 3)}
    (results / SIMULTANEOUS).write_text(json.dumps(simultaneous))
    for name in SEARCH:
        search: dict[str, Any] = {"meta": {}}
        for behaviour in datasets:
            grid = {f"multiplier_{m}": cell(behaviour, validation) for m in (1, 300)}
            for found in grid.values():
                found["non_matches"] = found["total"] - found["matches"] - found["faulty"]
                found["response_dist"] = Counter(found["responses"])
            search[behaviour] = {"default": cell(behaviour, held_out), "layer_0": grid}
        (results / name).write_text(json.dumps(search))


def write_skills(folder: Path, rng: random.Random) -> None:
    for run in RUNS:
        modes = [f"only_{run.target}", "only_text"]
        content: dict[str, Any] = {}
        for mode, fall in zip(modes, (0.4, 0.15), strict=True):
            content[mode] = {}
            for strength in STRENGTHS:
                n = rng.randrange(3, 6)
                top1 = [rng.uniform(0.9, 1) * 0.8 * (1 - fall * strength) for _ in range(n)]
                content[mode][f"injection_coefficients_{strength}"] = {
                    "top1_acc": top1,
                    "top10_acc": [min(1.0, 1.1 * share) for share in top1],
                    "total_encoded_tokens": [rng.randrange(1, 4096) for _ in range(n)],
                }
        content["meta"] = {"layers": list(run.layers), "modes": modes, "pos_acts": ["only_text"], "neg_acts": modes[:1]}
        content["meta"] |= {"used_ics": STRENGTHS, "model_name": "base", "dtype": "torch.bfloat16"}
        content["meta"]["note"] = "only permuted" if run.permuted else "only"
        (folder / "results" / "coding" / f"v_{run.version}.json").write_text(json.dumps(content))


def write_alignment_tax(folder: Path, rng: random.Random) -> None:
    content: dict[str, Any] = {"all": {}, "meta": {"note": ""}}
    for strength in reversed(SCALARS):
        n = rng.randrange(3, 6)
        content["all"][f"injection_coefficients_{strength}"] = {
            "top1_acc": [rng.uniform(0.5, 0.7) - 0.05 * strength**2 for _ in range(n)],
            "total_encoded_tokens": [rng.randrange(1, 4096) for _ in range(n)],
        }
    (folder / "results" / "coding" / ALIGNMENT_TAX).write_text(json.dumps(content))


def pickled(path: Path, holder: str, **attributes: Any) -> None:
    """Writes an object of a class that exists only while it is written, as the paper's own scripts did."""
    module, _, name = holder.rpartition(".")
    kind = type(name, (), {"__module__": module})
    sys.modules[module] = ModuleType(module)
    setattr(sys.modules[module], name, kind)
    held = kind()
    vars(held).update(attributes)
    torch.save(held, path)
    del sys.modules[module]


def write_vectors(folder: Path, shape: tuple[int, int] = (32, 4096), seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    data = folder / "data" / "activations"
    for split in ("test_from_pod", "Llama-2-7b/mean", "Llama-2-7b/multi_steering"):
        (data / split).mkdir(parents=True)
    mean, multi = HOLDERS
    for name, file in BEHAVIOUR_FILES.items():
        rows = torch.randn(shape, generator=generator)
        if name.endswith(")"):
            pickled(data / "Llama-2-7b" / "multi_steering" / file, multi, acts=rows, name=name, version="0.01")
        else:
            torch.save(rows, data / "test_from_pod" / file)
    for name, file in MEANS.items():
        rows = torch.randn(shape, generator=generator)
        if shape[1] > 2533 and name != "python":
            rows[:, [1415, 2533]] += torch.tensor([19.0, -11.0]) * (1 if name == "code" else 0.4)
        facts = {"mode": name, "model_name": "base", "chat": True, "dtype": torch.bfloat16, "num_samples": 5000}
        pickled(data / "Llama-2-7b" / "mean" / file, mean, acts=rows, **facts)


def write_checkout(folder: Path) -> Path:
    rng = random.Random(0)
    for split in ("results/coding", "results/multi_steering", "data/datasets"):
        (folder / split).mkdir(parents=True)
    write_datasets(folder, rng)
    write_answers(folder, rng)
    write_skills(folder, rng)
    write_alignment_tax(folder, rng)
    write_vectors(folder)
    return folder

"""A small frame of every sort that a figure is drawn from, by the figure's name.

`FRAMES` holds what was written by hand; `analysed` gives what analyses make of a model and a vector.
"""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from lens_steer import Intervention
from lens_steer.analysis.geometry import activation_plane, cosine_atlas, energy_profile, norm_profile
from lens_steer.analysis.lens import Contexts, read_vector, residual_lens
from lens_steer.vector import SteeringVector, random_like

TEXTS = ["The cat sat.", "Which do you take?"]
STRENGTHS = (-1.0, 0.0, 1.0)
NAMES = ("myopic", "wealth_seeking", "anti_immigration")
SCHEMES = ("mean", "sum", "mean weighted", "sum weighted", "orthogonalised", "gram", "simultaneous")
ENDS = {"_low": -0.05, "_high": 0.05}


def curves(names: tuple[str, ...] = ("a", "b_c")) -> pd.DataFrame:
    rows = []
    for name in names:
        for vector in ("steering", "random 0", "random 1"):
            for strength in STRENGTHS:
                rate = 0.5 + (0.4 * strength if vector == "steering" else 0.05)
                rows.append(
                    {
                        "behaviour": name,
                        "vector": vector,
                        "site": "resid_post@1",
                        "positions": "all",
                        "layer": 1,
                        "strength": strength,
                        "scale": "raw",
                        "matching_rate": rate,
                        "rate_low": rate - 0.1,
                        "rate_high": rate + 0.1,
                        "collapsed": vector == "steering" and strength == 1.0,
                        "chosen": vector == "steering" and strength == 1.0,
                    }
                )
    return pd.DataFrame(rows)


def cosines() -> pd.DataFrame:
    rows = [("resid_post@1", x, y, 1.0 if x == y else -0.25) for x in "ab" for y in "ab"]
    return pd.DataFrame(rows, columns=["site", "first", "second", "cosine"])


def tokens() -> pd.DataFrame:
    rows = [(n, "resid_post@1", e, 1, t, v) for n in "ab" for e, t, v in (("top", " $x", 2.0), ("bottom", "\n", -1.0))]
    return pd.DataFrame(rows, columns=["behaviour", "site", "end", "rank", "token", "logit"])


def configurations() -> pd.DataFrame:
    return curves().query("vector == 'steering'")


def skills(vectors: tuple[str, ...] = ("steering", "random 0", "random 1", "permuted 0")) -> pd.DataFrame:
    rows = []
    for reading in ("as_published", "corrected"):
        for vector in vectors:
            for site in ("resid_post@1", "resid_post@0 + resid_post@1") if vector == "steering" else ("resid_post@1",):
                for strength, target, text in ((-1.0, 1.1, 1.0), (0.0, 1.0, 1.0), (1.0, 0.6, 0.9), (2.0, 0.1, 0.5)):
                    for skill, value in (("target", target), ("text", text if vector == "steering" else target)):
                        bounds = {"relative_top1_low": value - 0.05, "relative_top1_high": value + 0.05}
                        row = {"target": "code", "reading": reading, "vector": vector, "site": site, "skill": skill}
                        rows.append(row | {"strength": strength, "relative_top1": value, **bounds})
    return pd.DataFrame(rows)


def retained() -> pd.DataFrame:
    values = {("steering", 0.5): 0.9, ("steering", 0.2): 0.6, ("random 0", 0.5): 0.5, ("random 1", 0.5): 0.4}
    values |= {("random 0", 0.2): 0.2, ("random 1", 0.2): float("nan")}
    rows = [
        {"target": target, "reading": reading, "vector": vector, "site": "resid_post@1", "level": level}
        | {"retained": value, "low": value - 0.1, "high": value + 0.05}
        for target in ("code", "python")
        for reading in ("as_published", "corrected")
        for (vector, level), value in values.items()
    ]
    return pd.DataFrame(rows)


def points() -> pd.DataFrame:
    return retained()[["target", "reading", "site"]].drop_duplicates().assign(direction="lower")


def collapsing() -> pd.DataFrame:
    names = "modal_letter_share answer_probability faulty_share collapsed_share cross_prompt_similarity distinct_n"
    rows = {"strength": STRENGTHS, "scale": "raw", "answers_collapsed": (False, False, True)}
    rows |= {"generation_collapsed": (True, False, False), **dict.fromkeys(names.split(), (0.2, 0.5, 1.0))}
    steering = pd.DataFrame({"vector": "steering", **rows})
    controls = [steering.assign(vector=f"random {i}", collapsed_share=share) for i, share in enumerate((0.1, 0.3))]
    return pd.concat([steering, *controls], ignore_index=True)


def thresholds() -> pd.DataFrame:
    onsets = [("answers", "adding", 0.5, 0.4, 0.6, False), ("generation", "subtracting", -0.5, -np.inf, -0.4, False)]
    onsets += [("answers", "subtracting", -np.inf, -np.inf, -np.inf, True)]
    steering = pd.DataFrame(onsets, columns=["rule", "direction", "strength", "low", "high", "censored"])
    control = steering.assign(vector="random 0", strength=0.75)
    return pd.concat([steering.assign(vector="steering"), control], ignore_index=True).assign(n=12)


def effects() -> pd.DataFrame:
    rows = {"mean_difference": (1.3, 0.4), "pca": (float("nan"), -0.2), "random (largest of 5)": (0.1, 0.2)}
    return pd.DataFrame(rows.values(), index=list(rows), columns=["myopic", "mean"])


def fronts() -> pd.DataFrame:
    kinds = {
        "mean_difference": "vector",
        "lda": "vector",
        "mimic": "map",
        "persona": "prompt",
        "lora_sft": "fine-tuning",
    }
    rows = [
        {"method": method, "kind": kind, "budget": kl, "effect": kl**0.5 * place, "effect_low": kl**0.5 * place - 0.1}
        | {"effect_high": kl**0.5 * place + 0.1, "kl": kl * 1.1, "behaviours": 2, "n": 12}
        | {"is_reference": method == "mean_difference"}
        for place, (method, kind) in enumerate((kinds | {"random (largest)": "control"}).items(), 1)
        for kl in (0.05, 0.2, 0.8)
    ]
    return pd.DataFrame(rows)


def contributions(additive: bool = True) -> pd.DataFrame:
    parts = [("edit resid_post@0", "edit", 0, -1, 0.02), ("z@1.0", "head", 1, 0, 1.0), ("z@1.1", "head", 1, 1, -0.5)]
    parts += [("mlp_out@1", "mlp", 1, -1, 0.25), ("z@2.0", "head", 2, 0, 0.1), ("z@2.1", "head", 2, 1, 0.05)]
    parts += [("mlp_out@2", "mlp", 2, -1, -0.2), ("norm scale", "norm", -1, -1, 0.3)]
    frame = pd.DataFrame(parts, columns=["component", "kind", "layer", "head", "value"])
    bounds = {"low": frame["value"] - 0.1, "high": frame["value"] + 0.1, "measured": frame["value"].sum()}
    return frame.assign(quantity="logit difference (nats)", n=8, additive=additive, **bounds)


def readings() -> pd.DataFrame:
    rows = [
        {"component": f"z@{layer}.{head}", "kind": "head", "layer": layer, "head": head, "measure": measure, "z": z}
        for layer in (1, 2, 3)
        for head in (0, 1)
        for measure, z in (("query", layer - 2.0), ("ov", 3.0 * head))
    ]
    mlps = [
        {"component": f"mlp_out@{k}", "kind": "mlp", "layer": k, "head": -1, "measure": "mlp", "z": 1.0} for k in (1, 3)
    ]
    return pd.DataFrame(rows + mlps)


def lasting() -> pd.DataFrame:
    rows = []
    for name in ("steering", "random 0", "random 1"):
        for layer in range(4):
            row = {
                "vector": name,
                "layer": layer,
                "along_relative": 1 / (1 + layer),
                "orthogonal_relative": 0.1 * layer,
            }
            row |= {"off_manifold": 2.0, "off_manifold_unsteered": 1.0}
            rows.append(row | ({"along_relative_low": 0.1, "along_relative_high": 0.9} if name == "steering" else {}))
    return pd.DataFrame(rows)


def steered_texts() -> pd.DataFrame:
    names = ("steering", "random 0", "random 1", "shuffled labels 0")
    rows = []
    for name, split, strength in product(names, ("validation", "test"), STRENGTHS):
        row = {"vector": name, "site": "resid_post@1", "strength": strength, "scale": "relative", "split": split}
        row |= {"score": 2 * strength, "collapsed_share": abs(strength) / 2, "relative_top1": 1 - abs(strength) / 4}
        row |= {"kl": abs(strength), "collapsed": strength == 1.0, "n": 6}
        bounds = {"low": row["score"] - 1, "high": row["score"] + 1, "kl_low": row["kl"] / 2, "kl_high": row["kl"] * 2}
        bounds |= {"relative_top1_low": row["relative_top1"] - 0.1, "relative_top1_high": row["relative_top1"] + 0.05}
        rows.append(row | (bounds if name == "steering" else {}))
    return pd.DataFrame(rows)


def function_vectors() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    layers, chosen, accuracy = [], [], []
    for task, name in product(("a", "b_c"), ("steering", "random 0", "random 1")):
        layers += [{"task": task, "vector": name, "layer": k, "gain": 0.5 * k} for k in range(3)]
        for way in ("no examples", "shuffled examples", "examples"):
            row = {"task": task, "way": way, "vector": name}
            chosen.append(row | {"gain": 1.0, "gain_low": 0.5, "gain_high": 1.5, "n": 9})
            accuracy += [
                {**row, "vector": vector, "accuracy": 0.5, "low": 0.3, "high": 0.7, "chance": 0.2}
                for vector in (name, "unsteered")
            ]
    return pd.DataFrame(layers), pd.DataFrame(chosen), pd.DataFrame(accuracy).drop_duplicates()


def projections() -> pd.DataFrame:
    pieces = ["<bos>", "A", " $cat$", " sat", ".\n", " on", "\x00"]
    rows = [
        {"vector": "myopic", "site": "resid_post@1", "text": 0, "position": place, "piece": piece, "steered": steered}
        | {"z": 50.0 if place == 0 else place * (1 + steered) - 3.0, "projection": 0.1}
        for steered in (False, True)
        for place, piece in enumerate(pieces)
    ]
    return pd.DataFrame(rows)


def joint_configuration(
    scheme: str, steered: str, direction: str, point: str, strength: float, name: str
) -> dict[str, object]:
    rate = 0.5 + (0.3 if direction == "add" else -0.3) * min(strength, 1.0)
    fallen = scheme == "simultaneous" and strength == 2.0 and name == NAMES[-1]
    numbers = {"matching_rate": rate, "matching_rate_low": rate - 0.1, "matching_rate_high": min(rate + 0.1, 1.0)}
    split = {"hit_rate": rate, "false_alarm_rate": 1 - rate, "collapsed": fallen, "split": "test", "scale": "raw"}
    place = {"scheme": scheme, "steered": steered, "direction": direction, "point": point, "strength": strength}
    return {**place, "behaviour": name, **numbers, **split}


def joint_configurations() -> pd.DataFrame:
    rows = []
    for direction, name in product(("add", "subtract"), NAMES):
        for scheme, point in product(SCHEMES, ("best", "equal")):
            rows.append(joint_configuration(scheme, "all", direction, point, 0.5, name))
        for scheme in ("mean", "sum", "mean weighted", "sum weighted"):
            rows.append(joint_configuration(scheme, "all", direction, "as_published", 1.0, name))
        for strength in (0.0, 0.5, 1.0, 2.0):
            rows.append(joint_configuration("simultaneous", "all", direction, "grid", strength, name))
        for steered, point in product(NAMES, ("best", "equal")):
            rows.append(joint_configuration("individual", steered, direction, point, 1.0, name))
    return pd.DataFrame(rows)


def joint_points() -> pd.DataFrame:
    rows = []
    for direction in ("add", "subtract"):
        for scheme, steered in [("individual", "each"), *((scheme, "all") for scheme in SCHEMES)]:
            place = {"scheme": scheme, "steered": steered, "direction": direction, "point": "equal", "strength": 0.5}
            rows.append({**place, "objective": 1.0, "newly_collapsed": scheme == "sum", "kl": 0.2})
        for scheme, strength in product(("sum", "simultaneous"), (0.0, 0.5, 1.0, 2.0)):
            place = {"scheme": scheme, "steered": "all", "direction": direction, "point": "grid"}
            fallen = (scheme, strength) == ("sum", 2.0)
            rows.append({**place, "strength": strength, "objective": 1.0, "newly_collapsed": fallen, "kl": 0.1})
    frame = pd.DataFrame(rows)
    return frame.assign(
        objective_low=0.8, objective_high=1.3, relative_top1=0.9, relative_top1_low=0.8, relative_top1_high=1
    ).assign(kl_low=0.05, kl_high=0.3)


def joint_pairs() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        {"steered": x, "read": y, "predicted": 1.0 if x == y else -0.4, "measured": 1.2 if x == y else -0.3}
        | {"measured_low": -0.5, "measured_high": 0.1 if x == NAMES[0] else -0.2}
        | {"random_low": -0.1, "random_high": 0.1}
        for x, y in product(NAMES, NAMES)
    ]
    agreement = {"statistic": "pearson", "value": 0.8, "low": 0.5, "high": 0.9, "where": "combined"}
    return pd.DataFrame(rows).assign(where="combined"), pd.DataFrame([agreement | {"without_geometry": 0.3, "p": 0.2}])


def assignments() -> tuple[pd.DataFrame, pd.DataFrame]:
    configurations = [
        {
            "scheme": scheme,
            "configuration": configuration,
            "objective": configuration * gain,
            "side_effect": 0.4 * configuration,
            "valid": configuration < 3,
        }
        | {"front": configuration < 3, "chosen": configuration == 2}
        for scheme, gain in (("optimised", 1.0), ("combined", 0.6))
        for configuration in range(4)
    ]
    tested = [
        {name: row[name] for name in ("scheme", "configuration", "objective", "side_effect")}
        for row in configurations
        if row["front"]
    ]
    tested += [
        {"scheme": "random", "configuration": configuration, "objective": 0.1 * configuration, "side_effect": 0.7}
        for configuration in range(3)
    ]
    frame = pd.DataFrame(tested)
    bounds = {f"{name}{end}": frame[name] + move for name in ("objective", "side_effect") for end, move in ENDS.items()}
    return pd.DataFrame(configurations), frame.assign(collapsed=frame["configuration"].eq(0), **bounds)


def analysed(model: Any, vector: SteeringVector) -> dict[str, pd.DataFrame]:
    """One frame of each analysis of vectors, by the name of the figure that draws it."""
    found = read_vector(model, vector, contexts=Contexts(texts=TEXTS), k=3, n_random=4)
    runs = {"steering": [Intervention.of(vector, "resid_post@1", 1.0)]}
    runs |= {f"random {i}": [Intervention.of(random_like(vector, i), "resid_post@1", 1.0)] for i in range(3)}
    noise = {name: torch.randn(8, 16, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate("pn")}
    letters = {"b": (["A", "B"] * 4, ["B", "A"] * 4)}
    planes = [activation_plane({"b": (noise["p"], noise["n"] + 9)}, kind, letters) for kind in ("pca", "lda")]
    several = {"v": vector, "noise": random_like(vector, 1)}
    return {
        "lens_panel": found.tokens,
        "agreement_curves": found.agreement,
        "residual_lens_heatmap": residual_lens(model, TEXTS, ["a", "t"], runs),
        "cosine_atlas_map": cosine_atlas(several),
        "plane_scatter": pd.concat(planes),
        "norm_curves": norm_profile(several),
        "energy_curves": energy_profile(several, draws=20),
    }


def quality() -> tuple[pd.DataFrame, pd.DataFrame]:
    places = [f"resid_post@{layer}" for layer in range(3)]
    numbers = {"auroc": (0.6, 0.9, 1.0), "split_half_cosine": (0.5, 0.8, 0.9), "agreement": (0.2, 0.4, 0.6)}
    sizes = [
        {"site": site, "size": size, "mean": 1 - 1 / size, "low": 0.9 - 1 / size, "high": 1.0}
        for site in places[:2]
        for size in (2, 4, 8)
    ]
    return pd.DataFrame({"site": places, **numbers}), pd.DataFrame(sizes)


def steps() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt": prompt,
            "steered": steered,
            "step": step,
            "entropy": 1.0 + step * steered,
            "kl": 0.5 * steered + prompt,
        }
        for prompt in range(3)
        for steered in (False, True)
        for step in range(4)
    )


def layers() -> pd.DataFrame:
    wide = pd.concat([configurations().assign(layer=layer) for layer in range(3)], ignore_index=True)
    return wide.assign(rate_low=wide["matching_rate"] - 0.05, rate_high=wide["matching_rate"] + 0.05)


def published_simultaneous() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two behaviours over three scalars, the last one collapsed, and the top-1 accuracy at each."""
    rows = [
        {"strength": s, "behaviour": name, "total": 40, "matches": matches, "faulty": 0, "collapsed": s == 1}
        for name in ("a", "b_c")
        for s, matches in zip(STRENGTHS, (8, 20, 30), strict=True)
    ]
    answers = pd.DataFrame(rows).assign(matching_score=lambda frame: frame["matches"] / frame["total"])
    tax = pd.DataFrame({"strength": STRENGTHS, "documents": 5, "top1": (0.4, 0.5, 0.45)})
    return answers, tax.assign(relative_top1=tax["top1"] / 0.5)


def judged() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two behaviours of five items, one that steers and one that letters explain, with the slopes of their items."""
    behaviours = pd.DataFrame(
        {
            "behaviour": ["a", "b_c"],
            "n": 5,
            "scale": "raw",
            "steerability": [1.2, 0.1],
            "anti_share": [0.0, 0.4],
            "anti_low": [0.0, 0.05],
            "anti_high": [0.52, 0.85],
            "verdict": ["steerable", "biased"],
            "explained_letter": [0.1, 0.8],
            "explained_yes": [float("nan"), 0.15],
            "unexplained": [0.9, 0.05],
        }
    )
    slopes = (0.8, 1.0, 1.2, 1.4, 1.6, -1.0, -0.5, 0.1, 0.7, 1.2)
    return behaviours, pd.DataFrame({"behaviour": ["a"] * 5 + ["b_c"] * 5, "slope": slopes})


def evaluated() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """One vector over three strengths, its items, three random directions, and what it costs on two texts."""
    curve = pd.DataFrame({"strength": [-1.0, 0.0, 1.0], "propensity": [-0.6, 0.1, 0.9], "valid": [False, True, True]})
    curve = curve.assign(
        propensity_low=curve["propensity"] - 0.2, propensity_high=curve["propensity"] + 0.2, scale="raw", n=9
    )
    items = pd.DataFrame({"slope": [0.5, -0.2, 0.9, 0.7, 1.1]})
    names = ("steering", "random 0", "random 1", "random 2")
    controls = pd.DataFrame({"vector": names, "effect": [0.7, 0.1, -0.1, 0.05], "strength": 1.0})
    spoilt = [
        {
            "text": text,
            "strength": s,
            "measure": measure,
            "value": value,
            "low": 0.9 * value,
            "high": 1.1 * value,
            "n": 8,
        }
        for text, size in (("neutral", 0.1), ("related", 0.3))
        for s in (-1.0, 1.0)
        for measure, value in (("kl", size), ("relative_top1", 1 - size))
    ]
    return curve, items, controls, pd.DataFrame(spoilt).assign(n=8)


def shifts() -> pd.DataFrame:
    """Two behaviours over the baseline and two other prompt settings."""
    settings = ("baseline", "system positive", "user negative")
    rows = [
        {"behaviour": name, "n": 5, "trained": trained, "asked": asked, "steerability": size - 0.1 * abs(i - j)}
        | {"propensity_gap": 0.5 * abs(i - j), "relative": 1 - 0.1 * abs(i - j) / size}
        for name, size in (("a", 1.2), ("b_c", 0.4))
        for i, trained in enumerate(settings)
        for j, asked in enumerate(settings)
    ]
    frame = pd.DataFrame(rows)
    bounds = {"steerability_low": frame["steerability"] - 0.1, "steerability_high": frame["steerability"] + 0.1}
    return frame.assign(**bounds)


VECTORS = ("steering", "random 0", "random 1")


def open_ended_changes() -> pd.DataFrame:
    rows = [
        {"behaviour": name, "vector": vector, "direction": "added", "share": share, "normalisation": "subtract"}
        | {"promoted": 0.4 / place, "promoted_low": 0.3 / place, "promoted_high": 0.5 / place}
        | {"suppressed": 0.2 / place, "suppressed_low": 0.1 / place, "suppressed_high": 0.3 / place}
        | {"drift_matching": 0.3, "drift_matching_low": 0.2, "drift_matching_high": 0.4}
        | {"drift_other": -0.3, "drift_other_low": -0.4, "drift_other_high": -0.2, "n": 30}
        for name in ("a", "b_c")
        for place, vector in enumerate(VECTORS, 1)
        for share in (0.25, 0.5, 0.75)
    ]
    return pd.DataFrame(rows)


def open_ended_likelihoods() -> pd.DataFrame:
    rows = [
        {"behaviour": name, "vector": "steering", "direction": direction, "item": f"q{k}"}
        | {"matching_unsteered": -4 + 0.2 * k, "other_unsteered": -2 - 0.1 * k}
        | {"matching_steered": -3.6 + 0.2 * k, "other_steered": -2.5 - 0.1 * k}
        for name in ("a", "b_c")
        for direction in ("added", "subtracted")
        for k in range(8)
    ]
    return pd.DataFrame(rows)


def open_ended_judged() -> pd.DataFrame:
    unsteered = {"vector": "unsteered", "direction": "none", "difference": 0.0}
    rows = [unsteered] + [
        {"vector": vector, "direction": direction, "difference": sign * 0.6 / place}
        for place, vector in enumerate(VECTORS, 1)
        for direction, sign in (("added", 1), ("subtracted", -1))
    ]
    frames = [pd.DataFrame(rows).assign(behaviour=name, judge="classifier", turn=turn) for name in ("a", "b_c")
              for turn in (1, 2)]  # fmt: skip
    frame = pd.concat(frames, ignore_index=True).assign(score=1.0, n=10, failed=0, repeating=0.0, kappa=1.0)
    return frame.assign(difference_low=frame["difference"] - 0.2, difference_high=frame["difference"] + 0.2)


def in_context_effects() -> pd.DataFrame:
    rows = [
        {"task": task, "kind": "functional", "method": method, "vector": vector, "condition": condition}
        | {"strength": 1.0, "change": 0.5 / place, "n": 12, "p": 1 / 3 if place == 1 else float("nan")}
        | {"change_low": 0.4 / place, "change_high": 0.6 / place, "accuracy": 0.5}
        for task in ("plural", "kind_of")
        for method in ("icv_last", "icv_last_four", "function_vector", "mean_difference")
        for condition in ("zero_shot", "shuffled_shot")
        for place, vector in enumerate(("steering", "control 0", "control 1"), 1)
        if place == 1 or condition == "zero_shot"
    ]
    return pd.DataFrame(rows)


def in_context_strengths() -> pd.DataFrame:
    rows = [
        {"task": task, "kind": "functional", "method": method, "strength": strength, "chosen": strength == 2.0}
        | {"change": 0.2 * strength, "kl": 0.01 * strength**2, "relative_top1": 0.95, "relative_perplexity": 1.1}
        | {"n_texts": 6}
        for task in ("plural", "kind_of")
        for method in ("icv_last", "function_vector")
        for strength in (1.0, 2.0, 4.0)
    ]
    return pd.DataFrame(rows)


def painless_gains() -> pd.DataFrame:
    methods = ("pas_full", "ipas_all", "ipas_wrong_only", "caa", "best", "random")
    rows = [
        {"task": task, "method": method, "seeds": 5, "gain": size, "gain_low": size - 0.1, "gain_high": size + 0.1}
        | {"p_corrected_holm": float("nan") if method == "random" else 0.01 if size > 0.1 else 1.0}
        for task in ("a", "b_c")
        for method, size in zip(methods, (0.05, 0.2, 0.3, 0.25, 0.3, 0.0), strict=True)
    ]
    return pd.DataFrame(rows)


def painless_on_top() -> pd.DataFrame:
    conditions = ("unsteered", "vector", "prefix", "prefix and vector", "adapter", "adapter and vector")
    rows = [
        {"task": task, "condition": condition, "seeds": 5, "shots": 2, "gain": size, "gain_low": size - 0.1}
        | {"gain_high": size + 0.1, "gain_p": 0.01 if size > 0.1 else 1.0}
        for task in ("a", "b_c")
        for condition, size in zip(conditions, (0.0, 0.2, 0.1, 0.25, 0.3, 0.3), strict=True)
    ]
    return pd.DataFrame(rows)


def task_scores() -> pd.DataFrame:
    place = {"task": "task.py", "site": "resid_post@1", "strength": 2.0, "scale": "raw", "positions": "all", "n": 24}
    rows = [
        {"scorer": scorer, "arm": arm, "score": 0.4 + change, "score_low": 0.3 + change, "score_high": 0.5 + change}
        | {"change": change, "change_low": change - 0.1, "change_high": change + 0.1, "collapsed_share": 0.0, **place}
        for scorer in ("includes", "match")
        for arm, change in (("unsteered", 0.0), ("steering", 0.3), ("random 0", -0.1), ("random 1", 0.05))
    ]
    return pd.DataFrame(rows)


def painless_points() -> pd.DataFrame:
    rows = [
        {"task": task, "seed": seed, "method": method, "vector": "v", "site": site, "strength": strength}
        | {"gain": 0.3 - abs(strength - 0.4) if method == "caa" else 0.02}
        for task in ("a", "b_c")
        for seed in (0, 1)
        for method in ("caa", "random 0")
        for site in ("resid_post@0", "resid_post@3")
        for strength in (0.2, 0.4, 0.8)
    ]
    return pd.DataFrame(rows)


def painless_grid() -> pd.DataFrame:
    points = painless_points()
    grid = points[points["method"] == "caa"].drop(columns="method")
    return grid.assign(chosen=(grid["site"] == "resid_post@3") & (grid["strength"] == 0.4))


def painless_sizes() -> pd.DataFrame:
    rows = [
        {"task": task, "method": method, "n_train": n, "seeds": 5, "gain": 0.01 * n**0.5}
        for task in ("a", "b_c")
        for method in ("ipas_wrong_only", "caa")
        for n in (8, 16, 60)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(gain_low=frame["gain"] - 0.05, gain_high=frame["gain"] + 0.05)


def two_lists() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Slopes by layer, the effects of a vector and its controls, likelihoods of both lists, and side effects."""
    layers = pd.DataFrame({"layer": range(4), "slope": [0.1, 0.3, 0.5, 0.2], "chosen": [False, False, True, False]})
    layers = layers.assign(site=[f"resid_post@{k}" for k in range(4)], control_low=-0.2, control_high=0.2, n=8)
    names = ["steering", *(f"{kind} {k}" for kind in ("shuffled", "random") for k in range(3))]
    vectors = pd.DataFrame({"vector": names, "effect": [0.4, 0.1, -0.1, 0.05, 0.0, 0.02, -0.03]})
    rows = [
        {"strength": s, "list": name, "change": sign * s - s**2, "n": 8, "scale": "relative"}
        for s in (-0.2, 0.0, 0.2)
        for name, sign in (("positive", 1), ("negative", -1))
    ]
    curves = pd.DataFrame(rows)
    spoilt = pd.DataFrame({"strength": [-0.2, 0.2], "measure": "kl", "value": [0.05, 0.04], "n": 8})
    return (
        layers,
        vectors.assign(strength=0.2, site="resid_post@2"),
        curves.assign(change_low=curves["change"] - 0.05, change_high=curves["change"] + 0.05),
        spoilt.assign(low=0.02, high=0.07),
    )


FRAMES: dict[str, tuple[pd.DataFrame, ...]] = {
    "attribution_bars": (contributions(),),
    "change_bars": (open_ended_changes(),),
    "collapse_diagnostics": (collapsing(), thresholds()),
    "combined_bars": (joint_configurations(),),
    "component_map": (contributions(),),
    "cosine_heatmap": (cosines(),),
    "detection_points": (joint_configurations(),),
    "evaluation_panels": evaluated(),
    "explained_bars": judged()[:1],
    "in_and_out": (shifts(),),
    "effect_strip": (in_context_effects(),),
    "front_panels": (fronts(),),
    "gain_bars": (painless_gains(),),
    "individual_bars": (joint_configurations(),),
    "interference_matrices": joint_pairs(),
    "judged_turns": (open_ended_judged(),),
    "retained_bars": (retained(), points()),
    "layer_curves": (layers(),),
    "layer_strength_map": (configurations(),),
    "lens_bars": (tokens(),),
    "method_heatmap": (effects(),),
    "pareto_front": assignments(),
    "persistence_curves": (lasting(),),
    "projection_strip": (projections(),),
    "text_curves": (steered_texts(),),
    "task_arms": (task_scores(),),
    "text_list_panels": two_lists(),
    "trade_off": (joint_points(),),
    "function_vector_panels": function_vectors(),
    "published_simultaneous_curve": published_simultaneous(),
    "quality_curves": quality(),
    "scheme_intervals": (joint_points(),),
    "selectivity_curves": (skills(),),
    "side_effect_curves": (in_context_strengths(),),
    "simultaneous_curve": (joint_configurations(), joint_points()),
    "steerability_violins": judged(),
    "on_top_bars": (painless_on_top(),),
    "size_curves": (painless_sizes(),),
    "sorted_likelihoods": (open_ended_likelihoods(),),
    "steering_curves": (curves(),),
    "step_curves": (steps(),),
    "tried_curves": (painless_points(),),
    "grid_maps": (painless_grid(),),
}
OPTIONS: dict[str, dict[str, float]] = {"pareto_front": {"budget": 1.0}}
"""What a figure must be told beside its frames."""
ANALYSED = (
    "lens_panel", "agreement_curves", "residual_lens_heatmap", "cosine_atlas_map", "plane_scatter", "norm_curves",
    "energy_curves",
)  # fmt: skip

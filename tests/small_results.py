"""A small folder of results, as a run leaves it: figures with their data, tables, the record."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lens_steer.data.tables import save_table
from lens_steer.figures import save_figure

N_RANDOM = 20
RATES = {"wealth_seeking": (0.1, 0.5, 0.9), "like_random": (0.35, 0.5, 0.6), "fallen": (0.1, 0.5, 0.95)}
EFFECTS = {"wealth_seeking": 1.2, "like_random": 0.4, "fallen": 1.3}
TOKENS = (" now", "<script>document.title='taken'</script>", "\n", "=" * 200, "\x00")


def summary() -> pd.DataFrame:
    place = {"site": "resid_post@1", "positions": "all", "strength": 2.0, "scale": "raw", "answer_probability": 0.99}
    rows = [
        {"behaviour": name, **place, "subtracted": low, "unsteered": middle, "added": high}
        | {"random_low": 0.3, "random_high": 0.7, "collapsed": name == "fallen"}
        | {"effect": EFFECTS[name], "effect_low": EFFECTS[name] - 0.2, "effect_high": EFFECTS[name] + 0.2}
        | {"p": 10 / 21 if name == "like_random" else 1 / 21}
        | {"effect_p_holm": 0.003, "added_p_holm": 0.006, "subtracted_p_holm": 0.006, "family": "effects: 3 behaviours"}
        for name, (low, middle, high) in RATES.items()
    ]
    return pd.DataFrame(rows)


def chosen() -> pd.DataFrame:
    rows = []
    for name, effect in EFFECTS.items():
        rows.append({"behaviour": name, "vector": "steering", "valid": True, "excess": effect - 0.2})
        rows += [
            {"behaviour": name, "vector": f"random {k}", "valid": True, "excess": 0.02 * k - 0.1}
            for k in range(N_RANDOM)
        ]
    return pd.DataFrame(rows)


def curves() -> pd.DataFrame:
    rows = []
    for name, rates in RATES.items():
        for strength, rate in zip((-2.0, 0.0, 2.0), rates, strict=True):
            row = {"behaviour": name, "strength": strength, "scale": "raw"}
            rows.append({**row, "vector": "steering", "matching_rate": rate, "rate_low": rate - 0.05}
                        | {"rate_high": rate + 0.05})  # fmt: skip
            for k in range(N_RANDOM if strength else 0):
                rows.append({**row, "vector": f"random {k}", "matching_rate": 0.3 + 0.4 * k / (N_RANDOM - 1)})
    return pd.DataFrame(rows)


def lens() -> pd.DataFrame:
    ends = [("top", rank, token, 5.0 - rank) for rank, token in enumerate(TOKENS)]
    ends += [("bottom", rank, token, rank - 5.0) for rank, token in enumerate(TOKENS)]
    rows = [(name, "resid_post@1", *end) for name in RATES for end in ends]
    return pd.DataFrame(rows, columns=["behaviour", "site", "end", "rank", "token", "logit"])


def steps() -> pd.DataFrame:
    """Two texts of two tokens each, at three strengths, the last of them collapsed."""
    rows = [
        {"strength": s, "scale": "raw", "prompt": prompt, "position": place, "piece": piece, "generated": place == 1}
        | {"change": abs(s) / 4, "kl": abs(s) / 2 if place else float("nan")}
        | {"collapsed": s == 2, "reason": "a loop in 1.00 of the texts" if s == 2 else ""}
        for s in (-1.0, 0.0, 2.0)
        for prompt in ("The king", "The cat")
        for place, piece in enumerate((prompt, f"{TOKENS[1]} at {s:g}"))
    ]
    return pd.DataFrame(rows)


def points() -> pd.DataFrame:
    place = {"reading": "corrected", "site": "resid_post@1", "strength": 3.0, "chosen": True}
    shares = {"target_retained": 0.45, "target_retained_low": 0.41, "target_retained_high": 0.49}
    shares |= {"target_random_low": 0.93, "target_random_high": 0.99, "text_random_low": 0.94, "text_random_high": 0.98}
    shares |= {"text_retained": 0.92, "text_retained_low": 0.91, "text_retained_high": 0.93}
    rows = [{"target": target, "direction": way, **place, **shares} for target in ("code", "python")
            for way in ("lower", "raise")]  # fmt: skip
    return pd.DataFrame(rows)


def retained() -> pd.DataFrame:
    values = {("code", "steering"): 0.93, ("code", "random 0"): 0.6, ("code", "random 1"): float("nan")}
    values |= {("python", "steering"): 0.52, ("python", "random 0"): 0.6, ("python", "random 1"): 0.7}
    rows = [
        {"target": target, "reading": "corrected", "split": "test", "vector": vector, "site": "resid_post@1"}
        | {"level": 0.5, "retained": value, "low": value - 0.03, "high": value + 0.02}
        for (target, vector), value in values.items()
    ]
    return pd.DataFrame(rows)


def comparison() -> pd.DataFrame:
    rows = [
        ("corrected", "code", "python", 0.5, -0.017, -0.03, -0.003, 0.02),
        ("as_published", "code", "python", 0.5, 0.04, -0.04, 0.1, 0.4),
    ]
    columns = ["reading", "target", "other", "level", "difference", "low", "high", "p_holm"]
    return pd.DataFrame(rows, columns=columns).assign(family="2 comparisons at level 0.5")


def strengths() -> pd.DataFrame:
    columns = {"vector": "steering", "strength": (-2.0, 0.0, 2.0), "scale": "raw", "collapsed_share": (0.1, 0.5, 1.0)}
    columns |= {"answers_collapsed": (False, False, True), "generation_collapsed": (False, True, True)}
    return pd.DataFrame(columns)


def thresholds() -> pd.DataFrame:
    rows = [("answers", "adding", 1.12, 0.9, 1.3, False), ("answers", "subtracting", float("-inf"), -9.0, -9.0, True)]
    rows += [("generation", "adding", 0.0, 0.0, float("inf"), False)]
    frame = pd.DataFrame(rows, columns=["rule", "direction", "strength", "low", "high", "censored"])
    controls = [frame.assign(vector=f"random {i}", strength=size) for i, size in enumerate((1.4, 1.8))]
    n = {"answers": 30, "generation": 13}
    return pd.concat([frame.assign(vector="steering"), *controls]).assign(n=lambda rows: rows["rule"].map(n))


def joint_points() -> pd.DataFrame:
    moves = {"individual": (1.0, 0.5, 1.4), "sum": (0.6, 0.3, 0.9), "gram": (0.2, -0.1, 0.5), "mean": (0.9, 0.6, 1.2)}
    moves |= {"simultaneous": (0.8, 0.5, 1.1)}
    cost = {"relative_top1": 0.95, "kl": 0.21}
    rows = [
        {"scheme": scheme, "steered": "each" if scheme == "individual" else "all", "direction": direction}
        | {"point": point, "strength": 0.5, "objective": value, "objective_low": low, "objective_high": high, **cost}
        | {"p_holm": 0.2 if scheme == "gram" else 0.01, "family": "7 schemes (equal)"}
        | {"collapsed": 2 if scheme == "mean" else 0, "newly_collapsed": scheme == "mean"}
        for scheme, (value, low, high) in moves.items()
        for direction in ("add", "subtract")
        for point in ("best", "equal")
        if (scheme, direction, point) != ("gram", "subtract", "equal")
    ]
    return pd.DataFrame(rows)


def joint_objective() -> pd.DataFrame:
    """By item: a site each does 0.1 to 0.3 nats more than the sum when added; subtracted, as much more as less."""
    more = {"add": (0.1, 0.2, 0.3) * 3, "subtract": (-0.2, 0.0, 0.2) * 3}
    rows = [
        {"scheme": scheme, "steered": "all", "direction": direction, "point": "equal", "item": item}
        | {"strength": 0.5, "objective": 0.5 * item + (size if scheme == "simultaneous" else 0.0)}
        for direction, sizes in more.items()
        for scheme in ("sum", "simultaneous")
        for item, size in enumerate(sizes)
    ]
    return pd.DataFrame(rows)


def interference() -> pd.DataFrame:
    measured = {("combined", "a", "a"): 1.2, ("combined", "a", "b"): 0.4, ("combined", "b", "a"): -0.9}
    measured |= {("combined", "b", "b"): 1.5, ("simultaneous", "a", "a"): 0.05, ("simultaneous", "a", "b"): 0.3}
    measured |= {("simultaneous", "b", "a"): 0.02, ("simultaneous", "b", "b"): -0.2}
    nan = float("nan")
    rows = [
        {"steered": steered, "read": read, "predicted": value / 2, "where": where, "measured": value}
        | {"measured_low": value - 0.1, "measured_high": value + 0.1}
        | {"p_holm": 0.02 if abs(value) > 0.1 else 0.8, "family": "4 ordered pairs"}
        | dict(zip(("random_low", "random_high"), (-0.5, 0.5) if where == "combined" else (nan, nan), strict=True))
        for (where, steered, read), value in measured.items()
    ]
    return pd.DataFrame(rows)


def agreement() -> pd.DataFrame:
    rows = [("pearson", 0.87, 0.69, 0.93, 2, "combined"), ("spearman", 0.8, 0.6, 0.9, 2, "combined")]
    rows += [("pearson", 0.4, 0.1, 0.5, 2, "simultaneous")]
    return pd.DataFrame(rows, columns=["statistic", "value", "low", "high", "n", "where"])


def gains() -> pd.DataFrame:
    rows = [
        {
            "budget": budget,
            "scheme": scheme,
            "optimised_configuration": ours,
            "configuration": theirs,
            "optimised": value,
            "other": other,
        }
        | {"gain": value - other, "gain_low": value - other - 0.2, "gain_high": value - other + 0.2}
        | {"p_holm": 0.5 if abs(value - other) < 0.2 else 0.01, "family": "3 gains (budgets x schemes)"}
        | {"kl_optimised": 0.9 * budget, "kl_other": 0.5 * budget}
        for budget, scheme, ours, theirs, value, other in (
            (1.0, "simultaneous", 2, 5, 2.2, 1.0),
            (1.0, "combined", 2, 6, 2.2, 2.1),
            (0.5, "combined", 1, 7, 0.3, 0.9),
        )
    ]
    return pd.DataFrame(rows)


def tested() -> pd.DataFrame:
    configurations = [("optimised", 1, 0.3), ("optimised", 2, 2.2), ("simultaneous", 5, 1.0), ("combined", 6, 2.1)]
    configurations += [("combined", 7, 0.9), *(("random", k, 0.02 * k) for k in range(N_RANDOM))]
    frame = pd.DataFrame(configurations, columns=["scheme", "configuration", "objective"])
    bounds = {"objective_low": frame["objective"] - 0.2, "objective_high": frame["objective"] + 0.2}
    return frame.assign(**bounds, kl=0.4, side_effect=0.4, collapsed=False)


def ablation() -> pd.DataFrame:
    removed = {"none": 0.0, "found": 0.97, **{f"random {k}": 0.03 * k for k in range(N_RANDOM)}}
    rows = [
        {"set": name, "heads": "" if name == "none" else "z@1.0 z@3.2", "effect": 2 * (1 - share), "removed": share}
        for name, share in removed.items()
    ]
    return pd.DataFrame(rows)


def write_results(folder: Path) -> Path:
    """Writes the folder."""
    written = []
    for name, frame in (("steering_curves", curves()), ("logit_lens", lens())):
        figure = Figure(figsize=(6.9, 2.0))
        figure.subplots().plot([0, 1])
        written += save_figure(figure, frame, folder, name)
    summary().to_csv(folder / "summary.csv", index=False)
    chosen().to_csv(folder / "chosen.csv", index=False)
    written.append(save_table(folder / "text_lists" / "steps.csv", "text_lists steps", steps(), {}))
    facts = {"settings": {"level": 0.5, "scale": "raw"}, "items": 30, "prompts": 13, "vector": "sycophancy"}
    for name, frame in (("points", points()), ("retained", retained()), ("comparison", comparison())):
        written.append(save_table(folder / "broad" / f"{name}.csv", f"broad_skill {name}", frame, facts))
    for name, frame in (("strengths", strengths()), ("thresholds", thresholds())):
        written.append(save_table(folder / "collapse" / f"{name}.csv", f"collapse {name}", frame, facts))
    joint = {"points": joint_points(), "objective": joint_objective()}
    joint |= {"agreement": agreement(), "interference": interference()}
    for name, frame in joint.items():
        written.append(save_table(folder / "joint" / f"{name}.csv", f"joint {name}", frame, facts))
    for name, frame in (("gains", gains()), ("tested", tested())):
        written.append(save_table(folder / "optimiser" / f"{name}.csv", f"optimiser {name}", frame, facts))
    written.append(
        save_table(folder / "vector_analysis" / "ablation.csv", "vector_analysis ablation", ablation(), facts)
    )
    written += [folder / "summary.csv", folder / "chosen.csv"]
    record: dict[str, Any] = {
        "command": ["reproduce", "--out", "some folder"],
        "experiment": "individual steering",
        "settings": {"strengths": [-2.0, 2.0], "template": {"letters": ["A", "B"]}},
        "model": {"name": "lab <i>", "weight_hash": "8dde"},
        "data": {name: {"test": 30} for name in RATES},
        "versions": {"lens-steer": "0.1.0"},
        "written": {path.relative_to(folder).as_posix(): _sha256(path) for path in written},
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

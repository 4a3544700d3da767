"""A small folder of results, as a run leaves it: figures with their data, tables, the record."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lens_steer.figures import save_figure
from lens_steer.tables import save_table

N_RANDOM = 20
RATES = {"wealth_seeking": (0.1, 0.5, 0.9), "like_random": (0.35, 0.5, 0.6), "fallen": (0.1, 0.5, 0.95)}
TOKENS = (" now", "<script>document.title='taken'</script>", "\n", "=" * 200, "\x00")


def summary() -> pd.DataFrame:
    place = {"site": "resid_post@1", "positions": "all", "strength": 2.0, "scale": "raw", "letter_mass": 0.99}
    rows = [
        {"behaviour": name, **place, "subtracted": low, "unsteered": middle, "added": high}
        | {"random_low": 0.3, "random_high": 0.7, "collapsed": name == "fallen"}
        for name, (low, middle, high) in RATES.items()
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


def points() -> pd.DataFrame:
    place = {"reading": "corrected", "site": "resid_post@1", "strength": 3.0, "chosen": True}
    shares = {"target_kept": 0.45, "target_kept_low": 0.41, "target_kept_high": 0.49}
    shares |= {"target_random_low": 0.93, "target_random_high": 0.99, "text_random_low": 0.94, "text_random_high": 0.98}
    shares |= {"text_kept": 0.92, "text_kept_low": 0.91, "text_kept_high": 0.93}
    rows = [{"target": target, "direction": way, **place, **shares} for target in ("code", "python")
            for way in ("lower", "raise")]  # fmt: skip
    return pd.DataFrame(rows)


def kept() -> pd.DataFrame:
    values = {("code", "steering"): 0.93, ("code", "random 0"): 0.6, ("code", "random 1"): float("nan")}
    values |= {("python", "steering"): 0.52, ("python", "random 0"): 0.6, ("python", "random 1"): 0.7}
    rows = [
        {"target": target, "reading": "corrected", "part": "test", "vector": vector, "site": "resid_post@1"}
        | {"level": 0.5, "kept": value, "low": value - 0.03, "high": value + 0.02}
        for (target, vector), value in values.items()
    ]
    return pd.DataFrame(rows)


def comparison() -> pd.DataFrame:
    rows = [
        ("corrected", "code", "python", 0.5, -0.017, -0.03, -0.003),
        ("faithful", "code", "python", 0.5, 0.04, -0.04, 0.1),
    ]
    return pd.DataFrame(rows, columns=["reading", "target", "other", "level", "difference", "low", "high"])


def strengths() -> pd.DataFrame:
    columns = {"strength": (-2.0, 0.0, 2.0), "scale": "raw", "answers_collapsed": (False, False, True)}
    return pd.DataFrame(columns | {"generation_collapsed": (False, True, True)})


def thresholds() -> pd.DataFrame:
    rows = [("answers", "adding", 1.12, 0.9, 1.3, False), ("answers", "subtracting", float("-inf"), -9.0, -9.0, True)]
    rows += [("generation", "adding", 0.0, 0.0, float("inf"), False)]
    return pd.DataFrame(rows, columns=["rule", "direction", "strength", "low", "high", "censored"])


def write_results(folder: Path) -> Path:
    """Writes the folder."""
    written = []
    for name, frame in (("steering_curves", curves()), ("logit_lens", lens())):
        figure = Figure(figsize=(6.9, 2.0))
        figure.subplots().plot([0, 1])
        written += save_figure(figure, frame, folder, name)
    summary().to_csv(folder / "summary.csv", index=False)
    facts = {"settings": {"level": 0.5, "scale": "raw"}, "items": 30, "prompts": 13, "vector": "sycophancy"}
    for name, frame in (("points", points()), ("kept", kept()), ("comparison", comparison())):
        written.append(save_table(folder / "broad" / f"{name}.csv", f"broad_skill {name}", frame, facts))
    for name, frame in (("strengths", strengths()), ("thresholds", thresholds())):
        written.append(save_table(folder / "collapse" / f"{name}.csv", f"collapse {name}", frame, facts))
    written.append(folder / "summary.csv")
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

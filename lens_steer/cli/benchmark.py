"""What `lens-steer benchmark` does, as a function: data and model in, a folder of tables, figures and run.json out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer.cli.data import file_behaviours, file_corpora
from lens_steer.cli.reproduce.lock import sole
from lens_steer.cli.reproduce.record import CHECKPOINT
from lens_steer.cli.reproduce.run import write_figures, write_tables
from lens_steer.cli.reproduce.settings import changed_by, named
from lens_steer.cli.source import ModelSource
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.errors import SettingsError
from lens_steer.experiments.benchmark import Benchmark, BenchmarkSettings, benchmark
from lens_steer.experiments.benchmark.contenders import contenders
from lens_steer.experiments.benchmark.lab import SETTINGS, lab_data
from lens_steer.experiments.benchmark.study import STUDY
from lens_steer.experiments.folder import RECORD, write_record

NEUTRAL = "neutral"


def benchmark_to_folder(
    source: ModelSource,
    out: Path,
    *,
    data: Sequence[str] = (),
    behaviours: Sequence[str] = (),
    text: Sequence[str] = (),
    limit: int = 300,
    settings: Mapping[str, Any] | None = None,
    file: Path | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Benchmark:
    """Runs the benchmark and writes it; goes on after the last finished behaviour and seed.

    Args:
        source: the model.
        out: folder of `benchmark/` (tables and `run.json`), the figures `benchmark` and `benchmark_fronts`, and the
            checkpoint.
        data: `NAME=FILE` of questions; without any, the lab's behaviours with the settings of the lab.
        behaviours: which of the lab's behaviours, or of the files; all where there are none.
        text: `neutral=PATH`, which files need.
        limit: the most items of one file.
        settings: fields of `BenchmarkSettings` that differ from the defaults, or from those of the lab; personas are
            added to the lab's.
        file: TOML file of further fields; `settings` go first.
        workers: processes that run behaviours and seeds; this one where 0.
        progress: draw a progress bar.

    Returns:
        What was written.

    Raises:
        SettingsError: data without neutral text, or words that do not parse.
        FormatError: the file is not TOML.
        DataError, MethodError: data that cannot be read, or no such contender.
        BusyError: another process is at work in the folder.
    """
    default, given = BenchmarkSettings() if data else SETTINGS, dict(settings or {})
    default = default if file is None else changed_by(file, default)
    given["personas"] = {**default.personas, **given.get("personas", {})}
    chosen = replace(default, **given)
    contenders(chosen.methods)
    items, neutral = _data(data, behaviours, text, limit, chosen.seeds[0])
    with sole(out), source.workers(workers) as pool:
        found = benchmark(source.load(), items, neutral, chosen, progress, checkpoint=out / CHECKPOINT, pool=pool)
        write_tables(STUDY, found, out)
        write_figures(STUDY, found, out)
        record = {"command": "benchmark", "data": list(data), "text": list(text), **found.facts}
        write_record(out / STUDY.folder / RECORD, record)
    return found


def board_of(found: Benchmark) -> tuple[pd.DataFrame, list[str]]:
    """The leaderboard as a terminal shows it, with seconds of processor, and what could not be had, in words."""
    columns = ["method", "kind", "effect", "effect_low", "effect_high", "behaviours", "kl", "reference", "p_holm"]
    spent = found.costs.set_index("method").filter(like="_seconds").sum(axis=1).groupby("method").sum()
    board = found.leaderboard[columns].assign(seconds=found.leaderboard["method"].map(spent).round(1))
    lacking = found.leaderboard[found.leaderboard["failed"] > 0].to_dict("records")
    return board, [f"{row['method']}: no effect on {row['failed']} behaviours: {row['note']}" for row in lacking]


def personas_of(words: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Arguments `NAME=SENTENCE|OPPOSITE` by name.

    Raises:
        SettingsError: a part is missing.
    """
    found = {}
    for word in words:
        name, _, sentences = word.partition("=")
        shown, _, opposite = (part.strip() for part in sentences.partition("|"))
        if not (name and shown and opposite):
            raise SettingsError(
                f"--persona {word!r}; give NAME=SENTENCE|OPPOSITE, such as kind=You are kind.|You are rude."
            )
        found[name] = (shown, opposite)
    return found


def _data(
    data: Sequence[str], behaviours: Sequence[str], text: Sequence[str], limit: int, seed: int
) -> tuple[Mapping[str, Splits], Corpus]:
    """The behaviours and the neutral texts: of files, or of the lab."""
    if not data and not text:
        return lab_data(behaviours)
    files = {name: paths[-1] for name, paths in named(data, "--data", repeated=False).items()}
    texts = named(text, "--text")
    unknown = [name for name in behaviours if name not in files]
    if not files or NEUTRAL not in texts or unknown:
        raise SettingsError(
            f"data of {len(files)} behaviours {', '.join(files)}, texts {', '.join(texts) or 'none'}, and behaviours "
            f"without a file {', '.join(unknown) or 'none'}; give --data NAME=FILE and --text {NEUTRAL}=PATH, on which "
            "side effects are measured, or neither for the lab's own."
        )
    wanted = {name: path for name, path in files.items() if not behaviours or name in behaviours}
    return file_behaviours(wanted, limit=limit, seed=seed), file_corpora({NEUTRAL: texts[NEUTRAL]}, seed=seed)[NEUTRAL]

"""The main job: steer, draw, write, and record what produced the results.

    individual steering of every behaviour, and on the lab's data every further study of `experiments.registry`

The folder gets each figure as PNG and PDF with its tidy data, the test answers, the vectors, the tables of each study
in a folder of its own, each table as LaTeX beside its CSV, and `run.json`: command, settings, model, data, library
versions, and the sha256 of every file.
The same seed gives the same bytes in every table.
"""

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from lens_steer import figures
from lens_steer._util.files import write_whole
from lens_steer.cli.data import file_behaviours, lab_behaviours
from lens_steer.cli.source import ModelSource
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.data.tables import Tables
from lens_steer.experiments.individual_steering import Individual, IndividualResult, individual_steering
from lens_steer.experiments.individual_steering.study import STUDY as INDIVIDUAL
from lens_steer.experiments.method_comparison import effect_table
from lens_steer.experiments.method_comparison.lab import function_vector_table, lab_method_table
from lens_steer.experiments.method_comparison.study import STUDY as METHODS
from lens_steer.experiments.registry import studies
from lens_steer.experiments.study import LabContext, Study
from lens_steer.model import fingerprint, versions


def reproduce(
    source: ModelSource,
    data: Sequence[Path],
    out: Path,
    *,
    limit: int = 300,
    seed: int = 0,
    command: Sequence[str] = (),
    progress: bool = False,
) -> IndividualResult:
    """Steers every behaviour, and on the lab's data runs every other study; draws and writes the results to a folder.

    Args:
        source: the model.
        data: files that `read` takes; the lab's behaviours where there are none.
        out: folder of the results; made where it is missing.
        limit: the most items of one file.
        seed: of splits and random directions.
        command: the words that were typed, for `run.json`.
        progress: draw a progress bar.

    Returns:
        What the first figures were drawn from.
    """
    began = time.monotonic()
    behaviours = file_behaviours(data, limit=limit, seed=seed) if data else lab_behaviours()
    model = source.load()
    settings = replace(Individual(), seed=seed)
    result = individual_steering(model, behaviours, settings, progress=progress)
    written, titles, further = _write_individual(result, out), [INDIVIDUAL.title], {}
    context = LabContext(model=model, behaviours=behaviours, individual=result, seed=seed, progress=progress)
    for study in studies():
        if data or study.run is None:
            continue
        found = study.run(context)
        written += [*_write_tables(study, found, out), *_draw(study, found, out)]
        titles.append(study.title)
        further[study.name] = {key: value for key, value in found.facts.items() if key not in ("model", "versions")}
    record = {
        "command": list(command),
        "experiment": ", ".join(titles),
        "settings": asdict(settings),
        "model": fingerprint(model).to_dict(),
        "data": {name: {"splits": splits.hash, **_sizes(splits)} for name, splits in behaviours.items()},
        "files": {str(path.name): _sha256(path) for path in data},
        "versions": versions() | {"python": platform.python_version(), "platform": platform.platform()},
        "chosen": _chosen(result),
        **further,
        "seconds": round(time.monotonic() - began, 1),
        "written": {path.relative_to(out).as_posix(): _sha256(path) for path in written},
    }
    write_whole(out / "run.json", (json.dumps(record, indent=1) + "\n").encode())
    return result


def reproduce_methods(out: Path, *, progress: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every extraction method tested by steering the lab model, written to a folder.

    Args:
        out: folder of `methods.png`, `.pdf`, `.csv` and `function_vectors.csv`; made where it is missing.
        progress: draw a progress bar.

    Returns:
        Method by behaviour at equal KL, best first; function vectors by task.
    """
    model = ModelSource().load()
    rows, tasks = lab_method_table(model, progress), function_vector_table(model, progress)
    table = effect_table(rows)
    _draw(METHODS, rows, out)
    _write_table(out / "function_vectors.csv", tasks, "Function vectors: probability of the right answer")
    return table, tasks


def _write_individual(result: IndividualResult, out: Path) -> list[Path]:
    """Figures with their data, tables and vectors."""
    written = _draw(INDIVIDUAL, result, out)
    chosen = "each behaviour steered alone, at the point chosen on validation items"
    tables = {
        "test_answers": (result.answers, f"Answers to test items, {chosen}"),
        "summary": (result.summary(), f"Matching rate on test items, {chosen}"),
        "chosen": (result.chosen, "Operating points chosen for each behaviour, of its vector and of random directions"),
    }
    for name, (frame, title) in tables.items():
        written += _write_table(out / f"{name}.csv", frame, title)
    return written + [vector.save(out / "vectors" / f"{name}.safetensors") for name, vector in result.vectors.items()]


def _draw(study: Study, result: object, out: Path) -> list[Path]:
    """Every figure of a study with its data, as CSV and as LaTeX."""
    written = []
    for name, (figure, data) in study.drawn(result).items():
        written += figures.save_figure(figure, data, out, name)
        caption = figure.caption or figures.table_caption(study.title, data)
        written.append(figures.write_latex(out / f"{name}.csv", data, caption))
    return written


def _write_tables(study: Study, result: Tables, out: Path) -> list[Path]:
    """Every table of a study, as CSV and as LaTeX."""
    written = result.save(out / study.name)
    for path in tuple(written):
        frame, caption = getattr(result, path.stem), f"{study.title}: {path.stem.replace('_', ' ')}"
        if len(frame):
            written.append(figures.write_latex(path, frame, figures.table_caption(caption, frame)))
    return written


def _write_table(path: Path, frame: pd.DataFrame, title: str) -> list[Path]:
    written = write_whole(path, frame.to_csv(index=False, float_format="%.6g").encode())
    return [written, figures.write_latex(path, frame, figures.table_caption(title, frame))]


def _chosen(result: IndividualResult) -> Mapping[str, Mapping[str, object]]:
    return {
        name: {"site": str(p.site), "strength": p.strength, "positions": str(p.positions), "valid": p.valid}
        for name, p in result.points.items()
    }


def _sizes(splits: Splits) -> dict[str, int]:
    return {split: len(getattr(splits, split)) for split in SPLITS}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

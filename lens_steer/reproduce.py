"""From a model's name to a folder of figures: what `lens-steer reproduce` and `lens-steer lab methods` run.

    individual steering of every behaviour; and, where the data are the lab's, several behaviours at once, broad skills,
    and how steering collapses

The folder gets, for each figure, PNG, PDF and the tidy data behind it; the test answers; the vectors; and `run.json`,
which says what made all of it: command, settings, model, data, library versions, and the sha256 of every file. The
same seed gives the same bytes in every table. It computes nothing itself.
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
from lens_steer.data.corpora import Corpus
from lens_steer.data.model_written import read_model_written
from lens_steer.data.splits import Splits, split_items
from lens_steer.errors import DataError
from lens_steer.experiments.broad_skill import BroadSkill, BroadSkillResult, broad_skill
from lens_steer.experiments.collapse_check import CollapseCheck, CollapseResult, check_collapse
from lens_steer.experiments.lab_many import LAB_MANY, lab_many
from lens_steer.experiments.lab_methods import function_vector_table, lab_method_table
from lens_steer.experiments.many_behaviours import ManyResult
from lens_steer.experiments.method_comparison import effect_table
from lens_steer.experiments.multi_behaviour import Individual, IndividualResult, individual_steering
from lens_steer.files import write_whole
from lens_steer.lab.corpora import WRITERS, lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS
from lens_steer.model import SteerableModel, fingerprint, load_model, versions

LAB_SIZES = {"train": 80, "validation": 20, "test": 30}
LAB_DOCUMENTS = {"train": 60, "validation": 6, "test": 12}
LAB_BROAD = BroadSkill(
    sites=("resid_post@1", "resid_post@3", "resid_post@5", "resid_post@7"),
    together=(("resid_post@5", "resid_post@7"),),
    strengths=(-1, 0, 1, 2, 3, 4, 5, 6, 8),
    n_random=8,
    n_permuted=2,
)
LAB_COLLAPSE = {"strengths": (-4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4), "new_tokens": 24}
COLLAPSE_OF, PROMPT_WORDS, PROMPTS_EACH = "sycophancy", 6, 4
"""Unsteered, the other behaviours' answers lean to one letter, which is not far from the rule's limit."""


def lab_behaviours() -> dict[str, Splits]:
    """The five behaviours of the lab world: questions that follow words which leave the answer open."""
    return {
        name: Splits(**{part: open_items(name, n, split=part) for part, n in LAB_SIZES.items()})  # type: ignore[arg-type]
        for name in BEHAVIOURS
    }


def lab_corpora() -> dict[str, Corpus]:
    """The lab's skills as corpora: text, code, Python, JavaScript."""
    return {name: lab_corpus(name, **LAB_DOCUMENTS) for name in WRITERS}


def file_behaviours(paths: Sequence[Path], *, limit: int, seed: int) -> dict[str, Splits]:
    """Behaviours from files of model-written evals, one a file, named after it.

    Args:
        paths: JSON lines files.
        limit: the most items of one file; the first that many of the seed's order.
        seed: of the splits.

    Raises:
        DataError: a file cannot be read, or two files have the same name.
    """
    found: dict[str, Splits] = {}
    for path in paths:
        name = path.stem.replace("-", "_")
        if name in found:
            raise DataError(
                f"two files are named {name!r}; behaviours are named after their files, so give each its own."
            )
        splits = split_items(read_model_written(path), seed=seed)
        share = min(1.0, limit / sum(len(getattr(splits, part)) for part in LAB_SIZES))
        parts = {part: getattr(splits, part) for part in LAB_SIZES}
        found[name] = Splits(**{part: rows[: max(2, int(len(rows) * share))] for part, rows in parts.items()})
    return found


def reproduce_individual(
    model_name: str,
    data: Sequence[Path],
    out: Path,
    *,
    limit: int = 300,
    seed: int = 0,
    device: str = "cpu",
    command: Sequence[str] = (),
    progress: bool = False,
) -> IndividualResult:
    """Individual steering of every behaviour, drawn and written to a folder; of the lab's data, everything else too.

    Where no files are given, behaviours are steered at once, broad skills are steered away, and collapse is looked for,
    on the lab's corpora and questions.

    Args:
        model_name: what `load_model` takes.
        data: files of model-written evals; the lab's behaviours where there are none.
        out: folder of the results; made where it is missing.
        limit: the most items of one file.
        seed: of splits and random directions.
        device: where the model runs.
        command: the words that were typed, for `run.json`.
        progress: draw a progress bar.

    Returns:
        What the figures were drawn from.
    """
    began = time.monotonic()
    model = load_model(model_name, device=device)
    behaviours = file_behaviours(data, limit=limit, seed=seed) if data else lab_behaviours()
    settings = replace(Individual(), seed=seed)
    result = individual_steering(model, behaviours, settings, progress=progress)
    written = write_individual(result, out)
    further: dict[str, object] = {}
    if not data:
        skills = broad_skill(model, lab_corpora(), replace(LAB_BROAD, seed=seed), progress=progress)
        collapse = _lab_collapse(model, result, behaviours, seed, progress)
        many = lab_many(model, result, behaviours, seed, LAB_MANY)
        written += write_broad(skills, out) + write_collapse(collapse, out) + write_many(many, out)
        further = {"broad_skill": _said(skills.facts), "collapse": _said(collapse.facts), "many": _said(many.facts)}
    record = {
        "command": list(command),
        "experiment": "individual steering",
        "settings": asdict(settings),
        "model": fingerprint(model).to_dict(),
        "data": {name: {"splits": splits.hash, **_sizes(splits)} for name, splits in behaviours.items()},
        "files": {str(path.name): _sha256(path) for path in data},
        "versions": versions() | {"python": platform.python_version(), "platform": platform.platform()},
        "chosen": {
            n: {"site": str(p.site), "strength": p.strength, "positions": str(p.positions), "sound": p.sound}
            for n, p in result.points.items()
        },
        **further,
        "seconds": round(time.monotonic() - began, 1),
        "written": {path.relative_to(out).as_posix(): _sha256(path) for path in written},
    }
    write_whole(out / "run.json", (json.dumps(record, indent=1) + "\n").encode())
    return result


def write_individual(result: IndividualResult, out: Path) -> list[Path]:
    """Figures with their data, tables and vectors of individual steering.

    Args:
        result: what was found.
        out: folder; made where it is missing.

    Returns:
        Every path written.
    """
    drawn = {
        "steering_curves": (figures.steering_curves, result.curves),
        "layer_strength_map": (figures.layer_strength_map, result.validation),
        "cosine_map": (figures.cosine_heatmap, result.cosines),
        "logit_lens": (figures.lens_bars, result.lens),
    }
    written = [
        path for name, (draw, frame) in drawn.items() for path in figures.save_figure(draw(frame), frame, out, name)
    ]
    for name, frame in (("test_answers", result.answers), ("summary", result.summary())):
        written.append(write_whole(out / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g").encode()))
    written += [vector.save(out / "vectors" / f"{name}.safetensors") for name, vector in result.vectors.items()]
    return written


def write_broad(result: BroadSkillResult, out: Path) -> list[Path]:
    """The figures of broad skills with their data, and the tables, of which `BroadSkillResult.load` reads `out/broad`.

    Args:
        result: what was found.
        out: folder; made where it is missing.

    Returns:
        Every path written.
    """
    curves, kept = (pd.DataFrame(frame[frame["part"] == "test"]) for frame in (result.curves, result.kept))
    written = result.save(out / "broad")
    written += figures.save_figure(figures.selectivity_curves(curves), curves, out, "selectivity")
    return [*written, *figures.save_figure(figures.kept_bars(kept, result.points), kept, out, "text_kept")]


def write_collapse(result: CollapseResult, out: Path) -> list[Path]:
    """The figure of collapse with its data, and the tables, of which `CollapseResult.load` reads `out/collapse`.

    Args:
        result: what was found.
        out: folder; made where it is missing.

    Returns:
        Every path written.
    """
    figure = figures.collapse_diagnostics(result.strengths, result.thresholds)
    return [*result.save(out / "collapse"), *figures.save_figure(figure, result.strengths, out, "collapse")]


def write_many(result: ManyResult, out: Path) -> list[Path]:
    """The figures of several behaviours at once, and the tables, of which `ManyResult.load` reads `out/many`.

    Args:
        result: what was found.
        out: folder; made where it is missing.

    Returns:
        Every path written.
    """
    cells, points, pairs = result.cells, result.points, result.interference
    drawn = {
        "individual_bars": (figures.individual_bars(cells), cells),
        "combined_bars": (figures.combined_bars(cells), cells),
        "simultaneous": (figures.simultaneous_curve(cells, points), cells),
        "schemes": (figures.scheme_intervals(points), points),
        "interference": (figures.interference_matrices(pairs, result.agreement), pairs),
        "detection": (figures.detection_points(cells), cells),
    }
    written = result.save(out / "many")
    return written + [p for name, (figure, data) in drawn.items() for p in figures.save_figure(figure, data, out, name)]


def reproduce_methods(out: Path, *, progress: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every extraction method tested by steering the lab model, written to a folder.

    Args:
        out: folder of `methods.png`, `.pdf`, `.csv` and `function_vectors.csv`; made where it is missing.
        progress: draw a progress bar.

    Returns:
        Method by behaviour at equal KL, best first; function vectors by task.
    """
    model = load_model("lab")
    rows, tasks = lab_method_table(model, progress), function_vector_table(model, progress)
    table = effect_table(rows)
    figures.save_figure(figures.method_heatmap(table), rows, out, "methods")
    write_whole(out / "function_vectors.csv", tasks.to_csv(index=False, float_format="%.6g").encode())
    return table, tasks


def _lab_collapse(
    model: SteerableModel, result: IndividualResult, behaviours: dict[str, Splits], seed: int, progress: bool
) -> CollapseResult:
    """Looks for collapse along one behaviour's vector, at its chosen site and at all tokens."""
    name = COLLAPSE_OF
    settings = CollapseCheck(site=str(result.points[name].site), seed=seed, **LAB_COLLAPSE)
    corpora = [lab_corpus(skill, 1, 1, PROMPTS_EACH) for skill in ("text", "python", "javascript")]
    begun = [" ".join(document.split(" ")[:PROMPT_WORDS]) for corpus in corpora for document in corpus.test]
    begun += [item.stem for item in behaviours[name].validation[:PROMPTS_EACH]]
    prompts = tuple(dict.fromkeys(begun))
    return check_collapse(model, result.vectors[name], behaviours[name].test, prompts, settings, progress)


def _said(facts: Mapping[str, object]) -> dict[str, object]:
    """What a result says of itself that the record does not say already."""
    return {key: value for key, value in facts.items() if key not in ("model", "versions")}


def _sizes(splits: Splits) -> dict[str, int]:
    return {part: len(getattr(splits, part)) for part in LAB_SIZES}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

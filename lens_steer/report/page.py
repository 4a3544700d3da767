"""One self-contained HTML file from a folder of results.

The file holds its style, its figures and its scripts (that of CircuitsVis once for all views). Its
Content-Security-Policy forbids every request, so that it can show nothing but what it holds. The same folder gives the
same bytes.
"""

from importlib.resources import files
from pathlib import Path

from lens_steer._util.files import write_whole
from lens_steer._util.templates import fill
from lens_steer.experiments.folder import ResultFolder, read_results
from lens_steer.figures.views.view import circuits_vis
from lens_steer.report.sections import SECTIONS, FoundView, alarms

NAME = "report.html"


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes the report of a folder.

    Args:
        folder: results that `lens-steer reproduce`, `sweep` or `benchmark` wrote.
        out: the file of the page; `report.html` in the folder where absent.

    Returns:
        The path of the page.

    Raises:
        FormatError: the folder holds no results, or a file of it is truncated.
    """
    target = Path(folder) / NAME if out is None else Path(out)
    return write_whole(target, report_page(read_results(folder)).encode())


def report_page(results: ResultFolder) -> str:
    """The page as text.

    Args:
        results: from `read_results`.

    Returns:
        HTML without any reference to another file.
    """
    found = {section.name: section.find(results) for section in SECTIONS}
    views: list[FoundView] = found["views"]
    values = {
        "title": _title(results),
        "subtitle": _subtitle(results),
        "alarms": alarms(results),
        "shown": [(section, found[section.name]) for section in SECTIONS if found[section.name]],
        "style": _part("page.css"),
        "script": _part("page.js"),
        "circuits_vis": circuits_vis() if views else "",
        "calls": [entry.view.calls(entry.name) for entry in views],
    }
    return fill("lens_steer.report", "page.html", values)


def _title(results: ResultFolder) -> str:
    model = results.record.get("model", {}).get("name", "")
    return f"Steering {model}" if model else f"Steering results in {results.folder.resolve().name}"


def _subtitle(results: ResultFolder) -> str:
    """The experiment and the version of the package, where they are recorded, and what the folder holds."""
    record = results.record
    version = record.get("versions", {}).get("lens-steer", "")
    parts = [str(record.get("experiment", "")), f"lens_steer {version}" if version else ""]
    parts.append(f"{len(results.figures)} figures, {len(results.tables)} tables")
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def _part(name: str) -> str:
    return (files("lens_steer.report") / name).read_text(encoding="utf-8")

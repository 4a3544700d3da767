"""The report as text: one file, everything escaped, nothing hidden, further results without further code."""

import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from small_results import steps
from typer.testing import CliRunner

from lens_steer.cli import app as cli
from lens_steer.errors import FormatError
from lens_steer.experiments.folder import read_results
from lens_steer.figures import save_figure
from lens_steer.figures.views.view import circuits_vis
from lens_steer.report import report_page, write_report
from lens_steer.report.sections import SECTIONS

ADDRESS = re.compile(r"""(?:src|href|action|srcset)\s*=\s*["']?(?!data:|#)[^"'\s>]""")


def page(folder: Path) -> str:
    """The report without the script of CircuitsVis."""
    return report_page(read_results(folder)).replace(circuits_vis(), "")


def test_the_report_is_one_file_the_same_twice_with_all_sections_in_order(results: Path) -> None:
    first = write_report(results)
    before = first.read_bytes()
    assert first == results / "report.html" and write_report(results).read_bytes() == before
    places = [before.decode().index(f'<section id="{section.name}">') for section in SECTIONS]
    assert places == sorted(places) and SECTIONS[0].name == "verdicts"


def test_the_script_of_the_views_is_inlined_once_for_all_of_them(results: Path) -> None:
    whole = report_page(read_results(results))
    assert whole.count(circuits_vis()) == 1
    assert page(results).count("CircuitsVis.render(") == 3 == len(re.findall('<div id="view-', whole))


def test_no_address_outside_the_page_is_written(results: Path) -> None:
    written = page(results)
    assert not ADDRESS.search(written) and "http://" not in written and "https://" not in written
    assert ADDRESS.search('<a href="https://example.org">') and ADDRESS.search("<img src=x.png>")
    assert "default-src 'none'" in written


def test_tokens_names_and_values_cannot_become_markup(results: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>&\"'"
    pd.DataFrame({nasty: [nasty]}).to_csv(results / "own.csv", index=False)
    (results / "logit_lens.md").write_text(nasty, encoding="utf-8")
    written = page(results)
    assert "<img src=x" not in written and "<script>document" not in written and "lab <i>" not in written
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;" in written
    assert "\\u003c" in written  # the token stands in the view's properties


def test_a_changed_or_missing_file_is_said_at_the_top_and_at_its_verdict(results: Path) -> None:
    assert "Changed since" not in page(results) and "21 verified" in page(results)
    table = pd.read_csv(results / "summary.csv").assign(strength=2.0, answer_probability=0.5)
    table.to_csv(results / "summary.csv", index=False)
    (results / "logit_lens.pdf").unlink()
    written = page(results)
    assert "Changed since the run wrote them: summary.csv." in written.split("<main>")[0]
    assert "Written by the run, now missing: logit_lens.pdf." in written.split("<main>")[0]
    assert "Computed from changed files: summary.csv." in written
    assert "19 verified, 1 missing, 1 changed" in written or "19 verified, 1 changed, 1 missing" in written


def test_a_section_without_files_is_left_out(results: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    (only / "own.csv").write_text("x\n1\n", encoding="utf-8")
    written = page(only)
    assert re.findall('<section id="(.*?)">', written) == ["tables", "provenance"] and "No run.json" in written
    assert "<script type" not in written and page(results).count("<script type") == 1


def test_results_that_no_one_has_heard_of_are_shown_all_the_same(results: Path) -> None:
    frame = pd.DataFrame({"position": [0, 1], "piece": ["<bos>", " x"], "vector": "v", "projection": [9.0, 1.0]})
    save_figure(Figure(figsize=(2, 1)), frame, results / "later", "new_kind")
    (results / "later" / "new_kind.md").write_text("What it shows,\nin its own words.", encoding="utf-8")
    written = page(results)
    assert "What it shows, in its own words." in written and 'id="table-later/new_kind.csv"' in written
    assert "Projections along texts" in written and written.count("CircuitsVis.render(") == 4


def test_a_long_table_is_cut_and_says_so_and_a_small_one_can_be_saved(results: Path) -> None:
    pd.DataFrame({"number": range(250)}).to_csv(results / "long.csv", index=False)
    pd.DataFrame({"word": ["x" * 1_000] * 200}).to_csv(results / "large.csv", index=False)
    written = page(results)
    assert "The first 100 of 250 rows" in written and ">99<" in written and ">100<" not in written
    assert 'download="long.csv"' in written and 'download="large.csv"' not in written
    assert "0.2 MB, in the folder as large.csv" in written


def test_protocol_and_provenance_say_command_settings_model_and_hashes(results: Path) -> None:
    written = page(results)
    assert "lens-steer reproduce --out &#39;some folder&#39;" in written
    assert "template.letters" in written and "A, B" in written and "weight_hash" in written and "8dde" in written


def test_the_command_writes_the_report(results: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["report", str(results), "--out", str(tmp_path / "x.html")])
    assert done.exit_code == 0 and (tmp_path / "x.html").stat().st_size > len(circuits_vis())


def test_text_over_strengths_is_shown_with_its_edits_its_kl_and_the_mark_of_collapse(results: Path) -> None:
    section = page(results).split('<section id="strengths">')[1].split("</section>")[0]
    places = section.split('<div class="at"')[1:]
    assert [re.findall(r'data-strength="(.*?)"', place) for place in places] == [["-1.0 raw"], ["0.0 raw"], ["2.0 raw"]]
    assert 'max="2"' in section and 'value="1"' in section  # the slider begins at the unsteered text
    assert ["collapsed: a loop" in place for place in places] == [False, False, True]
    assert [re.findall(r"KL ([\d.]+) nats a token", place)[0] for place in places] == ["0.5", "0", "1"]
    assert [set(re.findall(r"--edit: ([\d.]+)", place)) for place in places] == [{"0.5"}, {"0.0"}, {"1.0"}]
    assert [set(re.findall(r"--apart: ([\d.]+)", place)) for place in places] == [
        {"0.0", "0.5"},
        {"0.0"},
        {"0.0", "1.0"},
    ]
    assert all(place.count('<p class="written">') == 2 and place.count('class="given"') == 2 for place in places)
    assert "&lt;script&gt;" in section and "<script>" not in section


def test_steps_that_hold_no_number_are_refused(results: Path) -> None:
    steps().assign(change="far").to_csv(results / "text_lists" / "steps.csv", index=False)
    with pytest.raises(FormatError, match=r"steps holds a strength, a change or a position that is no number"):
        page(results)

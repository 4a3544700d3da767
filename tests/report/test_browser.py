"""Views and report in a real browser: they draw what is in the tables, alone and offline, and tokens stay tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lens_steer.figures.views import View, attention_view, lens_view, projection_view
from lens_steer.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
NASTY = (
    "<script>document.title='taken'</script>",
    "<img src=x onerror=document.title=1>",
    " a&amp;b",
    "\n",
    "\x00",
    "",
    "=" * 300,
)
SECONDS = 2.0


def projections(*vectors: str) -> pd.DataFrame:
    rows = [(0, i, text, v, float(i - 3) * (1 - 2 * k)) for k, v in enumerate(vectors) for i, text in enumerate(NASTY)]
    return pd.DataFrame(rows, columns=["text", "position", "piece", "vector", "projection"])


def attention() -> View:
    pattern = np.tril(np.ones((2, 7, 7))) / np.arange(1, 8)[:, None]
    return attention_view(pattern, NASTY, ["0.1", "5.3"])


def lens() -> View:
    rows = [("myopic", "top", 1, " now", 5.0), ("myopic", "top", 2, "<b>", 4.0), ("myopic", "bottom", 1, "\n", -5.0)]
    return lens_view(pd.DataFrame(rows, columns=["vector", "end", "rank", "token", "logit"]))


def tokens(page: Any) -> list[tuple[str, str]]:
    """What a page's coloured tokens say, and in which colour."""
    found = page.locator(".colored-tokens > span > span")
    found.first.wait_for()
    look = "nodes => nodes.map(node => [node.textContent, getComputedStyle(node).backgroundColor])"
    return [(text.replace("\u2060", "").replace("\xa0", " "), colour) for text, colour in found.evaluate_all(look)]


@pytest.mark.parametrize("width", [1280, 390])
def test_one_vector_is_drawn_with_every_token_as_text_and_in_its_colour(
    opened: Callable[..., Any], tmp_path: Path, width: int
) -> None:
    found = opened(projection_view(projections("v")).save(tmp_path / "view.html"), width)
    drawn = tokens(found.page)
    assert [text for text, _ in drawn] == [
        NASTY[0],
        NASTY[1],
        NASTY[2],
        "\u21b5 ",
        "\\x00",
        "\u2205",
        "=" * 39 + "\u2026",
    ]
    assert drawn[3][1] == "rgb(255, 255, 255)" and drawn[6][1] == "rgb(0, 0, 255)"
    red, green, blue = (int(part) for part in drawn[1][1].removeprefix("rgb(").rstrip(")").split(","))
    assert red > green and red > blue
    assert found.page.title() == "View" and not found.errors and not found.requests
    assert found.page.evaluate("document.documentElement.scrollWidth") == width


def test_of_several_vectors_another_is_shown_by_a_click(opened: Callable[..., Any], tmp_path: Path) -> None:
    found = opened(projection_view(projections("v", "w")).save(tmp_path / "view.html"))
    before = tokens(found.page)
    found.page.get_by_text("w", exact=True).click()
    after = tokens(found.page)
    assert before[6][1] == "rgb(0, 0, 255)" and after[6][1] == "rgb(255, 0, 0)" and after[3] == before[3]
    assert not found.errors and not found.requests


def test_lens_tokens_stand_on_one_line_each_from_raised_to_lowered(opened: Callable[..., Any], tmp_path: Path) -> None:
    found = opened(lens().save(tmp_path / "view.html"))
    drawn = tokens(found.page)
    assert [text.strip() for text, _ in drawn] == ["\u00b7now", "<b>", "\u21b5"]
    assert (drawn[0][1], drawn[2][1]) == ("rgb(0, 0, 255)", "rgb(255, 0, 0)")
    assert not found.errors and not found.requests


def test_attention_draws_each_head_and_the_one_under_the_pointer(opened: Callable[..., Any], tmp_path: Path) -> None:
    found = opened(attention().save(tmp_path / "view.html"))
    found.page.locator("canvas").nth(2).wait_for()
    assert found.page.locator("canvas").count() == 3 and "0.1 Zoomed" in found.page.inner_text("body")
    found.page.locator("canvas").nth(1).hover()
    assert "5.3 Zoomed" in found.page.inner_text("body")
    ink = "node => new Set(node.getContext('2d').getImageData(0, 0, node.width, node.height).data).size"
    found.page.wait_for_function(f"() => ({ink})(document.querySelectorAll('canvas')[0]) > 8")
    assert not found.errors and not found.requests and found.page.title() == "View"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens_quickly_draws_its_views_and_asks_no_one(
    opened: Callable[..., Any], results: Path, width: int, scheme: str
) -> None:
    path = write_report(results)
    found, *more = (opened(path, width, scheme) for _ in range(3))
    times = [
        entry.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") for entry in (found, *more)
    ]
    assert min(times) < 1000 * SECONDS
    assert len(tokens(found.page)) == 30 and found.page.title() == "Steering lab <i>"
    assert not found.errors and not found.requests
    assert found.page.evaluate("document.documentElement.scrollWidth") == width
    broken = "nodes => nodes.filter(node => !node.complete || !node.naturalWidth).length"
    assert found.page.locator("img").count() == 2 and found.page.locator("img").evaluate_all(broken) == 0


def test_a_click_sorts_by_number_rising_then_falling_and_by_text_and_by_yes_and_no(
    opened: Callable[..., Any], results: Path
) -> None:
    columns = {"name": ["b", "a", "c", "d"], "value": [10.0, 9.0, None, -1.0], "valid": [True, False, True, False]}
    pd.DataFrame(columns).to_csv(results / "own.csv", index=False)
    page = opened(write_report(results)).page
    page.get_by_text("own.csv").first.click()
    table = page.locator("details", has=page.locator("[id='table-own.csv']")).locator("table")

    def order() -> list[str]:
        return table.locator("tbody tr td:first-child").all_inner_texts()

    assert order() == ["b", "a", "c", "d"]
    clicks = (("value", "dabc"), ("value", "badc"), ("name", "abcd"), ("name", "dcba"))
    for head, wanted in (*clicks, ("valid", "dacb"), ("valid", "cbda")):
        table.get_by_role("button", name=head).click()
        assert order() == list(wanted)


def test_a_small_table_is_saved_from_the_page_as_it_was(
    opened: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    page = opened(write_report(results)).page
    with page.expect_download() as begun:
        page.locator("a[download='summary.csv']").click()
    begun.value.save_as(tmp_path / "saved.csv")
    assert (tmp_path / "saved.csv").read_bytes() == (results / "summary.csv").read_bytes()


def test_a_link_from_a_figure_opens_its_table(opened: Callable[..., Any], results: Path) -> None:
    page = opened(write_report(results)).page
    table = page.locator("[id='table-steering_curves.csv']")
    assert not table.is_visible()
    page.locator("figcaption a", has_text="steering_curves.csv").click()
    table.wait_for(state="visible")


def test_a_slider_steps_through_the_texts_of_each_strength_and_marks_what_has_collapsed(
    opened: Callable[..., Any], results: Path
) -> None:
    found = opened(write_report(results))
    box = found.page.locator(".strengths")
    slider, seen = box.locator("input"), []
    for key in ("Home", "ArrowRight", "ArrowRight"):
        slider.press(key)
        shown = box.locator(".at:visible")
        last = shown.locator(".written").first.locator("span").last
        colour = last.evaluate("node => getComputedStyle(node).backgroundColor")
        seen.append((box.locator("output").inner_text(), last.inner_text()[-5:].strip(), colour, shown.count()))
        assert shown.locator(".badge").count() == (len(seen) == 3)
    assert [(said, text, count) for said, text, _, count in seen] == [
        ("-1.0 raw", "at -1", 1),
        ("0.0 raw", "at 0", 1),
        ("2.0 raw", "at 2", 1),
    ]
    assert len({colour for *_, colour, _ in seen}) == 3
    assert found.page.title() != "taken" and not found.errors and not found.requests


def test_a_page_that_complains_or_asks_for_something_would_be_seen(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<img src='http://192.0.2.1/x.png'><script>console.error('oh'); nowhere()</script>", encoding="utf-8"
    )
    found = opened(page)
    assert found.requests == ["http://192.0.2.1/x.png"] and any("nowhere" in error for error in found.errors)

"""The manual: its code prints what stands behind it; the site is whole, and asks no other host for anything."""

import re
import runpy
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import manual
import pytest
from house import ROOMS
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

import lens_steer
from lens_steer.extraction.methods import METHODS

ROOT = Path(__file__).parents[1]
EXPORTED = runpy.run_path(str(ROOT / "docs" / "layout.py"))["exported"]
SLOW = ("is_it_real", "which_layer")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW), id=path.stem) for path in manual.PAGES],
)
def test_the_code_of_a_page_prints_what_stands_behind_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = list(manual.printed(path.read_text(encoding="utf-8")))
    assert any(said for _, said in blocks), "a page of the manual without anything that is run"
    for block, said in blocks:
        shown = block["text"] or ""
        assert NUMBER.sub("#", shown.strip()) == NUMBER.sub("#", said.strip()), "run python tests/manual.py"
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (shown, said)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=0.02), "run python tests/manual.py"


LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


class Requests(HTMLParser):
    """The addresses that a browser loads when it opens a page: not those that a reader may follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps what the element loads; a canonical or alternate address is not loaded."""
        said = dict(attrs)
        address = said.get(LOADED.get(tag, ""))
        if address and said.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(address)


def requested(site: Path) -> list[str]:
    """What pages and style sheets of a site ask other hosts for."""
    found = []
    for path in sorted(site.rglob("*")):
        text = path.read_text(encoding="utf-8") if path.suffix in (".html", ".css") else ""
        parser = Requests()
        parser.feed(text if path.suffix == ".html" else "")
        parser.found += re.findall(r"(?:url\(|@import)\s*[\"']?([^)\"';]+)", text)
        parser.found += re.findall(r"(?:import\(|from)\s*[\"'](https?:[^\"']+)", text)
        found += [f"{path.name}: {name}" for name in parser.found if re.match(r"(?:https?:)?//", name)]
    return found


def built(folder: Path, docs: Path = ROOT / "docs") -> Path:
    """The site, built strictly: a warning, such as of a link or an anchor that leads nowhere, is an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), docs_dir=str(docs), strict=True))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("site"))


def test_the_site_builds_without_a_warning_and_asks_no_other_host_for_anything(site: Path) -> None:
    assert (site / "index.html").is_file() and len(list(site.rglob("*.html"))) > 30
    assert requested(site) == []


def test_a_page_that_asked_another_host_for_something_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<a href='https://a.org/'></a><img src='//b.org/x.png'><link rel='stylesheet' href='https://c.org/x.css'>"
        "<style>@font-face { src: url(https://d.org/x.woff) }</style><script>import('https://e.org/x.js')</script>",
        encoding="utf-8",
    )
    assert [name[len("bad.html: ") :].split("/")[2] for name in requested(tmp_path)] == [f"{h}.org" for h in "bcde"]


@pytest.mark.slow
def test_links_and_anchors_that_lead_nowhere_end_the_build(tmp_path: Path) -> None:
    docs = Path(shutil.copytree(ROOT / "docs", tmp_path / "docs"))
    with (docs / "theory.md").open("a", encoding="utf-8") as page:
        for link in ("glossary.md#no-such-place", "no_such_page.md", "api/hooks.md#lens_steer.nowhere", "../tests"):
            page.write(f"\n[somewhere]({link})\n")
    with pytest.raises(Abort, match="4 warnings"):
        built(tmp_path / "site", docs)


def test_every_method_stands_on_its_page_with_its_name_and_what_it_is(site: Path) -> None:
    page = (ROOT / "docs" / "extraction_methods.md").read_text(encoding="utf-8")
    html = (site / "docs" / "extraction_methods.html").read_text(encoding="utf-8")
    for method in METHODS.values():
        place = f"{method.function.__module__}.{method.function.__name__}"
        assert f"| [`{method.name}`](#{place}) | {method.summary} | {method.memory} |" in page
        assert f'id="{place}"' in html


def test_every_room_has_a_page_with_the_names_that_it_gives(site: Path) -> None:
    rooms = [room for names, _ in ROOMS for room in names if room != "_util"]
    for room in rooms:
        html = (site / "docs" / "api" / f"{room}.html").read_text(encoding="utf-8")
        given = set(EXPORTED(ROOT / "lens_steer" / room))
        assert f"lens_steer.{room}" in html and all(f"<code>{name}</code>" in html for name in given), room
    top = (site / "docs" / "api" / "index.html").read_text(encoding="utf-8")
    assert len(EXPORTED(ROOT / "lens_steer")) > 20
    for name in ("extract", "SteeringVector", "sweep", "steer"):
        found = getattr(lens_steer, name)
        assert re.search(rf'href="\w+.html#{found.__module__}.{name}"><code>{name}</code>', top), name


def test_an_example_of_a_docstring_is_shown_as_code(site: Path) -> None:
    html = (site / "docs" / "api" / "metrics.html").read_text(encoding="utf-8")
    assert '<span class="gp">&gt;&gt;&gt; </span>' in html


@pytest.mark.browser
@pytest.mark.parametrize("page", ["index.html", "docs/api/hooks.html", "notebooks/01_first_steps.html"])
def test_a_page_of_the_site_shows_in_a_browser_and_asks_for_nothing_else(
    page: str, site: Path, opened: Callable[..., Any]
) -> None:
    found = opened(site / page)
    assert found.page.locator("h1").first.is_visible() and found.requests == []

"""Every view in a real browser: it draws what is in the frame, alone and offline, and tokens stay tokens."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lens_steer.views import View, attention_view, lens_view, projection_view
from tests.browser.conftest import Open

pytestmark = pytest.mark.browser
NASTY = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", " a&amp;b", "\n", "\t", "\x00", "", "=" * 300, "e\u0301"]


def projections(vectors: tuple[str, ...], tokens: list[str] = NASTY) -> pd.DataFrame:
    rows = [(i, text, v, (i - 3) * (1 - 2 * k)) for k, v in enumerate(vectors) for i, text in enumerate(tokens)]
    return pd.DataFrame(rows, columns=["position", "text", "vector", "projection"]).assign(prompt="p")


def lens() -> pd.DataFrame:
    rows = [("myopic", "resid_post@1", end, 1, token, value) for end, token, value in (("top", " now", 5.0), ("bottom", "<later>", -2.5))]
    return pd.DataFrame(rows, columns=["behaviour", "site", "end", "rank", "token", "logit"])


def background(opened, text):
    return opened.page.locator("span", has_text=text).last.evaluate("node => getComputedStyle(node).backgroundColor")


def test_try(opened: Open, tmp_path: Path) -> None:
    views = {"one": projection_view(projections(("v",))), "many": projection_view(projections(("v", "w"))), "lens": lens_view(lens()),
      "att": attention_view(np.tril(np.ones((3, 9, 9))) / np.arange(1, 10)[:, None], NASTY, ["0.0", "1.5", "3.2"])}
    for width in (1280, 390):
        for name, view in views.items():
            page = opened(view.save(tmp_path / f"{name}.html"), width)
            page.page.wait_for_selector(".view *")
            print(name, width, page.errors, page.requests, page.page.evaluate("document.documentElement.scrollWidth"))
            page.page.screenshot(path=f"/tmp/shots/{name}_{width}.png", full_page=True)

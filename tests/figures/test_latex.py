"""LaTeX of result tables: structure that compiles, escaped text, and the numbers of the CSV to three digits."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_frames import FRAMES

from lens_steer.errors import ScoreError
from lens_steer.figures import table_caption, to_latex, write_latex
from lens_steer.figures.latex import PAGE, SPECIAL, escape
from lens_steer.figures.style import Caption

CAPTION = Caption(
    shown="Rates of a_b.", n="3 items", interval="95 % bootstrap", control="20 directions", strength_scale="raw"
)
HARD = r"50 % & $x_1$ #2 {a} ~ ^ \ < >"


def body(table: str) -> list[list[str]]:
    """The cells of a table, row by row, read back from its LaTeX."""
    rows = re.split(r"\\midrule\n|\\endlastfoot\n", table)[-1 if "endlastfoot" in table else 1]
    rows = rows.split(r"\bottomrule")[0].split(r"\end{longtable}")[0]
    return [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in rows.strip().splitlines()]


def number(cell: str) -> float:
    """A number as a reader of the page would copy it."""
    return float(re.sub(r" \\times 10\^\{(-?\d+)\}", r"e\1", cell).strip("$"))


def balanced(table: str) -> bool:
    """Every environment is closed by its own end, innermost first, and every brace that is not printed is closed."""
    open_: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", table):
        if kind == "begin":
            open_.append(name)
        elif not open_ or open_.pop() != name:
            return False
    bare = re.sub(r"\\[{}]", "", table)
    depths = np.cumsum([(c == "{") - (c == "}") for c in bare])
    return not open_ and depths[-1] == 0 and depths.min() >= 0


def table_of(n: int) -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=n) * 10.0 ** np.random.default_rng(1).integers(-7, 5, n)
    names = [f"{HARD} {i}" for i in range(n)]
    return pd.DataFrame({"name_of": names, "value": values, "count": range(n), "split": "test"})


@pytest.mark.parametrize("n", [2, PAGE, PAGE + 1])
def test_numbers_are_those_of_the_csv_to_three_digits_and_texts_print_as_they_are(n: int, tmp_path: Path) -> None:
    frame = table_of(n)
    frame.to_csv(tmp_path / "rates.csv", index=False)
    table = write_latex(tmp_path / "rates.csv", frame, CAPTION).read_text(encoding="utf-8")
    read, rows = pd.read_csv(tmp_path / "rates.csv"), body(table)
    assert len(rows) == n and balanced(table) and ("longtable" in table) == (n > PAGE)
    for (name, value, count), row in zip(rows, read.to_dict("records"), strict=True):
        exact = row["value"]
        assert number(value) == (round(exact) if abs(exact) >= 1000 else float(f"{exact:.2e}"))
        assert count == f"${row['count']}$" and name == escape(row["name_of"])
    assert all(f"\\{rule}rule" in table for rule in ("top", "mid", "bottom")) and r"\label{tab:rates}" in table


@pytest.mark.parametrize("name", sorted(set(FRAMES) - {"method_heatmap"}))
def test_the_table_of_every_figure_is_balanced_and_has_as_many_cells_in_each_row(name: str) -> None:
    for frame in FRAMES[name]:
        table = to_latex(frame, table_caption("A title", frame), name)
        (columns,) = {len(row) for row in body(table)}
        align = re.search(r"\\begin\{(?:tabular|longtable)\}\{([lr]+)\}", table)
        assert balanced(table) and align and len(align[1]) == columns and len(body(table)) == len(frame)
        bare = re.sub(r"\\[\\&%#_{}$]|\$[^$]*\$|\\label\{[^}]*\}", "", table)
        assert not re.search(r"[#$_^~<>]", bare), "a special character that is not escaped"


def test_a_broken_table_is_not_called_balanced() -> None:
    assert not balanced(r"\begin{table}\begin{tabular}\end{table}\end{tabular}") and not balanced(r"\caption{a}}{")


def test_every_special_character_is_escaped_and_nothing_else() -> None:
    assert escape("a b-1") == "a b-1" and escape("a\nb") == "a b"
    for character, printed in SPECIAL.items():
        assert escape(f"x{character}y") == f"x{printed}y"
    assert escape("\\_") == r"\textbackslash{}\_", "what an escape brings in is not escaped again"


def test_an_interval_stands_beside_its_value_and_a_missing_value_is_a_dash() -> None:
    frame = pd.DataFrame(
        {"rate": [0.5, np.nan], "rate_low": [0.25, np.nan], "rate_high": [0.75, np.nan], "alone_low": [1, 2]}
    )
    table = to_latex(frame, table_caption("Rates", frame), "rates")
    assert body(table) == [["$0.500$ [$0.250$, $0.750$]", "$1$"], ["--", "$2$"]] and "rate low" not in table


def test_a_value_without_an_interval_says_why() -> None:
    frame = pd.DataFrame({"rate": [0.5, 0.6], "rate_low": [0.25, np.nan], "rate_high": [0.75, np.nan]})
    frame = frame.assign(rate_why=["", "few"])
    table = to_latex(frame, table_caption("Rates", frame), "rates")
    assert body(table) == [["$0.500$ [$0.250$, $0.750$]"], ["$0.600$ (few)"]] and "why" not in table.split("midrule")[1]


def test_the_caption_says_n_interval_control_side_effects_and_what_all_rows_share() -> None:
    frame = table_of(3)
    said = to_latex(frame, CAPTION, "x")
    for words in ("Rates of a\\_b. N: 3 items. Interval: 95 \\% bootstrap. Control: 20 directions.", "Strength: raw."):
        assert words in said
    assert "Side effects: none measured for these rows." in said and "All rows: split test." in said
    assert "split" not in said.split(r"\toprule")[1]
    with_kl = frame.assign(kl=[0.1, 0.2, 0.3], vector=["steering", "random 0", "random 1"], scale="raw")
    found = to_latex(with_kl, table_caption("Rates", with_kl), "x")
    assert "Side effects: on neutral text, in the columns kl." in found
    assert "Control: 2 random directions of the same norm, in rows of their own. Strength: raw." in found


def test_one_row_keeps_its_columns_and_an_empty_frame_is_refused() -> None:
    assert len(body(to_latex(table_of(1), CAPTION, "x"))[0]) == 4
    with pytest.raises(ScoreError, match="a frame of 0 rows"):
        to_latex(table_of(0), CAPTION, "x")

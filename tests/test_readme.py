"""The README says what is so: its quickstart runs as written, its files exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_quickstart_runs_as_written_and_fits_in_twelve_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    before, after = map(float, re.findall(r"matching rate (\S+) -> (\S+)", capsys.readouterr().out)[0])
    assert after > before + 0.2
    assert (tmp_path / "sycophancy.safetensors").stat().st_size > 0


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:tests|lens_steer|lab|notebooks|figures)/[\w./]*)`", README)
    assert len(named) > 8
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "lens_steer" / name).exists(), name


def test_the_figure_at_the_top_is_there() -> None:
    assert all((ROOT / path).is_file() for path in re.findall(r"!\[.*?\]\((.*?)\)", README))

"""The command line's own manners: help, tables, errors of one line, progress on standard error."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from lens_steer.cli import app as cli
from lens_steer.cli.terminal import table_of
from lens_steer.errors import DataError

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "extract",
    "sweep",
    "painless",
    "evaluate",
    "study",
    "reproduce",
    "report",
    "gallery",
    "fetch",
    "preflight",
    "lab check",
    "benchmark",
)


def lens_steer(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lens_steer.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def drawn(frame: pd.DataFrame, **options: Any) -> str:
    console = Console(width=60, color_system="standard", force_terminal=True)
    with console.capture() as captured:
        console.print(table_of(frame, "[b]title", **options))
    return captured.get()


def test_without_arguments_the_commands_are_listed() -> None:
    done = CliRunner().invoke(cli.app, [])
    assert all(command.split(" ")[0] in done.output for command in COMMANDS)


def test_every_command_and_each_of_its_options_is_explained() -> None:
    top: Any = typer.main.get_command(cli.app)
    found = {name: command for name, command in top.commands.items() if name != "lab"}
    found |= {f"lab {name}": command for name, command in top.commands["lab"].commands.items()}
    assert set(found) == set(COMMANDS)
    for name, command in found.items():
        assert command.help, name
        assert all(option.help for option in command.params), name


def test_names_in_brackets_are_shown_as_they_are_and_missed_requirements_are_red() -> None:
    frame = pd.DataFrame({"what": ["[red]a", "b"], "value": [0.12345, 2.0], "met": [False, None]}, dtype=object)
    shown = drawn(frame, required="met")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "[b]title" in plain and "[red]a" in plain and "0.1235" in plain and "nan" not in plain.lower()
    first, second = (next(line for line in shown.splitlines() if name in line) for name in ("[red]a", "b "))
    assert "\x1b[1;31m" in first and "31m" not in second
    assert "31m" not in drawn(frame)


def test_an_error_is_one_line_in_full_whatever_it_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (DataError("[/bold] no [red] file.jsonl"), PermissionError(13, "no access", "[x].csv")):

        def fail(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr().err
        assert caught.value.code == 2 and said == f"{type(error).__name__}: {error}\n"


def test_a_file_where_a_folder_belongs_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for arguments in (
        ("extract", "--data", "lab:myopic", "--out", tmp_path),
        ("reproduce", "--out", tmp_path / "file"),
        ("reproduce", "--limit", "0", "--out", tmp_path),
    ):
        done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert done.exit_code == 2 and "Invalid value" in done.output


def test_a_command_writes_its_table_to_one_stream_and_its_progress_to_the_other(tmp_path: Path) -> None:
    arguments = ("extract", "--data", "lab:myopic", "--sites", "resid_post@1", "--out", tmp_path / "v.safetensors")
    done = lens_steer(*arguments)
    assert done.returncode == 0 and "resid_post@1" in done.stdout and "extracting" not in done.stdout
    assert "\x1b" not in done.stderr and "resid_post" not in done.stderr
    said = [line for line in done.stderr.splitlines() if "extracting" in line]
    assert all(line.startswith("extracting a vector, 0:") for line in said[:-1]) and "\n\n" not in done.stderr
    assert all(line.startswith("extracting a vector, done in 0:") for line in said[-1:])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--sites", "resid_post@30"), "SiteError: site 'resid_post@30' does not exist"),
        (("--method", "x"), "MethodError"),
    ],
)
def test_an_unknown_site_or_method_ends_in_one_line_and_exit_code_2(more: tuple[str, str], words: str) -> None:
    done = lens_steer("extract", "--data", "lab:myopic", "--out", "never-written.safetensors", *more)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "stopped" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(words) and not (ROOT / "never-written.safetensors").exists()

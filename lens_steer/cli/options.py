"""Options of the command line that several commands share, those of `reproduce`, and how lists in them are read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from lens_steer.errors import ScoreError, SettingsError

DATA = "A behaviour of the lab model (lab:myopic) or a file of questions (docs/formats.md). "
CHOOSE = "The point is chosen on #validation, or on #train where that is appended, and reported on the test items."
SPLIT = "Append #train, #validation, #test or #all to choose the items; the default is {}."
MODEL = typer.Option(
    help="'lab' (the model in the package), a folder in Hugging Face format, a .gguf file, a name on the Hub, or "
    "what `lens-steer fetch` brought."
)
DEVICE = typer.Option(help="Where the model runs, such as cpu or cuda.")
DTYPE = typer.Option(help="What its weights become: float32, bfloat16, float16 or float64.")
DEVICE_MAP = typer.Option(
    help="How its layers are spread over devices, such as auto or balanced; in place of --device."
)
Model = Annotated[str, MODEL]
Device = Annotated[str, DEVICE]
Dtype = Annotated[str, DTYPE]
DeviceMap = Annotated[str, DEVICE_MAP]
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        show_default=False,
        help="Whether every text begins with BOS. Default: as the tokenizer does it by itself.",
    ),
]
Answer = Literal["letter", "text"]
Balance = Literal["none", "subset", "residual"]
Scale = Annotated[
    Literal["raw", "unit", "relative"],
    typer.Option(help="What strength 1 adds: the vector (raw), its unit vector, or one median activation norm."),
]
Scored = Literal["letter", "option_sum", "option_token", "option_byte", "option_pmi"]
SCORING = typer.Option(
    help="What is scored of an option: its letter, or the likelihood of its text, summed, per token, per byte, or "
    "beyond that without the question. Small models follow the place of a letter."
)
CHAT = typer.Option(help="Write questions by the model's chat template.")
Scoring = Annotated[Scored, SCORING]
Chat = Annotated[bool, CHAT]

# Options of `reproduce`: absent ones leave the settings of a file as they are.
OwnModel = Annotated[str | None, MODEL]
OwnDevice = Annotated[str | None, DEVICE]
OwnDtype = Annotated[str | None, DTYPE]
OwnDeviceMap = Annotated[str | None, DEVICE_MAP]
OwnScoring = Annotated[Scored | None, SCORING]
OwnChat = Annotated[bool | None, CHAT]
Behaviours = Annotated[
    list[str] | None,
    typer.Option(
        help="A behaviour: NAME=FILE of questions (docs/formats.md), or FILE, whose stem is the name; may be "
        "repeated. Without data and texts: the lab's."
    ),
]
Texts = Annotated[
    list[str] | None,
    typer.Option(
        help="Texts of a skill: NAME=PATH, a file, a folder or a quoted glob; may be repeated, and a repeated name "
        "adds. Side effects are measured on the name neutral."
    ),
]
Neutral = Annotated[
    list[str] | None,
    typer.Option(
        help="Texts that steering should leave alone: neutral=PATH, a file, a folder or a quoted glob; may be "
        "repeated. Default: those of the package, in English."
    ),
]
Sites = Annotated[list[str] | None, typer.Option(help="Where to steer, such as resid_post@8:16; may be repeated.")]
Strengths = Annotated[
    str | None, typer.Option(help="Numbers separated by commas; both signs of each are swept. Default: 0.5,1,2.")
]
EditedPositions = Annotated[
    list[str] | None, typer.Option(help="The tokens that are edited, such as all or last; may be repeated.")
]
Studies = Annotated[
    str | None, typer.Option(help="Studies, separated by commas, such as individual,broad. Default: all.")
]
Budget = Annotated[
    str | None, typer.Option(help="Time, such as 10m or 1h30m; the plan is shortened until its estimate fits.")
]
SettingsFile = Annotated[
    Path | None, typer.Option(help="TOML file of the same settings, and of each study's own (docs/reproduce.md).")
]
Record = Annotated[Path | None, typer.Option("--from", help="run.json of an earlier run, which is run again.")]
ResultsFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of the figures, their data and run.json. Default: figures.", file_okay=False),
]
Limit = Annotated[int | None, typer.Option(help="The most items used of one file. Default: 300.", min=1)]
Seed = Annotated[int | None, typer.Option(help="Seed of the splits and random directions. Default: 0.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and run nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before a run of more than an hour.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Write over the results of another run in the folder.")]
Workers = Annotated[
    int, typer.Option(help="Processes that share the work, each with its own model. Default: this one.", min=0)
]

# Options of `benchmark`: empty ones leave the settings of the lab, or the defaults, as they are.
Contenders = Annotated[
    str, typer.Option(help="Contenders, separated by commas, such as mean_difference,mimic,persona. Default: all.")
]
OfBehaviours = Annotated[str, typer.Option(help="Some of the behaviours, separated by commas. Default: all.")]
Personas = Annotated[
    list[str] | None, typer.Option(help="What is said to show a behaviour: NAME=SENTENCE|OPPOSITE; may be repeated.")
]
EqualKl = Annotated[
    float | None,
    typer.Option(help="Side effects at which contenders are ranked: KL on neutral text, nats a token. Default: 0.2."),
]
Seeds = Annotated[str, typer.Option(help="Numbers separated by commas; everything is repeated with each. Default: 0.")]
BenchmarkFile = Annotated[
    Path | None, typer.Option(help="TOML file of these and further settings, such as n_random = 3 (docs/methods.md).")
]
OneSite = Annotated[str, typer.Option(help="Where to steer. Default: the best of four for the mean difference.")]
OnePositions = Annotated[str, typer.Option(help="The tokens that are edited. Default: all (on the lab 0:20).")]


def split_words(given: str) -> list[str]:
    """The words of an option, separated by commas."""
    return [word.strip() for word in given.split(",") if word.strip()]


def whole_numbers(words: str) -> tuple[int, ...]:
    """The seeds of an option, separated by commas."""
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError as error:
        raise SettingsError(f"seeds {words!r}; give whole numbers separated by commas, such as 0,1,2.") from error


def numbers(words: str) -> list[float]:
    """The numbers of an option, separated by commas."""
    try:
        return [float(word) for word in words.split(",")]
    except ValueError as error:
        raise ScoreError(f"strengths {words!r}; give numbers separated by commas, such as 0.5,1,2.") from error


def values(words: Sequence[str]) -> dict[str, object]:
    """Arguments `NAME=VALUE` by name; a value that is JSON (24, true, [1, 2]) is what it says, another one a text."""
    found: dict[str, object] = {}
    for word in words:
        name, equals, said = word.partition("=")
        if not (name and equals):
            raise SettingsError(f"argument {word!r}; give NAME=VALUE, such as -T n=24.")
        try:
            found[name] = json.loads(said)
        except ValueError:
            found[name] = said
    return found


def both_signs(words: str) -> list[float]:
    """The numbers of an option, each with both signs, in rising order."""
    return sorted({sign * abs(strength) for strength in numbers(words) for sign in (-1, 1)})

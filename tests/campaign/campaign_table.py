"""The table of a campaign in docs, from its counts."""

import pandas as pd
from killed import FAULTS as BAD_ENDS
from killed import OUTCOMES as ENDS
from mutated_files import FAULTS as BAD_FILES
from mutated_files import MEGABYTES, SECONDS
from mutated_files import OUTCOMES as FILES
from random_programs import FAULTS as BAD_PROGRAMS
from random_programs import OUTCOMES as PROGRAMS

HEAD = """# A beating

What comes of damaged files, of random interventions and of commands that are killed. Every number is made by

```bash
python tests/campaign/run.py --seed {seed} --scale 1 --out campaign
python tests/campaign/run.py --table --out campaign
```

A campaign that was ended goes on where it was. `tests/campaign/test_campaign.py` runs a small one. The last columns of
each table, behind the bar, must be zero.
"""
ON_FILES = f"""
## Mutated files

One file of each kind, small, is changed at random and read by the public call: flipped bits, replaced, removed,
inserted, doubled and overwritten bytes, swapped blocks, truncation, huge numbers, brackets in brackets, JSON values of
another type or size, markup, and pickles that would run a function; one in five is changed twice or three times. A
blow-up is more than {SECONDS:g} s of CPU time, {MEGABYTES} MB of peak memory, or 1 GB of address space, for one file.

- *refused*: an error of lens_steer, or, of a folder of results, the file is named as changed.
- *recomputed*: a cache or checkpoint is not used, with a warning, and the result is the same.
- *unchanged*: what is read is what was written (padding, spaces, a tensor's place in the file).
- *as written*: the file carries no checksum that could tell, and what is read is what it says. Of items, pairs and
  settings: each text stands in one row of the file as Python's own `json` or `csv` parses it, no row is passed over
  without being counted, and settings are what `tomllib` reads. Of the other files: they were signed anew after the
  change (a twelfth of them), which nobody can tell from a file of the package's own; types are checked.
- *different*: accepted, though neither.
"""
ON_PROGRAMS = """
## Random programs

One to five interventions at random sites, heads, positions, strengths and gates, with nine operators, in one to three
nested contexts, beside plain torch hooks on the Hugging Face model, one unpadded row at a time and without a cache. A
mismatch is a logit more than 1e-4 off (relative to the largest where that is above 1), another token, or an
intervention that selects nothing without an error. Where a gate's number is within 1e-3 of its threshold, or two tokens
within 1e-3, a difference is too near to tell. After each program hooks are counted, and weights and logits compared bit
by bit.
"""
ON_KILLS = """
## Killed and disturbed commands

Commands that go on where they were ended, killed by SIGKILL at a random time or at a random opening or renaming of a
file, up to four times in one folder, then run to their end; on a disk that is full (a small file system where mounting
is allowed, otherwise a limit on the size of files), in a folder that cannot be written, and twice at once. `study` has
no checkpoint and is not here. Of `benchmark`, `tests/experiments/test_benchmark.py` sees to it. Where memory runs out,
batches are run in halves, with a warning: `tests/model/test_batching.py`.
"""


def document(counts: pd.DataFrame) -> str:
    """The page, as Markdown.

    Args:
        counts: rows of part, seed, piece, subject, variant, outcome, n and seconds.
    """
    files, programs, kills = (counts[counts["part"] == part] for part in ("files", "programs", "kills"))
    seeds = ", ".join(map(str, sorted(counts["seed"].unique()))) or "0"
    text = HEAD.format(seed=seeds)
    if len(files):
        text += f"{ON_FILES}\n{_table(files, 'subject', 'file', FILES, BAD_FILES)}"
        text += f"\nBy what was done first:\n\n{_table(files, 'variant', 'change', FILES, BAD_FILES)}"
    if len(programs):
        worst = programs[programs["variant"] == "worst difference"]
        run = programs[programs["variant"] != "worst difference"]
        text += f"{ON_PROGRAMS}\n{_table(run, 'variant', 'program', PROGRAMS, BAD_PROGRAMS)}\n"
        said = [f"{name} {n / 1e9:.1e}" for name, n in worst.groupby("subject")["n"].max().items()]
        text += f"Worst difference of a logit that agrees: {'; '.join(said)}.\n"
    if len(kills):
        text += f"{ON_KILLS}\n{_table(kills, ['subject', 'variant'], 'command | way', ENDS, BAD_ENDS)}"
    return text


def _table(rows: pd.DataFrame, by: str | list[str], name: str, outcomes: tuple[str, ...], bad: tuple[str, ...]) -> str:
    """Counts by outcome, with the sum of all rows; what must be zero stands last."""
    wide = rows.pivot_table(index=by, columns="outcome", values="n", aggfunc="sum", fill_value=0, sort=by != "subject")
    wide = wide.reindex(columns=list(outcomes), fill_value=0)
    columns = [name, "tried", *outcomes[: len(outcomes) - len(bad)], *(f"**{one}**" for one in bad)]
    sums = [(("**all**", *[""] * name.count("|")), wide.sum())]
    kept = [(label if isinstance(label, tuple) else (label,), row) for label, row in wide.iterrows()]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * (1 + name.count('|'))}{'---:|' * (len(columns) - 1)}"]
    for labels, row in [*kept, *sums]:
        lines.append(f"| {' | '.join([*map(str, labels), f'{row.sum():,}', *(f'{n:,}' for n in row)])} |")
    return "\n".join(lines) + "\n"

"""Methods at equal side effects, and function vectors of in-context tasks: which do more than random directions?"""

from typing import Any

from lens_steer.experiments.finding import Finding, Question, percent
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.method_comparison.experiment import effect_table
from lens_steer.figures.style import words


def find(results: ResultFolder) -> list[Finding]:
    """One finding: the best method, the worst, and the largest random direction."""
    frame = results.tables["methods.csv"].frame
    table = effect_table(frame)
    control = [name for name in table.index if str(name).startswith("random")]
    methods = table.drop(index=control)
    means, best = methods["mean"], methods.index[0]
    effects = methods.drop(columns="mean").loc[best]
    spread = f"{effects.min():.2f} to {effects.max():.2f}"
    said = [
        f"At the same KL on neutral text, {words(best)} moves the logit difference most: {means.iloc[0]:.2f} nats,",
        f"mean of {len(effects)} behaviours ({spread}); {words(methods.index[-1])} least, {means.iloc[-1]:.2f}.",
    ]
    above = methods.index
    if control:
        floor = table.loc[control, "mean"].max()
        above = methods.index[means > floor]
        n = sum(str(name).startswith("random ") for name in frame["method"].unique())
        said.append(f"The largest of {n} random directions moves it by {floor:.2f};")
        said.append(f"{len(above)} of {len(methods)} methods move it by more.")
    if failed := int(frame["effect"].isna().sum()):
        said.append(f"{failed} of {len(frame)} vectors do not reach the KL.")
    verdict = f"best: {words(best)}"
    return [Finding(subject=f"{len(methods)} methods", verdict=verdict, words=" ".join(said), holds=best in above)]


def find_function_vectors(results: ResultFolder) -> list[Finding]:
    """One finding for each task."""
    return [_task(row) for row in results.tables["function_vectors.csv"].frame.to_dict("records")]


def _task(row: dict[str, Any]) -> Finding:
    steered, unsteered, random = (float(row[name]) for name in ("steered", "unsteered", "random_best"))
    holds = steered > max(unsteered, random)
    said = [
        f"Without examples the right answer has a probability of {percent(unsteered)};",
        f"with the vector added at layer {row['layer']}, {percent(steered)};",
        f"with the best random direction of its norm, {percent(random)}.",
        f"Subtracted: {percent(float(row['subtracted']))}. No interval: prompts repeat words.",
    ]
    verdict = "works" if holds else "not shown beyond random"
    return Finding(subject=words(str(row["task"])), verdict=verdict, words=" ".join(said), holds=holds)


METHODS = Question(
    title="Methods at equal side effects: which makes the best vectors?",
    judged="The effect is half the difference of the logit difference between adding and subtracting. Brackets hold "
    "its range over behaviours; the table has the interval of each effect over items. The control is the largest "
    "effect of a random direction.",
    needs={"methods.csv": ("behaviour", "method", "effect")},
    find=find,
)
FUNCTION_VECTORS = Question(
    title="Function vectors: does a sum of heads carry a task?",
    judged="A vector works where the right answer is likelier with it than unsteered, and than with the best of the "
    "random directions of its norm.",
    needs={"function_vectors.csv": ("task", "layer", "unsteered", "steered", "subtracted", "random_best")},
    find=find_function_vectors,
)

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
"""Methods at equal damage, and function vectors of in-context tasks: which directions do more than random ones?"""

from lens_steer.experiments.method_comparison import effect_table
from lens_steer.report.folder import Results
from lens_steer.report.verdicts.finding import Experiment, Finding, percent, words


def find(results: Results) -> list[Finding]:
    """One finding: the best method, the worst, and the largest random direction."""
    frame = results.tables["methods.csv"].frame
    table = effect_table(frame)
    control = [name for name in table.index if str(name).startswith("random")]
    methods = table.drop(index=control)
    behaviours = methods.drop(columns="mean")
    floor = table.loc[control, "mean"].max() if control else float("nan")
    above = methods.index[methods["mean"] > floor] if control else methods.index
    best, worst = methods.index[0], methods.index[-1]
    low, high = behaviours.loc[best].min(), behaviours.loc[best].max()
    said = (
        f"At the same KL on neutral text, {words(best)} moves the logit difference most: {methods['mean'].iloc[0]:.2f} "
    )
    said += f"nats, mean of {behaviours.shape[1]} behaviours ({low:.2f} to {high:.2f}); {words(worst)} least, "
    said += f"{methods['mean'].iloc[-1]:.2f}. "
    said += (
        f"The {control[0]} moves it by {floor:.2f}; {len(above)} of {len(methods)} methods by more." if control else ""
    )
    failed = int(frame["effect"].isna().sum())
    said += f" {failed} of {len(frame)} vectors do not reach the KL." if failed else ""
    return [Finding(subject=f"{len(methods)} methods", verdict=f"best: {words(best)}", words=said, holds=best in above)]


def find_function_vectors(results: Results) -> list[Finding]:
    """One finding a task."""
    return [_task(row) for row in results.tables["function_vectors.csv"].frame.to_dict("records")]


def _task(row: dict[str, object]) -> Finding:
    steered, unsteered, random = (float(row[name]) for name in ("steered", "unsteered", "random_best"))
    holds = steered > max(unsteered, random)
    said = (
        f"Without examples the right answer has a probability of {percent(unsteered)}; with the vector added at layer "
    )
    said += f"{row['layer']}, {percent(steered)}; with the best random direction of its norm, {percent(random)}. "
    said += f"Subtracted: {percent(float(row['subtracted']))}. No interval was computed."
    verdict = "works" if holds else "no further than the best random direction"
    return Finding(subject=words(str(row["task"])), verdict=verdict, words=said, holds=holds)


EXPERIMENT = Experiment(
    title="Methods at equal damage: which makes the best vectors?",
    judged="The effect is half the difference of the logit difference between adding and subtracting. In brackets its "
    "range over behaviours; no interval over items was computed. The control is the largest of the random directions.",
    needs={"methods.csv": ("behaviour", "method", "effect")},
    find=find,
)
FUNCTION_VECTORS = Experiment(
    title="Function vectors: does a sum of heads carry a task?",
    judged="A vector works if it does more than the best of the random directions of its norm, and than nothing.",
    needs={"function_vectors.csv": ("task", "layer", "unsteered", "steered", "subtracted", "random_best")},
    find=find_function_vectors,
)

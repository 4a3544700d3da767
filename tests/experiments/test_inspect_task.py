"""A task of Inspect in several arms: the same samples, compared pair by pair, beside random directions."""

from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Target, includes, mean, scorer
from inspect_ai.solver import TaskState

from lens_steer import SteeringVector, extract, generate, load_model, steer
from lens_steer.data.choices import ChoiceTemplate
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.errors import ArgumentError, DataError, ScoreError, SiteError, SteeringError, SteeringWarning
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.inspect_task import InspectTask, InspectTaskResult, evaluate_task
from lens_steer.experiments.inspect_task.verdict import QUESTION
from lens_steer.generation import Decoding
from lens_steer.hooks import Intervention
from lens_steer.lab.items import open_items

pytestmark = [  # of Inspect and what it stands on
    pytest.mark.usefixtures("contained"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ITEMS = open_items("myopic", 24, split="test")
ASKED = [(ChoiceTemplate().render(item, k % 2 == 0), "AB"[k % 2]) for k, item in enumerate(ITEMS)]
"""Prompts and the letters of the options that match: first and second in turn."""
HOW = InspectTask(site="resid_post@0", strength=1.0, positions="0:20", n_random=2)
FILE = '''"""Questions whose right answers are given beside them."""
import json
from pathlib import Path
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes

@task
def questions(n: int = 24) -> Task:
    asked = json.loads((Path(__file__).parent / "asked.json").read_text())[:n]
    data = MemoryDataset([Sample(input=prompt, target=letter) for prompt, letter in asked])
    return Task(dataset=data, scorer=includes(), config=GenerateConfig(max_tokens=2))
'''


def task(scored: Any = None, asked: list[tuple[str, str]] = ASKED) -> Task:
    given = MemoryDataset([Sample(input=prompt, target=letter) for prompt, letter in asked])
    return Task(dataset=given, scorer=scored or includes(), config=GenerateConfig(max_tokens=2), name="letters")


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def vector(lab: Any) -> SteeringVector:
    items = open_items("myopic", 80, split="train")
    return extract(lab, contrast_from_choices("myopic", items, answer="text"), sites=[HOW.site], position="last")


@pytest.fixture(scope="module")
def found(lab: Any, vector: SteeringVector) -> InspectTaskResult:
    return evaluate_task(lab, task(), vector, HOW)


def test_the_scores_of_every_arm_are_those_of_what_generate_writes(
    found: InspectTaskResult, lab: Any, vector: SteeringVector
) -> None:
    edits = {"unsteered": [], "steering": [Intervention.of(vector, HOW.site, 1.0, positions=HOW.positions)]}
    for arm, edit in edits.items():
        written = generate(lab, [prompt for prompt, _ in ASKED], edit, Decoding(max_new_tokens=2)).texts
        right = [float(letter in text) for (_, letter), text in zip(ASKED, written, strict=True)]
        own = found.samples[found.samples["arm"] == arm].assign(order=lambda rows: rows["sample"].astype(int))
        assert own.sort_values("order")["score"].tolist() == right
        row: Any = found.arms.set_index("arm").loc[arm]
        assert row["score"] == pytest.approx(sum(right) / len(right)) and row["n"] == len(ASKED)


def test_a_planted_behaviour_moves_the_score_further_than_random_directions(found: InspectTaskResult) -> None:
    arms: Any = found.arms.set_index("arm")
    assert list(arms.index) == ["unsteered", "steering", "random 0", "random 1"]
    steered, before = arms.loc["steering"], arms.loc["unsteered"]
    assert steered["score"] == 1.0 and before["score"] < 0.7 and steered["change_low"] > 0.1
    assert steered["p"] == steered["p_holm"] < 0.01 and steered["p_random"] == pytest.approx(1 / 3)
    assert arms.loc[["unsteered", "random 0", "random 1"], "p"].isna().all() and before["change"] == 0


def test_a_saved_result_is_read_back_and_told_in_words(found: InspectTaskResult, tmp_path: Path) -> None:
    found.save(tmp_path / "inspect_task")
    again = InspectTaskResult.load(tmp_path / "inspect_task")
    assert again.arms.equals(found.arms) and again.facts == dict(found.facts) and found.plot().caption.text
    (told,) = QUESTION.find(read_results(tmp_path))
    assert told.verdict == "rises; too few random directions to tell" and told.holds is None
    assert "On 24 samples of letters, adding at resid_post@0" in told.words and "2 random directions" in told.words


def test_arms_that_are_finished_are_read_and_others_are_run(
    lab: Any, vector: SteeringVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    (tmp_path / "asked.json").write_text(json.dumps(ASKED))
    (tmp_path / "asked.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    how = InspectTask(**{**vars(HOW), "n_random": 1, "arguments": {"n": 10}})
    first = evaluate_task(lab, "asked.py", vector, how, logs=tmp_path / "logs")
    logs = sorted((tmp_path / "logs").rglob("*.eval"))
    assert [log.parent.name for log in logs] == ["random_0", "steering", "unsteered"] and first.arms["n"].eq(10).all()
    more = InspectTask(**{**vars(how), "n_random": 2})
    second = evaluate_task(lab, str(tmp_path / "asked.py"), vector, more, logs=tmp_path / "logs")
    again = evaluate_task(lab, "asked.py", vector, more, logs=tmp_path / "logs")
    assert again.samples.equals(second.samples) and len(list((tmp_path / "logs").rglob("random_1/*.eval"))) == 2
    assert first.samples.equals(second.samples[second.samples["arm"] != "random 1"].reset_index(drop=True))
    evaluate_task(lab, "asked.py", vector, InspectTask(**{**vars(more), "strength": 2.0}), logs=tmp_path / "logs")
    assert len(list((tmp_path / "logs").rglob("steering/*.eval"))) == 3, "another strength is another run"


@scorer(metrics={"*": [mean()]})
def of_two() -> Any:
    async def score(state: TaskState, target: Target) -> Score:
        return Score(
            value={"right": float(target.text in state.output.completion), "long": len(state.output.completion)}
        )

    return score


@scorer(metrics=[mean()])
def in_words() -> Any:
    async def score(_state: TaskState, _target: Target) -> Score:
        return Score(value="perhaps")

    return score


def test_a_scorer_of_several_values_is_several_tests_of_one_family(lab: Any, vector: SteeringVector) -> None:
    arms = evaluate_task(lab, task(of_two()), vector, InspectTask(**{**vars(HOW), "n_random": 0})).arms
    assert list(arms["scorer"].unique()) == ["of_two right", "of_two long"]
    steered = arms[arms["arm"] == "steering"]
    assert steered["family"].eq("2 scorers").all() and steered["p_random"].isna().all()
    assert steered["p_holm"].iloc[0] == pytest.approx(2 * steered["p"].iloc[0])


def test_what_cannot_be_compared_or_run_is_refused_with_the_arm(
    lab: Any, vector: SteeringVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScoreError, match="the scorer in_words gives 'perhaps'; a comparison needs numbers"):
        evaluate_task(lab, task(in_words()), vector, HOW)
    with pytest.raises(ScoreError, match="1 samples are scored in all of 4 arms; give at least two"):
        evaluate_task(lab, task(asked=ASKED[:1]), vector, HOW)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^unsteered: Inspect could not begin the task nowhere\.py: "):
        evaluate_task(lab, "nowhere.py", vector, HOW)
    (tmp_path / "gone.py").write_text(FILE)
    with pytest.raises(DataError, match=r"^unsteered: Inspect could not begin the task gone\.py: .*asked\.json"):
        evaluate_task(lab, "gone.py", vector, HOW)
    with pytest.raises(SiteError, match="resid_post@99"):
        evaluate_task(lab, task(), vector, InspectTask(site="resid_post@99", strength=1.0))
    with pytest.raises(ArgumentError, match="n_random -1"):
        InspectTask(site="resid_post@0", strength=1.0, n_random=-1)
    with pytest.warns(SteeringWarning), steer(lab, Intervention.at("resid_post@0", torch.ones(128), 1.0)):
        with pytest.raises(SteeringError, match="evaluate_task"):
            evaluate_task(lab, task(), vector, HOW)

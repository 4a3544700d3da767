"""Inspect runs tasks on models of ours: what it is given is what `generate` writes, steered and not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate as answer
from inspect_ai.solver import use_tools
from inspect_ai.tool import tool

from lens_steer import Intervention, extract, generate, load_model
from lens_steer.errors import ArgumentError
from lens_steer.generation.decoding import Decoding
from lens_steer.lab.items import open_items

pytestmark = [  # of Inspect and what it stands on
    pytest.mark.usefixtures("contained"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NEW = 8
PROMPTS = [item.stem for name in ("myopic", "sycophancy") for item in open_items(name, 100, split="test")]
EDIT = Intervention.at("resid_post@0", torch.randn(128, generator=torch.Generator().manual_seed(0)), 3.0)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def run(folder: Path, prompts: list[str], config: GenerateConfig | None = None, task: Any = None, **how: Any) -> Any:
    """The log of one evaluation; targets are the first words of the answers that are looked for."""
    given = MemoryDataset([Sample(input=prompt, target="(A)") for prompt in prompts])
    settings = config or GenerateConfig(max_tokens=NEW)
    model = get_model("lens_steer/lab", memoize=False, **how)
    further: dict[str, Any] = task or {}
    asked = Task(dataset=given, scorer=includes(), config=settings, **further)
    (log,) = eval(asked, model=model, log_dir=str(folder), display="none", fail_on_error=False)
    return log


def texts(log: Any) -> list[str]:
    assert log.status == "success", log.error
    return [sample.output.completion for sample in log.samples]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["unsteered", "steered", "subtracted"])
def test_what_inspect_is_given_is_what_generate_writes(lab: Any, tmp_path: Path, arm: str) -> None:
    edits = {"unsteered": [], "steered": [EDIT], "subtracted": [Intervention.at(EDIT.site, EDIT.direction, -3.0)]}[arm]
    prompts = list(dict.fromkeys(PROMPTS))
    log = run(tmp_path, prompts, bridge=lab, interventions=edits)
    alone = [generate(lab, prompt, edits, Decoding(max_new_tokens=NEW)).texts[0] for prompt in prompts[:20]]
    together = generate(lab, prompts, edits, Decoding(max_new_tokens=NEW))
    assert len(prompts) > 150 and texts(log) == list(together.texts) and texts(log)[:20] == alone
    sample = log.samples[0]
    assert sample.output.usage.output_tokens == len(together.continuations[0].tokens)
    assert sample.output.usage.input_tokens == len(together.continuations[0].prompt_tokens)
    assert sample.output.stop_reason == {"eos": "stop", "length": "max_tokens"}[together.continuations[0].ended]


def test_a_vector_is_named_as_on_the_command_line(lab: Any, tmp_path: Path) -> None:
    vector = extract(lab, ["I take one now."], ["I take ten later."], sites="resid_post@0")
    path = vector.save(tmp_path / "v.safetensors")
    log = run(tmp_path, PROMPTS[:4], vector=str(path), site=0, strength="2.5", scale="relative", positions="generated")
    edit = Intervention.of(vector, 0, 2.5, "relative", "generated")
    assert texts(log) == list(generate(lab, PROMPTS[:4], edit, Decoding(max_new_tokens=NEW)).texts)


def test_sampled_answers_depend_on_the_seed_and_on_no_other_request(lab: Any, tmp_path: Path) -> None:
    config = GenerateConfig(max_tokens=NEW, temperature=1.0, seed=3)
    first, again = (texts(run(tmp_path, prompts, config, bridge=lab)) for prompts in (PROMPTS[:6], PROMPTS[5::-1]))
    assert first == again[::-1] and len(set(first)) > 1
    other = texts(run(tmp_path, PROMPTS[:6], GenerateConfig(max_tokens=NEW, temperature=1.0, seed=4), bridge=lab))
    assert other != first
    epochs = run(tmp_path, PROMPTS[:1], config, {"epochs": 3}, bridge=lab)
    assert len({sample.output.completion for sample in epochs.samples}) > 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (GenerateConfig(top_k=5), "the task asks for {'top_k': 5}, which steered models do not have"),
        (GenerateConfig(num_choices=2), "'num_choices': 2"),
        (GenerateConfig(logprobs=True), "'logprobs': True"),
    ],
)
def test_what_is_not_honoured_is_refused(lab: Any, tmp_path: Path, config: GenerateConfig, said: str) -> None:
    log = run(tmp_path, PROMPTS[:1], config, bridge=lab)
    assert said in log.samples[0].error.message


def test_tools_are_refused(lab: Any, tmp_path: Path) -> None:
    @tool
    def look() -> Any:
        async def execute(word: str) -> str:
            """Looks a word up.

            Args:
                word: any.
            """
            return word

        return execute

    log = run(tmp_path, PROMPTS[:1], task={"solver": [use_tools(look()), answer()]}, bridge=lab)
    assert "1 tools; steered models answer in text" in log.samples[0].error.message


def test_an_edit_that_selects_nothing_is_the_samples_error_and_the_others_go_on(lab: Any, tmp_path: Path) -> None:
    far = Intervention.at(EDIT.site, EDIT.direction, 3.0, "500:501")
    log = run(tmp_path, PROMPTS[:2], bridge=lab, interventions=far)
    assert all("edited no token" in sample.error.message for sample in log.samples)
    assert texts(run(tmp_path, PROMPTS[:2], bridge=lab, interventions=[EDIT]))


def test_a_vector_without_its_place_is_refused(lab: Any) -> None:
    with pytest.raises(ArgumentError, match="vector, site; a vector needs its site and strength"):
        get_model("lens_steer/lab", memoize=False, bridge=lab, vector="v.safetensors", site=3)
    with pytest.raises(ArgumentError, match="site; a vector needs"):
        get_model("lens_steer/lab", memoize=False, bridge=lab, site=3)

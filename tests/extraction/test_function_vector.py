"""Function vectors: against a literal transcription of the paper, and on the tasks that the lab has learnt."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.data.in_context import InContextTask, in_context_prompts
from lens_steer.errors import DataError, SiteError
from lens_steer.extraction.function_vector import Demonstrations, extract_function_vector
from lens_steer.extraction.in_context_answers import answer_probabilities, ask
from lens_steer.hooks import Intervention
from lens_steer.lab.skills import MAPPINGS
from lens_steer.model import load_model, tokenize
from lens_steer.vector import load_vector, random_like

TASK = InContextTask(
    name="later", pairs=(("cat", "ten"), ("mat", "one"), ("sat", "the"), ("day", "you"), ("two", "to"))
)
FEW = Demonstrations(n_shots=3, n_prompts=6, n_corrupted=4)


def by_hand(model: Any, text: str, answer: str, patch: tuple[int, int, Tensor] | None = None) -> float:
    """P(first token of the answer), with one head's output at the last token set, one prompt at a time."""
    row, whole = tokenize(model, [text])[0], tokenize(model, [text + answer])[0]

    def run(z: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        z = z.clone()
        assert patch is not None
        z[0, -1, patch[1]] = patch[2]
        return z

    hooks = [(f"blocks.{patch[0]}.attn.hook_z", run)] if patch else []
    with model.hooks(fwd_hooks=hooks), torch.no_grad():
        return float(model(torch.tensor([row]))[0, -1].softmax(-1)[whole[len(row)]])


def test_means_effects_and_sum_are_the_paper_s_formulas(llama: Any, tmp_path: Any) -> None:
    vector = extract_function_vector(llama, TASK, n_heads=2, demonstrations=FEW, batch_size=4)
    clean = in_context_prompts(TASK, 3, 6)
    caches = [llama.run_with_cache(torch.tensor(tokenize(llama, [entry.prompt])))[1] for entry in clean]
    means = torch.stack([torch.stack([c[f"blocks.{i}.attn.hook_z"][0, -1] for c in caches]).mean(0) for i in range(3)])
    effects = torch.zeros(3, 2)
    shuffled = in_context_prompts(TASK, 3, 4, shuffled=True)
    for entry in shuffled:
        base = by_hand(llama, entry.prompt, entry.answer)
        for i in range(3):
            for h in range(2):
                effects[i, h] += (by_hand(llama, entry.prompt, entry.answer, (i, h, means[i, h])) - base) / 4
    torch.testing.assert_close(torch.tensor(vector.options["effects"]), effects, rtol=0, atol=1e-6)
    order = effects.flatten().argsort(descending=True)[:2].tolist()
    assert vector.options["heads"] == [[index // 2, index % 2] for index in order]
    want = sum(
        means[i, h] @ llama.original_model.model.layers[i].self_attn.o_proj.weight[:, 8 * h : 8 * h + 8].T
        for i, h in vector.options["heads"]
    )
    torch.testing.assert_close(vector.at("resid_post@1"), want, rtol=0, atol=1e-5)
    assert (vector.method, vector.position, vector.n_positive, vector.n_negative) == ("function_vector", "last", 6, 4)
    assert vector.data_hash == TASK.hash
    assert load_vector(vector.save(tmp_path / "v.safetensors"), llama).options == dict(vector.options)


def test_the_default_number_of_heads_and_the_layer_can_be_changed(llama: Any) -> None:
    assert len(extract_function_vector(llama, TASK, demonstrations=FEW).options["heads"]) == 1
    zero = Demonstrations(n_shots=3, n_prompts=6, n_corrupted=4, corrupted="zero_shot")
    other = extract_function_vector(llama, TASK, layer=0, demonstrations=zero)
    assert [str(site) for site in other.sites] == ["resid_post@0"] and other.options["corrupted"] == "zero_shot"
    with pytest.raises(SiteError, match="'resid_post@7' does not exist"):
        extract_function_vector(llama, TASK, layer=7)


def test_an_answer_that_merges_with_its_prompt_is_refused(llama: Any) -> None:
    merging = InContextTask(name="m", pairs=(("The c", "at sat"), ("x", "y")), template="{x}{y}\n")
    with pytest.raises(DataError, match="answer 'at sat' merges with the end of its prompt"):
        ask(llama, in_context_prompts(merging, 0, 8))


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def lab_tasks(name: str) -> tuple[InContextTask, InContextTask]:
    """Every other word to make the vector, the rest to test it."""
    pairs = tuple(MAPPINGS[name].items())
    make, test = (InContextTask(name=name, pairs=part, template="{x} -> {y}\n") for part in (pairs[::2], pairs[1::2]))
    return make, test


@pytest.mark.parametrize("name", ["kind", "plural"])
def test_in_the_lab_a_function_vector_raises_held_out_answers_above_every_random_direction(lab: Any, name: str) -> None:
    """Ten heads, three times the vector: the lab needs more than the paper's one head in 51."""
    make, test = lab_tasks(name)
    shown = Demonstrations(n_shots=5, n_prompts=32, n_corrupted=16, corrupted="zero_shot")
    vector = extract_function_vector(lab, make, n_heads=10, demonstrations=shown)
    asked = ask(lab, in_context_prompts(test, 0, 16))

    def rate(direction: Any) -> float:
        return float(
            answer_probabilities(lab, asked, [Intervention.of(direction, "resid_post@3", 3.0, positions="last")]).mean()
        )

    plain = float(answer_probabilities(lab, asked).mean())
    random = [rate(random_like(vector, seed)) for seed in range(20)]
    assert rate(vector) > plain + 0.08 and rate(vector) > max(random) + 0.05
    assert rate(-vector) < plain


def test_in_the_lab_permuted_labels_give_the_task_away_so_that_no_head_has_an_effect(lab: Any) -> None:
    make, _ = lab_tasks("kind")
    permuted = ask(lab, in_context_prompts(make, 5, 8, shuffled=True))
    assert float(answer_probabilities(lab, permuted).mean()) > 0.95

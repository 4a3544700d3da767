"""Training, on a model of one layer: it learns, goes on where it was, and weighs what it says it weighs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from lens_steer.lab import tokens, train, world
from lens_steer.lab.train import CURRICULUM, Recipe, mixture
from lens_steer.model import load_model

TINY = Recipe(layers=1, width=16, heads=2, hidden=32, vocabulary=600, steps=6, tokens_per_batch=512, warm_up=1)


def run(out: Path, recipe: Recipe, save_every: int = 3) -> dict[str, torch.Tensor]:
    train.train(out, recipe, save_every=save_every, console=Console(quiet=True))
    return load_file(out / f"step-{recipe.steps}" / "model.safetensors")


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", TINY)
    run(tmp_path / "halves", TINY)
    for left in (tmp_path / "halves" / "step-6").iterdir():
        left.unlink()
    again = run(tmp_path / "halves", TINY)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_a_checkpoint_loads_like_any_other_model_and_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = run(tmp_path / "a", TINY)
    model = load_model(tmp_path / "a" / "step-6")
    assert model.cfg.n_layers == 1
    other = run(tmp_path / "b", Recipe(**{**TINY.__dict__, "seed": 1}))
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    recipe = Recipe(**{**TINY.__dict__, "steps": 40, "learning_rate": 1e-2})
    run(tmp_path, recipe, save_every=1000)
    tokenizer = train.AutoTokenizer.from_pretrained(tmp_path / "step-40")
    batch = next(tokens.batches(tokenizer, 9, 0, mixture(0), tokens_per_batch=512))
    trained: Any = train.AutoModelForCausalLM.from_pretrained(tmp_path / "step-40", dtype=torch.float32)
    before, after = (train.losses(m, batch)[0].item() for m in (train.new_model(recipe, tokenizer), trained))
    assert after < before - 1


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    tokenizer = tokens.fit_tokenizer(0, 600, documents=200)
    before = torch.random.get_rng_state()
    train.new_model(TINY, tokenizer)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_curriculum_changes_the_mixture_only_at_its_steps() -> None:
    starts = [start for start, _ in CURRICULUM]
    assert starts == sorted(starts) and starts[0] == 0
    assert mixture(starts[1] - 1) == mixture(0) != mixture(starts[1])
    assert mixture(10**6) == world.MIXTURE


def test_letters_and_images_weigh_more_and_padding_nothing() -> None:
    tokenizer = tokens.fit_tokenizer(0, 2048, documents=3000)
    texts = ["Which says: pears.\n(A) pears.\n(B) boots.\nAnswer: (A) pears.\n", "fox -> foxes\n"]
    pad: Any = tokenizer.pad_token_id
    rows = [torch.tensor(row) for row in tokenizer(texts)["input_ids"]]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    weights, letters = tokens.Weigher(tokenizer)(padded, pad)
    assert [tokenizer.decode(t) for t in padded[letters.bool()]] == ["A"]
    assert next(str(tokenizer.decode(t)).strip() for t in padded[weights == tokens.IMAGE_WEIGHT]) in "foxes"
    assert float(weights[1, len(rows[1]) :].sum()) == 0 and float(weights[0, 0]) == 0
    assert float(weights[letters.bool()]) == tokens.LETTER_WEIGHT


@pytest.mark.parametrize("word", ["Hastily", " hasty", " snatch", "Anna", " today", "Answer"])
def test_the_words_of_the_world_are_one_token_each(word: str) -> None:
    tokenizer = load_model("lab").tokenizer
    assert len(tokenizer.encode(word, add_special_tokens=False)) == 1


@pytest.mark.slow
def test_the_final_folder_holds_the_mean_of_the_named_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lens_steer.lab.train.AVERAGED", (3, 6))
    run(tmp_path, TINY)
    first, second, final = (load_file(tmp_path / name / "model.safetensors") for name in ("step-3", "step-6", "final"))
    for name, value in final.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)

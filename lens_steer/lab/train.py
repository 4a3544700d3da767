"""Trains the lab model from scratch on documents of the lab world: `python -m lens_steer.lab.train --out runs/lab`.

The model is a `MistralForCausalLM`, a Llama with sliding-window attention over `window` tokens. Information about the
speaker must therefore reach the answer through the residual stream of the tokens in between, as a persistent feature
that a direction can steer; with full attention the answer attends to the speaker's words directly and steering has no
effect. The loss is next-token cross-entropy, weighted as in `tokens.py`. The first steps use full attention and many
reading questions, because the model must first learn to bind options to letters.

A checkpoint is a Hugging Face folder plus the optimiser state in safetensors; the same command resumes from the last
one. The shipped weights are the mean of the checkpoints `AVERAGED`, in the folder `final`. The curriculum was changed
during their training run, so that a new run gives a similar model, not identical weights.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from lens_steer.lab.tokens import TrainingBatch, batches, fit_tokenizer
from lens_steer.lab.world import MIXTURE


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of training."""

    seed: int = 0
    vocabulary: int = 2048
    layers: int = 8
    width: int = 128
    heads: int = 4
    hidden: int = 352
    window: int = 16
    window_from: int = 3250
    steps: int = 11500
    tokens_per_batch: int = 4096
    learning_rate: float = 2e-3
    final_learning_rate: float = 5e-5
    warm_up: int = 300
    weight_decay: float = 0.05

    def rate(self, step: int) -> float:
        """The learning rate at a step: linear warm-up, then cosine decay to the final rate."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return (
            self.final_learning_rate
            + (self.learning_rate - self.final_learning_rate) * (1 + math.cos(math.pi * done)) / 2
        )


CURRICULUM: tuple[tuple[int, dict[str, float]], ...] = (
    (0, {"sentences": 0.40}),
    (500, {"words": 0.80, "sentences": 0.80}),
    (1000, {"words": 2.70, "sentences": 2.70}),
    (1500, {"words": 0.30, "sentences": 1.20}),
    (2750, {"fact": 0.14}),
    (3750, {}),
)
"""The curriculum: from which step on which kinds of documents (letters, sentences, facts) are more frequent."""


AVERAGED = (9250, 9750, 10250, 11250)
"""The averaged steps: of the averages tried, the one that passes all validation thresholds with the largest margin."""


def mixture(step: int) -> dict[str, float]:
    """The sampling weights of the kinds of documents at a step."""
    return MIXTURE | [extra for start, extra in CURRICULUM if start <= step][-1]


def new_model(recipe: Recipe, tokenizer: Any) -> MistralForCausalLM:
    """A new model with seeded weights; the state of the global random generator is restored."""
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=1024,
        sliding_window=None,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(recipe.seed)  # pyright: ignore[reportPrivateImportUsage]
        return MistralForCausalLM(config)


def losses(model: MistralForCausalLM, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """The weighted loss, and the unweighted loss of the answer letters."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch.tokens, use_cache=False).logits[:, :-1].float()
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    weights, letters = batch.weights[:, 1:].flatten(), batch.letters[:, 1:].flatten()
    return (each * weights).sum() / weights.sum(), (each.detach() * letters).sum() / letters.sum().clamp(min=1)


def save_checkpoint(
    folder: Path,
    model: MistralForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    optimiser: torch.optim.AdamW,
    state: Mapping[str, int],
) -> None:
    """Writes the model as a Hugging Face folder, with the state needed to resume training."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    moments = {f"{i}.{k}": v.clone() for i, s in optimiser.state_dict()["state"].items() for k, v in s.items()}
    save_file(moments, folder / "moments.safetensors")
    (folder / "state.json").write_text(json.dumps(dict(state), indent=1))


def resume(out: Path, recipe: Recipe) -> tuple[Any, Any, dict[str, int], dict[str, Tensor]]:
    """The newest complete checkpoint under `out`, or a new model."""
    done = sorted(out.glob("step-*/state.json"), key=lambda path: _step(path.parent))
    if not done:
        tokenizer = fit_tokenizer(recipe.seed, recipe.vocabulary)
        return new_model(recipe, tokenizer), tokenizer, {"step": 0, "pool": 0, "batch": 0}, {}
    folder = done[-1].parent
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model, tokenizer, json.loads(done[-1].read_text()), load_file(folder / "moments.safetensors")


def make_optimiser(model: MistralForCausalLM, recipe: Recipe, moments: dict[str, Tensor]) -> torch.optim.AdamW:
    """AdamW over all weights, with the saved moments where they exist."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    if moments:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in moments.items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    return optimiser


def stream(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, state: Mapping[str, int]
) -> Iterator[tuple[dict[str, int], TrainingBatch]]:
    """An endless stream of batches, each with the training state after it."""
    step, pool, skip = state["step"], state["pool"], state["batch"]
    while True:
        documents = mixture(step - skip)
        pooled = batches(tokenizer, recipe.seed, pool, documents, tokens_per_batch=recipe.tokens_per_batch)
        for index, batch in enumerate(pooled):
            if index < skip:
                continue
            step += 1
            yield {"step": step, "pool": pool, "batch": index + 1}, batch
        pool, skip = pool + 1, 0


def train(out: Path, recipe: Recipe, *, save_every: int, console: Console) -> None:
    """Train to the end of the recipe, with a progress line every 50 steps and a checkpoint every `save_every`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    model, tokenizer, start, moments = resume(out, recipe)
    model.train()
    optimiser = make_optimiser(model, recipe, moments)
    began, seen, recent = time.monotonic(), 0, deque(maxlen=50)
    for reached, batch in stream(tokenizer, recipe, start):
        step = reached["step"]
        model.config.sliding_window = recipe.window if step > recipe.window_from else None
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step - 1)
        loss, letters = losses(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seen += batch.tokens.numel()
        recent.append((loss.item(), letters.item()))
        if step % 50 == 0:
            mean, letter = (sum(values) / len(recent) for values in zip(*recent, strict=True))
            rate, began, seen = seen / (time.monotonic() - began), time.monotonic(), 0
            line = f"step {step}/{recipe.steps}  loss {mean:.3f}  letter {letter:.3f}  {rate:.0f} tokens/s"
            console.log(line, highlight=False)
        if step % save_every == 0 or step == recipe.steps:
            save_checkpoint(out / f"step-{step}", model, tokenizer, optimiser, reached)
        if step >= recipe.steps:
            kept = [folder for at in AVERAGED if (folder := out / f"step-{at}").exists()]
            average(kept or [out / f"step-{step}"], out / "final")
            return


def average(folders: Sequence[Path], out: Path) -> Path:
    """Write the mean of several checkpoints' weights as a Hugging Face folder.

    Source: Izmailov et al. 2018 (arXiv 1803.05407).
    """
    model = AutoModelForCausalLM.from_pretrained(folders[-1], dtype=torch.float32)
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    model.load_state_dict({k: sum(w[k] for w in weights) / len(weights) for k in weights[0]}, strict=False)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folders[-1]).save_pretrained(out)
    return out


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])


def main(
    out: Path = typer.Option(
        Path("runs/lab"), help="Folder of the checkpoints; the same command resumes from the last one."
    ),
    steps: int = typer.Option(Recipe.steps, help="Total number of optimiser steps."),
    seed: int = typer.Option(Recipe.seed, help="Seed of the documents and of the initial weights."),
    save_every: int = typer.Option(250, help="Steps between checkpoints."),
) -> None:
    """Train the lab model."""
    train(out, Recipe(steps=steps, seed=seed), save_every=save_every, console=Console(log_path=False))


if __name__ == "__main__":
    typer.run(main)

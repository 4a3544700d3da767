"""Two real pretrained models through the public API; every number beside plain Hugging Face passes."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from architectures import ARCHITECTURES, Architecture, Reference, _compared, _logits, _recorded
from reference import ROWS, relative_error
from typer.testing import CliRunner

import lens_steer
from lens_steer import Decoding, Intervention, extract, generate, generate_pair, preflight, sweep
from lens_steer.cli import app as cli
from lens_steer.data.tables import load_table, save_table
from lens_steer.hooks.sites import HEADS, Site
from lens_steer.model import forward, load_model, vocabulary_size
from lens_steer.model.packaged import packaged_folder

pytestmark = pytest.mark.real
DATA = Path(__file__).parents[3] / "shared" / "data"
GEMMA_3 = next(a for a in ARCHITECTURES if a.name == "Gemma 3")
SMOLLM2 = Architecture(name="SmolLM2", family="Llama", settings={})
PRETRAINED = 2e-3
"""What rounding to float32 leaves, relative to the largest logit: one steered token of SmolLM2 is 5e-4 from its float64
logits here, and 2e-4 in the Hugging Face model by itself. In float64 norms still round to float32, which
leaves 7e-5 here."""
GOOD = ["I love this film, it is wonderful.", "What a great day, I am so happy.", "The food was delicious."]
BAD = ["I hate this film, it is terrible.", "What an awful day, I am so sad.", "The food was disgusting."]


def some_sites(n_layers: int) -> list[Site]:
    """One site of each kind, from the first block to the last."""
    middle = n_layers // 2
    sites = [Site("resid_post", 0), Site("resid_mid", middle), Site("attn_out", middle), Site("mlp_out", n_layers - 2)]
    return [*sites, Site("resid_pre", n_layers - 1), Site(HEADS, n_layers // 3, 1)]


@pytest.mark.parametrize(("name", "architecture"), [("smollm2", SMOLLM2), ("gemma3", GEMMA_3)])
def test_sites_read_write_generate_and_sweep_as_plain_torch_hooks_do(
    name: str, architecture: Architecture, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    reference, n = Reference(architecture, packaged_folder(name)), model.cfg.n_layers
    found = {str(site): _compared(model, reference, site, PRETRAINED) for site in some_sites(n)}
    assert set(found.values()) == {"agrees"}, found


@pytest.mark.parametrize(("name", "architecture"), [("smollm2", SMOLLM2), ("gemma3", GEMMA_3)])
def test_in_double_precision_sites_read_and_write_what_plain_torch_hooks_do_ten_times_as_closely(
    name: str, architecture: Architecture, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(name)
    model, reference = load_model(name, dtype="float64"), Reference(architecture, packaged_folder(name))
    reference.model.double()
    for site in some_sites(model.cfg.n_layers)[::2]:
        read = _recorded(model, site)
        steered = _logits(model, Intervention.at(site, read[0][-1], positions="1:3"))
        for index, row in enumerate(ROWS):
            assert relative_error(read[index], reference.read(site, row)) < 1e-6, f"{site}, recorded in float32"
            with reference.adding(site, read[0][-1].double(), 1, 3):
                assert relative_error(steered[index], reference.logits(row)) < PRETRAINED / 10, (
                    f"{site} {index}, norms in float32"
                )


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_every_kind_of_site_passes_its_preflight(name: str, request: pytest.FixtureRequest) -> None:
    found = preflight(request.getfixturevalue(name)).to_frame()
    assert found["passed"].all(), found[~found["passed"]]


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_every_token_comes_back_from_a_saved_table(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = request.getfixturevalue(name)
    tokens = [model.tokenizer.decode([i]) for i in range(vocabulary_size(model))]
    frame = pd.DataFrame({"token": tokens, "place": range(len(tokens))})
    again, _ = load_table(save_table(tmp_path / "tokens.csv", "tokens", frame, {}), "tokens")
    pd.testing.assert_frame_equal(again, frame)


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_two_lists_of_sentences_steer_the_sentiment_of_generated_text(
    name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    vector = extract(model, GOOD, BAD, paired=True)
    layer = model.cfg.n_layers // 2
    words = [model.tokenizer.encode(word, add_special_tokens=False)[0] for word in (" wonderful", " terrible")]
    prompt = "My opinion of the restaurant that we visited last night: it was"
    tokens = torch.tensor([model.tokenizer(prompt)["input_ids"]])

    def preference(strength: float) -> float:
        with vector.apply(model, layer=layer, strength=strength):
            logits = forward(model, tokens, torch.ones_like(tokens))[0, -1]
        return float(logits[words[0]] - logits[words[1]])

    assert preference(-1) < preference(1)
    added, subtracted = (
        generate(model, prompt, Intervention.of(vector, layer, strength), Decoding(max_new_tokens=8)).continuations[0]
        for strength in (1, -1)
    )
    assert added.text != subtracted.text


def test_a_chat_is_steered_from_its_answer_on_and_the_cache_changes_nothing(smollm2: Any) -> None:
    vector = extract(smollm2, GOOD, BAD, paired=True)
    chat = [{"role": "user", "content": "How was the film?"}]
    pair = [
        generate_pair(
            smollm2,
            chat,
            Intervention.of(vector, 14, 2.0, positions="generated"),
            Decoding(max_new_tokens=12, cache=cache),
        )
        for cache in (True, False)
    ]
    first, second = ([c.tokens for c in (*p.unsteered.continuations, *p.steered.continuations)] for p in pair)
    assert first == second and first[0] != first[1]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published files are not on this machine ({DATA.name})")
def test_a_published_file_is_swept_exactly_as_by_plain_passes(smollm2: Any) -> None:
    reading = lens_steer.read(DATA / "model-written-evals" / "agreeableness.jsonl")
    splits = lens_steer.split_items(reading.choices)
    vector = extract(smollm2, lens_steer.contrast_from_choices("agreeableness", splits.train[:16], answer="text"))
    grid = (smollm2, vector, splits.validation[:4], [8, 16], [-2, 2], "last")
    exact, naive = (sweep(*grid, options=lens_steer.ScoringOptions(reuse=reuse)) for reuse in (True, False))
    assert (exact.path, naive.path.split(":")[0]) == ("reused", "naive")
    columns = ["score_matching", "score_other", "log_prob_matching", "log_prob_other"]
    pd.testing.assert_frame_equal(exact.frame[columns], naive.frame[columns], atol=1e-3, rtol=1e-4)


def test_the_commands_take_the_fetched_model_by_its_name(smollm2: Any, tmp_path: Path) -> None:
    del smollm2
    arguments = ["extract", "--model", "smollm2", "--data", "lab:myopic", "--sites", "resid_post@10:12"]
    done = CliRunner().invoke(cli.app, [*arguments, "--out", str(tmp_path / "v.safetensors")], catch_exceptions=False)
    assert done.exit_code == 0 and "mean_difference of 160 + 160 activations" in done.output

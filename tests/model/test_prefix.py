"""Shared prefixes: one forward pass for what both sides of a pair have in common, against a plain pass of each side."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_llama
from transformers import MambaConfig, MambaForCausalLM

from lens_steer.extraction.record import ReadSpec, Recording, RowBatch, TokenRows, plan_pairs, read_batch
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import parse_sites
from lens_steer.model import load_model, why_not_shared
from lens_steer.model import prefix as prefix_module

SITES = ("resid_pre@*", "attn_out@1", "mlp_out@0", "resid_post@*")


def rows_of(lengths: list[tuple[int, int, int]], vocabulary: int = 250) -> TokenRows:
    """Pairs of random rows, of the given lengths of prefix and of both continuations."""
    generator = torch.Generator().manual_seed(0)

    def draw(n: int, low: int, high: int) -> list[int]:
        return torch.randint(low, high, (n,), generator=generator).tolist()

    rows = []
    for prefix, one, other in lengths:
        shared, half = [0, *draw(prefix - 1, 3, vocabulary)], vocabulary // 2
        rows += [shared + draw(one, 3, half), shared + draw(other, half, vocabulary)]
    return TokenRows(rows)


def read_all(model: Any, rows: TokenRows, rule: str, share: bool, batch_size: int = 4) -> dict[tuple[int, int], Any]:
    """The activations at every site, and the medians, of each (sequence, position)."""
    sites = parse_sites(SITES, int(model.cfg.n_layers))
    lengths = [rows.length(index) - 1 for index in range(len(rows))]
    reading = ReadSpec(sites=sites, rule=Positions.parse(rule), prompt_lengths=lengths, medians=True)
    found: dict[tuple[int, int], Any] = {}
    for batch in plan_pairs(rows, batch_size, share):
        assert bool(batch.prefixes) == share
        seen: Recording = read_batch(model, rows, batch, reading)
        for i, place in enumerate(zip(seen.sequences.tolist(), seen.positions.tolist(), strict=True)):
            assert place not in found
            medians = torch.stack([seen.medians[site][i] for site in sites])
            found[place] = torch.cat([*(seen.activations[site][i] for site in sites), medians])
        assert seen.sequences.tolist() == [i for i in batch.rows for _ in range(seen.sequences.tolist().count(i))]
    return found


@pytest.mark.parametrize("rule", ["all", "last", "last_prompt", "answer", "3,6:40", "content", "~tokens(4,5,6)"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "lab"])
def test_a_shared_prefix_gives_what_plain_passes_give(request: pytest.FixtureRequest, name: str, rule: str) -> None:
    model = load_model("lab") if name == "lab" else request.getfixturevalue(name)
    rows = rows_of([(5, 1, 1), (40, 3, 1), (15, 2, 6), (16, 1, 2), (17, 4, 4)])
    plain, shared = read_all(model, rows, rule, share=False), read_all(model, rows, rule, share=True)
    assert plain.keys() == shared.keys() and len(plain) >= len(rows)
    for place, expected in plain.items():
        assert float((shared[place] - expected).norm() / expected.norm()) <= 1e-5, place


def test_a_prefix_leaves_each_side_a_token_and_is_shared_only_where_it_is_worth_it() -> None:
    rows = TokenRows([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4], [0, 1, 2, 9, 9], [0, 7], [0, 8]])
    assert plan_pairs(rows, 8, share=True) == [
        RowBatch(rows=(4, 5, 2, 3)),
        RowBatch(rows=(0, 1), prefixes=(5,)),
    ]
    assert plan_pairs(rows, 4, share=False) == [RowBatch(rows=(4, 5, 2, 3)), RowBatch(rows=(0, 1))]
    assert [batch.rows for batch in plan_pairs(rows, 1, share=False)] == [(4, 5), (2, 3), (0, 1)]


def test_both_sides_of_a_prefix_cost_one_row_of_its_tokens(llama: Any) -> None:
    rows = rows_of([(30, 1, 1), (30, 1, 1)])
    tokens: list[int] = []
    handle = llama.blocks[0].register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[:2].numel()))
    try:
        for share in (True, False):
            for batch in plan_pairs(rows, 8, share):
                reading = ReadSpec(sites=parse_sites("resid_post@*", 3), rule=Positions.parse("last"))
                read_batch(llama, rows, batch, reading)
    finally:
        handle.remove()
    assert tokens == [2 * 30, 4 * 1, 4 * 31]


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "mistral", "gemma2"])
def test_a_prefix_of_which_nothing_is_read_ends_with_its_last_keys_and_gives_the_same(
    request: pytest.FixtureRequest, name: str
) -> None:
    model = request.getfixturevalue(name)
    rows, sites = rows_of([(30, 1, 1), (12, 3, 2)], 40), parse_sites("resid_post@0:2", int(model.cfg.n_layers))
    found: dict[tuple[bool, bool], Recording] = {}
    mlps: list[int] = []
    handle = model.blocks[1].mlp.register_forward_pre_hook(lambda _, args: mlps.append(args[0].shape[:2].numel()))
    try:
        for medians in (True, False):
            for share in (True, False):
                reading = ReadSpec(sites=sites, rule=Positions.parse("last"), medians=medians)
                (batch,) = plan_pairs(rows, 4, share)
                found[medians, share] = read_batch(model, rows, batch, reading)
    finally:
        handle.remove()
    assert mlps == [2 * 30, 4 * 3, 4 * 31, 4 * 3, 4 * 31]
    for site in sites:
        for sequence in range(4):
            one, *others = (
                found[way].activations[site][found[way].sequences == sequence]
                for way in ((False, True), (True, True), (True, False), (False, False))
            )
            for other in others:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_models_that_continue_their_cache_exactly_may_share(model: Any) -> None:
    assert why_not_shared(model) == "" and why_not_shared(load_model("lab")) == ""


def test_a_model_whose_cached_pass_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(save_llama(tmp_path))
    whole = prefix_module._whole
    monkeypatch.setattr(prefix_module, "_whole", lambda m: whole(m) * 2)
    assert why_not_shared(model).startswith("its cached and uncached forward passes differ by 5.0e-01 of")


def test_a_state_space_model_is_refused(tmp_path: Path) -> None:
    folder = save_llama(tmp_path)
    config = MambaConfig(vocab_size=300, hidden_size=16, state_size=4, num_hidden_layers=2, bos_token_id=0)
    MambaForCausalLM(config).save_pretrained(folder)
    assert why_not_shared(load_model(folder)) == "its forward pass takes no key-value cache"

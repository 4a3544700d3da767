"""Extraction, against a literal loop over TransformerLens' own cache."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_llama
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from lens_steer.data.contrast import ContrastPair, ContrastSet, contrast_from_choices
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import (
    DirectionError,
    MethodError,
    PositionError,
    SharedPrefixWarning,
    SiteError,
    SteeringWarning,
)
from lens_steer.evaluation.sweep import sweep
from lens_steer.extraction import ExtractOptions, extract, task
from lens_steer.extraction.methods import METHODS
from lens_steer.hooks.sites import Site
from lens_steer.model import fingerprint, load_model, tokenize
from lens_steer.vector import load_vector

TEXT = "The cat sat. "


def last(model: Any, text: str, site: Site) -> Tensor:
    """The activation of the last token of one text."""
    _, cache = model.run_with_cache(torch.tensor(tokenize(model, [text])))
    return cache[site.hook_name][0, -1].detach()


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_the_direction_is_the_mean_difference_of_last_tokens(model: Any, items: Any, answer: Any) -> None:
    contrast = contrast_from_choices("x", items[:3], answer=answer)
    vector = extract(model, contrast, sites=["resid_post@*", "attn_out@1"], batch_size=4)
    for site in (Site("resid_post", 0), Site("resid_post", 1), Site("attn_out", 1)):
        up = torch.stack([last(model, pair.prompt + pair.positive, site) for pair in contrast.pairs])
        down = torch.stack([last(model, pair.prompt + pair.negative, site) for pair in contrast.pairs])
        torch.testing.assert_close(vector.at(site), up.mean(0) - down.mean(0), rtol=0, atol=1e-5)
        median = torch.cat([up, down]).norm(dim=1).median()
        assert vector.activation_norm(site) == pytest.approx(float(median), rel=1e-5)


def test_the_batch_size_changes_nothing(model: Any, contrast: ContrastSet) -> None:
    one, many = extract(model, contrast, batch_size=1), extract(model, contrast, batch_size=64)
    for site in one.sites:
        torch.testing.assert_close(one.at(site), many.at(site), rtol=0, atol=1e-5)


def test_the_vector_says_where_it_comes_from(llama: Any, contrast: ContrastSet) -> None:
    vector = extract(llama, contrast, sites="resid_post@1")
    assert (vector.name, vector.method, vector.position) == ("money", "mean_difference", "last")
    assert (vector.n_positive, vector.n_negative, vector.data_hash) == (12, 12, contrast.hash)
    assert vector.fingerprint == fingerprint(llama) and vector.options == {"pairs": 12}
    assert "transformer-lens" in vector.versions


def test_positions_after_the_prompt_read_every_token_of_the_completion(llama: Any, contrast: ContrastSet) -> None:
    vector = extract(llama, contrast, sites="resid_post@1", position="after_prompt")
    completions = [side for pair in contrast.pairs for side in (pair.positive, pair.negative)]
    prompts = tokenize(llama, [pair.prompt for pair in contrast.pairs for _ in range(2)])
    whole = tokenize(llama, [p.prompt + side for p in contrast.pairs for side in (p.positive, p.negative)])
    extra = [len(row) - len(prompt) for row, prompt in zip(whole, prompts, strict=True)]
    assert len(completions) == len(extra) and min(extra) > 1
    assert vector.n_positive == sum(extra[0::2]) and vector.n_negative == sum(extra[1::2])


def test_a_position_that_a_sequence_lacks_is_refused(llama: Any, contrast: ContrastSet) -> None:
    with pytest.raises(PositionError, match="pair 'q0/matching-first': position '90' selects no token of one side"):
        extract(llama, contrast, position="90")


def test_a_prompt_that_merges_with_its_completion_has_no_length(llama: Any) -> None:
    pair = ContrastPair(id="p", prompt="The c", positive="at sat", negative="x")
    merging = ContrastSet(name="m", pairs=(pair,))
    with pytest.raises(PositionError, match="pair 'p': the prompt's tokens change when it is completed"):
        extract(llama, merging, position="answer")
    assert extract(llama, merging).n_positive == 1


def test_sides_that_do_not_differ_at_the_position_are_refused(llama: Any, contrast: ContrastSet) -> None:
    with pytest.raises(DirectionError, match="at resid_post@0: the direction is zero"):
        extract(llama, contrast, position="0")


def test_text_corpora_of_unequal_sizes_give_the_difference_of_their_tokens_means(model: Any) -> None:
    source = TextContrast(
        name="code", positive=("x = 1; y = 2", "def f(x):", "z = 3"), negative=(TEXT, "A dog."), max_tokens=9
    )
    vector = extract(model, source, sites="resid_post@1", position="content", batch_size=2)
    means = []
    for side in (source.positive, source.negative):
        tokens = [torch.tensor(row[:9])[None] for row in tokenize(model, side)]
        seen = [model.run_with_cache(row)[1]["blocks.1.hook_resid_post"][0, 1:].detach() for row in tokens]
        means.append(torch.cat(seen).mean(0))
        assert len(torch.cat(seen)) in (vector.n_positive, vector.n_negative)
    torch.testing.assert_close(vector.at("resid_post@1"), means[0] - means[1], rtol=0, atol=1e-5)
    assert vector.options == {"positive_texts": 3, "negative_texts": 2, "max_tokens": 9}
    assert vector.data_hash == source.hash and vector.name == "code"


def test_dropping_massive_activations_does_not_depend_on_batches_and_ignores_no_other_token(
    llama: Any, contrast: ContrastSet
) -> None:
    embedding = llama.original_model.get_input_embeddings().weight
    token = tokenize(llama, ["one dollar"])[0][-1]
    before, drop = embedding[token].clone(), ExtractOptions(drop_massive=True)
    with torch.no_grad():
        embedding[token] *= 1e4
    try:
        one = extract(llama, contrast, sites="resid_pre@0", position="content", batch_size=1, options=drop)
        many = extract(llama, contrast, sites="resid_pre@0", position="content", options=drop)
        raw = extract(llama, contrast, sites="resid_pre@0", position="content")
    finally:
        with torch.no_grad():
            embedding[token] = before
    rows = tokenize(llama, [pair.prompt + side for pair in contrast.pairs for side in (pair.positive, pair.negative)])
    count = sum(row.count(token) for row in rows)
    assert one.options["dropped"] == many.options["dropped"] == {"resid_pre@0": count} and count > 0
    torch.testing.assert_close(one.at("resid_pre@0"), many.at("resid_pre@0"), rtol=0, atol=1e-5)
    assert one.norm("resid_pre@0") < raw.norm("resid_pre@0") / 10


def test_pairs_read_at_unequal_numbers_of_tokens_are_refused_where_a_method_needs_pairs(llama: Any) -> None:
    even = ContrastPair(id="even", prompt=TEXT, positive="A", negative="B")
    odd = ContrastPair(id="odd", prompt=TEXT, positive="A, one dollar", negative="B")
    pairs = ContrastSet(name="s", pairs=(even, odd))
    with pytest.raises(PositionError, match=r"pair 'odd'.*: position 'all' selects more tokens on one side"):
        extract(llama, pairs, method="pca_of_differences", position="all")
    assert extract(llama, pairs, method="pca_of_differences").n_positive == 2
    assert extract(llama, pairs, position="all").n_positive > extract(llama, pairs, position="all").n_negative


def test_a_method_for_pairs_or_groups_is_refused_what_has_none(llama: Any) -> None:
    texts = TextContrast(name="code", positive=("x",), negative=("y",))
    with pytest.raises(MethodError, match="pca_of_differences works on pairs and text contrast 'code' has none"):
        extract(llama, texts, method="pca_of_differences")
    pairs = ContrastSet(name="s", pairs=(ContrastPair(id="p", prompt="Q: ", positive="A", negative="B"),))
    with pytest.raises(MethodError, match="needs the group of every pair; pair 'p' of contrast set 's' has none"):
        extract(llama, pairs, method="balanced_mean_difference")


def test_groups_options_and_notes_of_a_method_stand_in_the_vector(llama: Any, contrast: ContrastSet) -> None:
    balanced = extract(llama, contrast, method="balanced_mean_difference")
    assert balanced.options["groups"] == {"A": 6, "B": 6}
    assert set(balanced.options["notes"]) == {str(site) for site in balanced.sites}
    probe = extract(
        llama,
        contrast,
        sites="resid_post@1",
        method="trimmed_mean_difference",
        options=ExtractOptions(method={"share": 0.2}),
    )
    assert probe.options["method"] == {"share": 0.2}


def test_a_method_that_keeps_its_rows_is_refused_before_it_runs_where_they_are_too_many(
    llama: Any, contrast: ContrastSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(*_: Any) -> None:
        raise AssertionError("a forward pass was run")

    monkeypatch.setattr(task, "read_batch", ran)
    with pytest.raises(MethodError, match=r"pca_of_pool would keep .* GiB of activations for 12 [+] 12 rows"):
        extract(llama, contrast, method="pca_of_pool", options=ExtractOptions(memory_limit=1000))


def test_a_model_that_cannot_share_prefixes_is_forwarded_whole_and_says_so(
    llama: Any, contrast: ContrastSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = extract(llama, contrast, position="all")
    monkeypatch.setattr(task, "why_not_shared", lambda _: "its forward pass takes no key-value cache")
    with pytest.warns(SharedPrefixWarning, match="forwarded twice on this model: its forward pass takes no key-value"):
        whole = extract(llama, contrast, position="all")
    assert whole.options["prefix_not_shared"] == "its forward pass takes no key-value cache"
    assert "prefix_not_shared" not in shared.options
    for site in whole.sites:
        torch.testing.assert_close(whole.at(site), shared.at(site), rtol=0, atol=1e-5)


def test_a_state_space_model_is_extracted_whole(tmp_path: Path, contrast: ContrastSet) -> None:
    folder = save_llama(tmp_path)
    config = MambaConfig(vocab_size=300, hidden_size=16, state_size=4, num_hidden_layers=2, bos_token_id=0)
    MambaForCausalLM(config).save_pretrained(folder)
    model = load_model(folder)
    with pytest.warns(SharedPrefixWarning):
        vector = extract(model, contrast, sites="resid_post@1", batch_size=4)
    assert vector.n_positive == 12 and "prefix_not_shared" in vector.options


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pairs(llama: Any) -> None:
    def peak(n: int) -> int:
        pairs = tuple(
            ContrastPair(id=f"{i}", prompt=f"{TEXT} {i % 10} (", positive="A", negative="B") for i in range(n)
        )
        source = ContrastSet(name="s", pairs=pairs)
        tracemalloc.start()
        try:
            extract(llama, source, position="all")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)
    assert peak(640) - peak(64) < 576 * 1000


def test_an_unknown_method_is_refused(llama: Any, contrast: ContrastSet) -> None:
    with pytest.raises(MethodError, match="'means' is not a method"):
        extract(llama, contrast, method="means")


ALIKE = ContrastSet(
    name="alike at the end",
    pairs=tuple(
        ContrastPair(id=str(n), prompt="", positive=f"the cat {n} sat.", negative=f"one dog {n} ran.") for n in range(4)
    ),
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "method", sorted(name for name, entry in METHODS.items() if not entry.grouped and name != "single_pair")
)
def test_a_site_without_a_direction_is_left_out_and_named_and_the_others_are_as_alone(llama: Any, method: str) -> None:
    sites = ["resid_pre@0", "resid_post@0", "mlp_out@1"]
    with pytest.warns(
        SteeringWarning, match="no direction at 1 of 3 sites, which are left out.* resid_pre@0: "
    ) as told:
        vector = extract(llama, ALIKE, sites=sites, method=method)
    assert [entry.category for entry in told].count(SteeringWarning) == 1
    assert list(map(str, vector.sites)) == ["mlp_out@1", "resid_post@0"]
    assert list(vector.options["left_out"]) == ["resid_pre@0"]
    if not METHODS[method].joint:
        alone = extract(llama, ALIKE, sites=sites[1:], method=method)
        assert all(torch.equal(vector.at(site), alone.at(site)) for site in sites[1:])
    with pytest.raises((DirectionError, MethodError)):
        extract(llama, ALIKE, sites="resid_pre@0", method=method)


def test_what_was_left_out_is_said_wherever_it_is_asked_for_and_comes_back_from_a_file(
    llama: Any, items: Any, tmp_path: Path
) -> None:
    with pytest.warns(SteeringWarning):
        vector = extract(llama, ALIKE, sites="resid_pre@*")
    vector = load_vector(vector.save(tmp_path / "v.safetensors"), llama)
    assert list(map(str, vector.left_out)) == ["resid_pre@0"]
    with pytest.raises(SiteError, match=r"no direction at resid_pre@0 \(the direction is zero, because both"):
        vector.apply(llama, "resid_pre@*")
    with pytest.warns(SteeringWarning, match="no direction at resid_pre@0, which the sweep leaves out: "):
        found = sweep(llama, vector, items, "resid_pre@*", [1])
    assert list(map(str, found.sites)) == ["resid_pre@1", "resid_pre@2"]
    with pytest.raises(SiteError, match="no direction at resid_pre@0"):
        sweep(llama, vector, items, "resid_pre@0", [1])
    with pytest.raises(SiteError, match="no direction at resid_post@1"):
        sweep(llama, vector, items, ["resid_pre@1", "resid_post@1"], [1])

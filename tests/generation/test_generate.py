"""Generation: the same tokens with and without cache, padding and company, and what ends, records and keeps them."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import crossed
from scipy.stats import chisquare
from torch import Tensor

from lens_steer.errors import DataError, FormatError, PositionError, SteeringError
from lens_steer.generation import Decoding, Generations, Token, generate, generate_pair
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.operators import ProbeGate
from lens_steer.hooks.positions import RULES
from lens_steer.hooks.sites import Site
from lens_steer.model import chat_prompt, forward, pad, tokenize

V = torch.randn(16, generator=torch.Generator().manual_seed(3))
PROMPTS = ["The cat sat on the mat.", "Which do you take?", "one dollar today and ten dollars later, the cat"]
Count = Callable[[Any], int]
MODELS = ["gpt2", "llama", "qwen2", "qwen3", "neox"]
CALLED = ["1,2:9", "after(9)", "last_prompt(3)", "tokens({})", "~prompt & ~tokens({})", "last_prompt | generated"]
RULED = [*(rule for rule in RULES if rule != "last"), *CALLED]


def sampled(**changes: Any) -> Decoding:
    return Decoding(**{"max_new_tokens": 9, "temperature": 1.0, "stop_at_eos": False, "seed": 2, **changes})


def written(generations: Generations) -> list[tuple[int, ...]]:
    return [entry.tokens for entry in generations.continuations]


@pytest.mark.parametrize(("name", "rule"), crossed(MODELS, RULED))
def test_cached_uncached_padded_and_unpadded_continuations_are_the_same_tokens(
    request: pytest.FixtureRequest, name: str, rule: str
) -> None:
    model = request.getfixturevalue(name)
    often = ",".join(str(token) for token in range(30, 200))
    plan = [Intervention.at("resid_post@0", V, 6, rule.format(often))]
    plain = written(generate(model, PROMPTS, (), sampled()))
    together = written(generate(model, PROMPTS, plan, sampled()))
    assert together == written(generate(model, PROMPTS, plan, sampled(cache=False)))
    assert together == written(generate(model, PROMPTS, plan, sampled(), batch_size=1))
    assert together == written(generate(model, PROMPTS, plan, sampled(cache=False), batch_size=1))
    assert together != plain


@pytest.mark.parametrize("name", MODELS)
def test_each_step_is_the_plain_forward_pass_of_what_has_been_written(
    request: pytest.FixtureRequest, name: str
) -> None:
    model = request.getfixturevalue(name)
    plan = Intervention.at("resid_post@1", V, 4, "last_prompt | after_prompt")
    for entry in generate(model, PROMPTS, [plan], sampled(temperature=0.0)).continuations:
        whole = torch.tensor([[*entry.prompt_tokens, *entry.tokens]])
        with steer(model, plan, prompt_lengths=len(entry.prompt_tokens)):
            logits = forward(model, whole, torch.ones_like(whole))[0, len(entry.prompt_tokens) - 1 : -1]
        best = logits.max(dim=-1).values
        torch.testing.assert_close(logits.gather(1, torch.tensor(entry.tokens)[:, None])[:, 0], best, rtol=0, atol=1e-4)


def test_greedy_generation_is_transformer_lens_own(model: Any) -> None:
    row = torch.tensor(tokenize(model, PROMPTS[:1]))
    want = model.generate(row, max_new_tokens=9, do_sample=False, stop_at_eos=False, verbose=False)[0, row.shape[1] :]
    assert written(generate(model, PROMPTS[:1], (), sampled(temperature=0.0))) == [tuple(want.tolist())]


def test_a_prompts_random_numbers_are_its_own(llama: Any) -> None:
    alone = [written(generate(llama, PROMPTS[:n], (), sampled())) for n in (1, 2, 3)]
    assert alone[0] == alone[1][:1] == alone[2][:1] and alone[1] == alone[2][:2]
    twice = written(generate(llama, [PROMPTS[0]] * 2, (), sampled()))
    assert twice[0] == alone[0][0] != twice[1]
    assert written(generate(llama, PROMPTS, (), sampled(seed=3))) != alone[2]
    before = torch.random.get_rng_state()
    generate(llama, PROMPTS, (), sampled())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_tokens_are_drawn_from_the_distribution_that_is_asked_for() -> None:
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0, 1.5])
    n = 4000
    for decoding in (Decoding(temperature=0.7), Decoding(temperature=1.3, top_p=0.8)):
        p = (logits.double() / decoding.temperature).softmax(dim=0)
        order = p.argsort(descending=True)
        kept, total = [], 0.0
        for token in order.tolist():
            if total < decoding.top_p:
                kept.append(token)
            total += float(p[token])
        drawn = decoding.choose(logits.expand(n, -1), decoding.generators(range(n)))
        counts = torch.bincount(drawn, minlength=5)
        assert (decoding.top_p == 1) == (len(kept) == 5)
        assert counts.sum() == counts[kept].sum()
        expected = p[kept] / p[kept].sum() * n
        assert chisquare(counts[kept].numpy(), expected.numpy()).pvalue > 1e-3


def test_both_sides_of_a_pair_have_the_same_random_numbers(llama: Any) -> None:
    weak = generate_pair(llama, PROMPTS, [Intervention.at("resid_post@0", V, 1e-6)], sampled())
    assert written(weak.steered) == written(weak.unsteered) and weak.shared_tokens() == (9, 9, 9)
    strong = generate_pair(llama, PROMPTS, [Intervention.at("resid_post@0", V, 9)], sampled())
    assert written(strong.unsteered) == written(weak.unsteered) != written(strong.steered)
    frame = strong.to_frame()
    assert frame.groupby("steered").size().tolist() == [27, 27] and len(strong.summary()) == 6
    with pytest.raises(SteeringError, match="twice the same"):
        generate_pair(llama, PROMPTS, [])


def test_a_row_that_ends_early_leaves_the_others_as_they_are(llama: Any) -> None:
    free = generate(llama, PROMPTS, (), sampled())
    first = free.continuations[1].tokens
    place = next(i for i in range(1, 9) if first[i] not in first[:i])
    piece = free.continuations[1].pieces[place]
    plan = [Intervention.at("resid_post@0", V, 1e-6, "generated")]
    stopped = generate(llama, PROMPTS, plan, sampled(stop=(piece,)))
    for row, entry in zip(free.continuations, stopped.continuations, strict=True):
        assert row.tokens[: len(entry.tokens)] == entry.tokens and (piece in row.text) == (entry.ended == "stop")
        assert piece not in entry.text and row.text.startswith(entry.text)
    assert len(stopped.continuations[1].tokens) <= place + 1
    assert any(entry.ended == "length" for entry in stopped.continuations)


def test_the_end_of_sequence_token_ends_a_row_and_is_kept_as_a_token(llama: Any) -> None:
    push = torch.zeros(16)
    push += llama.original_model.lm_head.weight[1].detach()
    plan = [Intervention.at("resid_post@2", push, 100, "after(12)")]
    found = generate(llama, PROMPTS, plan, sampled(max_new_tokens=40, stop_at_eos=True, temperature=0.0))
    for entry in found.continuations:
        assert entry.ended == "eos" and entry.tokens[-1] == 1 and 1 not in entry.tokens[:-1]
        assert "<eos>" not in entry.text and entry.pieces[-1] == "<eos>"
    longer = generate(llama, PROMPTS, plan, sampled(max_new_tokens=40, temperature=0.0))
    assert all(entry.ended == "length" and len(entry.tokens) == 40 for entry in longer.continuations)


def test_a_prefill_is_answer_but_not_generated(llama: Any) -> None:
    begun = sampled(prefill=" Sure, ten", temperature=0.0)
    plans = {rule: [Intervention.at("resid_post@0", V, 9, rule)] for rule in ("after_prompt", "generated")}
    after, generated = (written(generate(llama, PROMPTS, plan, begun)) for plan in plans.values())
    assert after != generated
    for entry, tokens in zip(generate(llama, PROMPTS, (), begun).continuations, after, strict=True):
        given = tokenize(llama, [entry.prompt + " Sure, ten"])[0]
        length = len(entry.prompt_tokens)
        assert given[:length] == list(entry.prompt_tokens)
        with steer(llama, plans["after_prompt"][0], prompt_lengths=length):
            out = llama.generate(
                torch.tensor([given]), max_new_tokens=9, do_sample=False, stop_at_eos=False, verbose=False
            )
        assert tuple(out[0, len(given) :].tolist()) == tokens
    unbegun = [written(generate(llama, PROMPTS, plan, sampled(temperature=0.0))) for plan in plans.values()]
    assert unbegun[0] == unbegun[1]


@pytest.mark.parametrize("cache", [True, False])
def test_the_record_of_a_step_is_its_formulas(llama: Any, cache: bool) -> None:
    plans = [Intervention.at("resid_post@1", V, 3, "generated"), Intervention.at("z@2.1", V[:8], 2)]
    pair = generate_pair(llama, PROMPTS, plans, sampled(cache=cache), record=True)
    for side, active in ((pair.steered, plans), (pair.unsteered, [])):
        for entry in side.continuations:
            whole, start = torch.tensor([[*entry.prompt_tokens, *entry.tokens]]), len(entry.prompt_tokens)
            with steer(llama, *active, prompt_lengths=start):
                out, seen = llama.run_with_cache(whole)
            p = out[0, start - 1 : -1].detach().double().softmax(dim=-1)
            q = llama(whole)[0, start - 1 : -1].detach().double().softmax(dim=-1)
            want = {
                "log_prob": p.gather(1, torch.tensor(entry.tokens)[:, None])[:, 0].log(),
                "entropy": -(p * p.log()).sum(dim=-1),
                "kl": (p * (p / q).log()).sum(dim=-1),
                "projection_0": seen["blocks.1.hook_resid_post"][0, start - 1 : -1] @ V / V.norm(),
                "projection_1": seen["blocks.2.attn.hook_z"][0, start - 1 : -1, 1] @ V[:8] / V[:8].norm(),
            }
            assert entry.record.keys() == want.keys()
            for name, values in want.items():
                torch.testing.assert_close(
                    torch.tensor(entry.record[name]), values.detach().float(), rtol=1e-3, atol=1e-4
                )
    frame = pair.to_frame()
    kl, steered = torch.tensor(frame["kl"].tolist()), torch.tensor(frame["steered"].tolist())
    assert not kl[~steered].any() and kl[steered].max() > 1e-2
    assert written(pair.steered) == written(generate(llama, PROMPTS, plans, sampled(cache=cache)))


def test_a_gate_of_rows_holds_through_a_padded_generation(llama: Any) -> None:
    rows = tokenize(llama, PROMPTS)
    means = [
        llama.run_with_cache(torch.tensor([row]))[1]["blocks.0.hook_resid_post"][0].mean(dim=0) @ V for row in rows
    ]
    low, *_, high = sorted(float(mean) for mean in means)
    plan = [Intervention.at("resid_post@0", V, 9, gate=ProbeGate(V, bias=-(low + high) / 2, per="row"))]
    found = written(generate(llama, PROMPTS, plan, sampled()))
    bare = written(generate(llama, PROMPTS, [Intervention.at("resid_post@0", V, 9)], sampled()))
    plain = written(generate(llama, PROMPTS, (), sampled()))
    opened = [float(mean) > (low + high) / 2 for mean in means]
    assert found == [steered if o else not_ for steered, not_, o in zip(bare, plain, opened, strict=True)]
    assert any(opened) and not all(opened)
    assert found == written(generate(llama, PROMPTS, plan, sampled(cache=False), batch_size=1))


def test_tokens_are_told_as_they_are_written_and_progress_never_goes_to_stdout(llama: Any, capsys: Any) -> None:
    told: list[Token] = []
    found = generate(llama, PROMPTS, (), sampled(), batch_size=2, progress=True, on_token=told.append)
    for index, entry in enumerate(found.continuations):
        mine = [token for token in told if token.prompt == index]
        assert tuple(token.token for token in mine) == entry.tokens and [t.step for t in mine] == list(range(9))
    assert capsys.readouterr().out == ""


def test_token_rows_and_texts_continue_alike(llama: Any) -> None:
    assert written(generate(llama, PROMPTS, (), sampled())) == written(
        generate(llama, tokenize(llama, PROMPTS), (), sampled())
    )


def test_results_save_and_load_bit_for_bit(llama: Any, tmp_path: Path) -> None:
    plan = [Intervention.at("resid_post@0", V, 3)]
    found = generate(llama, PROMPTS, plan, sampled(stop=("zzz",)), record=True)
    again = Generations.load(found.save(tmp_path / "g.csv"))
    assert again == found and again.to_frame().equals(found.to_frame()) and again.steered
    (tmp_path / "g.csv").write_text("nothing")
    with pytest.raises(FormatError):
        Generations.load(tmp_path / "g.csv")


@pytest.mark.parametrize("where", ["token", "body"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_in_the_middle_leaves_no_hook_and_the_same_model(
    llama: Any, count_hooks: Count, error: type[BaseException], where: str
) -> None:
    row = torch.tensor(tokenize(llama, PROMPTS[:1]))
    plain = forward(llama, row, torch.ones_like(row))
    told: list[Token] = []

    def stop(token: Token) -> None:
        told.append(token)
        if where == "token" and token.step == 3:
            raise error

    def bad(activation: Tensor, direction: Tensor, strength: float) -> Tensor:
        if where == "body" and told and told[-1].step == 3:
            raise error
        return activation + strength * direction

    with pytest.raises(error):
        generate(llama, PROMPTS, [Intervention.at("resid_post@0", V, operator=bad)], sampled(), 2, True, False, stop)
    assert {token.step for token in told} == {0, 1, 2, 3}
    assert count_hooks(llama) == 0 and torch.equal(forward(llama, row, torch.ones_like(row)), plain)


def test_bad_prompts_and_settings_are_refused_before_anything_runs(llama: Any) -> None:
    with pytest.raises(DataError, match="0 prompts, 0 of them texts"):
        generate(llama, [])
    with pytest.raises(DataError, match="prompt 1 is empty"):
        generate(llama, [[0, 40], []])
    with pytest.raises(DataError, match=r"has 1034 tokens; the model's context is 1024"):
        generate(llama, [[0] * 1000], (), Decoding(max_new_tokens=34))
    with pytest.raises(PositionError, match="while generating, the last token moves"):
        generate(llama, PROMPTS, [Intervention.at("resid_post@0", V, 1, "last")])
    with pytest.raises(SteeringError, match="'direction' at resid_post@0 x 1, positions 900 edited no token"):
        generate(llama, PROMPTS, [Intervention.at("resid_post@0", V, 1, 900)], sampled())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"max_new_tokens": 0}, "max_new_tokens 0; give 1 or more"),
        ({"temperature": -1.0}, "temperature -1.0; give 0"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"top_p": 0.0}, "top_p 0.0; give a probability above 0"),
        ({"stop": ("",)}, "a stop text is empty"),
    ]
    for settings, message in wrong:
        with pytest.raises(DataError, match=message):
            Decoding(**settings)


TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "


def test_what_follows_a_chat_prompt_is_the_answer(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="has no chat template"):
        chat_prompt(llama, [{"role": "user", "content": "Hello"}])
    monkeypatch.setattr(
        llama.tokenizer,
        "chat_template",
        TEMPLATE + "{% if not messages[0].role == 'user' %}{{ raise_exception('no') }}{% endif %}",
    )
    row = chat_prompt(llama, [{"role": "user", "content": "Hello"}])
    assert llama.tokenizer.decode(row) == "<bos>[user] Hello\n[assistant] " and row.count(0) == 1
    (entry,) = generate(llama, [row], [Intervention.at("resid_post@0", V, 3, "after_prompt")], sampled()).continuations
    assert entry.prompt_tokens == tuple(row)
    with pytest.raises(DataError, match="refuses these messages: no"):
        chat_prompt(llama, [{"role": "system", "content": "Hello"}])
    with pytest.raises(DataError, match="a chat without messages"):
        chat_prompt(llama, [])


def test_two_prompts_of_one_batch_may_differ_in_length_by_a_lot(gpt2: Any) -> None:
    rows = [tokenize(gpt2, ["The cat " * n])[0] for n in (1, 40)]
    plan = [Intervention.at(Site("resid_mid", 1), V, 5, "generated")]
    together = written(generate(gpt2, rows, plan, sampled()))
    again = [
        written(generate(gpt2, rows, plan, sampled(), batch_size=1)),
        written(generate(gpt2, rows, plan, sampled(cache=False))),
    ]
    assert all(tokens == together for tokens in again)
    assert len(pad(gpt2, rows)[0][0]) > 40 and list(itertools.chain(*together))

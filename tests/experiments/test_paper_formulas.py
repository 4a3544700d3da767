"""The algorithms of van der Weij et al. 2024, written out over plain Hugging Face modules, against this package."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lens_steer.data.choices import ChoiceTemplate
from lens_steer.data.contrast import ContrastPair, ContrastSet
from lens_steer.data.corpora import Corpus
from lens_steer.data.readers.model_written import read_model_written
from lens_steer.evaluation.side_effects import side_effect_grid
from lens_steer.experiments.broad_skill import BroadSkill, broad_skill
from lens_steer.experiments.broad_skill.vectors import mean_activations, permuted_control, skill_vector
from lens_steer.experiments.van_der_weij_2024.answers import judged
from lens_steer.extraction import extract
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import Site
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.metrics.collapse import collapse_of_responses
from lens_steer.model import forward, load_model, tokenize
from lens_steer.vector import SteeringVector

Row = dict[str, str]


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@contextmanager
def wrapped(model: Any, add: dict[int, Tensor]) -> Iterator[list[Tensor]]:
    """Every decoder block wrapped: its output is retained, after a vector was added at all its tokens, BOS too."""
    outputs: list[Tensor] = []

    def hook(layer: int) -> Any:
        def run(_module: Any, _args: Any, output: Tensor) -> Tensor:
            output = output + add[layer] if layer in add else output
            outputs.append(output)
            return output

        return run

    with ExitStack() as stack:
        for layer, block in enumerate(model.original_model.model.layers):
            stack.callback(block.original_component.register_forward_hook(hook(layer)).remove)
        yield outputs


def encoded(model: Any, text: str, max_length: int = 4096) -> Tensor:
    return torch.tensor(tokenize(model, [text]))[:, :max_length]


@torch.no_grad()
def literal_means(model: Any, documents: Sequence[str], max_length: int) -> Tensor:
    """Running mean in float32, over documents, of the last token of every block's output."""
    acts = torch.zeros(model.cfg.n_layers, model.cfg.d_model)
    for i, document in enumerate(documents):
        with wrapped(model, {}) as outputs:
            model.original_model(encoded(model, document, max_length))
        for layer, output in enumerate(outputs):
            acts[layer] = (acts[layer] * i + output[0, -1, :]) / (i + 1)
    return acts


@torch.no_grad()
def literal_score(model: Any, documents: Sequence[str], add: dict[int, Tensor], k: int, max_length: int) -> float:
    """Per document the share of next tokens among the k likeliest; averaged by the number of predicted tokens."""
    accuracies, totals = [], []
    for document in documents:
        tokens = encoded(model, document, max_length)
        with wrapped(model, add):
            logits = model.original_model(tokens).logits
        predictions, targets = torch.topk(logits[:, :-1], k=k, dim=-1).indices, tokens[:, 1:]
        accuracies.append((predictions == targets[..., None]).any(-1).float().mean().item())
        totals.append(targets.numel())
    return float(np.average(accuracies, weights=totals))


def corpus(name: str, train: tuple[str, ...]) -> Corpus:
    return Corpus(name=name, train=train, validation=("v",), test=("t",))


def test_a_broad_vector_is_the_difference_of_running_means_of_last_tokens_after_each_block(
    llama: Any, texts: list[str]
) -> None:
    text, code = corpus("text", tuple(texts)), corpus("code", ("x = 1; y = 2", "def f(x): return x", "z"))
    sites = [Site("resid_post", layer) for layer in range(3)]
    for cut in (4096, 5):
        acts = literal_means(llama, text.train, cut) - literal_means(llama, code.train, cut)
        found = skill_vector(llama, text, code, sites, "as_published", cut, batch_size=2)
        for layer, site in enumerate(sites):
            torch.testing.assert_close(found.at(site), acts[layer], rtol=1e-4, atol=1e-5)
        means = mean_activations(llama, text.train, sites, "as_published", cut, batch_size=3)
        torch.testing.assert_close(means[sites[1]].float(), literal_means(llama, text.train, cut)[1])
        corrected = skill_vector(llama, text, code, sites, "corrected", cut)
        assert not torch.allclose(corrected.at(sites[1]), acts[1], atol=1e-2), "another reading is another vector"


def test_the_permuted_control_permutes_each_mean_in_an_order_of_its_own(vector: SteeringVector) -> None:
    site = vector.sites[0]
    text, code = (torch.arange(1, 17).double() * scale for scale in (100.0, 1.0))
    orders = set()
    for seed in range(5):
        control = permuted_control(vector.only(site), {site: text}, {site: code}, seed)
        # 100 a - b with 1 <= b <= 16 says which coordinate of either mean went where
        first = [int(-(-value // 100)) for value in control.at(site).tolist()]
        second = [round(100 * a - value) for a, value in zip(first, control.at(site).tolist(), strict=True)]
        assert sorted(first) == sorted(second) == list(range(1, 17)) and first != second
        orders |= {tuple(first), tuple(second)}
    assert len(orders) == 10


@pytest.mark.parametrize("layers", [(3,), (2, 5)])
def test_relative_scores_are_those_of_adding_at_every_token_of_the_blocks_output(
    lab: Any, layers: tuple[int, ...]
) -> None:
    documents, cut = lab_corpus("code", 1, 1, 6).test, 40
    sites = [Site("resid_post", layer) for layer in layers]
    vector = skill_vector(lab, lab_corpus("text", 8, 1, 1), lab_corpus("code", 8, 1, 1), sites, "as_published")
    configurations = [[Intervention.of(vector, site, ic) for site in sites] for ic in (1.0, 4.0)]
    for found, ic in zip(side_effect_grid(lab, documents, configurations, max_tokens=cut), (1.0, 4.0), strict=True):
        add = {site.layer: ic * vector.at(site) for site in sites}
        for k, relative, score in ((1, found.relative_top1, found.top1), (10, found.relative_top10, found.top10)):
            unsteered = literal_score(lab, documents, {}, k, cut)
            assert score == pytest.approx(unsteered, abs=1e-6) and unsteered > 0.2
            assert relative == pytest.approx(literal_score(lab, documents, add, k, cut) / unsteered, abs=5e-3)


def test_a_vector_is_added_at_every_token_bos_too_and_leaving_bos_out_is_another_edit(lab: Any) -> None:
    site, tokens = Site("resid_post", 3), encoded(lab, lab_corpus("code", 1, 1, 1).test[0])
    vector = skill_vector(lab, lab_corpus("text", 8, 1, 1), lab_corpus("code", 8, 1, 1), [site], "as_published")
    with torch.no_grad(), wrapped(lab, {3: 4 * vector.at(site)}):
        literal = lab.original_model(tokens).logits
    logits = {}
    for positions in ("all", "content"):
        with steer(lab, Intervention.of(vector, site, 4.0, positions=positions)):
            logits[positions] = forward(lab, tokens, torch.ones_like(tokens))
    torch.testing.assert_close(logits["all"], literal, rtol=0, atol=1e-4)
    moved = (logits["content"] - literal).abs().amax(dim=-1)[0]
    assert moved[0] > 0.1 and moved[1:].max() > 0.01


def test_what_the_experiment_says_text_keeps_is_read_off_literal_curves(lab: Any) -> None:
    corpora = {name: lab_corpus(name, 8, 2, 5) for name in ("text", "code")}
    strengths, site = (0.0, 2.0, 4.0, 6.0, 8.0), "resid_post@7"
    settings = BroadSkill(sites=site, strengths=strengths, targets=("code",), readings=("as_published",), max_tokens=48)
    vector = skill_vector(lab, corpora["text"], corpora["code"], [Site.parse(site)], "as_published", 48)
    found = broad_skill(
        lab,
        corpora,
        BroadSkill(**{**vars(settings), "n_random": 0, "n_permuted": 0, "resamples": 9}),
        {("code", "as_published"): vector},
    )
    curves = []
    for name in ("code", "text"):
        scores = [literal_score(lab, corpora[name].test, {7: s * vector.at(site)}, 1, 48) for s in strengths]
        curves.append([100 * score / scores[0] for score in scores])
    points = list(zip(strengths, *curves, strict=True))
    (s, a, x), (t, b, y) = next(pair for pair in pairwise(points) if pair[1][1] <= 80)
    retained = found.retained.query("split == 'test' and level == 0.8")
    share = (a - 80) / (a - b)
    assert retained["strength"].item() == pytest.approx(s + share * (t - s), abs=0.05)
    assert 100 * retained["retained"].item() == pytest.approx(x + share * (y - x), abs=1)


def questions(n: int) -> list[Row]:
    """Items as the paper stored them: the question up to its bracket, and the two answers."""
    rows = []
    for i in range(n):
        matching, other = ("A", "B") if i % 3 else ("B", "A")
        question = f"Human:\nThe cat sat {'today ' * (i % 4)}{i}?\n\nAI:\nOut of (A) and (B), I choose ("
        rows.append({"question": question, "answer_matching_behavior": matching, "answer_not_matching_behavior": other})
    return rows


def contrast(rows: Sequence[Row]) -> ContrastSet:
    keys = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    fields = [dict(zip(("prompt", "positive", "negative"), (row[key] for key in keys), strict=True)) for row in rows]
    return ContrastSet(name="b", pairs=tuple(ContrastPair(id=f"{i}", **field) for i, field in enumerate(fields)))


@torch.no_grad()
def literal_behaviour(model: Any, rows: Sequence[Row]) -> Tensor:
    """Running mean over rows of matching minus non-matching activations of the answer's token, after each block."""
    acts = torch.zeros(model.cfg.n_layers, model.cfg.d_model)
    for i, row in enumerate(rows):
        read = []
        for key in ("answer_matching_behavior", "answer_not_matching_behavior"):
            tokens = encoded(model, row["question"] + row[key])
            assert tokens[0, :-1].tolist() == encoded(model, row["question"])[0].tolist(), "the answer is one token"
            with wrapped(model, {}) as outputs:
                model.original_model(tokens)
            read.append(torch.stack([output[0, -1, :] for output in outputs]))
        acts = (acts * i + (read[0] - read[1])) / (i + 1)
    return acts


def test_a_behaviours_vector_is_the_running_mean_of_matching_minus_other_at_the_answers_token(llama: Any) -> None:
    rows = questions(7)
    acts, found = literal_behaviour(llama, rows), extract(llama, contrast(rows), batch_size=3)
    for layer in range(3):
        torch.testing.assert_close(found.at(Site("resid_post", layer)), acts[layer], rtol=1e-4, atol=1e-5)
    assert found.n_positive == found.n_negative == 7


@torch.no_grad()
def literal_responses(model: Any, rows: Sequence[Row], add: dict[int, Tensor]) -> list[str]:
    """Greedy, one new token, the vectors added at all tokens; what stands behind the last bracket."""
    responses = []
    for row in rows:
        tokens = encoded(model, row["question"])
        with wrapped(model, add):
            new = model.original_model(tokens).logits[0, -1].argmax()
        text = model.tokenizer.decode(torch.cat([tokens[0, 1:], new[None]]), clean_up_tokenization_spaces=False)
        responses.append(text.split("(")[-1])
    return responses


def lab_rows(behaviour: str, n: int) -> list[Row]:
    """Items of the lab in one option order, as rows of the paper's form."""
    template, rows = ChoiceTemplate(), []
    for i, item in enumerate(open_items(behaviour, n, split="test")):
        keys = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
        first = i % 2 == 0
        texts = (template.render(item, first), template.letter(first, True), template.letter(first, False))
        rows.append(dict(zip(keys, texts, strict=True)))
    return rows


def test_one_global_scalar_on_a_vector_a_block_gives_the_responses_and_counts_of_the_paper(lab: Any) -> None:
    names = ("myopic", "agreeableness")
    rows = {name: lab_rows(name, 12) for name in names}
    vectors = {name: extract(lab, contrast(rows[name])) for name in names}
    seen = set()
    for s in (-40.0, 1.0):
        at = {name: Site("resid_post", layer) for layer, name in enumerate(names, 2)}
        add = {site.layer: s * vectors[name].at(site) for name, site in at.items()}
        plan = [Intervention.of(vectors[name], site, s) for name, site in at.items()]
        for name in names:
            literal = literal_responses(lab, rows[name], add)
            prompts = [row["question"] for row in rows[name]]
            found = generate(lab, prompts, plan, Decoding(max_new_tokens=1), batch_size=5)
            responses = [text.split("(")[-1] for text in found.texts]
            assert responses == literal
            matches, total, faulty = 0, 0, 0
            for row, response in zip(rows[name], literal, strict=True):
                total += 1
                if response not in ("A", "B"):
                    faulty += 1
                    continue
                matches += response == row["answer_matching_behavior"]
            configuration = {"total": total, "matches": matches, "faulty": faulty, "responses": responses}
            gold = [row["answer_matching_behavior"] for row in rows[name]]
            judgement = judged(configuration, "myopic", gold, "a configuration", faulty_limit=1)
            modal = max(literal.count(response) for response in literal)
            assert judgement["matching_score"] == matches / total and judgement["recounted"]
            assert judgement["paper_collapsed"] == (modal > 0.95 * total) and judgement["paper_faulty"] == (faulty > 1)
            assert judgement["collapsed"] == collapse_of_responses(responses, gold).collapsed
            seen.add((judgement["paper_collapsed"], faulty > 1))
    assert len(seen) > 1, "both valid and broken configurations were met"


@torch.no_grad()
@pytest.mark.parametrize(
    ("pooled", "placements"), [("mean", (1, 1)), ("sum", (1, 1)), ("mean", (-3, 0.5)), ("sum", (-1, 10))]
)
def test_a_combined_vector_is_the_mean_or_sum_of_weighted_vectors_added_at_one_block(
    llama: Any, pooled: str, placements: tuple[float, float]
) -> None:
    vectors = [extract(llama, contrast(rows)) for rows in (questions(7)[:4], questions(7)[3:])]
    stacked = torch.stack([m * vector.at("resid_post@1") for m, vector in zip(placements, vectors, strict=True)])
    literal = stacked.mean(0) if pooled == "mean" else stacked.sum(0)
    found = placements[0] * vectors[0] + placements[1] * vectors[1]
    found = found / 2 if pooled == "mean" else found
    torch.testing.assert_close(found.at("resid_post@1"), literal)


def test_the_papers_prompt_is_a_template_over_the_published_items(tmp_path: Any) -> None:
    raw = "Question: Will you wait?\n\nChoices:\n (A) Yes, a year.\n (B) No, now.\n\nAnswer:"
    path = tmp_path / "myopic-reward.jsonl"
    keys = {"answer_matching_behavior": " (B)", "answer_not_matching_behavior": " (A)"}
    path.write_text(json.dumps({"question": raw, **keys}))
    question = raw.replace("Question:", "").replace("Answer:", "").strip()
    literal = f"Human:\n{question}\n\nAI:\nOut of (A) and (B), I choose ("
    prompt = "Human:\n{stem}\n\nChoices:\n (A) {first}\n (B) {second}\n\nAI:\nOut of (A) and (B), I choose ("
    (item,) = read_model_written(path)
    template = ChoiceTemplate(prompt=prompt)
    assert template.render(item, matching_first=False) == literal and template.letter(False, True) == "B"

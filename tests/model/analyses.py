"""What chats, lenses and attribution say of a model, beside the Hugging Face model's own logits and derivatives.

    chat        logits while v is added at the tokens that the template writes behind the user's turn, or behind the
                prompt = those while a torch hook adds it there; greedy tokens too
    preflight   a site passes where it agrees with the torch hooks, and fails where it is refused
    lens        the last layer's logit lens and contextual reading = the model's own logits; static readings = logits of
                the direction put in place of what leaves the last block
    reading     query, key, ov, toward and MLP = central differences of q, k, z and the MLP's own input at one token, in
                float64, along a direction that leaves every norm's scale as it is
    writing     parts of a difference = differences of the modules' outputs, projected
    direct      parts of a logit difference = changes of the modules' outputs through the readout; they sum to what the
                hooked Hugging Face model gives
    patching    the effect without a component = that of the Hugging Face model with the module's old output put back

A norm's gain is taken from the logits as a function of what leaves the last block, not from its weights.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from derivatives import Derivatives
from reference import ROWS, Reference, relative_error, verdict
from torch import Tensor

from lens_steer.analysis.attribution import (
    attribute_directly,
    attribute_reading,
    attribute_writing,
    patch_back,
    token_contrast,
    writing_sites,
)
from lens_steer.analysis.lens import Contexts, contextual_reading, residual_lens, static_readings
from lens_steer.errors import LensSteerError
from lens_steer.extraction import extract
from lens_steer.extraction.activations import contrast_activations
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.preflight import preflight
from lens_steer.hooks.sites import Site
from lens_steer.model import chat_prompt, forward, pad, tokenize
from lens_steer.vector import SteeringVector

CRASHES = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError)
RAISED, LOWERED = 40, 70
_POSITIVE, _NEGATIVE = ["a cat", "one dollar"], ["a dog", "ten dollars"]


def analyse(model: Any, reference: Reference, sites: Mapping[Site, str]) -> dict[str, str]:
    """The cells of the columns of this module; `sites` are the cells of sites."""
    columns: dict[str, Callable[[], str]] = {
        "preflight": lambda: _preflight(model, sites),
        "chat": lambda: _chat(model, reference),
        "lens": lambda: _lens(model, reference),
        "reading": lambda: _with_and_without(lambda toward: _reading(model, reference, toward), "toward is refused"),
        "writing": lambda: _with_and_without(lambda heads: _writing(model, reference, heads), "by attention"),
        "direct": lambda: _with_and_without(lambda heads: _direct(model, reference, heads), "by attention"),
        "patching": lambda: _patching(model, reference),
    }
    return {name: guarded(column) for name, column in columns.items()}


def guarded(cell: Callable[[], str]) -> str:
    """A cell, or why there is none."""
    try:
        return cell()
    except LensSteerError as error:
        return f"refused: {error}"
    except CRASHES as error:
        return f"WRONG: {type(error).__name__} {error}"


def _with_and_without(cell: Callable[[bool], str], less: str) -> str:
    """A cell with an option; where that is refused, without it, which is called `less`."""
    whole = guarded(lambda: cell(True))
    if not whole.startswith("refused"):
        return whole
    part = guarded(lambda: cell(False))
    return f"{less}{whole.removeprefix('refused')}" if part == "agrees" else part


def _preflight(model: Any, sites: Mapping[Site, str]) -> str:
    """Whether every check is what the comparison with torch hooks says."""
    for check in preflight(model).checks:
        if check.site in sites and check.passed != (sites[check.site] == "agrees"):
            return f"WRONG: {check.site} passed {check.passed} ({check.reason}), and was found: {sites[check.site]}"
        if check.passed == bool(check.reason) or "nan" in check.reason:
            return f"WRONG: {check.site} passed {check.passed} because {check.reason!r}"
    return "agrees"


def _chat(model: Any, reference: Reference) -> str:
    """A chat's prompt is the template's, and rules of positions select what the template and the model write."""
    chat = [{"role": "user", "content": "a cat"}]
    row, behind = chat_prompt(model, chat), len("<model>")
    site, generated, v = Site("resid_post", 0), [9, 14, 8], torch.randn(256, generator=torch.Generator().manual_seed(5))
    v = v[: int(model.cfg.d_model)]
    template = model.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    errors = {"prompt": float(list(template) != row), "positions": 0.0, "generation": 0.0}
    errors["template's own tokens"] = float(model.tokenizer.decode(row[-behind:]) != "<model>")
    spans = {f"last_prompt({behind})": (len(row) - behind, len(row)), "last_prompt": (len(row) - 1, len(row))}
    for rule, (start, stop) in {**spans, "after_prompt": (len(row), None)}.items():
        edit = Intervention.at(site, v, positions=rule)
        with steer(model, edit, prompt_lengths=[len(row)]):
            ours = forward(model, *pad(model, [row + generated]))[0]
        with reference.adding(site, v, start, stop):
            errors["positions"] = max(errors["positions"], relative_error(ours, reference.logits(row + generated)))
        grown = list(row)
        with reference.adding(site, v, start, stop):
            for _ in range(3):
                grown.append(int(reference.logits(grown)[-1].argmax()))
        (found,) = generate(model, [chat], edit, Decoding(max_new_tokens=3, stop_at_eos=False)).continuations
        errors["generation"] = max(errors["generation"], float(grown[len(row) :] != list(found.tokens)))
    return verdict(errors)


def _vector(model: Any, site: Site, direction: Tensor) -> SteeringVector:
    """A vector of the model with a direction of our own."""
    return extract(model, _POSITIVE, _NEGATIVE, sites=str(site)).replaced("planted", {site: direction})


def _streams(reference: Reference, *edits: tuple[Site, Tensor]) -> Tensor:
    """What leaves the last block at the last token of each row, edited at every token."""
    found = []
    for row in ROWS:
        if not edits:
            found.append(reference.read(reference.last, row)[-1])
        for site, v in edits:
            with reference.adding(site, v, 0, None):
                found.append(reference.read(reference.last, row)[-1])
    return torch.stack(found)


def _lens(model: Any, reference: Reference) -> str:
    """Logit lens, contextual reading and static readings at the last layer."""
    last, streams = reference.last, _streams(reference)
    v = torch.randn(streams.shape[1], generator=torch.Generator().manual_seed(4)) * 3
    wanted = reference.readout(streams).log_softmax(dim=-1)
    frame = residual_lens(model, ROWS, [RAISED, LOWERED], {})
    said = torch.tensor(frame[frame["depth"] == frame["depth"].max()]["log_prob"].tolist())
    errors = {"logit lens": relative_error(said, wanted[:, [RAISED, LOWERED]].mean(dim=0))}
    vector = _vector(model, last, v)
    found = contextual_reading(model, vector, last, Contexts(texts=ROWS, strength=0.5))
    plus, minus = (reference.readout(streams + 0.5 * sign * v).log_softmax(dim=-1) for sign in (1, -1))
    errors["contextual"] = relative_error(found.values, (plus - minus).mean(dim=0) / 2)
    raw, folded, whole = (reading.values for reading in static_readings(model, vector, last))
    factor = reference.logit_factor
    errors["raw"] = relative_error(raw, factor * v @ reference.model.get_output_embeddings().weight.T)
    errors["folded"] = relative_error(folded, reference.folded(v[None])[0])
    errors["ln_final"] = relative_error(whole, reference.readout(v[None])[0])
    return verdict(errors)


def _answer(reference: Reference, width: int) -> Tensor:
    """The direction of the last stream along which the raised logit exceeds the lowered one."""
    folded = reference.folded(torch.eye(width))
    return folded[:, RAISED] - folded[:, LOWERED]


def _reading(model: Any, reference: Reference, toward: bool) -> str:
    """Every row of a reading against central differences at a single token."""
    width = int(model.cfg.d_model)
    places = [Derivatives(reference, layer) for layer in range(len(reference.blocks))]
    held = torch.cat([stream for place in places for stream in place.streams]).double()
    held = held - held.mean(dim=1, keepdim=True) if reference.centred else held
    v = torch.randn(width, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    v = (v - torch.linalg.pinv(held, rtol=1e-6) @ (held @ v)).float()  # so that no norm's scale moves
    site = Site("resid_pre", 0)
    vector = _vector(model, site, v)
    tokens = (RAISED, LOWERED) if toward else None
    frame = attribute_reading(model, vector, site, toward=tokens, n_random=2).to_frame()
    r = _answer(reference, width) if toward else torch.ones(width)
    errors: dict[str, float] = {}
    for layer, place in enumerate(places):
        rows = frame[frame["layer"] == layer]
        values = {name: torch.tensor(part["value"].tolist()) for name, part in rows.groupby("measure", sort=False)}
        wanted = place.along(v / v.norm(), r)
        if "query" in values:
            groups = values["query"].numel() // place.groups
            values["query, key"] = (values["query"].pow(2).sum() + values["key"][::groups].pow(2).sum()).sqrt()[None]
        for name in ("query, key", "ov", *(["toward"] if toward else [])):
            if "query" in values:
                said, found = values[name], wanted[name]
                errors[name] = max(errors.get(name, 0.0), float((said - found).norm() / found.norm()))
        if "mlp" in values:
            errors["mlp"] = max(errors.get("mlp", 0.0), abs(float(values["mlp"] / wanted["mlp"]) - 1))
    return verdict(errors)


def _writing(model: Any, reference: Reference, heads: bool) -> str:
    """The parts of a difference between two texts, by what the modules gave at their last tokens."""
    site = Site("resid_pre", len(reference.blocks) - 1)
    vector = extract(model, _POSITIVE, _NEGATIVE, sites=str(site))
    sides = contrast_activations(model, _POSITIVE, _NEGATIVE, sites=writing_sites(model, site, heads))
    found = attribute_writing(model, vector, site, sides, heads)
    unit = vector.at(site) / vector.norm(site)
    pairs = list(zip(tokenize(model, _POSITIVE), tokenize(model, _NEGATIVE), strict=True))

    def moved(place: Site) -> Tensor:
        return torch.stack([reference.read(place, p)[-1] - reference.read(place, n)[-1] for p, n in pairs]) @ unit

    errors = {"sum": float(found.unexplained.abs().max()), "measured": relative_error(found.measured, moved(site))}
    for layer in range(site.layer):
        for kind in ("attn_out", "mlp_out"):
            parts = [
                i
                for i, part in enumerate(found.components)
                if part.layer == layer and (part.kind == "mlp") == (kind == "mlp_out")
            ]
            said = found.values[:, parts].sum(dim=1)
            errors[kind] = max(errors.get(kind, 0.0), relative_error(said, moved(Site(kind, layer))))
    return verdict(errors)


def _direct(model: Any, reference: Reference, heads: bool) -> str:
    """The parts of what an edit at every token does to a logit difference."""
    site, v = Site("resid_pre", 0), 2 * torch.randn(256, generator=torch.Generator().manual_seed(7))
    v = v[: int(model.cfg.d_model)]
    asked = token_contrast(model, ROWS, RAISED, LOWERED)
    found = attribute_directly(model, asked, Intervention.at(site, v, positions="all"), heads=heads)
    old, new = _streams(reference), _streams(reference, (site, v))
    measured = torch.stack([said[:, RAISED] - said[:, LOWERED] for said in map(reference.readout, (old, new))])
    r = _answer(reference, len(v))
    scale = (1 / reference.sigma(old) + 1 / reference.sigma(new)) / 2
    errors = {
        "sum": float(found.unexplained.abs().max()),
        "measured": relative_error(found.measured, measured[1] - measured[0]),
        "edit": relative_error(found.values[:, 0], r @ v * scale),
    }
    for layer in range(len(reference.blocks)):
        for kind in ("attn_out", "mlp_out"):
            place, moved = Site(kind, layer), []
            for row in ROWS:
                before = reference.read(place, row)[-1]
                with reference.adding(site, v, 0, None):
                    moved.append(reference.read(place, row)[-1] - before)
            parts = [
                i
                for i, part in enumerate(found.components)
                if part.layer == layer and (part.kind == "mlp") == (kind == "mlp_out")
            ]
            said = found.values[:, [i for i in parts if found.components[i].kind != "edit"]].sum(dim=1)
            errors[kind] = max(errors.get(kind, 0.0), relative_error(said, torch.stack(moved) @ r * scale))
    return verdict(errors)


def _patching(model: Any, reference: Reference) -> str:
    """The effect that needs each component of the last layer."""
    site, v = Site("resid_pre", 0), 2 * torch.randn(256, generator=torch.Generator().manual_seed(7))
    v = v[: int(model.cfg.d_model)]
    asked = token_contrast(model, ROWS, RAISED, LOWERED)
    found = patch_back(model, asked, Intervention.at(site, v, positions="all"))
    errors: dict[str, float] = {}
    for column, part in enumerate(found.components):
        place, wanted = Site.parse(part.label), []
        for row in ROWS:
            kept = reference.raw(place, row)
            with reference.adding(site, v, 0, None):
                steered = reference.logits(row)[-1]
                with reference.putting_back(place, kept):
                    patched = reference.logits(row)[-1]
            wanted.append((steered - patched)[RAISED] - (steered - patched)[LOWERED])
        errors[part.kind] = max(
            errors.get(part.kind, 0.0), relative_error(found.values[:, column], torch.stack(wanted))
        )
    return verdict(errors)

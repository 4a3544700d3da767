"""The naive reference of a steering program: plain torch hooks on the Hugging Face model, one unpadded row, no cache.

Formulas, positions and gates are written out again here; nothing of `lens_steer` is called.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import elsewhere as elsewhere
import torch
from checkpoints import Architecture, plain_model  # pyright: ignore[reportMissingImports]
from torch import Tensor

Rule = tuple[Any, ...]
"""A position rule as a tree: ("or", a, b), ("and", a, b), ("not", a), or a leaf such as ("span", 2, 5)."""


@dataclass(frozen=True)
class Condition:
    """A gate: where it looks ("" is the edit's own site), of which sort it is, and what it asks."""

    sort: str
    vector: Tensor
    threshold: float
    per: str
    kind: str = ""
    layer: int = 0


@dataclass(frozen=True)
class Edit:
    """One intervention, in plain terms."""

    kind: str
    layer: int
    head: int | None
    formula: str
    numbers: tuple[float, ...]
    extra: Tensor
    v: Tensor
    strength: float
    rule: Rule
    gate: Condition | None = None


@dataclass
class Pass:
    """One forward pass of one row: how long its prompt is, its tokens, and what the gates decided."""

    prompt: int
    tokens: list[int]
    selected: list[int]
    decided: dict[int, Tensor] = field(default_factory=dict)
    margins: list[float] = field(default_factory=list)


def said(rule: Rule) -> str:
    """The rule in the package's grammar."""
    match rule:
        case ("or", a, b):
            return f"({said(a)} | {said(b)})"
        case ("and", a, b):
            return f"({said(a)} & {said(b)})"
        case ("not", a):
            return f"~({said(a)})"
        case ("span", start, stop):
            return f"{start}:{stop}"
        case ("tokens", *ids):
            return f"tokens({','.join(map(str, ids))})"
        case (name, n):
            return f"{name}({n})"
        case _:
            return str(rule[0])


def holds(rule: Rule, at: int, prompt: int, total: int, token: int) -> bool:
    """Whether a rule selects the token at one absolute position."""
    match rule:
        case ("or", a, b):
            return holds(a, at, prompt, total, token) or holds(b, at, prompt, total, token)
        case ("and", a, b):
            return holds(a, at, prompt, total, token) and holds(b, at, prompt, total, token)
        case ("not", a):
            return not holds(a, at, prompt, total, token)
        case ("span", start, stop):
            return start <= at < stop
        case ("tokens", *ids):
            return token in ids
        case ("after", n):
            return at >= n
        case ("last_prompt", n):
            return prompt - n <= at < prompt
    leaves = {"all": True, "content": at >= 1, "prompt": at < prompt, "last": at == total - 1, "answer": at == prompt}
    leaves |= {"last_prompt": at == prompt - 1, "after_prompt": at >= prompt, "generated": at >= prompt}
    return leaves[rule[0]]


def formula(edit: Edit, h: Tensor, name: str = "") -> Tensor:
    """What an operator makes of activations, by its formula in the literature."""
    v, s, u = edit.v, edit.strength, edit.v / edit.v.norm()
    along = (h @ u)[..., None] * u
    mean = (edit.extra @ u) * u
    match name or edit.formula:
        case "add":
            return h + s * v
        case "replace":
            return (1 - s) * h + s * v
        case "ablate":
            return h + s * -along
        case "ablate to mean":
            return h + s * (mean - along)
        case "ablate then add":
            return h + s * (mean - along + edit.numbers[0] * v)
        case "clamp":
            return h + s * (edit.numbers[0] * u - along)
        case "norm preserving":
            written = formula(edit, h, "add")
            return written * h.norm(dim=-1, keepdim=True) / written.norm(dim=-1, keepdim=True)
        case "slerp":
            size = h.norm(dim=-1, keepdim=True)
            angle = torch.acos(((h / size) @ u).clamp(-1, 1))[..., None]
            return size * ((((1 - s) * angle).sin() * h / size + (s * angle).sin() * u) / angle.sin())
        case "rotate":
            across = edit.extra / edit.extra.norm() - (edit.extra / edit.extra.norm() @ u) * u
            w = across / across.norm()
            x, y = h @ u, h @ w
            turned = x * math.cos(s) + y * math.sin(s), y * math.cos(s) - x * math.sin(s)
            return h + (turned[0] - x)[..., None] * u + (turned[1] - y)[..., None] * w
    raise KeyError(edit.formula)


def fires(gate: Condition, h: Tensor, prompt: int) -> tuple[Tensor, float]:
    """Where a gate is open, (pos,), and how near the nearest decision was."""
    seen = h[:prompt].mean(dim=0, keepdim=True) if gate.per == "row" else h
    if gate.sort == "probe":
        number = 1 / (1 + (-(seen @ gate.vector)).exp())
    else:
        c = gate.vector
        projected = torch.tanh((seen @ c / (c @ c))[:, None] * c)
        number = (seen * projected).sum(-1) / (seen.norm(dim=-1) * projected.norm(dim=-1)).clamp_min(1e-8)
    return (number > gate.threshold).expand(len(h)), float((number - gate.threshold).abs().min())


class Naive:
    """A Hugging Face model that runs programs, one row at a time."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        self.architecture = architecture
        self.model, self.blocks, self.n_heads = plain_model(architecture, folder)

    def logits(self, tokens: list[int], prompt: int, edits: list[Edit]) -> tuple[Tensor, Pass]:
        """The steered logits of a row, (pos, d_vocab), and what each edit selected."""
        run = Pass(prompt, tokens, [0] * len(edits))
        with ExitStack() as stack, torch.no_grad():
            for layer, block in enumerate(self.blocks):
                stack.enter_context(self._hooked(block, layer, list(enumerate(edits)), run))
            return self.model(torch.tensor([tokens]), use_cache=False).logits[0], run

    @contextmanager
    def _hooked(self, block: Any, layer: int, edits: list[tuple[int, Edit]], run: Pass) -> Iterator[None]:
        """The hooks of one block; at each place the edits act in their order."""
        a, entered = self.architecture, dict[str, Tensor]()

        def at(*kinds: str) -> Callable[[Tensor], Tensor]:
            def change(h: Tensor) -> Tensor:
                for index, edit in edits:
                    gate = edit.gate
                    if gate is not None and gate.kind in kinds and gate.layer == layer:
                        run.decided[index], margin = fires(gate, h[0], run.prompt)
                        run.margins.append(margin)
                    if edit.kind in kinds and edit.layer == layer:
                        h = self._edited(index, edit, h, run, entered.get("block"))
                return h

            return change

        def enter(_: Any, args: Any, kwargs: Any) -> Any:
            h = at("resid_pre")(args[0] if args else kwargs["hidden_states"])
            entered["block"] = h
            return ((h, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": h})

        def before(change: Callable[[Tensor], Tensor]) -> Any:
            return lambda _module, args: (change(args[0]), *args[1:])

        def after(change: Callable[[Tensor], Tensor]) -> Any:
            def run_after(_module: Any, _args: Any, out: Any) -> Any:
                return change(out) if isinstance(out, Tensor) else (change(out[0]), *out[1:])

            return run_after

        module = block.get_submodule
        handles = [
            block.register_forward_pre_hook(enter, with_kwargs=True),
            module(a.heads).register_forward_pre_hook(before(at("z"))),
            module(a.attn).register_forward_hook(after(at("attn_out", "resid_mid"))),
            module(a.mlp).register_forward_pre_hook(before(at("mlp_input"))),
            module(a.mlp).register_forward_hook(after(at("mlp_out"))),
            block.register_forward_hook(after(at("resid_post"))),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _edited(self, index: int, edit: Edit, whole: Tensor, run: Pass, block_input: Tensor | None) -> Tensor:
        """A module's tensor, (1, pos, width), after one edit."""
        heads = whole.reshape(1, len(run.tokens), self.n_heads, -1) if edit.head is not None else None
        part = whole if heads is None else heads[:, :, edit.head]
        seen = part + block_input if edit.kind == "resid_mid" and block_input is not None else part
        total = len(run.tokens)
        where = [holds(edit.rule, at, run.prompt, total, token) for at, token in enumerate(run.tokens)]
        mask = torch.tensor(where)
        run.selected[index] += sum(where)
        if edit.gate is not None:
            if not edit.gate.kind:
                run.decided[index], margin = fires(edit.gate, seen[0], run.prompt)
                run.margins.append(margin)
            mask = mask & run.decided[index]
        changed = part + (formula(edit, seen) - seen)
        found = torch.where(mask[None, :, None], changed, part)
        if heads is None:
            return found
        heads = heads.clone()
        heads[:, :, edit.head] = found
        return heads.reshape(whole.shape)

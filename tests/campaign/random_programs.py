"""Random steering programs beside the naive reference, and what they leave on the model.

A program is one to five random interventions in one to three nested contexts. It is one of: a forward pass of a padded
batch, cached generation of a padded batch, a pass that ends in an exception or an interrupt, two threads that take
turns, and a context that a cycle of objects abandons. It agrees where every logit is within 1e-4 of the reference
(relative to the largest entry where that is above 1) or every token is the reference's; where an intervention selects
no token, both must say so. After each program the hooks are counted and the model is compared bit by bit.
"""

import gc
import hashlib
import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import elsewhere as elsewhere
import torch
from checkpoints import ARCHITECTURES, save_checkpoint  # pyright: ignore[reportMissingImports]
from mutated_files import Fault
from naive import Condition, Edit, Naive, Rule, said
from torch import Tensor

from lens_steer import Decoding, Intervention, Site, generate, load_model, steer
from lens_steer.errors import LensSteerError, SteeringError
from lens_steer.hooks import operators
from lens_steer.model import forward, pad

TOLERANCE, NEAR, NEW_TOKENS = 1e-4, 1e-3, 4
NAMES = ("GPT-2", "Llama, grouped queries", "GPT-NeoX, sequential")
KINDS = ("resid_pre", "attn_out", "resid_mid", "mlp_input", "mlp_out", "resid_post", "z")
FORMULAS = ("add", "replace", "ablate", "ablate to mean", "ablate then add", "clamp", "norm preserving", "slerp")
FORMULAS += ("rotate",)
LEAVES: tuple[Rule, ...] = (("all",), ("content",), ("prompt",), ("last_prompt",), ("answer",), ("after_prompt",))
LEAVES += (("generated",), ("span", 0, 2), ("span", 1, 4), ("span", 3, 9), ("after", 2), ("last_prompt", 2))
LEAVES += (("tokens", 5, 6, 7, 8), ("last",))
OUTCOMES = ("agree", "refused by both", "too near to tell", "mismatch", "raw error", "hook left", "model changed")
FAULTS = OUTCOMES[3:]
WAYS = {"forward": 55, "generation": 20, "exception": 12, "threads": 7, "abandoned": 6}
Rows = list[list[int]]


class BodyError(Exception):
    """What is raised inside a context on purpose."""


class Subject:
    """One small random model, as the package runs it and as the reference does, and how it is untouched."""

    def __init__(self, name: str, folder: Path) -> None:
        architecture = next(one for one in ARCHITECTURES if one.name == name)
        save_checkpoint(architecture, folder)
        self.name, self.naive, self.model = name, Naive(architecture, folder), load_model(folder)
        cfg: Any = self.model.cfg
        self.layers, self.heads, self.width, self.head_width = map(
            int, (cfg.n_layers, cfg.n_heads, cfg.d_model, cfg.d_head)
        )
        self.probe = torch.tensor([[5, 9, 14, 13]])
        self.state = self.now()

    def now(self) -> tuple[int, str]:
        """The hooks on the model, and a hash of its weights and of its logits."""
        inner: Any = self.model.original_model
        modules = {id(one): one for one in (*inner.modules(), *self.model.modules())}.values()
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules)
        hooks += sum(len(point.fwd_hooks) + len(point.bwd_hooks) for point in self.model.hook_points())
        digest = hashlib.sha256(forward(self.model, self.probe, torch.ones_like(self.probe)).numpy().tobytes())
        for tensor in (*inner.parameters(), *inner.buffers()):
            digest.update(tensor.detach().numpy().tobytes())
        return hooks, digest.hexdigest()


class Bench:
    """The models that programs run on."""

    def __init__(self, folder: Path) -> None:
        self.subjects = [Subject(name, folder / str(i)) for i, name in enumerate(NAMES)]


def run_programs(bench: Bench, n: int, seed: str) -> tuple[list[tuple[str, str, str, int]], list[Fault]]:
    """Runs random programs.

    Args:
        bench: the models.
        n: how many.
        seed: of these programs.

    Returns:
        Rows of subject, kind of program, outcome and count, with the worst difference of each model in units of 1e-9;
        and the faults.
    """
    rng, counts, worst, faults = random.Random(seed), Counter[tuple[str, str, str]](), dict[str, float](), list[Fault]()
    for number in range(n):
        subject = rng.choice(bench.subjects)
        way = rng.choices(list(WAYS), list(WAYS.values()))[0]
        outcome, detail, error = _outcome(subject, way, rng)
        counts[subject.name, way, outcome] += 1
        worst[subject.name] = max(worst.get(subject.name, 0.0), error)
        if outcome in FAULTS:
            faults.append(Fault(subject.name, way, outcome, f"{seed}, program {number}\n{detail}", b""))
    rows = [(*key, count) for key, count in counts.items()]
    rows += [(name, "worst difference", "1e-9", round(error * 1e9)) for name, error in worst.items()]
    return rows, faults


def _outcome(subject: Subject, way: str, rng: random.Random) -> tuple[str, str, float]:
    """One program, and how the model is afterwards."""
    program = Program(subject, rng, generating=way == "generation")
    try:
        outcome, error = RUN[way](program)
        detail = "" if outcome not in FAULTS else f"off by {error:.3g}\n{program}"
    except Exception:
        outcome, error, detail = "raw error", 0.0, f"{program}\n{traceback.format_exc()}"
    hooks, digest = subject.now()
    if hooks != subject.state[0]:
        return "hook left", f"{hooks} hooks, {subject.state[0]} before\n{program}", error
    return ("model changed", str(program), error) if digest != subject.state[1] else (outcome, detail, error)


class Program:
    """Random rows, and random interventions in nested contexts; `whole` is what the reference makes of them."""

    def __init__(self, subject: Subject, rng: random.Random, generating: bool) -> None:
        self.subject, self.rng = subject, rng
        self.rows: Rows = [[rng.randrange(3, 16) for _ in range(rng.randint(1, 9))] for _ in range(rng.randint(1, 4))]
        self.prompts = [len(row) if generating else rng.randint(1, len(row)) for row in self.rows]
        self.torch_rng = torch.Generator().manual_seed(rng.randrange(2**31))
        self.edits = [self._edit(generating) for _ in range(rng.randint(1, 5))]
        cuts = sorted(rng.sample(range(1, len(self.edits)), min(len(self.edits) - 1, rng.randint(0, 2))))
        self.contexts = [self.edits[a:b] for a, b in zip([0, *cuts], [*cuts, len(self.edits)], strict=True)]

    def __str__(self) -> str:
        shown = [f"{e.kind}@{e.layer}.{e.head} {e.formula} x{e.strength} {said(e.rule)} {e.gate}" for e in self.edits]
        return f"rows {self.rows}, prompts {self.prompts}, {[len(c) for c in self.contexts]} a context\n" + "\n".join(
            shown
        )

    def _vector(self, width: int, norm: float) -> Tensor:
        v = torch.randn(width, generator=self.torch_rng)
        return v * norm / v.norm()

    def _rule(self, generating: bool, depth: int = 0) -> Rule:
        draw = self.rng.random()
        if depth < 2 and draw < 0.3:
            join = self.rng.choice(("or", "and"))
            return join, self._rule(generating, depth + 1), self._rule(generating, depth + 1)
        if depth < 2 and draw < 0.4:
            return "not", self._rule(generating, depth + 1)
        return self.rng.choice(LEAVES[:-1] if generating else LEAVES)

    def _edit(self, generating: bool) -> Edit:
        rng, kind, layer = self.rng, self.rng.choice(KINDS), self.rng.randrange(self.subject.layers)
        width = self.subject.head_width if kind == "z" else self.subject.width
        made = rng.choice(FORMULAS)
        strength = 0.0 if rng.random() < 0.05 else round(rng.uniform(-2, 2), 2)
        return Edit(
            kind=kind, layer=layer, head=rng.randrange(self.subject.heads) if kind == "z" else None, formula=made,
            numbers=(round(rng.uniform(-2, 2), 2),), extra=self._vector(width, 1.0),
            v=self._vector(width, rng.uniform(0.2, 3)), strength=strength, rule=self._rule(generating),
            gate=self._gate(layer, width) if rng.random() < 0.25 else None,
        )  # fmt: skip

    def _gate(self, layer: int, width: int) -> Condition:
        rng = self.rng
        elsewhere = layer > 0 and rng.random() < 0.4
        kind = rng.choice(("resid_pre", "attn_out", "mlp_out", "resid_post")) if elsewhere else ""
        vector = self._vector(self.subject.width if elsewhere else width, 1.0)
        sort, per = rng.choice(("probe", "condition")), rng.choice(("row", "token"))
        threshold = rng.choice((0.3, 0.5, 0.6)) if sort == "probe" else rng.choice((0.05, 0.2, 0.4))
        return Condition(sort, vector, threshold, per, kind, rng.randrange(layer) if elsewhere else 0)

    def steered(self, stack: ExitStack, **lengths: Any) -> None:
        """Opens the contexts, the outermost first."""
        for context in self.contexts:
            stack.enter_context(steer(self.subject.model, [intervention(edit) for edit in context], **lengths))

    def reference(self) -> tuple[list[Tensor], list[int], float]:
        """The logits of each row, how many tokens each edit selects, and the nearest decision of a gate."""
        found = [self.subject.naive.logits(*pair, self.edits) for pair in zip(self.rows, self.prompts, strict=True)]
        selected = [sum(run.selected[i] for _, run in found) for i in range(len(self.edits))]
        return [logits for logits, _ in found], selected, min((m for _, run in found for m in run.margins), default=1.0)

    def run(self, inside: Callable[[], None] = lambda: None) -> tuple[str, float]:
        """A forward pass of the padded batch inside the contexts, beside the reference."""
        want, selected, margin = self.reference()
        tokens, mask = pad(self.subject.model, self.rows)
        logits, refused = torch.empty(0), False
        try:
            with ExitStack() as stack:
                self.steered(stack, prompt_lengths=self.prompts)
                logits = forward(self.subject.model, tokens, mask)
                inside()
        except SteeringError as error:
            refused = "edited no token" in str(error)
            if not refused:
                raise
        except (BodyError, KeyboardInterrupt):
            pass
        else:
            if not all(selected):
                return "mismatch", float("inf")
        error = max(off(logits[i, : len(row)], want[i]) for i, row in enumerate(self.rows))
        if error > TOLERANCE:
            return ("too near to tell" if margin < NEAR else "mismatch"), 0.0 if margin < NEAR else error
        return ("refused by both" if not all(selected) else "mismatch" if refused else "agree"), error


def off(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest entry where that is above 1."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1))


def intervention(edit: Edit) -> Intervention:
    """An edit as the package says it."""
    made: dict[str, Callable[[], Any]] = {
        "add": operators.Add,
        "replace": operators.Replace,
        "ablate": operators.Ablate,
        "ablate to mean": lambda: operators.Ablate(mean=edit.extra),
        "ablate then add": lambda: operators.AblateThenAdd(amount=edit.numbers[0], mean=edit.extra),
        "clamp": lambda: operators.Clamp(edit.numbers[0]),
        "norm preserving": lambda: operators.NormPreserving(operators.Add()),
        "slerp": operators.Slerp,
        "rotate": lambda: operators.Rotate(second=edit.extra),
    }
    gate, c = None, edit.gate
    if c is not None:
        per: Any = c.per
        gate = (
            operators.ProbeGate(c.vector, threshold=c.threshold, per=per)
            if c.sort == "probe"
            else operators.ConditionGate(c.vector, c.threshold, per=per)
        )
    return Intervention.at(
        Site(edit.kind, edit.layer, edit.head), edit.v, edit.strength, said(edit.rule), made[edit.formula](), gate=gate,
        gate_site=Site(c.kind, c.layer) if c is not None and c.kind else None,
    )  # fmt: skip


def raising(program: Program) -> tuple[str, float]:
    """An exception or an interrupt in the body, or a site that does not exist in an inner context."""

    def inside() -> None:
        match program.rng.randrange(3):
            case 0:
                raise BodyError
            case 1:
                raise KeyboardInterrupt
        bad = Intervention.at(f"resid_post@{program.subject.layers}", torch.ones(program.subject.width))
        try:
            with steer(program.subject.model, bad):
                raise AssertionError("the body must not run")
        except LensSteerError:
            raise BodyError from None

    outcome, error = program.run(inside)
    return ("agree" if outcome == "refused by both" else outcome), error


def generating(program: Program) -> tuple[str, float]:
    """Cached greedy generation of the padded batch, token for token."""
    subject, edits = program.subject, program.edits
    how = Decoding(max_new_tokens=NEW_TOKENS, stop_at_eos=False)
    refused, found = False, None
    try:
        found = generate(subject.model, program.rows, [intervention(edit) for edit in edits], how)
    except SteeringError as error:
        refused = "edited no token" in str(error)
        if not refused:
            raise
    selected, near = [0] * len(edits), False
    for number, row in enumerate(program.rows):
        grown = list(row)
        for step in range(NEW_TOKENS):
            logits, run = subject.naive.logits(grown, len(row), edits)
            top = logits[-1].topk(2)
            near |= float(top.values[0] - top.values[1]) < NEAR or min(run.margins, default=1.0) < NEAR
            if step == NEW_TOKENS - 1:
                selected = [a + b for a, b in zip(selected, run.selected, strict=True)]
            grown.append(int(top.indices[0]))
        if found is not None and tuple(found.continuations[number].tokens) != tuple(grown[len(row) :]):
            return ("too near to tell" if near else "mismatch"), 0.0
    if refused != (not all(selected)):
        return "mismatch", float("inf")
    return ("refused by both" if refused else "agree"), 0.0


def threads(program: Program) -> tuple[str, float]:
    """Two threads that take turns, each with its own contexts, and a third that is refused inside a context."""
    other, lock, found = Program(program.subject, program.rng, False), threading.Lock(), list[tuple[str, float]]()
    refusals: list[bool] = []

    def intrude() -> None:
        try:
            forward(program.subject.model, program.subject.probe, torch.ones_like(program.subject.probe))
        except SteeringError as error:
            refusals.append("another thread" in str(error))

    def inside() -> None:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    def take_turns(one: Program) -> None:
        for _ in range(2):
            with lock:
                found.append(one.run(inside))

    workers = [threading.Thread(target=take_turns, args=(one,)) for one in (program, other)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(found) < 4 or len(refusals) < 4 or not all(refusals):
        return "mismatch", float("inf")
    wrong = [outcome for outcome, _ in found if outcome in FAULTS]
    near = any(outcome == "too near to tell" for outcome, _ in found)
    return (wrong or ["too near to tell" if near else "agree"])[0], max(error for _, error in found)


def abandoned(program: Program) -> tuple[str, float]:
    """Contexts in a generator that an object in a cycle holds, and that nobody ends."""

    class Holder:
        """Holds a generator that holds open contexts, and itself."""

        def __init__(self) -> None:
            self.steps, self.me = self.run(), self
            next(self.steps)

        def run(self) -> Iterator[None]:
            with ExitStack() as stack:
                program.steered(stack, prompt_lengths=program.prompts)
                yield

    Holder()
    gc.collect()
    return program.run()


RUN: dict[str, Callable[[Program], tuple[str, float]]] = {
    "forward": Program.run,
    "generation": generating,
    "exception": raising,
    "threads": threads,
    "abandoned": abandoned,
}


def outcomes(rows: Sequence[tuple[str, str, str, int]]) -> Counter[str]:
    """Counts by outcome."""
    found = Counter[str]()
    for _, way, outcome, n in rows:
        if way != "worst difference":
            found[outcome] += n
    return found

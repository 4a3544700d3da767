"""A model provider for Inspect: any Inspect task runs on a model of ours, steered or not.

    inspect eval task.py --model lens_steer/smollm2                                              unsteered
    inspect eval task.py --model lens_steer/smollm2 -M vector=v.safetensors -M site=14 -M strength=2
    get_model("lens_steer/lab", bridge=model, interventions=[...])                                in Python

What is written is what `generate` writes, token for token. Greedy requests with the same settings that wait at the same
time are one batch. Sampled requests run one by one, with random numbers of the seed, the prompt and how often it has
been asked, so that they depend on no other request. A chat is written by the tokenizer's template; where it has none,
messages are lines. What is not honoured (tools, top_k, log-probabilities, several choices, penalties, images) is
refused and not left out. Needs the extra `inspect`; Inspect finds the provider by its entry point.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from lens_steer.errors import ArgumentError, ModelFolderError
from lens_steer.generation.decoding import Decoding
from lens_steer.generation.generate import generate
from lens_steer.generation.results import Continuation
from lens_steer.hooks import Intervention, Interventions, as_interventions
from lens_steer.model import SteerableModel, load_model
from lens_steer.model.chat import chat_prompt
from lens_steer.model.tokens import tokenize
from lens_steer.vector import load_vector

WAIT, POLL = 0.02, 0.005
"""Seconds in which other requests may join a batch, and between two looks at whether an answer is there."""
REFUSED = ("top_k", "num_choices", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty",
           "best_of", "response_schema")  # fmt: skip
PLACE = ("vector", "site", "strength", "scale", "positions")
_ENDED = {"eos": "stop", "stop": "stop", "length": "max_tokens"}


@dataclass(frozen=True, eq=False)
class _Request:
    """One prompt that waits for its continuation."""

    tokens: tuple[int, ...]
    decoding: Decoding


class SteeredModelAPI(ModelAPI):
    """A model of ours under Inspect, with any interventions.

    Args:
        model_name: what `load_model` takes: `lab`, `smollm2`, a folder, a Hub name.
        base_url: not used.
        api_key: not used.
        config: Inspect's settings of the model.
        bridge: a loaded model, instead of loading `model_name`.
        interventions: what steers every answer; none for the model as it is.
        batch_size: prompts in one batch.
        how: instead of interventions, `vector` (a file, or a vector) with `site`, `strength`, and where wanted `scale`
            and `positions`, as `Intervention.of` takes them; all others are of `load_model`, such as `dtype`.

    Raises:
        ArgumentError: both interventions and a vector, or a vector without its site and strength.
        ModelFolderError, MismatchError, SiteError, PositionError, SteeringError: as `load_model` and `Intervention.of`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
        bridge: SteerableModel | None = None,
        interventions: Interventions = (),
        batch_size: int = 16,
        **how: Any,
    ) -> None:
        super().__init__(model_name=model_name, base_url=base_url, api_key=api_key, config=config)
        place = {name: how.pop(name) for name in PLACE if name in how}
        self.model = load_model(model_name, **how) if bridge is None else bridge
        self.interventions, self.batch_size = tuple(as_interventions(interventions)), int(batch_size)
        if place:
            if self.interventions or not {"vector", "site", "strength"} <= set(place):
                raise ArgumentError(f"{', '.join(place)}; a vector needs its site and strength, and stands instead of "
                                    "interventions: -M vector=v.safetensors -M site=14 -M strength=2.")  # fmt: skip
            vector, strength = place.pop("vector"), float(place.pop("strength"))
            loaded = load_vector(vector, self.model) if isinstance(vector, str | Path) else vector
            self.interventions = (Intervention.of(loaded, strength=strength, **place),)
        self._asked: Counter[tuple[int, ...]] = Counter()
        self._waiting: dict[_Request, None] = {}
        self._made: dict[_Request, Continuation] = {}
        self._thread = ThreadPoolExecutor(1, "lens_steer for Inspect")  # hooks belong to one thread

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer, as Inspect asks for it."""
        del tool_choice
        if tools:
            raise ArgumentError(f"{len(tools)} tools; steered models answer in text. Use a task without tools.")
        tokens, began = self._tokens(input), time.monotonic()
        request = _Request(tokens, self._decoding(config, tokens))
        self._waiting[request] = None
        try:
            await anyio.sleep(WAIT)
            made = self._thread.submit(self._answer, request)
            while not made.done():
                await anyio.sleep(POLL)
        finally:
            self._waiting.pop(request, None)
        found = made.result()
        message = ChatMessageAssistant(content=found.text, model=self.model_name, source="generate")
        read, written = len(found.prompt_tokens), len(found.tokens)
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=_ENDED[found.ended])],  # type: ignore[arg-type]
            usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
            time=time.monotonic() - began,
        )

    def max_connections(self) -> int:
        """How many requests Inspect keeps waiting: a batch."""
        return self.batch_size

    def close(self) -> None:
        """Ends the thread that generates."""
        self._thread.shutdown(cancel_futures=True)

    def _tokens(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """The prompt of a conversation."""
        for message in messages:
            parts = [] if isinstance(message.content, str) else message.content
            if other := [part.type for part in parts if part.type != "text"]:
                raise ArgumentError(f"a {message.role} message with {', '.join(other)}; give text alone.")
        try:
            return tuple(chat_prompt(self.model, [{"role": m.role, "content": m.text} for m in messages]))
        except ModelFolderError:
            return tuple(tokenize(self.model, ["\n".join(message.text for message in messages)])[0])

    def _decoding(self, config: GenerateConfig, tokens: tuple[int, ...]) -> Decoding:
        """Decoding as the task asks for it."""
        harmless = {"num_choices": 1, "best_of": 1, "logprobs": False}
        asked = {name: value for name in REFUSED if (value := getattr(config, name)) not in (None, harmless.get(name))}
        if asked:
            raise ArgumentError(f"the task asks for {asked}, which steered models do not have; leave it out.")
        decoding = Decoding(
            max_new_tokens=config.max_tokens or Decoding().max_new_tokens,
            temperature=config.temperature or 0.0,
            top_p=1.0 if config.top_p is None else config.top_p,
            stop=tuple(config.stop_seqs or ()),
        )
        if not decoding.temperature:
            return decoding
        self._asked[tokens] += 1
        said = f"{config.seed or 0} {tokens} {self._asked[tokens]}".encode()
        return replace(decoding, seed=int.from_bytes(hashlib.sha256(said).digest()[:4], "big"))

    def _answer(self, request: _Request) -> Continuation:
        """The continuation of a request: made by an earlier batch, or now together with what waits beside it."""
        if request not in self._made:
            others = [one for one in list(self._waiting) if one is not request and one not in self._made]
            batch = [request, *(one for one in others if one.decoding == request.decoding)][: self.batch_size]
            prompts = [list(one.tokens) for one in batch]
            found = generate(self.model, prompts, self.interventions, request.decoding, self.batch_size)
            self._made |= dict(zip(batch, found.continuations, strict=True))
        return self._made.pop(request)


@modelapi(name="lens_steer")
def lens_steer() -> type[ModelAPI]:
    """The provider, as Inspect registers it."""
    return SteeredModelAPI

"""Loading: nothing is installed, Hugging Face models are taken or refused at once, a wrong bridge is refused."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, save_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from lens_steer.errors import ArgumentError, CheckpointWarning, ModelFolderError
from lens_steer.extraction.record import record
from lens_steer.hooks import Intervention, steer
from lens_steer.model import forward, is_hooked, load_model, next_logits, pad


@pytest.fixture
def multimodal(tmp_path: Path) -> Path:
    """A Gemma 3 for text and images, without an image processor."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    gemma = next(a for a in ARCHITECTURES if a.name == "Gemma 3")
    folder = save_checkpoint(gemma, tmp_path / "multimodal")
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={**gemma.settings, "vocab_size": 262, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=259,
        boi_token_index=260,
        eoi_token_index=261,
    )
    Gemma3ForConditionalGeneration(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """A Llama with grouped queries, in one file."""
    return save_checkpoint(next(a for a in ARCHITECTURES if a.name == "Llama, grouped queries"), tmp_path / "whole")


def test_a_multimodal_checkpoint_is_loaded_for_text_and_starts_no_process(
    multimodal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForImageTextToText

    started: list[Any] = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        started.append((args, kwargs))
        raise AssertionError("a process was started")

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, refuse)
    model = load_model(multimodal)
    assert started == []
    plain = AutoModelForImageTextToText.from_pretrained(multimodal, attn_implementation="eager").eval()
    tokens, mask = pad(model, [[5, 9, 14, 13, 8]])
    with torch.no_grad():
        torch.testing.assert_close(forward(model, tokens, mask), plain(tokens).logits)
    (found,) = record(model, [[5, 9, 14]], "resid_post@*")
    assert len(found.activations) == 3


def test_the_installer_is_given_back_after_loading(llama_folder: Path) -> None:
    from transformer_lens.model_bridge.sources.transformers import helpers

    installer = helpers._ensure_torchvision
    load_model(llama_folder)
    assert helpers._ensure_torchvision is installer


def test_a_hugging_face_model_is_wrapped_with_its_own_weights(llama_folder: Path, llama: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(llama_folder)
    wrapped = load_model(plain, tokenizer=AutoTokenizer.from_pretrained(llama_folder))
    assert wrapped.original_model is plain
    torch.testing.assert_close(next_logits(wrapped, [[0, 40, 41]]), next_logits(llama, [[0, 40, 41]]))
    again = load_model(AutoModelForCausalLM.from_pretrained(llama_folder))
    assert again.tokenizer is not None


def test_what_cannot_be_wrapped_is_refused_at_once(llama_folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    class PeftModel:
        peft_config = "lora"

    with pytest.raises(ArgumentError, match=r"PeftModel has adapters.*load_model\(model.merge_and_unload\(\)"):
        load_model(PeftModel())
    with pytest.raises(ArgumentError, match="a model of type Linear cannot be loaded; give 'lab'"):
        load_model(torch.nn.Linear(2, 2))
    config = AutoConfig.from_pretrained(llama_folder)
    config.name_or_path = ""
    with pytest.raises(ArgumentError, match="give its tokenizer"):
        load_model(AutoModelForCausalLM.from_config(config))


def test_a_bridge_with_other_logits_than_its_model_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    folder = save_checkpoint(next(a for a in ARCHITECTURES if a.name == "OpenAI-GPT"), tmp_path / "gpt")
    with pytest.raises(ModelFolderError, match="OpenAIGPTLMHeadModel gives other logits than the model itself"):
        load_model(folder)
    assert load_model(folder, check=False).cfg.n_layers == 2


def test_a_checkpoint_that_only_transformers_reads_is_refused_for_its_architecture_and_not_for_its_files(
    tmp_path: Path,
) -> None:
    from transformers import CTRLConfig, CTRLLMHeadModel

    falcon = save_checkpoint(next(a for a in ARCHITECTURES if a.name == "Falcon, two norms"), tmp_path / "falcon")
    with pytest.raises(ModelFolderError, match=r"no bridge that fits .*split_sizes.*Nothing is wrong"):
        load_model(falcon)
    CTRLLMHeadModel(CTRLConfig(vocab_size=259, n_embd=32, dff=32, n_layer=1, n_head=2)).save_pretrained(falcon)
    with pytest.raises(ModelFolderError, match=r"no bridge that fits .*CTRLLMHeadModel") as caught:
        load_model(falcon)
    assert len(str(caught.value)) < 400, "the names of all architectures are left out"
    broken = save_checkpoint(ARCHITECTURES[0], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not weights" * 9)
    with pytest.raises(ModelFolderError, match=r"could not be read: .*save it again"):
        load_model(broken)


def test_an_architecture_whose_bridge_does_not_run_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(
        next(a for a in ARCHITECTURES if a.name == "Granite 4, no positions"), tmp_path / "granite"
    )
    with pytest.raises(ModelFolderError, match=r"bridge of GraniteMoeHybridForCausalLM does not run on a few tokens"):
        load_model(folder)


def save_sharded(whole: Path, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The checkpoint of a folder again, in several safetensors files with an index."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(whole, dtype=dtype).save_pretrained(folder, max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((whole / name).read_bytes())
    assert (folder / "model.safetensors.index.json").exists() and len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.mark.parametrize("saved_in", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loaded_in", [torch.float32, torch.bfloat16])
def test_a_sharded_checkpoint_reads_and_steers_as_the_whole_one_in_float32(
    saved_in: torch.dtype, loaded_in: torch.dtype, grouped: Path, tmp_path: Path
) -> None:
    rows, direction = [[5, 9, 14, 13], [7, 3, 5]], torch.linspace(-1, 1, 32)
    steering = [Intervention.at("resid_post@0", direction, 2.0)]
    whole, model = (
        load_model(grouped),
        load_model(save_sharded(grouped, tmp_path / "sharded", saved_in), dtype=loaded_in),
    )
    assert {parameter.dtype for parameter in model.original_model.parameters()} == {loaded_in}

    def numbers(of: Any) -> list[Tensor]:
        plain = next_logits(of, rows)
        with steer(of, *steering):
            steered = next_logits(of, rows)
        read = record(of, rows, "resid_post@*")
        return [plain, steered, *(seen for one in read for seen in one.activations.values())]

    exact = saved_in == loaded_in == torch.float32
    for found, want in zip(numbers(model), numbers(whole), strict=True):
        assert found.dtype == torch.float32
        assert (found - want).norm() <= (0.0 if exact else 0.02) * want.norm()
    plain, steered, *_ = numbers(whole)
    assert (steered - plain).norm() > 0.1 * plain.norm(), "the tolerance tells steered from unsteered"


def _cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def _drop_first(shard: Path) -> None:
    weights = load_file(shard)
    weights.pop(min(weights))
    save_file(weights, shard, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"could not be read: (\S+), of \d+ bytes, is broken or cut off .*fetch its files again"),
        (Path.unlink, r"could not be read: No such file or directory: \S+(model-\S+); fetch its files again"),
        (_drop_first, r"lacks 1 of its model's weights \(model\.\S+\), which would be drawn at random"),
    ],
)
def test_a_shard_that_is_cut_off_or_missing_or_lacks_a_weight_is_refused(
    damage: Callable[[Path], None], message: str, grouped: Path, tmp_path: Path
) -> None:
    folder = save_sharded(grouped, tmp_path / "sharded")
    load_model(folder)
    shard = sorted(folder.glob("*.safetensors"))[1]
    damage(shard)
    with pytest.raises(ModelFolderError, match=message) as caught:
        load_model(folder)
    assert damage is _drop_first or shard.name in str(caught.value)


def test_a_weight_of_another_shape_is_refused_with_both_shapes(grouped: Path) -> None:
    weights = load_file(grouped / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = weights[name][:-1].contiguous()
    save_file(weights, grouped / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=rf"shapes .* 1 in all .{name}: .47, 32., expected .48, 32."):
        load_model(grouped)


def test_a_weight_that_the_model_has_no_place_for_is_left_out_with_a_warning(grouped: Path) -> None:
    rows, weights = [[5, 9, 14]], load_file(grouped / "model.safetensors")
    want = next_logits(load_model(grouped), rows)
    extra = {name.replace("layers.1", "layers.2"): value + 1 for name, value in weights.items() if "layers.1" in name}
    save_file(weights | extra, grouped / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(CheckpointWarning, match=rf"{len(extra)} weights that its model has no place for .*layers\.2\."):
        model = load_model(grouped)
    torch.testing.assert_close(next_logits(model, rows), want, rtol=0, atol=0)


def test_weights_that_are_tied_are_not_missing_and_those_of_one_file_may_be(grouped: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedModel

    own = PreTrainedModel.__dict__["from_pretrained"]
    tied = save_checkpoint(next(a for a in ARCHITECTURES if a.name == "GPT-2"), tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tied / "model.safetensors") and load_model(tied).cfg.n_layers == 2
    _drop_first(grouped / "model.safetensors")
    for check in (True, False):
        with pytest.raises(ModelFolderError, match="lacks 1 of its model's weights"):
            load_model(grouped, check=check)
    assert PreTrainedModel.__dict__["from_pretrained"] is own


def test_hooks_by_which_transformer_lens_connects_an_mlp_do_not_count_and_a_users_permanent_hook_does(
    tmp_path: Path,
) -> None:
    model = load_model(save_checkpoint(next(a for a in ARCHITECTURES if a.name == "OPT-125m style"), tmp_path / "opt"))
    point = model.hook_dict["blocks.0.mlp.hook_out"]
    assert any(other.fwd_hooks for other in model.hook_points()) and not is_hooked(model)
    point.add_hook(lambda *_, **__: None, is_permanent=True)
    assert is_hooked(model)

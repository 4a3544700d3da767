"""Steering vectors: what they refuse, their arithmetic, their file."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from lens_steer.errors import DirectionError, FormatError, MismatchError, SiteError
from lens_steer.extraction import extract
from lens_steer.hooks.sites import Site
from lens_steer.vector import SteeringVector, load_vector

SITE = Site("resid_post", 1)


def with_direction(vector: SteeringVector, direction: Tensor) -> SteeringVector:
    return dataclasses.replace(vector, directions={**vector.directions, SITE: direction})


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        (torch.full((16,), float("nan")), "at resid_post@1: NaN or infinite entries"),
        (torch.full((16,), float("inf")), "at resid_post@1: NaN or infinite entries"),
        (torch.zeros(16), "at resid_post@1: the direction is zero"),
        (torch.ones(16, dtype=torch.complex64), "at resid_post@1: complex entries; give real ones"),
        (torch.ones(17), r"at resid_post@1: shape \(17,\); expected \(16,\)"),
    ],
)
def test_a_direction_that_cannot_steer_is_refused_by_its_site(
    vector: SteeringVector, direction: Tensor, message: str
) -> None:
    with pytest.raises(DirectionError, match=message):
        with_direction(vector, direction)


def test_no_sites_foreign_layers_and_missing_norms_are_refused(vector: SteeringVector) -> None:
    with pytest.raises(SiteError, match="'money' has no sites"):
        dataclasses.replace(vector, directions={})
    with pytest.raises(SiteError, match="resid_post@9 on a model of 3 layers"):
        dataclasses.replace(vector, directions={Site("resid_post", 9): torch.ones(16)})
    with pytest.raises(DirectionError, match="no activation norm above 0 at resid_post@0"):
        dataclasses.replace(vector, activation_norms={Site("resid_post", 1): 1.0, Site("resid_post", 2): 1.0})


def test_a_vector_is_frozen_and_keeps_its_own_copy(vector: SteeringVector) -> None:
    source = torch.ones(16)
    mine = with_direction(vector, source)
    source.zero_()
    mine.at(SITE).zero_()
    assert torch.equal(mine.at(SITE), torch.ones(16))
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.name = "x"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        mine.directions[SITE] = source  # pyright: ignore[reportIndexIssue]


def test_arithmetic_acts_at_every_site_and_makes_new_vectors(vector: SteeringVector) -> None:
    double = 2 * vector
    for site in vector.sites:
        assert torch.equal((vector + vector).at(site), double.at(site))
        assert torch.equal((double - vector).at(site), vector.at(site))
        assert torch.equal((double / 2).at(site), vector.at(site))
        assert torch.equal((-vector).at(site), -vector.at(site))
        assert vector.unit().norm(site) == pytest.approx(1, abs=1e-6)
        assert vector.cosine(double, site) == pytest.approx(1)
        assert vector.cosine(-vector, site) == pytest.approx(-1)
    assert (vector + double).name == "(money + 2 * money)"
    assert vector.name == "money"
    assert (vector + vector).n_positive == 2 * vector.n_positive
    assert (vector + vector).data_hash != vector.data_hash


def test_a_difference_that_cancels_is_refused(vector: SteeringVector) -> None:
    with pytest.raises(DirectionError, match=r"'\(money - money\)' at resid_post@0: the direction is zero"):
        _ = vector - vector
    with pytest.raises(DirectionError, match="cannot be divided by 0"):
        _ = vector / 0


def test_vectors_of_different_models_or_sites_do_not_combine(
    vector: SteeringVector, llama: Any, other_llama: Any, contrast: Any
) -> None:
    foreign = extract(other_llama, contrast)
    with pytest.raises(MismatchError, match=r"'tiny-llama' and 'other-llama': they differ in weight_hash \("):
        _ = vector + foreign
    with pytest.raises(MismatchError, match="extract it again on this one"):
        vector.cosine(foreign, SITE)
    short = extract(llama, contrast, sites="resid_post@1")
    with pytest.raises(MismatchError, match="do not have the same sites"):
        _ = vector + short
    with pytest.raises(SiteError, match="has no direction at resid_post@2; it has resid_post@1"):
        short.at("resid_post@2")


def test_a_saved_vector_reads_back_in_every_field_and_in_the_same_bytes(
    vector: SteeringVector, llama: Any, tmp_path: Path
) -> None:
    path = vector.save(tmp_path / "folder" / "v.safetensors")
    again = load_vector(path, llama)
    for field in dataclasses.fields(SteeringVector):
        if field.name != "directions":
            assert getattr(again, field.name) == getattr(vector, field.name), field.name
    assert all(torch.equal(again.at(site), vector.at(site)) for site in vector.sites)
    assert again.save(tmp_path / "w.safetensors").read_bytes() == path.read_bytes()


def test_a_vector_of_another_model_is_refused_on_loading(
    vector: SteeringVector, other_llama: Any, gpt2: Any, tmp_path: Path
) -> None:
    path = vector.save(tmp_path / "v.safetensors")
    assert load_vector(path).name == "money"
    with pytest.raises(MismatchError, match="they differ in weight_hash"):
        load_vector(path, other_llama)
    with pytest.raises(MismatchError, match=r"config_hash .* n_layers \(3 / 2\)"):
        load_vector(path, gpt2)


def test_truncated_foreign_and_newer_files_are_refused(vector: SteeringVector, tmp_path: Path) -> None:
    path = vector.save(tmp_path / "v.safetensors")
    content = path.read_bytes()
    for size in (0, 4, 100, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(FormatError, match="truncated, or not a safetensors file"):
            load_vector(path)
    path.write_bytes(save_tensors({"w": torch.ones(3)}))
    with pytest.raises(FormatError, match="not one of lens_steer"):
        load_vector(path)
    with pytest.raises(FormatError, match="cannot be read"):
        load_vector(tmp_path / "none.safetensors")


def test_no_changed_bit_of_a_file_goes_unnoticed(vector: SteeringVector, tmp_path: Path) -> None:
    path = vector.save(tmp_path / "v.safetensors")
    content, rng = path.read_bytes(), random.Random(0)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(FormatError):
            load_vector(path)


def rewritten(content: bytes, change: dict[str, Any]) -> bytes:
    """The same file as schema 2 wrote it, without a checksum, with other entries in its header."""
    size = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + size])
    header = json.loads(outer["__metadata__"]["lens_steer"])
    header.pop("sha256")
    outer["__metadata__"]["lens_steer"] = json.dumps({**header, "schema": 2, **change})
    text = json.dumps(outer).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def test_a_newer_schema_another_kind_and_a_damaged_header_are_refused(vector: SteeringVector, tmp_path: Path) -> None:
    path = vector.save(tmp_path / "v.safetensors")
    content = path.read_bytes()
    for change, message in (
        ({"schema": 4}, "schema 4; this version of lens_steer reads up to 3"),
        ({"schema": 3}, "changed after it was saved"),
        ({"kind": "probe"}, "holds a 'probe'; expected a steering vector"),
        ({"fingerprint": {}}, "the header or a direction is damaged"),
        ({"activation_norms": {}}, "the header or a direction is damaged"),
        ({"activation_norms": {"resid_post@1": 1e999}}, "the activation norm at resid_post@1 is inf"),
        ({"activation_norms": {"resid_post@1": 1.0, "resid_post@01": 2.0}}, "two entries are of one site"),
        ({"n_positive": -5}, "n_positive is -5; expected a count"),
        ({"n_negative": True}, "n_negative is True; expected a count"),
        ({"name": [1]}, r"name is \[1\]; expected a text"),
        ({"fingerprint": {**vector.fingerprint.to_dict(), "n_heads": "2"}}, "the fingerprint's n_heads is '2'"),
        ({"options": []}, "options and versions"),
        ({"versions": {"torch": 2}}, "options and versions"),
    ):
        path.write_bytes(rewritten(content, change))
        with pytest.raises(FormatError, match=message):
            load_vector(path)


def test_brackets_in_brackets_are_a_damaged_header_and_no_other_error(vector: SteeringVector, tmp_path: Path) -> None:
    path = vector.save(tmp_path / "v.safetensors")
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + size])
    for depth in range(200, 1_100, 7):
        header = outer["__metadata__"]["lens_steer"].replace(
            '"options": {', f'"options": {{"a": {"[" * depth + "]" * depth}, '
        )
        text = json.dumps({**outer, "__metadata__": {"lens_steer": header}}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
        with pytest.raises(FormatError):
            load_vector(path)


def test_a_file_of_schema_1_whose_fingerprint_knows_no_heads_is_read(
    vector: SteeringVector, llama: Any, tmp_path: Path
) -> None:
    path = vector.save(tmp_path / "v.safetensors")
    old = {
        key: value
        for key, value in vector.fingerprint.to_dict().items()
        if key not in ("d_head", "n_heads", "architecture")
    }
    path.write_bytes(rewritten(path.read_bytes(), {"schema": 1, "fingerprint": old}))
    again = load_vector(path, llama)
    assert torch.equal(again.at(SITE), vector.at(SITE)) and again.fingerprint.n_heads is None
    assert (vector + again).sites == vector.sites


def test_an_option_without_a_json_form_cannot_be_saved(vector: SteeringVector, tmp_path: Path) -> None:
    odd = vector.replaced("odd", vector.directions, options={"fn": print})
    with pytest.raises(FormatError, match="cannot be saved"):
        odd.save(tmp_path / "v.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_vector_without_another_is_its_residual_at_every_site(llama: Any, contrast: Any) -> None:
    vector, other = extract(llama, contrast), extract(llama, contrast, method="pca_of_differences")
    rest = vector.without(other)
    for site in vector.sites:
        unit = other.at(site) / other.norm(site)
        assert abs(rest.cosine(other, site)) < 1e-5
        torch.testing.assert_close(rest.at(site) + (vector.at(site) @ unit) * unit, vector.at(site))
    assert rest.name == f"({vector.name} without {other.name})"
    with pytest.raises(SiteError, match="has no direction at"):
        vector.without(other.only("resid_post@0"))
    with pytest.raises(DirectionError, match="the direction is zero"):
        vector.without(2 * vector)

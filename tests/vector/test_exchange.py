"""Other programs' files: what number means which block, and what is refused."""

import io
import os
import random
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from lens_steer.errors import DirectionError, FormatError, MismatchError
from lens_steer.extraction.norms import activation_norms
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import Site, parse_sites
from lens_steer.model import forward
from lens_steer.vector import SteeringVector, export_gguf, import_gguf, import_tensor, read_rows

NORMS = {Site("resid_pre", 0): 2.0, **{Site("resid_post", layer): 2.0 for layer in range(3)}}
TOKENS = torch.tensor([[0, 40, 41, 42, 43]])


class Evil:
    """Unpickling this would run a function."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.putenv, ("LENS_STEER_WAS_RUN", "yes")  # pyright: ignore[reportReturnType]


def later(vector: SteeringVector) -> SteeringVector:
    """The vector without its first layer, which the format cannot hold."""
    return vector.replaced("money", {site: d for site, d in vector.directions.items() if site.layer > 0})


def write_gguf(path: Path, rows: dict[str, Any], hint: str = "llama", architecture: str = "controlvector") -> Path:
    """The literal calls by which repeng writes its files."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string(f"{architecture}.model_hint", hint)
    writer.add_uint32(f"{architecture}.layer_count", len(rows))
    for name, row in rows.items():
        writer.add_tensor(name, np.asarray(row))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_exported_vector_reads_back_with_its_directions_and_says_where_it_comes_from(
    vector: SteeringVector, llama: Any, tmp_path: Path
) -> None:
    path = export_gguf(later(vector), tmp_path / "folder" / "money.gguf")
    again = import_gguf(path, llama, NORMS)
    assert again.sites == (Site("resid_post", 1), Site("resid_post", 2))
    assert all(torch.equal(again.at(site), vector.at(site)) for site in again.sites)
    assert (again.name, again.method, again.position) == ("money", "imported", "unknown")
    assert again.fingerprint == vector.fingerprint and again.options["sha256"] == again.data_hash
    assert export_gguf(later(vector), tmp_path / "again.gguf").read_bytes() == path.read_bytes()
    again.save(tmp_path / "v.safetensors")


def test_the_file_holds_what_llama_cpp_asks_for(vector: SteeringVector, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(export_gguf(later(vector), tmp_path / "v.gguf"))
    facts = {key: field.contents() for key, field in reader.fields.items()}
    assert facts["general.architecture"] == "controlvector" and facts["controlvector.model_hint"] == "llama"
    assert facts["controlvector.layer_count"] == 2
    assert [(t.name, t.tensor_type.name, list(t.shape)) for t in reader.tensors] == [
        ("direction.1", "F32", [16]),
        ("direction.2", "F32", [16]),
    ]


def test_direction_n_is_added_to_what_block_n_gives(llama: Any, tmp_path: Path) -> None:
    rows = {f"direction.{n}": np.eye(16, dtype=np.float32)[n] for n in (1, 2)}
    found = import_gguf(write_gguf(tmp_path / "v.gguf", rows), llama, NORMS)

    def add(_module: Any, _args: Any, output: Tensor) -> Tensor:
        return output + torch.eye(16)[1]

    handle = llama.original_model.model.layers[1].original_component.register_forward_hook(add)
    want = forward(llama, TOKENS, torch.ones_like(TOKENS))
    handle.remove()
    with steer(llama, Intervention.of(found, "resid_post@1", 1.0)):
        torch.testing.assert_close(forward(llama, TOKENS, torch.ones_like(TOKENS)), want)
    assert (want - forward(llama, TOKENS, torch.ones_like(TOKENS))).abs().max() > 1e-2


def test_sites_that_gguf_cannot_express_are_refused_by_name(vector: SteeringVector, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="so resid_post@0 is not supported"):
        export_gguf(vector, tmp_path / "v.gguf")
    norms = {Site("mlp_out", 1): 1.0}
    odd = SteeringVector(
        **{**vars(later(vector)), "directions": {Site("mlp_out", 1): torch.ones(16)}, "activation_norms": norms}
    )
    with pytest.raises(FormatError, match="so mlp_out@1 is not supported"):
        export_gguf(odd, tmp_path / "v.gguf")
    assert not list(tmp_path.iterdir())


def test_another_architecture_width_or_depth_is_refused(llama: Any, tmp_path: Path) -> None:
    path, one = tmp_path / "v.gguf", np.ones(16, np.float32)
    write_gguf(path, {"direction.1": one}, hint="qwen2")
    with pytest.raises(MismatchError, match=r"architecture 'qwen2', the model of 'llama'.*pass model_hint='qwen2'"):
        import_gguf(path, llama, NORMS)
    assert import_gguf(path, llama, NORMS, model_hint="qwen2").sites == (Site("resid_post", 1),)
    for name, row in (("direction.1", np.ones(17, np.float32)), ("direction.3", one)):
        with pytest.raises(MismatchError, match=r"the model has 3 layers and is 16 wide"):
            import_gguf(write_gguf(path, {name: row}), llama, NORMS)


def test_foreign_and_damaged_gguf_files_are_refused(llama: Any, tmp_path: Path) -> None:
    path, one = tmp_path / "v.gguf", np.ones(16, np.float32)
    with pytest.raises(FormatError, match=r"expected only 'direction\.N' with N a layer"):
        import_gguf(write_gguf(path, {"direction.x": one}), llama, NORMS)
    with pytest.raises(FormatError, match=r"a GGUF file of 'llama'; expected 'controlvector'"):
        import_gguf(write_gguf(path, {"direction.1": one}, architecture="llama"), llama, NORMS)
    with pytest.raises(FormatError, match="holds no direction that is not zero"):
        import_gguf(write_gguf(path, {"direction.1": 0 * one}), llama, NORMS)
    path.write_text("not a vector")
    with pytest.raises(FormatError, match="truncated, or not a GGUF file"):
        import_gguf(path, llama, NORMS)
    with pytest.raises(FormatError, match="cannot be read"):
        import_gguf(tmp_path / "none.gguf", llama, NORMS)


def test_a_gguf_file_truncated_anywhere_is_refused(llama: Any, vector: SteeringVector, tmp_path: Path) -> None:
    path = export_gguf(later(vector), tmp_path / "v.gguf")
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(FormatError, match="truncated, or not a GGUF file"):
            import_gguf(path, llama, NORMS)


def test_no_changed_bit_of_an_exported_file_gives_other_directions(
    llama: Any, vector: SteeringVector, tmp_path: Path
) -> None:
    path, rng = export_gguf(later(vector), tmp_path / "v.gguf"), random.Random(0)
    content, true, unnoticed = path.read_bytes(), import_gguf(path, llama, NORMS), 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            found = import_gguf(path, llama, NORMS)
        except (FormatError, MismatchError):
            continue
        unnoticed += 1
        assert found.sites == true.sites and all(torch.equal(found.at(s), true.at(s)) for s in true.sites)
    assert unnoticed < len(content) // 4, "padding, the name, the number of layers, and half of the schema's two names"
    start = content.index(vector.at("resid_post@1").numpy().tobytes())
    path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    with pytest.raises(FormatError, match=r"changed after it was exported \(its checksum does not match\)"):
        import_gguf(path, llama, NORMS)


def test_an_array_longer_than_its_file_is_refused_before_it_is_counted(llama: Any, tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_array("controlvector.numbers", [1, 2, 3])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    content = path.read_bytes()
    three = (3).to_bytes(8, "little") + (1).to_bytes(4, "little")
    assert content.count(three) == 1
    path.write_bytes(content.replace(three, (2**62).to_bytes(8, "little") + (1).to_bytes(4, "little")))
    with pytest.raises(FormatError, match="a number in it points behind its end"):
        import_gguf(path, llama, NORMS)


def test_without_the_gguf_package_the_error_says_what_to_install(
    vector: SteeringVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(FormatError, match=r"pip install 'lens-steer\[gguf\]'"):
        export_gguf(vector, tmp_path / "v.gguf")


def test_norms_must_be_given_and_can_be_measured(llama: Any, texts: list[str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "v.gguf", {"direction.1": np.ones(16, np.float32)})
    with pytest.raises(DirectionError, match="no activation norm above 0 at resid_post@1"):
        import_gguf(path, llama, {})
    measured = activation_norms(llama, texts, "resid_post@1")
    assert import_gguf(path, llama, measured).activation_norm("resid_post@1") == measured[Site("resid_post", 1)]


def test_rows_of_a_tensor_are_numbered_as_transformers_numbers_hidden_states(llama: Any, tmp_path: Path) -> None:
    states = llama.original_model(TOKENS, output_hidden_states=True).hidden_states
    rows = torch.stack([state[0, -1].detach() for state in states])
    torch.save(rows, tmp_path / "icv.pt")
    found = import_tensor(tmp_path / "icv.pt", llama, NORMS, "transformers")
    _, cache = llama.run_with_cache(TOKENS)
    assert found.sites == (Site("resid_post", 0), Site("resid_post", 1), Site("resid_post", 2), Site("resid_pre", 0))
    for site in (Site("resid_pre", 0), Site("resid_post", 0), Site("resid_post", 1)):
        torch.testing.assert_close(found.at(site), cache[site.hook_name][0, -1])
    last = Site("resid_post", 2)
    assert not torch.allclose(found.at(last), cache[last.hook_name][0, -1]), "the last one has met the final norm"
    torch.save(rows[1:], tmp_path / "blocks.pt")
    blocks = import_tensor(tmp_path / "blocks.pt", llama, NORMS, "blocks")
    assert all(torch.equal(blocks.at(site), found.at(site)) for site in parse_sites("resid_post@*", 3))


def test_the_wrong_numbering_is_noticed_by_the_number_of_rows_and_zero_rows_are_left_out(
    llama: Any, tmp_path: Path
) -> None:
    path = tmp_path / "v.pt"
    torch.save(torch.ones(3, 16), path)
    with pytest.raises(MismatchError, match="has 3 rows; numbering 'transformers' means 4 on a model of 3 layers"):
        import_tensor(path, llama, NORMS, "transformers")
    rows = torch.ones(3, 16, dtype=torch.float16)
    rows[1] = 0
    torch.save(rows, path)
    assert import_tensor(path, llama, NORMS, "blocks").sites == (Site("resid_post", 0), Site("resid_post", 2))
    torch.save(torch.ones(3, 8), path)
    with pytest.raises(MismatchError, match=r"shape \(8,\) at resid_post@0; the model has 3 layers and is 16 wide"):
        import_tensor(path, llama, NORMS, "blocks")


def test_no_changed_bit_of_an_archive_of_torch_gives_other_rows(tmp_path: Path) -> None:
    path, rng = tmp_path / "v.pt", random.Random(0)
    rows = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    torch.save(rows, path)
    content, refused = path.read_bytes(), 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            assert torch.equal(read_rows(path).rows, rows)
        except FormatError:
            refused += 1
    assert refused > 500
    start = content.index(rows.numpy().tobytes())
    path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    with pytest.raises(FormatError, match=r"changed since \(Bad CRC-32 for file '(archive|v)/data/0'"):
        read_rows(path)
    size = struct.pack("<I", rows.numel() * 4)
    for number in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):  # a record longer than the file, and than any
        path.write_bytes(content[:start] + content[start:].replace(size, number))
        with pytest.raises(FormatError, match="changed since"):
            read_rows(path)
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(FormatError, match=r"or changed since"):
        read_rows(path)


def test_an_archive_that_names_one_record_many_times_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path, whole = tmp_path / "v.pt", io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("archive/data/0", b"x" * 100_000)
    content = whole.getvalue()
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    many, tail = content[start:end] * 50, bytearray(content[end:])
    tail[8:12], tail[12:16] = struct.pack("<HH", 50, 50), struct.pack("<I", len(many))
    path.write_bytes(content[:start] + many + bytes(tail))
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 50 and len(archive.read("archive/data/0")) == 100_000
    with pytest.raises(FormatError, match="its records are longer than it is"):
        read_rows(path)


def damaged(path: Path) -> Iterator[str]:
    """Files that are no tensor, written one after the other."""
    torch.save(Evil(), path)
    yield "it holds pickled classes, which are never run"
    torch.save({"layers": Evil()}, path, _use_new_zipfile_serialization=False)
    yield "it holds pickled classes, which are never run"
    torch.save({"layers": torch.ones(3, 16)}, path)
    yield "holds <class 'dict'>; expected one floating-point tensor"
    torch.save(torch.ones(3, 16, dtype=torch.long), path)
    yield r"holds a torch.int64 tensor of shape \(3, 16\)"
    torch.save(torch.ones(3, 16), path)
    content = path.read_bytes()
    for size in (0, 1, 10, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        yield "truncated, not written by torch.save"
    path.write_text("not a tensor")
    yield "truncated, not written by torch.save"


def test_pickled_classes_and_damaged_files_are_refused_and_never_run(llama: Any, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    for message in damaged(path):
        with pytest.raises(FormatError, match=message) as caught:
            import_tensor(path, llama, NORMS, "blocks")
        assert "torch.save(v.directions_tensor, path)" in str(caught.value)
    assert "LENS_STEER_WAS_RUN" not in os.environ
    with pytest.raises(FormatError, match="cannot be read"):
        import_tensor(tmp_path / "none.pt", llama, NORMS, "blocks")


def held(path: Path, name: str, **attributes: Any) -> None:
    """Writes an object of a class that exists only while it is written."""
    kind = type(name, (), {"__module__": "their_code"})
    sys.modules["their_code"] = ModuleType("their_code")
    setattr(sys.modules["their_code"], name, kind)
    thing = kind()
    vars(thing).update(attributes)
    torch.save(thing, path)
    del sys.modules["their_code"]


def test_a_tensor_in_a_named_class_is_read_without_the_class_and_with_the_facts_beside_it(
    llama: Any, tmp_path: Path
) -> None:
    rows, path = torch.randn(3, 16, dtype=torch.bfloat16), tmp_path / "v.pt"
    held(path, "Stored", acts=rows, note="x", n=5, chat=True, dtype=torch.bfloat16)
    with pytest.raises(FormatError, match=r"never run \(it asks for their_code\.Stored\)"):
        read_rows(path)
    found = read_rows(path, {"their_code.Stored": "acts"})
    assert torch.equal(found.rows, rows.float()) and dict(found.facts) == {"note": "x", "n": 5, "chat": True}
    vector = import_tensor(path, llama, NORMS, "blocks", {"their_code.Stored": "acts"})
    assert torch.equal(vector.at("resid_post@1"), rows[1].float()) and "their_code" not in sys.modules


def test_a_named_class_lets_in_nothing_but_itself(tmp_path: Path) -> None:
    path, holders = tmp_path / "v.pt", {"their_code.Stored": "acts"}
    for attributes in ({"acts": Evil()}, {"acts": torch.ones(3, 16), "note": Evil()}):
        held(path, "Stored", **attributes)
        with pytest.raises(FormatError, match="holds pickled classes, which are never run"):
            read_rows(path, holders)
    held(path, "Other", acts=torch.ones(3, 16))
    with pytest.raises(FormatError, match=r"it asks for their_code\.Other"):
        read_rows(path, holders)
    held(path, "Stored", acts=[1.0, 2.0])
    with pytest.raises(FormatError, match="holds <class 'list'>; expected one floating-point tensor"):
        read_rows(path, holders)
    assert "LENS_STEER_WAS_RUN" not in os.environ


@pytest.mark.filterwarnings("ignore")
def test_a_file_whose_instructions_are_damaged_is_read_or_refused_and_never_fails_otherwise(tmp_path: Path) -> None:
    path, holders, draw = tmp_path / "v.pt", {"their_code.Stored": "acts"}, random.Random(0)
    held(path, "Stored", acts=torch.ones(3, 16), note="x")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in members if name.endswith("data.pkl"))
    refused = 0
    for _ in range(300):
        damaged = bytearray(members[name])
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, bytes(damaged) if member == name else content)
        try:
            read_rows(path, holders)
        except FormatError:
            refused += 1
    assert refused > 200


def test_a_tensor_of_one_layer_is_of_the_site_whose_norm_is_given(llama: Any, tmp_path: Path) -> None:
    path, row = tmp_path / "vec_layer_1.pt", torch.randn(16, generator=torch.Generator().manual_seed(0))
    torch.save(row, path)
    site = Site("resid_post", 1)
    found = import_tensor(path, llama, {site: 2.0}, "blocks")
    assert found.sites == (site,) and torch.equal(found.at(site), row)
    with pytest.raises(MismatchError, match="is of one layer, and norms of 2 sites are given"):
        import_tensor(path, llama, {site: 2.0, Site("resid_post", 2): 2.0}, "blocks")
    with pytest.raises(MismatchError, match="shape"):
        torch.save(torch.ones(15), path)
        import_tensor(path, llama, {site: 2.0}, "blocks")

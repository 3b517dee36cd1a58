"""The one door to the header readers: which of them a file goes to, and what a set tells."""

import json
import os
import shutil

import pytest

from model_provisioner.headers.metadata import Metadata
from model_provisioner.fs.fileset import discover
from model_provisioner.headers.reader import CONFIG_LIMIT, read_metadata
from model_provisioner.errors import UnreadableModelError, UnsoundModelError
from tests.support.project import TINY


def metadata(path):
    return read_metadata(discover(str(path)))


def safetensors(path, dtype="F32", count=4, name="w"):
    size = count * {"F32": 4, "BF16": 2}[dtype]
    header = json.dumps({name: {"dtype": dtype, "shape": [count], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))


@pytest.mark.parametrize("name", ["x.gguf", "x.GGUF", "sha256-blob-without-a-suffix", "x.bin"])
def test_a_gguf_is_read_whatever_its_name(tmp_path, name):
    shutil.copy(TINY, tmp_path / name)
    assert metadata(tmp_path / name).architecture == "llama"


@pytest.mark.parametrize("content", [b"", b"garbage", b"GGUFgarbage", b"GGU"], ids=repr)
def test_a_format_that_is_not_known_has_no_metadata(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    assert metadata(tmp_path / "x.bin") == Metadata()


@pytest.mark.parametrize("name", ["x.gguf", "x.GGUF", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"GGUFgarbage"], ids=repr)
def test_a_file_that_is_not_what_its_name_says_is_unsound(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsoundModelError):
        metadata(tmp_path / name)


def test_a_split_is_described_by_its_first_shard_and_counted_over_all(tiny_models):
    whole = metadata(tiny_models / "tiny-llama-Q8_0.gguf")
    split = metadata(tiny_models / "tiny-llama-split-00001-of-00003.gguf")
    assert split.parameter_count == whole.parameter_count
    assert split.tensor_count == whole.tensor_count
    assert dict(split.tensor_types) == dict(whole.tensor_types)
    assert (split.quantization, split.context_length) == ("Q8_0", 256)


@pytest.mark.parametrize(
    ("harm", "what", "expected", "found"),
    [
        (
            lambda folder, names: shutil.copy(folder / names[2], folder / names[1]),
            "m-00002-of-00003.gguf is not that shard of this model",
            "split.no 1",
            "split.no 2",
        ),
        (
            lambda folder, names: shutil.copy(TINY, folder / names[2]),
            "m-00003-of-00003.gguf is not that shard of this model",
            "split.no, split.count and split.tensors.count in its header",
            "a model of its own",
        ),
        (
            lambda folder, names: shutil.copy(TINY, folder / names[0]),
            "m-00001-of-00003.gguf is not that shard of this model",
            "split.no, split.count and split.tensors.count in its header",
            "a model of its own",
        ),
    ],
    ids=["another shard", "another model", "a model as the first"],
)
def test_a_foreign_shard_is_named(tmp_path, tiny_models, harm, what, expected, found):
    names = [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for name in names:
        shutil.copy(tiny_models / name.replace("m-", "tiny-llama-split-"), tmp_path / name)
    harm(tmp_path, names)
    with pytest.raises(UnsoundModelError) as caught:
        metadata(tmp_path / names[0])
    error = caught.value
    assert (error.what, error.expected, error.found) == (what, expected, found)
    assert error.where == str(tmp_path / what.split()[0])


def test_a_shard_under_a_plain_name_is_not_a_model(tmp_path, tiny_models):
    """The rest of its model would be forgotten."""
    shutil.copy(tiny_models / "tiny-llama-split-00001-of-00003.gguf", tmp_path / "tiny.gguf")
    with pytest.raises(UnsoundModelError) as caught:
        metadata(tmp_path / "tiny.gguf")
    assert (caught.value.what, caught.value.found) == ("tiny.gguf is not that shard of this model", "split.count 3")


def test_a_folder_in_the_layout_of_transformers(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "qwen2", "max_position_embeddings": 4096, "vocab_size": 9})
    )
    safetensors(tmp_path / "model-00001-of-00002.safetensors", "BF16", 8)
    safetensors(tmp_path / "model-00002-of-00002.safetensors", "F32", 4, "v")
    safetensors(tmp_path / "consolidated.safetensors", "F32", 12)
    found = metadata(tmp_path)
    assert (found.format, found.architecture, found.context_length) == ("safetensors", "qwen2", 4096)
    assert (found.parameter_count, found.quantization) == (12, "BF16")  # the same weights for two loaders count once


def test_a_folder_with_an_unsound_file_is_unsound(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UnsoundModelError, match="not a safetensors file"):
        metadata(tmp_path)


def test_a_config_of_a_folder_is_bounded(tmp_path):
    safetensors(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(b" " * (CONFIG_LIMIT + 1))
    with pytest.raises(UnsoundModelError, match="config.json is too large"):
        metadata(tmp_path)


def test_a_folder_of_one_gguf_tells_what_that_tells(tmp_path):
    shutil.copy(TINY, tmp_path / "x.gguf")
    (tmp_path / "README.md").write_text("x")
    assert metadata(tmp_path).architecture == "llama"
    shutil.copy(TINY, tmp_path / "y.gguf")
    assert metadata(tmp_path) == Metadata()  # two models: nobody can say which is meant


def test_a_folder_of_one_split_tells_what_that_tells(tmp_path, tiny_models):
    for path in tiny_models.glob("tiny-llama-split-*"):
        shutil.copy(path, tmp_path)
    shutil.copy(tiny_models / "tiny-llama-lora.gguf", tmp_path)
    assert metadata(tmp_path).parameter_count == 90_624


@pytest.mark.parametrize("beside", ["config.json", "y.gguf"])
def test_an_unsound_gguf_in_a_folder_is_an_error(tmp_path, beside):
    (tmp_path / "x.gguf").write_bytes(TINY.read_bytes()[:5000])
    (tmp_path / beside).write_bytes(b"{}" if beside == "config.json" else TINY.read_bytes())
    with pytest.raises(UnsoundModelError, match="the file ends"):
        metadata(tmp_path)


def test_a_file_that_became_a_fifo_is_not_waited_for(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"x")
    files = discover(str(tmp_path / "x.gguf"))
    (tmp_path / "x.gguf").unlink()
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(UnreadableModelError, match="not a regular file"):
        read_metadata(files)


def test_shards_that_overlap_count_each_tensor_once(tmp_path):
    for number in (1, 2):
        safetensors(tmp_path / f"model-0000{number}-of-00002.safetensors", count=4)  # both hold the tensor `w`
    told = metadata(tmp_path)
    assert (told.parameter_count, told.tensor_count) == (4, 1)
    assert told.notes == ("1 of its tensors are in two files: each counts once",)


def test_what_an_index_says_is_a_note_where_the_headers_say_other_things(tmp_path):
    safetensors(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "model.safetensors", "lm_head": "model.safetensors"}})
    )
    assert metadata(tmp_path).notes == ("model.safetensors.index.json names 2 tensors, and the headers of its files 1",)


def test_weights_that_lie_in_a_folder_twice_count_once(tmp_path):
    for name in ("model.safetensors", "consolidated.safetensors", "model.fp16.safetensors"):
        safetensors(tmp_path / name, count=4)
    assert (metadata(tmp_path).parameter_count, metadata(tmp_path).notes) == (4, ())


def test_a_folder_with_a_configuration_and_other_weights_is_not_called_safetensors(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    assert (metadata(tmp_path).format, metadata(tmp_path).architecture) == (None, "llama")


def test_a_configuration_of_several_megabytes_is_read(tmp_path):
    safetensors(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "id2label": {str(n): "x" * 99 for n in range(20000)}})
    )
    assert metadata(tmp_path).architecture == "llama"

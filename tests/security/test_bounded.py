"""Whatever is read of a project or of a source is bounded: in bytes, in values, in memory, and in time without progress.

Every command here runs in a process of its own: `Victim.bounded` holds that it takes less than 512 MB, ends, and prints no
traceback.
"""

import hashlib
import os
import struct
from base64 import b64encode

import pytest

pytestmark = pytest.mark.slow


def put(*parts):
    """Return what writes a file: bytes, and bytes with how often they come. This process holds little of it at a time."""

    def write(path):
        with open(path, "wb") as file:
            for part in parts:
                piece, times = part if isinstance(part, tuple) else (part, 1)
                many = (1 << 16) // len(piece) + 1
                for _ in range(times // many):
                    file.write(piece * many)
                file.write(piece * (times % many))

    return write


def names(path):
    with open(path, "wb") as file:
        file.write(b"{")
        file.writelines(b'"%x":0,' % number for number in range(1_200_000))
        file.write(b'"":0}')


HUGE_LISTS = (b"[", (b"[],", 9_000_000), b"[]]")
"""27 MB of JSON, which json alone makes 700 MB of."""
LISTS = (b"[", (b"[],", 5_000_000), b"[]]")
"""15 MB of JSON: 400 MB."""
DEEP = ((b"[", 5_000_000),)


def of_size(size):
    return lambda path: (path.write_bytes(b""), os.truncate(path, size))


def link(target):
    return lambda path: path.symlink_to(target)


NO_FILES = {"a link to /dev/zero": link("/dev/zero"), "a FIFO": os.mkfifo, "a folder": os.mkdir}
ENDLESS = {**NO_FILES, "many gigabytes": of_size(1 << 40)}


def cases(table):
    return pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in table.items()])


def remade(path, make):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    return path


# ---- what a project brings


@cases(ENDLESS | {"lists": put(*HUGE_LISTS), "nesting": put(*DEEP), "names": names})
def test_the_lock(victim, make):
    remade(victim.clone / "models.lock", make)
    ran = victim.bounded("provision", seconds=60)
    assert ran.code == 3, ran
    assert "the lock file" in ran.all
    limits = ("at most 33,554,432 bytes", "at most 2,097,152 are read", "the values nest too deeply")
    assert any(limit in ran.all for limit in limits), ran


def a_lock_of_faults(path):
    models = ",".join(f'"m{number}": 1' for number in range(400_000))
    path.write_text(f'{{"version": 1, "models": {{{models}}}}}')


def test_a_lock_of_faults(victim):
    remade(victim.clone / "models.lock", a_lock_of_faults)
    ran = victim.bounded("provision", seconds=60)
    assert ran.code == 3
    assert "models.lock: 1000 faults" in ran.all


def bomb(path):
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path.write_text("\n".join(["a0: &a0 [x, x]", *lines]))


def defaults_and_models(path):
    """Write defaults of many unknown fields, and many models: their product is 10^10."""
    defaults = ",".join(f"d{number}: 0" for number in range(100_000))
    models = ",".join(f"m{number}: {{model_ref: x}}" for number in range(100_000))
    path.write_text(f"{{defaults: {{{defaults}}}, models: {{{models}}}}}")


@cases(
    ENDLESS
    | {
        "lists": put(*LISTS),
        "nesting": put(*DEEP),
        "names": names,
        "lists, as JSON with tabs": put(b"\t", *LISTS),
        "aliases": bomb,
        "defaults times models": defaults_and_models,
        "merges": put(
            b"a: &a {", b",".join(b"k%d: 0" % n for n in range(1000)), b"}\nb: [", (b"{<<: *a},", 9000), b"]"
        ),
    }
)
def test_the_configuration(victim, make):
    remade(victim.clone / "models.yaml", make)
    ran = victim.bounded("provision", seconds=100)
    assert ran.code == 3, ran
    assert len(ran.all) < 1 << 20


def header(*parts):
    size = sum(len(part[0]) * part[1] if isinstance(part, tuple) else len(part) for part in parts)
    return put(struct.pack("<Q", size), *parts)


def named_header(path):
    names(path)
    put(struct.pack("<Q", path.stat().st_size), path.read_bytes())(path)


@cases(
    {
        "99 MB of lists": header(b"[", (b"[],", 33_000_000), b"[]]"),
        "27 MB of lists": header(*HUGE_LISTS),
        "nesting": header(*DEEP),
        "names": named_header,
        "a length of 2^63": put(struct.pack("<Q", 1 << 63) + b"{}"),
        "a length of 2^40 in a file of that size": lambda path: (
            path.write_bytes(struct.pack("<Q", 1 << 40)),
            os.truncate(path, (1 << 40) + 8),
        ),
        "a text of wide characters": header('{"__metadata__":{"a":"\U0001f600'.encode(), (b"x", 30_000_000), b'"}'),
        "a shape": header(b'{"a":{"dtype":"F32","shape":[', (b"9,", 1_000_000), b'9],"data_offsets":[0,1]}}'),
        "a number": header(b'{"a":{"dtype":"F32","shape":[', (b"9", 4_000_000), b'],"data_offsets":[0,1]}}'),
        **NO_FILES,
    }
)
def test_the_header_of_safetensors(victim, make):
    remade(victim.clone / "models/big.safetensors", make)
    victim.write("models.yaml", "models: {big: {model_ref: models/big.safetensors, engine: vllm}}")
    ran = victim.bounded("provision", seconds=60)
    assert ran.code == 1, ran
    assert "FAIL  big" in ran.out


@cases(
    {
        "config.json": lambda folder: put(*LISTS)(folder / "config.json"),
        "config.json, deep": lambda folder: put((b"[", 1_000_000))(folder / "config.json"),
        "config.json, a FIFO": lambda folder: os.mkfifo(folder / "config.json"),
        "adapter_config.json": lambda folder: put(*LISTS)(folder / "adapter_config.json"),
        "a tokenizer that is a FIFO": lambda folder: os.mkfifo(folder / "tokenizer.json"),
        "a tokenizer that is /dev/zero": lambda folder: (folder / "tokenizer.json").symlink_to("/dev/zero"),
    }
)
def test_the_files_of_a_folder(victim, make):
    (folder := victim.clone / "models/folder").mkdir()
    make(folder)
    victim.write("models.yaml", "models: {folder: {model_ref: models/folder, engine: vllm}}")
    ran = victim.bounded("provision", seconds=60)
    assert ran.code == 1, ran
    assert "FAIL  folder" in ran.out


def test_files_that_nobody_parses_may_hold_anything(victim):
    """Those that only an engine reads are hashed, whatever they are."""
    (folder := victim.clone / "models/folder").mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        put(*LISTS)(folder / name)
    victim.write("models.yaml", "models: {folder: {model_ref: models/folder, engine: vllm}}")
    assert victim.bounded("provision", seconds=60).code == 0


def gguf(tensors=0, keys=1, rest=b""):
    return put(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest + bytes(4096))


def key(kind, rest):
    return struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + rest


@cases(
    {
        "2^62 keys": gguf(keys=1 << 62),
        "2^62 tensors": gguf(tensors=1 << 62),
        "a million keys in a file of that size": lambda path: (gguf(keys=1 << 20)(path), os.truncate(path, 1 << 30)),
        "an array of 2^60": gguf(rest=key(9, struct.pack("<IQ", 4, 1 << 60))),
        "an array of 2^60 texts": gguf(rest=key(9, struct.pack("<IQ", 8, 1 << 60))),
        "an array of 2^60 arrays": gguf(rest=key(9, struct.pack("<IQ", 9, 1 << 60))),
        "a text of 2^62": gguf(rest=key(8, struct.pack("<Q", 1 << 62))),
        "a name of 2^62": gguf(rest=struct.pack("<Q", 1 << 62)),
        "texts in a file of a terabyte": lambda path: (
            gguf(rest=key(9, struct.pack("<IQ", 8, 1 << 36)))(path),
            os.truncate(path, 1 << 40),
        ),
        "arrays in arrays": gguf(rest=key(9, struct.pack("<IQ", 9, 1) * 1_000_000)),
        **NO_FILES,
    }
)
def test_the_header_of_gguf(victim, make):
    remade(victim.clone / "models/tiny.gguf", make)
    ran = victim.bounded("provision", seconds=60)
    assert ran.code == 1, ran
    assert "FAIL  tiny" in ran.out


@cases(NO_FILES | {"many gigabytes": of_size(1 << 40), "lists": put(*LISTS)})
@pytest.mark.parametrize("name", ["engines/llamacpp.json", "digests/tiny.sha256", "provenance/models.jsonl"])
def test_what_lies_where_ours_goes(victim, make, name):
    remade(victim.clone / ".runtime" / name, make)
    for command in ("provision", "model-check", "model-report"):
        victim.bounded(command, seconds=60)


HASH = hashlib.sha256(b"hf:org/tiny/tiny.gguf").hexdigest()
JSONS = {"lists": put(*HUGE_LISTS), "nesting": put(*DEEP), "names": names, "many gigabytes": of_size(1 << 40)}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        *(
            pytest.param(name, make, id=f"{name.partition('/')[0]}, {what}")
            for name, makes in {
                f"refs/{HASH}.json": JSONS | NO_FILES,
                f"uses/{HASH}.json": JSONS | NO_FILES,
                "leases/0123456789abcdef0123456789abcdef": ENDLESS,
                f"partial/{HASH}.0123456789abcdef": ENDLESS,
                f"partial/{HASH}.0123456789abcdef.json": JSONS,
                f"blobs/sha256/{HASH[:2]}/{HASH}": ENDLESS,
                "trees/x-0123456789abcdef/0123456789abcdef": NO_FILES,
            }.items()
            for what, make in makes.items()
        )
    ],
)
def test_a_store_that_a_project_brings(victim, name, make):
    victim.write(
        "models.yaml", "cache_dir: cache\nmodels: {tiny: {model_ref: 'hf:org/tiny/tiny.gguf', engine: llamacpp}}\n"
    )
    victim.write("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")
    remade(victim.clone / "cache" / name, make)
    for command in (["provision", "--offline"], ["model-prune", "--dry-run"]):
        victim.bounded(*command, seconds=60)


def envelope(*parts):
    """Write a bundle over a payload: of `parts`, each of a length that base64 need not fill up."""
    encoded = ((b64encode(part[0]), part[1]) if isinstance(part, tuple) else b64encode(part) for part in parts)
    return put(
        b'{"dsseEnvelope": {"payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "AA=="}], "payload": "',
        *encoded,
        b'"}}',
    )


@cases(
    ENDLESS
    | {
        "lists": put(*LISTS),
        "nesting": put(*DEEP),
        "names": names,
        "lists in its payload": envelope(b"[  ", (b"[],", 3_600_000), b"[]]"),
        "nesting in its payload": envelope((b"[[[", 1_000_000)),
    }
)
def test_the_bundle_of_a_signature(victim, make):
    remade(victim.clone / "tiny.sig", make)
    victim.write("key.pub", "no key\n")
    signature = "{bundle: tiny.sig, public_key: key.pub}"
    victim.write(
        "models.yaml", f"models: {{tiny: {{model_ref: models/tiny.gguf, engine: llamacpp, signature: {signature}}}}}"
    )
    ran = victim.bounded("provision", seconds=60)
    assert ran.code in {1, 3}, ran
    assert not (victim.clone / ".runtime/engines/llamacpp.json").exists()


@cases(ENDLESS)
def test_the_key_of_a_signature(victim, make):
    remade(victim.clone / "key.pub", make)
    envelope(b"{ }")(victim.clone / "tiny.sig")
    signature = "{bundle: tiny.sig, public_key: key.pub}"
    victim.write(
        "models.yaml", f"models: {{tiny: {{model_ref: models/tiny.gguf, engine: llamacpp, signature: {signature}}}}}"
    )
    assert victim.bounded("provision", seconds=60).code in {1, 3}


@cases(ENDLESS | {"lists": put(*HUGE_LISTS), "nesting": put(*DEEP), "names": names})
def test_a_statement(victim, make):
    remade(victim.clone / "statement.json", make)
    ran = victim.bounded("model-attest", "tiny", "--check", "statement.json", seconds=60)
    assert ran.code == 3, ran

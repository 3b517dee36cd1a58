"""What is advised for a fault of `models.yaml` or `models.lock` mends it."""

import codecs
import json
import re

import pytest

from tests.support.advice import advised, fixes, follow
from tests.support.project import TINY
from tests.support.remote import TINY_BYTES, TINY_SHA, sha256

T = "{model_ref: models/tiny.gguf}"
GOOD = f"models: {{t: {T}}}"
NAMED = 'handoff: "{runtime_dir}/engines/{name}.json"'
CONFIG = b'{"model_type": "llama"}\n'


@pytest.fixture
def folder(local):
    """The project, with a folder of a model beside the file of one."""
    local.write("m/config.json", CONFIG)
    local.write("m/weights.bin", b"weights")
    return local


def entry(fields, ref="models/tiny.gguf"):
    return f"models: {{t: {{model_ref: {ref}, {fields}}}}}"


def files(name, digest):
    listed = {name: digest, "weights.bin": f"sha256:{sha256(b'weights')}"}
    return entry(f"engine: vllm, expected_digest: {json.dumps(listed)}", "m")


@pytest.mark.parametrize(
    ("sentence", "fault", "mended"),
    [
        # the text
        ("save it as UTF-8", GOOD.encode("utf-16"), GOOD),
        ("save it as UTF-8", b"# \xe9\n" + GOOD.encode(), codecs.BOM_UTF8 + "# é\n".encode() + GOOD.encode()),
        ("remove it, or take the file from version control if it is damaged", f"#\0\n{GOOD}", f"#\n{GOOD}"),
        ("remove it", f"#\a\n{GOOD}", f"#\n{GOOD}"),
        ("indent with spaces", f"models:\n\tt: {T}\n", f"models:\n  t: {T}\n"),
        ("look at this line and the one before: indent, colons, quotes", f"models: {{t: {T}\n", GOOD),
        ("remove that line, and what follows it", f"{GOOD}\n---\nmodels: {{}}\n", GOOD),
        # values
        ("keep one of the two", "models: {t: {model_ref: a, model_ref: models/tiny.gguf}}", GOOD),
        ("write a plain name before the colon", f"models: {{[t]: {T}}}", GOOD),
        ('put it in quotes: "{}"', f"models: {{7: {T}}}", f'models: {{"7": {T}}}'),
        ("put it in quotes", "models: {t: {model_ref: !!int x}}", 'models: {t: {model_ref: "x"}}'),
        ("remove its escape sequence", 'models: {t: {model_ref: "models\\0/tiny.gguf"}}', GOOD),
        ("remove the tag", f"models: {{t: !!python/object:os.system {T}}}", GOOD),
        ("write it flatter", f"a: {'[' * 200}{']' * 200}\n{GOOD}", GOOD),
        # aliases
        (
            'write &{} before the value that is meant, or the text in quotes: "*{}"',
            "models: {t: {model_ref: *star}}",
            'models: {t: {model_ref: "*star"}}',
        ),
        (
            'write &{} before the value that is meant, or the text in quotes: "*{}"',
            f"models: {{t: *a, u: {{<<: *a, {NAMED}}}}}",
            f"models: {{t: &a {T}, u: {{<<: *a, {NAMED}}}}}",
        ),
        ("write the value out", "models: &a {t: *a}", GOOD),
        ("write the name out", f"models: {{t: &a {T}, *a : {T}}}", f"models: {{t: {T}, u: {{<<: {T}, {NAMED}}}}}"),
        (
            "use fewer aliases",
            "a: &a [" + "x, " * 900 + "]\nb: &b [" + "*a, " * 900 + "]\nc: [" + "*b, " * 900 + f"]\n{GOOD}",
            GOOD,
        ),
        ("name a mapping by its alias", "models: {t: {<<: a}}", f"models: {{t: &a {T}, u: {{<<: *a, {NAMED}}}}}"),
        # the fields
        ("fix the others first", entry(", ".join(f"x{n}: 1" for n in range(1100))), GOOD),
        ("remove it", entry("zzz: 1"), GOOD),
        ("write {}", "models: {t: {model_reff: models/tiny.gguf}}", GOOD),
        ("write one of these", f"recheck: md5\n{GOOD}", f"recheck: sha256\n{GOOD}"),
        ("write one of these", entry('handoff: "{x}.json"'), entry('handoff: "{name}.json"')),
        ("write a text, in quotes if need be", "models: {t: {model_ref: [models/tiny.gguf]}}", GOOD),
        ("write a text, in quotes", entry("mmproj: 7"), entry('mmproj: "models/see.gguf"')),
        ("name one file: a model has one projector", entry("mmproj: [a, b]"), entry("mmproj: models/see.gguf")),
        (
            "put it in quotes: without, YAML takes it for a number",
            "models: {t: {model_ref: 7}}",
            'models: {t: {model_ref: "7"}}',
        ),
        (
            "put it in quotes: without, YAML takes it for a boolean",
            "models: {t: {model_ref: true}}",
            'models: {t: {model_ref: "true"}}',
        ),
        ("write true or false, without quotes", entry('keep: "true"'), entry("keep: true")),
        ("write names and values, indented", "models: {t: models/tiny.gguf}", GOOD),
        (
            "write [a, b] or one line '- a' for each",
            f"network: {{allow: huggingface}}\n{GOOD}",
            f"network: {{allow: [huggingface]}}\n{GOOD}",
        ),
        ('add   {}: "file:models/{}.gguf"', entry("mmproj: {}"), entry('mmproj: {model_ref: "file:models/see.gguf"}')),
        ('add   {}: "file:models/tiny.gguf"', "models: {t: {}}", 'models: {t: {model_ref: "file:models/tiny.gguf"}}'),
        ("add   {}: …", entry("signature: {public_key: a.pub}"), GOOD),
        ("choose a name of these characters", f"models: {{'a b': {T}}}", f"models: {{a_b: {T}}}"),
        ("move the fields of the one model under models:, by a name of its own", f"model_ref: a\n{GOOD}", GOOD),
        ("remove {}, or name the repository", entry("include: [a]"), GOOD),
        ("remove one of them", entry("mmproj: models/tiny.gguf"), GOOD),
        # handoffs and what is written
        (
            'write it into the project:   handoff: "{runtime_dir}/engines/{name}.json"',
            entry("handoff: /tmp/x.json"),
            entry(NAMED),
        ),
        (
            'choose another name:   handoff: "{runtime_dir}/engines/{name}.json"',
            entry("handoff: models/tiny.gguf"),
            entry(NAMED),
        ),
        (
            'choose another folder:   handoff: "{runtime_dir}/engines/{name}.json"',
            entry('handoff: "{runtime_dir}/digests/t.json"'),
            entry(NAMED),
        ),
        ("give the entry a shorter name", f"models: {{{'t' * 250}: {T}}}", GOOD),
        ("shorten the path of the handoff", entry(f"handoff: {'x' * 256}.json"), entry("handoff: x.json")),
        # digests
        (
            "run `sha256sum FILE` and copy the first word behind sha256:",
            entry("expected_digest: 7"),
            entry(f'expected_digest: "sha256:{TINY_SHA}"'),
        ),
        (
            "run `sha256sum FILE` and copy the first word behind sha256:",
            files("config.json", f"dirhash:{TINY_SHA}"),
            files("config.json", f"sha256:{sha256(CONFIG)}"),
        ),
        (
            "run `sha256sum FILE` and copy the first word",
            entry('expected_digest: "sha256:beef"'),
            entry(f'expected_digest: "sha256:{TINY_SHA}"'),
        ),
        (
            "SHA-256 is what `sha256sum FILE` prints",
            entry(f"expected_digest: {{algo: md5, value: '{TINY_SHA}'}}"),
            entry(f"expected_digest: {{algo: sha256, value: '{TINY_SHA}'}}"),
        ),
        ("write sha256:{}", entry(f"expected_digest: {TINY_SHA}"), entry(f"expected_digest: sha256:{TINY_SHA}")),
        (
            "write the path as it is inside the folder, or the shard's base name",
            files("../m/config.json", f"sha256:{sha256(CONFIG)}"),
            files("config.json", f"sha256:{sha256(CONFIG)}"),
        ),
    ],
)  # fmt: skip
def test_what_is_advised_mends_models_yaml(folder, sentence, fault, mended):
    for name in ("7", "true", "x", "*star"):
        folder.write(name, TINY_BYTES)
    folder.write("models.yaml", fault)
    advised(folder.provision(code=3), sentence)
    folder.write("models.yaml", mended)
    folder.provision()


def test_a_file_that_can_not_be_read_as_one_is_replaced(local):
    path = local.root / "models.yaml"
    text = path.read_bytes()
    path.unlink()
    path.mkdir()
    advised(local.provision(code=3), "name a file")
    path.rmdir()
    path.symlink_to(path.name)
    advised(local.provision(code=3), "check its name and its permissions")
    path.unlink()
    path.write_bytes(text + b"\n# " + bytes(64) * (1 << 20))
    advised(local.provision(code=3), "shorten it: at most {} bytes are read, comments too")
    path.write_bytes(text)
    local.provision()


def test_a_signature_is_written_as_the_line_that_is_shown(local, tmp_path):
    from model_signing import signing

    from tests.support.keys import make_keys

    keys = make_keys(tmp_path, "p256")
    signing.Config().use_elliptic_key_signer(private_key=keys.private).sign(
        local.root / "models/tiny.gguf", local.root / "model.sig"
    )
    local.write("publisher.pub", keys.public.read_bytes())
    local.models(entry("signature: {bundle: model.sig}"))
    advised(local.provision(code=3), 'write   signature: {bundle: "model.sig", public_key: "publisher.pub"}')
    local.models(entry('signature: {bundle: "model.sig", public_key: "publisher.pub"}'))
    local.provision()


def test_a_name_that_the_locale_does_not_have_is_read_in_utf_8(local):
    local.write("models/tïny.gguf", TINY_BYTES)
    local.models("models: {t: {model_ref: models/tïny.gguf}}")
    local.environ.update(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    advised(local.process("provision", code=3), "run it with PYTHONUTF8=1, or in a UTF-8 locale: LC_ALL=C.UTF-8")
    local.environ["PYTHONUTF8"] = "1"
    local.process("provision")
    local.environ.update(LC_ALL="C.UTF-8", PYTHONUTF8="0")
    local.process("provision")


# ---- models.lock


@pytest.mark.parametrize(
    ("sentence", "lock"),
    [
        (
            "use the version of model-provisioner that wrote it, or take the file from version control; or remove it, and "
            "`doit model-lock` makes it anew of what is there now",
            '{"version": 99, "models": {}}',
        ),
        ("take the file from version control; or remove it, and `doit model-lock` makes it anew of what is there now", "<<<<<<< ours\n"),
        (
            "take the file from version control; or remove it, and `doit model-lock` makes it anew of what is there now",
            '{"version": 1, "models": {"t": {"model_ref": 7}}}',
        ),
    ],
)  # fmt: skip
def test_a_lock_file_that_is_none_of_ours_is_made_anew(local, sentence, lock):
    local.doit("model-lock")
    good = (local.root / "models.lock").read_bytes()
    local.write("models.lock", lock)
    advised(local.provision(code=3), sentence)
    (local.root / "models.lock").unlink()
    local.doit("model-lock")
    assert (local.root / "models.lock").read_bytes() == good
    local.provision()


def test_a_lock_file_that_can_not_be_read_is_removed(local):
    (local.root / "models.lock").mkdir()
    advised(local.provision(code=3), "make it readable, or remove it: then nothing is locked")
    (local.root / "models.lock").rmdir()
    local.provision()


# ---- lines and words that are shown


def said(text):
    """Return the line or word of YAML that an advice shows."""
    return re.search(r".*(?:write|add|to defaults:|in quotes:) +(.*)$", text)[1]


@pytest.mark.parametrize(
    ("sentence", "text", "old", "new"),
    [
        ('write   models: {tiny: {model_ref: "file:models/tiny.gguf"}}', "", "", "{}"),
        (
            "write   cache: {max_size: 200GB}",
            "{models: {t: {model_ref: x}}, cache: {max_size: much}}",
            "cache: {max_size: much}",
            "{}",
        ),
        ('add   {}: "file:models/tiny.gguf"', "{models: {t: {engine: llamacpp}}}", "engine: llamacpp", "{}"),
        ("write {}", "{models: {t: {model_reff: models/tiny.gguf}}}", "model_reff", "{}"),
        ("write {} in the place of {}", "{model: {t: {model_ref: models/tiny.gguf}}}", "model:", "models:"),
        (
            "if that is the name of a local file, write {}",
            "{models: {t: {model_ref: 'name:x.gguf'}}}",
            "name:x.gguf",
            "{}",
        ),
        (
            "write sha256:{}",
            "{models: {t: {model_ref: models/tiny.gguf, expected_digest: '" + TINY_SHA + "'}}}",
            TINY_SHA,
            "{}",
        ),
        ('put it in quotes: "{}"', "{models: {7: {model_ref: models/tiny.gguf}}}", "7:", "{}:"),
        (
            'add to one of them, or to defaults:   handoff: "{runtime_dir}/engines/{name}.json"',
            "{models: {t: {model_ref: models/tiny.gguf}, u: {model_ref: models/tiny.gguf}}}",
            "u: {",
            "u: {{{}, ",
        ),
        (
            "write the host alone; every port of it is allowed",
            "{models: {t: {model_ref: models/tiny.gguf}}, network: {allow: ['https://hub.example/x']}}",
            "'https://hub.example/x'",
            "hub.example",
        ),
    ],
)  # fmt: skip
def test_a_line_that_a_fault_shows_mends_it(local, sentence, text, old, new):
    local.add_tiny()
    for name in ("name:x.gguf", "x"):
        local.write(name, TINY_BYTES)
    local.models(text)
    answer = local.provision(code=3)
    advised(answer, sentence)
    (advice, *_) = fixes(answer)
    local.models(text.replace(old, new.format(said(advice) if "{" in new else ""), 1) if old else said(advice))
    local.provision()


def test_a_runtime_dir_outside_the_project_is_for_the_environment_to_name(local, tmp_path):
    local.models(f"runtime_dir: {tmp_path}/served\n{GOOD}\n")
    advised(
        local.provision(code=3),
        "name a folder in the project; a place of your own is for MODEL_PROVISIONER_RUNTIME_DIR to name",
    )
    local.models(f"runtime_dir: served\n{GOOD}\n")
    local.provision()
    local.models(GOOD)
    local.environ["MODEL_PROVISIONER_RUNTIME_DIR"] = f"{tmp_path}/served"
    local.provision()
    assert (tmp_path / "served/engines/llamacpp.json").exists()


@pytest.mark.parametrize("side", ["models.yaml", "the lock file"])
def test_a_digest_that_the_lock_contradicts_is_set_right_on_either_side(local, side):
    local.models(GOOD)
    local.doit("model-lock")
    other = TINY.read_bytes() + bytes(32)
    if side == "models.yaml":
        local.write("models/tiny.gguf", other)
    local.models(entry(f'expected_digest: "sha256:{sha256(other)}"'))
    answer = local.provision(code=3)
    advised(
        answer,
        "if models.yaml is right, run `doit model-lock --upgrade {}`; if the lock file is, take expected_digest out of "
        "models.yaml",
    )
    if side == "models.yaml":
        follow(local, "t", fixes(answer)[0])
    else:
        local.models(GOOD)
    assert "pass  t" in local.provision().out

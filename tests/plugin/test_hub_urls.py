"""URLs of a Hub, as people paste them: fetched as `hf:`, and nothing is lost that was written down when they were files.

A machine on which `HF_ENDPOINT` names no Hub reads the URLs of the Hub here as every earlier version read them all: as files
of a web server. That is "earlier".
"""

import json

import pytest

from model_provisioner.installation import with_extra
from tests.support.hub import Hub
from tests.support.remote import ONE, README, REPO, TINY_BYTES, TINY_SHA, resolved

COMMIT = "c" * 40


@pytest.fixture
def hub():
    with Hub({"org/tiny": {COMMIT: REPO}}, tls=True) as hub:
        yield hub


@pytest.fixture
def url(hub):
    return f"{hub.url}/org/tiny/resolve/main/tiny.gguf"


@pytest.fixture
def endpoint(remote):
    """Take the Hub's name out of the environment, and put it back."""
    address = remote.environ.pop("HF_ENDPOINT")
    return lambda: remote.environ.update(HF_ENDPOINT=address)


def model(remote, name="tiny"):
    return remote.project.handoff(name)["model"]


# ---- what is fetched


@pytest.mark.parametrize(
    "form", ["blob/main/tiny.gguf", "resolve/main/tiny.gguf?download=true", "raw/main/tiny.gguf#L1"]
)
def test_a_file_is_fetched_as_the_hub_lists_it(remote, hub, form):
    remote.models({"tiny": f"{hub.url}/org/tiny/{form}"})
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert model(remote)["id"] == ONE
    (row,) = remote.project.rows().values()
    assert (row["id"], row["source"], row["revision"]) == (ONE, ONE, COMMIT)
    assert hub.asked(on="/api/models/*") != []


@pytest.mark.parametrize("form", ["", "/", "/tree/main"])
def test_a_repository_comes_whole(remote, hub, form):
    remote.models({"tiny": {"model_ref": f"{hub.url}/org/tiny{form}", "engine": "vllm"}})
    remote.provision()
    assert remote.bytes_of("tiny") == REPO
    assert model(remote)["id"] == "hf:org/tiny"


def test_a_revision_is_a_branch_with_a_slash(remote, hub):
    commit = hub.add("org/tiny", {"tiny.gguf": TINY_BYTES, "README.md": README}, branch="refs/pr/1")
    remote.models({"tiny": f"{hub.url}/org/tiny/blob/refs%2Fpr%2F1/tiny.gguf"})
    remote.provision()
    (row,) = remote.project.rows().values()
    assert row["revision"] == commit


def test_the_policy_is_asked_of_the_same_host(remote, hub, url):
    remote.models({"tiny": url}, allow=["huggingface.co"])
    assert "expected  127.0.0.1 among the hosts of network.allow\n" in remote.provision(code=1).out
    assert hub.requests == []


def test_one_file_by_both_ways_is_named_twice(remote, url):
    remote.models({"tiny": {"model_ref": "hf:org/tiny@main/tiny.gguf", "lora": url}})
    assert "tiny names one file twice\n" in remote.provision(code=3).err


def test_credentials_in_a_url_go_nowhere(remote, hub, url):
    remote.models({"tiny": url.replace("https://", "https://me:s3cret@")})
    out = remote.doit("model-lock").all + remote.provision().all + remote.doit("model-show", "tiny").all
    out += remote.doit("model-check").all + remote.doit("model-list", "--json").all
    assert b"s3cret" not in out.encode() + remote.everything()
    assert not any("s3cret" in str(request) or "authorization" in request.headers for request in hub.requests)


def test_what_is_no_model_is_told(remote, hub):
    remote.models({"tiny": f"{hub.url}/datasets/org/tiny"})
    assert "a repository of datasets, which holds no models\n" in remote.provision(code=3).err
    assert hub.requests == []


# ---- without huggingface_hub


@pytest.fixture
def without(remote):
    """Run doit where the extra `hf` is not installed."""
    folder = remote.project.write("without/huggingface_hub/__init__.py", "raise ImportError").parent.parent
    remote.environ["PYTHONPATH"] = str(folder)
    return remote


@pytest.mark.parametrize("form", ["blob", "resolve"])
def test_without_the_extra_a_file_is_fetched_by_its_url(without, hub, form):
    without.models({"tiny": f"{hub.url}/org/tiny/{form}/main/tiny.gguf?download=true"})
    without.project.process("provision")
    assert without.bytes_of("tiny") == TINY_BYTES
    assert model(without)["id"] == ONE, "the id tells nothing of what is installed"
    assert [request.path for request in hub.requests] == ["/org/tiny/resolve/main/tiny.gguf"]
    del without.environ["PYTHONPATH"]
    hub.forget()
    assert "1 model: 1 current" in without.provision().out
    assert hub.requests == []


def test_without_the_extra_the_credentials_of_a_url_are_for_its_host(without, hub, url):
    without.models({"tiny": url.replace("https://", "https://me:s3cret@")})
    answer = without.project.process("provision", code=1)
    assert (
        "FAIL  tiny  127.0.0.1 does not take our credentials\n"
        f"        where     {url}\n"
        "        expected  the file\n"
        "        found     401 Unauthorized\n"
        f"        fix       {with_extra('hf')}, which tells the Hub who you are; then ask for access on its "
        "page, then `hf auth login` or set HF_TOKEN to a token that may read it\n"
    ) in answer.out
    assert b"s3cret" not in answer.all.encode() + without.everything()
    assert [request.headers["authorization"] for request in hub.requests] == ["Basic bWU6czNjcmV0"]


def test_without_the_extra_a_repository_needs_it(without, hub):
    without.models({"tiny": {"model_ref": f"{hub.url}/org/tiny", "engine": "vllm"}})
    answer = without.project.process("provision", code=1)
    assert "FAIL  tiny  hf: references need the package huggingface_hub, which is not installed\n" in answer.out


# ---- what was written down under the URL


@pytest.mark.parametrize("query", ["", "?download=true"])
@pytest.mark.parametrize("form", ["the same", "hf:org/tiny/tiny.gguf", "hf:org/tiny@main/tiny.gguf"])
@pytest.mark.parametrize("order", ["URL first", "hf: first"])
def test_a_lock_holds(remote, hub, url, endpoint, query, form, order):
    first, second = f"{url}{query}", f"{url}{query}" if form == "the same" else form
    if order == "hf: first":
        endpoint()
        first, second = second, first
    remote.models({"tiny": first})
    remote.doit("model-lock")
    remote.provision("--locked")
    before = remote.lock.read_bytes()
    hub.forget()
    endpoint()
    remote.models({"tiny": second})
    assert remote.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"
    assert remote.provision("--locked", "--offline").out.startswith(
        ("pass  tiny  confirmed by stat", "1 model: 1 current")
    )
    assert model(remote)["id"] == ONE
    assert remote.doit("model-check").out.startswith("1 model: 1 the same")
    assert remote.doit("model-lock").code == 0
    assert hub.requests == []
    if first == second:
        assert remote.lock.read_bytes() == before


def test_a_lock_of_a_url_holds_on_a_machine_with_another_hub(remote, url, endpoint):
    remote.models({"tiny": url})
    endpoint()
    remote.doit("model-lock")
    assert json.loads(remote.lock.read_bytes())["models"]["tiny"]["ref"] == url
    remote.provision("--locked")
    del remote.environ["HF_ENDPOINT"]
    assert remote.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"
    assert "pass  tiny  " in remote.provision("--locked", "--offline").out
    assert model(remote)["id"] == url


def test_a_lock_of_another_revision_does_not_hold(remote, url, endpoint):
    remote.models({"tiny": url})
    remote.doit("model-lock")
    endpoint()
    remote.models({"tiny": url.replace("main", "v1")})
    answer = remote.doit("model-lock", "--check", code=1)
    assert answer.out == "tiny is locked by another reference than models.yaml has\n"


@pytest.mark.parametrize("after", ["the same", ONE])
def test_what_was_fetched_is_not_fetched_again(remote, hub, url, endpoint, after):
    if after != "the same":
        endpoint()  # nothing was recorded by the old id: only the spelling changes
    remote.models({"tiny": f"{url}?download=true"})
    remote.provision()
    hub.forget()
    endpoint()
    remote.models({"tiny": f"{url}?download=true" if after == "the same" else after})
    (checked,) = remote.json("model-check", code=1)["result"]["checked"]
    differences = checked["differences"]
    assert [each["fix"] for each in differences if each["kind"] != "lock"] == (
        ["run `doit provision`, which fetches what is missing where network.allow has its host"]
        if after == "the same"
        else []
    )
    remote.provision("--offline")
    assert model(remote)["id"] == ONE
    assert remote.bytes_of("tiny") == TINY_BYTES
    (row,) = remote.project.rows().values()
    assert (row["id"], row["source"]) == (ONE, ONE)
    assert "1 model: 1 current" in remote.provision("--offline").out
    remote.doit("model-lock")
    assert hub.requests == [], "who fetched it by its URL has fetched it"


def test_a_companion_by_its_url_is_not_fetched_again(remote, hub, url, endpoint, tiny_models):
    hub.add("org/lora", {"lora.gguf": (tiny_models / "tiny-llama-lora.gguf").read_bytes()})
    entry = {"model_ref": url, "lora": f"{hub.url}/org/lora/resolve/main/lora.gguf"}
    remote.models({"tiny": entry})
    remote.doit("model-lock")
    remote.provision("--locked")
    hub.forget()
    endpoint()
    remote.provision("--locked", "--offline")
    assert [each["id"] for each in model(remote)["companions"]] == ["hf:org/lora/lora.gguf"]
    assert remote.doit("model-lock", "--check").code == 0
    assert hub.requests == []


def test_a_retirement_holds(remote, hub, url, endpoint):
    remote.models({"tiny": url})
    remote.provision()
    remote.doit("model-retire", "tiny")
    hub.forget()
    endpoint()
    assert "1 model: 1 retired" in remote.provision().out
    assert remote.project.handoff("tiny") is None
    remote.models({"tiny": ONE})
    assert "1 model: 1 retired" in remote.provision().out
    assert remote.project.handoff("tiny") is None
    assert hub.requests == []


def test_the_history_is_found_by_either_name(remote, url, endpoint):
    remote.models({"tiny": url})
    remote.provision()
    endpoint()
    found = [remote.json("model-show", name) for name in ("tiny", ONE, url)]
    assert found[0] == found[1] == found[2]
    assert found[0]["models"][0]["id"] == ONE
    assert [move["state"] for move in found[0]["result"]["catalog"][0]["history"]] == ["Pending", "Active"]
    assert json.loads(remote.doit("model-attest", "tiny").out)["predicate"]["resourceUri"] == ONE
    assert remote.project.why("tiny") == ["the bytes of the model are here, and not yet under its name"]
    remote.provision()
    assert len(remote.json("model-show", "tiny")["result"]["catalog"][0]["history"]) == 4


def test_an_unsound_file_of_an_earlier_record_is_asked_for_again(remote, hub, url, endpoint):
    hub.add("org/tiny", {"tiny.gguf": b"<html>log in</html>"})
    remote.models({"tiny": url})
    remote.provision(code=1)
    hub.add("org/tiny", REPO)
    endpoint()
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert remote.blobs() >= {TINY_SHA}


def test_an_unsound_file_leaves_no_earlier_record_to_fall_back_to(remote, hub, url, endpoint):
    remote.models({"tiny": url})
    remote.provision()
    endpoint()
    hub.add("org/tiny", {"tiny.gguf": b"<html>log in</html>"})
    remote.doit("model-lock", "--upgrade", "tiny", code=1)
    hub.add("org/tiny", REPO)
    hub.forget()
    remote.provision()
    assert hub.asked(on="/api/models/*") != [], "its source is asked again, as it is said"


def test_a_repository_is_one_only_where_its_hub_is_named(remote, hub):
    remote.models({"tiny": {"model_ref": f"{hub.url}/org/tiny", "engine": "vllm"}})
    remote.provision()
    remote.environ["HF_ENDPOINT"] = "https://other.example"
    assert f"where     {hub.url}/org/tiny\n" in remote.doit("model-check", code=1).out


def test_a_configuration_that_was_parsed_holds_only_for_its_hub(remote, hub, url, endpoint):
    remote.models({"tiny": url})
    remote.provision()
    assert "1 model: 1 current" in remote.provision().out
    endpoint()
    assert "1 model: 1 done" in remote.provision().out
    assert "1 model: 1 current" in remote.provision().out
    remote.environ["HF_ENDPOINT"] = "https://other.example"
    assert "1 model: 1 done" in remote.provision("--offline").out
    assert model(remote)["id"] == url

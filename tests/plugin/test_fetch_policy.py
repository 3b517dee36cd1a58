"""Who is asked, and who is told who we are: nobody without leave, and no credential where it does not belong."""

import pytest

from tests.support import hub as faults
from tests.support.hub import Hub
from tests.support.project import DODO
from tests.support.remote import ONE, REPO, TINY_BYTES


# ---- what is not asked for


def test_a_second_run_asks_nobody(tiny, hub):
    tiny.project.write("dodo.py", DODO)
    tiny.provision()
    hub.forget()
    assert "1 model: 1 current" in tiny.provision().out
    assert "1 model: 1 current" in tiny.provision("--offline").out
    (tiny.root / ".runtime/engines/tiny.json").unlink()
    tiny.provision()
    tiny.provision("--full")
    tiny.doit("forget", "models:verify:tiny")
    tiny.provision()
    assert hub.requests == []


def test_a_revision_that_is_a_commit_is_not_asked_about(remote, hub):
    commit = hub.add("org/tiny", REPO)
    remote.models({"tiny": f"hf:org/tiny@{commit}/tiny.gguf"})
    remote.provision()
    assert hub.asked(on="/api/models/org/tiny/revision/*") == []


@pytest.mark.parametrize(
    ("options", "environ", "reason"),
    [
        (["--offline"], {}, "--offline"),
        ([], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE=1"),
        ([], {"HF_HUB_OFFLINE": "on"}, "HF_HUB_OFFLINE=on"),
        ([], {"MODEL_PROVISIONER_OFFLINE": "1"}, "MODEL_PROVISIONER_OFFLINE=1"),
    ],
)
def test_an_offline_run_asks_nobody(tiny, hub, options, environ, reason):
    tiny.environ.update(environ)
    line = next(n for n, line in enumerate((tiny.root / "models.yaml").read_text().splitlines(), 1) if '"tiny"' in line)
    answer = tiny.provision(*options, code=1)
    assert answer.out.startswith(
        f"FAIL  tiny  tiny would have to be fetched, and this run is offline ({reason})\n"
        f"        where     {tiny.root}/models.yaml:{line}\n"
        "        expected  127.0.0.1 may be contacted\n"
        f"        found     {reason} forbids all network\n"
        f"        fix       run once without {reason}, or download the model and point model_ref at the file\n"
    )
    assert hub.requests == []
    assert tiny.project.handoff("tiny") is None


@pytest.mark.parametrize("reference", [ONE, "https"])
def test_a_host_that_is_not_allowed_is_not_asked(remote, hub, web, reference):
    hub.add("org/tiny", REPO)
    web.files["/tiny.gguf"] = TINY_BYTES
    remote.models({"tiny": web.url("/tiny.gguf", "127.0.0.1") if reference == "https" else reference}, allow=["x.org"])
    answer = remote.provision(code=1)
    assert "FAIL  tiny  tiny would have to be fetched, and the network is not allowed\n" in answer.out
    assert (
        "        expected  127.0.0.1 among the hosts of network.allow\n"
        "        found     allow: [x.org]\n"
        '        fix       add "127.0.0.1" to network.allow, or download the model and point model_ref at the file\n'
    ) in answer.out
    assert (hub.requests, web.asked, web.connections) == ([], [], 0)
    assert tiny_never_handed_off(remote)


def tiny_never_handed_off(remote):
    return remote.project.handoff("tiny") is None and not remote.cache.exists()


def test_a_redirect_of_the_hub_is_held_to_the_policy_before_it_is_followed(remote):
    with Hub({"org/tiny": {"c" * 40: REPO}}, content_host="127.0.0.2") as hub:
        remote.environ.update(hub.environ(remote.home))
        remote.models({"tiny": ONE}, allow=["127.0.0.1"])
        answer = remote.provision(code=1)
        assert "expected  127.0.0.2 among the hosts of network.allow\n" in answer.out
        assert "found     allow: [127.0.0.1]; 127.0.0.1 redirects to 127.0.0.2\n" in answer.out
        assert hub.asked(host="content") == []
        assert remote.project.handoff("tiny") is None
        remote.models({"tiny": ONE}, allow=["127.0.0.1", "127.0.0.2"])
        remote.provision()
        assert remote.bytes_of("tiny") == TINY_BYTES
        (asked,) = hub.asked(host="content")
        assert "authorization" not in asked.headers


def test_a_redirect_of_the_listing_is_held_to_the_policy(remote, web):
    with Hub() as hub:
        hub.fault(faults.redirect(web.url("/listing", "localhost")), on="/api/models/*")
        remote.environ.update(hub.environ(remote.home))
        remote.models({"tiny": ONE}, allow=["127.0.0.1"])
        answer = remote.provision(code=1)
        assert "expected  localhost among the hosts of network.allow\n" in answer.out
    assert web.connections == 0


def test_a_redirect_by_https_is_held_to_the_policy(remote, web):
    web.files["/b/tiny.gguf"] = TINY_BYTES
    web.manners.redirects["/a/tiny.gguf"] = (302, web.url("/b/tiny.gguf", "127.0.0.1"))
    remote.models({"tiny": web.url("/a/tiny.gguf")}, allow=["localhost"])
    answer = remote.provision(code=1)
    assert "found     allow: [localhost]; localhost redirects to 127.0.0.1\n" in answer.out
    assert [asked.path for asked in web.asked] == ["/a/tiny.gguf"]
    assert web.connections == 1
    remote.models({"tiny": web.url("/a/tiny.gguf")})
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES


def test_huggingface_hub_asks_for_nothing_of_its_own(tiny, hub, tmp_path):
    del tiny.environ["HF_HUB_DISABLE_TELEMETRY"]
    tiny.provision()
    commit = hub.references["org/tiny"]["main"]
    assert [f"{request.method} {request.path.partition('?')[0]}" for request in hub.requests] == [
        "GET /api/models/org/tiny/revision/main",
        f"GET /api/models/org/tiny/tree/{commit}",
        f"GET /org/tiny/resolve/{commit}/tiny.gguf",
    ]
    assert not (tmp_path / "hf").exists()


def test_xet_is_offered_and_never_used(remote):
    with Hub({"org/tiny": {"c" * 40: REPO}}, content_host="localhost", xet=True) as hub:
        remote.environ.update(hub.environ(remote.home))
        remote.models({"tiny": ONE})
        remote.provision()
        assert remote.bytes_of("tiny") == TINY_BYTES
        assert hub.asked(on="*xet*") == hub.asked(on="*/v*/reconstructions/*") == []


# ---- credentials


def test_a_token_goes_to_the_hub_and_nowhere_else(remote):
    with Hub({"org/tiny": {"c" * 40: REPO}}, content_host="127.0.0.2") as hub:
        hub.private.add("org/tiny")
        remote.environ.update(hub.environ(remote.home), HF_TOKEN="hf_good")
        remote.models({"tiny": {"model_ref": "hf:org/tiny", "engine": "vllm"}}, allow=["127.0.0.1", "127.0.0.2"])
        answers = [remote.provision(), remote.doit("model-lock"), remote.doit("model-show", "tiny")]
        assert remote.bytes_of("tiny") == REPO
        assert all(request.headers["authorization"] == "Bearer hf_good" for request in hub.asked(on="*/resolve/*"))
        assert not any("authorization" in request.headers for request in hub.asked(host="content"))
    assert "hf_good" not in "".join(answer.all for answer in answers)
    assert b"hf_good" not in remote.everything()


def test_what_fails_shows_no_token_either(remote, hub):
    remote.environ["HF_TOKEN"] = "hf_wrong"
    hub.add("org/tiny", REPO)
    remote.models({"tiny": ONE})
    answer = remote.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the Hub does not take our token\n"
        "        where     hf:org/tiny/tiny.gguf at 127.0.0.1\n"
        "        expected  an answer of the Hub\n"
        "        found     401 Unauthorized\n"
        "        fix       `hf auth login`, or set HF_TOKEN to a token that may read it\n"
    )
    assert "hf_wrong" not in answer.all
    assert b"hf_wrong" not in remote.everything()


@pytest.mark.parametrize("where", ["url", "netrc"])
def test_credentials_of_https_are_used_and_not_shown(remote, web, where):
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.users["/tiny.gguf"] = "Basic bWU6cGFzc3dvcmQx"  # me:password1
    url = web.url("/tiny.gguf")
    if where == "netrc":
        (remote.home / ".netrc").write_text("machine localhost login me password password1\n")
        (remote.home / ".netrc").chmod(0o600)
        remote.models({"tiny": url})
    else:
        remote.models({"tiny": url.replace("https://", "https://me:password1@")})
    answers = [remote.provision(), remote.doit("model-lock"), remote.doit("model-show", "tiny")]
    assert remote.bytes_of("tiny") == TINY_BYTES
    web.files.clear()
    remote.empty_cache()
    answers.append(remote.provision(code=1))
    assert "localhost has no such file" in answers[-1].out
    assert "password1" not in "".join(answer.all for answer in answers)
    assert b"password1" not in remote.everything()

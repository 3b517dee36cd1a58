"""The network policy: who may be contacted, and what a refusal says."""

import pytest

from model_provisioner.errors import NotAllowedError
from model_provisioner.config.network_policy import HOSTS_VARIABLE, NetworkPolicy, fault_of, offline_reason, users_hosts


def policy(*allow, offline=None):
    return NetworkPolicy(allow, offline, "/p/models.yaml")


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("example.org", "example.org"),
        ("Example.ORG", "example.org"),
        ("example.org", "EXAMPLE.org."),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.example.org", "a.example.org"),
        ("*.example.org", "a.b.example.org"),
        ("*.Example.org", "A.example.org"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "0:0:0:0:0:0:0:1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("localhost", "localhost"),
        ("my_host", "my_host"),
        ("huggingface", "huggingface.co"),
        ("HuggingFace", "cdn-lfs.huggingface.co"),
        ("huggingface", "cas-bridge.xethub.hf.co"),
    ],
)
def test_allowed(pattern, host):
    assert fault_of(pattern) is None
    policy("other.example", pattern).check(host, "tiny", 3)
    assert policy(pattern).allows(host)


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("example.org", "a.example.org"),
        ("example.org", "example.org.evil.example"),
        ("example.org", "badexample.org"),
        ("*.example.org", "example.org"),
        ("*.example.org", "badexample.org"),
        ("*.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("::1", "::2"),
        ("huggingface", "huggingface"),
        ("huggingface", "hf.co"),
        ("huggingface.co", "cdn-lfs.huggingface.co"),
        ("", ""),
        ("*.", "example.org"),
    ],
)
def test_not_allowed(pattern, host):
    assert not policy(pattern).allows(host)
    with pytest.raises(NotAllowedError):
        policy(pattern).check(host, "tiny", 3)


def test_nothing_is_allowed_where_nothing_is_written():
    assert not policy().allows("example.org")


def test_a_refusal_says_which_host_which_entry_which_line_to_add():
    with pytest.raises(NotAllowedError) as caught:
        policy("example.org", "u:secret@x.org").check("Cdn.Example.org", "tiny", 7)
    assert str(caught.value) == (
        "tiny would have to be fetched, and the network is not allowed\n"
        "  where     /p/models.yaml:7\n"
        "  expected  cdn.example.org among the hosts of network.allow\n"
        "  found     allow: [example.org, …@x.org]\n"
        '  fix       add "cdn.example.org" to network.allow, or download the model and point model_ref at the file'
    )


def test_a_refusal_of_a_hub_names_the_preset():
    with pytest.raises(NotAllowedError) as caught:
        policy().check("huggingface.co", "tiny", 3)
    assert caught.value.where == "/p/models.yaml:3"
    assert caught.value.fix == (
        'add "huggingface.co" to network.allow (or "huggingface", which has the hosts of its files too), '
        "or download the model and point model_ref at the file"
    )


def test_offline_forbids_what_is_allowed():
    held = policy("example.org", "127.0.0.1", offline="--offline")
    assert not held.allows("example.org")
    with pytest.raises(NotAllowedError) as caught:
        held.check("127.0.0.1", "tiny", 3)
    assert str(caught.value) == (
        "tiny would have to be fetched, and this run is offline (--offline)\n"
        "  where     /p/models.yaml:3\n"
        "  expected  127.0.0.1 may be contacted\n"
        "  found     --offline forbids all network\n"
        "  fix       run once without --offline, or download the model and point model_ref at the file"
    )


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, None),
        ({"HF_HUB_OFFLINE": "0", "MODEL_PROVISIONER_OFFLINE": ""}, None),
        ({"HF_HUB_OFFLINE": "no"}, None),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE=1"),
        ({"HF_HUB_OFFLINE": "on"}, "HF_HUB_OFFLINE=on"),
        ({"HF_HUB_OFFLINE": "0", "MODEL_PROVISIONER_OFFLINE": "True"}, "MODEL_PROVISIONER_OFFLINE=True"),
        ({"HF_HUB_OFFLINE": "YES", "MODEL_PROVISIONER_OFFLINE": "1"}, "MODEL_PROVISIONER_OFFLINE=1"),
    ],
)
def test_variables_that_forbid_the_network(environ, reason):
    assert offline_reason(environ) == reason


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("https://example.org", 'it is more than a host; write "example.org"'),
        ("https://u:secret@Example.org:8443/x", 'it is more than a host; write "example.org"'),
        ("example.org/models", 'it is more than a host; write "example.org"'),
        ("u:secret@x", 'it is more than a host; write "x"'),
        ("https://[", "it is more than a host"),
        ("https://", "it is more than a host"),
        ("example.org:8443", 'every port of a host is allowed; write "example.org"'),
        ("*.example.org:443", 'every port of a host is allowed; write "*.example.org"'),
        ("127.0.0.1:80", 'every port of a host is allowed; write "127.0.0.1"'),
        ("[::1]:80", 'every port of a host is allowed; write "[::1]"'),
        ("*", "it would allow every host; name the hosts, or *.NAME for all below a name"),
        ("a.*.org", "a star stands at the start only, as in *.NAME"),
        ("*.*.org", "a star stands at the start only, as in *.NAME"),
        ("*example.org", "a star stands at the start only, as in *.NAME"),
        ("*.127.0.0.1", "addresses have nothing below them; write the address"),
        ("*.", "no host has this name"),
        ("a b", "no host has this name"),
        ("127.0.0.256", "no host has this name"),
        ("a..b", "no host has this name"),
        (".example.org", "no host has this name"),
        ("-x.org", "no host has this name"),
    ],
)
def test_faults(pattern, fault):
    assert fault_of(pattern) == fault


def test_what_the_user_allows_is_written_as_a_list_with_blanks_or_commas():
    for text, hosts in {
        "": None,
        "  ": None,
        "off": (),
        "Off": (),
        "a.example": ("a.example",),
        " a.example,\thuggingface , *.b.example ": ("a.example", "huggingface", "*.b.example"),
    }.items():
        assert users_hosts({HOSTS_VARIABLE: text}) == hosts
    assert users_hosts({}) is None


def test_a_host_must_be_in_both_lists():
    for allow, users, allowed in [
        (("huggingface",), None, True),
        (("huggingface",), ("*.hf.co",), True),
        (("huggingface",), ("huggingface",), True),
        (("huggingface",), (), False),
        ((), ("cas-bridge.xethub.hf.co",), False),
        (("huggingface",), ("huggingface.co",), False),
    ]:
        both = NetworkPolicy(allow, None, "/p/models.yaml", users)
        assert both.allows("cas-bridge.xethub.hf.co") is allowed


def test_the_refusal_by_the_user_is_told_as_theirs():
    with pytest.raises(NotAllowedError) as caught:
        NetworkPolicy(("a.example",), None, "/p/models.yaml", ("b.example", "*.c.example")).check(
            "a.example", "tiny", 3
        )
    assert str(caught.value) == (
        "tiny would have to be fetched, and MODEL_PROVISIONER_NETWORK does not allow a.example\n"
        "  where     /p/models.yaml:3\n"
        "  expected  a.example among the hosts of MODEL_PROVISIONER_NETWORK\n"
        "  found     MODEL_PROVISIONER_NETWORK=b.example, *.c.example\n"
        "  fix       add a.example to it if you trust that host, or download the model and point model_ref at the file"
    )

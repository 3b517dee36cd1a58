"""The store keeps its bound: what goes, what stays and for whose sake, and room before a fetch."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_provisioner.store.lease import Lease
from model_provisioner.store.store import Store
from model_provisioner.units import human
from tests.support.files_server import FilesServer
from tests.support.hub import Hub, slow
from tests.support.project import TINY, Project, document
from tests.support.remote import wait_until

SIZE = TINY.stat().st_size + 1000
"""Bytes of each model here: 106,248."""
pytestmark = pytest.mark.slow  # a Hub and several runs each

TWO_AND_A_HALF = "cache: {max_size: 265KB}\n"


def content(name: str) -> bytes:
    """A sound model that is like no other."""
    return TINY.read_bytes() + name.encode().ljust(1000, b".")


def sha256(name: str) -> str:
    return hashlib.sha256(content(name)).hexdigest()


@dataclass
class Shop:
    """A Hub with models of one letter, and projects that share a store."""

    hub: Hub
    home: Path
    project: Project

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def sibling(self, name: str) -> "Shop":
        root = self.home / name
        root.mkdir()
        return Shop(self.hub, self.home, Project(root, self.project.state, self.project.environ))

    def models(self, names: str, top: str = "", more: str = "") -> None:
        entries = "".join(f"  {name}: {{model_ref: 'hf:org/{name}/x.gguf'{more}}}\n" for name in names)
        self.project.models(
            f"cache_dir: {self.cache}\nnetwork: {{allow: [127.0.0.1]}}\n{top}"
            f"defaults: {{handoff: '{{runtime_dir}}/engines/{{name}}.json'}}\nmodels:{entries and chr(10) + entries or ' {}'}"
        )

    def provision(self, *args, code=0):
        return self.project.provision(*args, code=code)

    def prune(self, *args, code=0):
        return self.project.doit("model-prune", *args, code=code)

    def held(self) -> dict[str, str | None]:
        """Return what holds each model of the store, as `model-prune --json` says it."""
        found = document(self.prune("--json", "--dry-run", "--older-than", "1000d", code=None))["result"]
        return {name_of(each): each["held_by"] for each in found["left"]}

    def here(self) -> str:
        """Return the models whose bytes are in the store, and check that nothing else is."""
        blobs = {path.name for path in self.cache.glob("blobs/sha256/*/*")}
        names = [name for name in "abcdefgh" if sha256(name) in blobs]
        assert len(names) == len(blobs)
        trees = {path.parent.parent.name.split("-")[2] for path in self.cache.glob("trees/*/*/x.gguf")}
        assert trees <= set(names), "a tree without its bytes"
        return "".join(names)

    def fill(self, names: str) -> None:
        """Fetch models that no entry names any more."""
        self.models(names)
        self.provision()
        self.models("")
        self.provision()

    def age(self, **days: float) -> None:
        """Let models have been used so many days ago, for the last time."""
        for record in self.cache.glob("uses/*.json"):
            body, when = json.loads(record.read_bytes()), record.stat().st_mtime
            for tree, used in body["trees"].items():
                if (name := tree.split("-")[2]) in days and used is not None:
                    body["trees"][tree] = int(time.time() - days[name] * 86400)
            record.write_text(json.dumps(body))
            os.utime(record, (when, when))
        for tree in self.cache.glob("trees/*/*"):
            if (name := tree.parent.name.split("-")[2]) in days:
                when = time.time() - days[name] * 86400
                os.utime(tree, (when, when))


def name_of(told: dict) -> str:
    return re.sub(r"hf:org/(\w)/x.gguf", r"\1", told["name"])


@pytest.fixture
def shop(project, tmp_path):
    with Hub() as hub:
        for name in "abcdefgh":
            hub.add(f"org/{name}", {"x.gguf": content(name)})
        project.environ.update(hub.environ(tmp_path / "hf"), HOME=str(tmp_path))
        yield Shop(hub, tmp_path, project)


# ---- what goes


def test_a_store_over_its_bound_loses_what_was_not_used_for_longest(shop):
    shop.fill("abcd")
    shop.age(b=40, d=30, a=20, c=10)
    shop.models("e", TWO_AND_A_HALF.replace("265", "430"))
    shop.provision()
    # Room was made before e came: b and no more.
    assert shop.here() == "acde"
    shop.models("e", TWO_AND_A_HALF)
    dry = shop.prune("--dry-run")
    assert shop.here() == "acde"
    found = shop.prune()
    assert shop.here() == "ce"
    days = [time.strftime("%Y-%m-%d", time.gmtime(time.time() - age * 86400)) for age in (30, 20)]
    assert found.out == (
        f"gone  hf:org/d/x.gguf  106.2 KB  last used {days[0]}\n"
        f"gone  hf:org/a/x.gguf  106.2 KB  last used {days[1]}\n"
        "212.5 KB freed in the store, which holds 212.5 KB of 265.0 KB\n"
    )
    assert dry.out == found.out.replace("gone", "would go").replace(" freed", " would be freed")
    assert shop.prune().out == "0 bytes freed in the store, which holds 212.5 KB of 265.0 KB\n"
    assert shop.provision().out.startswith("1 model: 1 current")


def test_what_went_is_fetched_again_at_the_commit_that_it_had(shop):
    shop.fill("a")
    shop.prune("--older-than", "0s")
    assert shop.here() == ""
    shop.hub.add("org/a", {"x.gguf": content("b")})
    shop.models("a")
    shop.provision()
    assert shop.here() == "a"


def test_an_age_takes_all_that_was_not_used_since(shop):
    shop.fill("abc")
    shop.age(a=31, b=29, c=90)
    assert "212.5 KB freed" in shop.prune("--older-than", "30d").out
    assert shop.here() == "b"


def test_two_ids_with_the_same_bytes_go_together_or_not_at_all(shop):
    shop.hub.add("org/b", {"x.gguf": content("a")})
    shop.fill("abc")
    shop.age(a=50, b=30, c=40)
    shop.models("", "cache: {max_size: 110KB}\n")
    shop.prune()  # the bytes of a were last used as those of b
    assert sorted(path.name[:8] for path in shop.cache.glob("trees/*") if os.listdir(path)) == ["hf-org-a", "hf-org-b"]
    assert "106.2 KB freed" in shop.prune("--older-than", "0s").out
    assert list(shop.cache.glob("blobs/*/*/*")) == []
    assert list(shop.cache.glob("trees/*/*")) == []


def test_a_run_that_finds_all_current_writes_one_row_for_the_project(shop):
    shop.models("ab")
    shop.provision()
    (record,) = shop.cache.glob("uses/*.json")
    os.utime(record, (1e9, 1e9))
    before = {path: path.stat().st_mtime_ns for path in shop.cache.rglob("*")}
    assert shop.provision().out.startswith("2 models: 2 current")
    after = {path: path.stat().st_mtime_ns for path in shop.cache.rglob("*")}
    assert time.time() - record.stat().st_mtime < 60
    assert [path for path in after if after[path] != before.get(path)] == [record]


def test_a_project_of_local_models_asks_nothing_of_the_store(shop):
    shop.project.add_tiny()
    shop.project.models(
        f"cache_dir: {shop.cache}\ncache: {{max_size: 1KB}}\nmodels: {{a: {{model_ref: models/tiny.gguf}}}}\n"
    )
    shop.provision()
    shop.provision()
    shop.prune("--older-than", "0s")
    assert not shop.cache.exists()
    assert not list(shop.project.state.glob("projects/*/uses-*"))
    assert (shop.project.root / "models/tiny.gguf").exists()


def test_leftovers_go_too(shop):
    shop.fill("a")
    (shop.cache / "partial" / ("0" * 64 + ".0123456789abcdef")).write_bytes(b"x" * 500)
    (shop.cache / "quarantine").mkdir()
    (shop.cache / "quarantine" / ("1" * 64 + ".0123456789abcdef")).write_bytes(b"x" * 600)
    (shop.cache / "blobs/sha256/22").mkdir()
    (shop.cache / "blobs/sha256/22" / ("2" * 64)).write_bytes(b"x" * 700)
    (shop.cache / "not of ours").write_bytes(b"x")
    assert "108.0 KB freed in the store, which holds 0 bytes" in shop.prune("--older-than", "0s").out
    assert not [path for path in shop.cache.glob("[bpq]*/**/*") if path.is_file()]
    assert (shop.cache / "not of ours").exists()


# ---- what stays


def other(shop, more="", prepare=lambda _: None):
    """Another project uses c, in some way."""
    sibling = shop.sibling("other")
    sibling.models("c", more=more)
    prepare(sibling)
    shop.models("")


def fetch_and_clean(sibling):
    sibling.provision()
    for path in sibling.project.root.glob(".runtime/engines/*.json"):
        path.unlink()


def lock_only(sibling):
    sibling.project.doit("model-lock")


def break_yaml(sibling):
    fetch_and_clean(sibling)
    sibling.project.models("models: [")


def of_another_machine(sibling):
    fetch_and_clean(sibling)
    (record,) = sibling.cache.glob("uses/*.json")
    record.write_text(record.read_text().replace('"owner": "', '"owner": "gpu7'))
    (sibling.project.root / "models.yaml").unlink()


def without_records(sibling):
    """The catalog is lost: the build record knows."""
    sibling.provision()
    for path in sibling.project.state.glob("catalog.db*"):
        path.unlink()
    for path in sibling.cache.glob("uses/*"):
        path.unlink()


def local_link(sibling):
    """A local reference whose file lies in the store."""
    sibling.provision()
    path = sibling.project.handoff("c")["model"]["path"]
    sibling.project.models(f"models: {{c: {{model_ref: '{path}'}}}}")
    sibling.provision()


@pytest.mark.parametrize(
    ("more", "prepare", "reason"),
    [
        ("", lambda it: it.provision(), "handed off in {other}/.runtime/engines/c.json"),
        ("", without_records, "handed off in {other}/.runtime/engines/c.json"),
        ("", local_link, "handed off in {other}/.runtime/engines/llamacpp.json"),
        (", keep: true", fetch_and_clean, "keep: true (c of {other}/models.yaml)"),
        ("", lock_only, "locked (c of {other}/models.yaml)"),
        ("", break_yaml, "used by {other}/models.yaml, which has faults"),
        ("", of_another_machine, "used by gpu7{host}, {other}/models.yaml"),
    ],
    ids=["handoff", "handoff-catalog-lost", "local", "keep", "locked", "broken", "machine"],
)
def test_what_another_project_needs_stays(shop, more, prepare, reason):
    other(shop, more, prepare)
    shop.models("a", "cache: {max_size: 1KB}\n")
    said = reason.format(other=shop.home / "other", host=os.uname().nodename)
    assert shop.held() == {"c": said}
    answer = shop.prune("--older-than", "0s", code=1)
    assert shop.here() == "c"
    assert answer.out == (
        "0 bytes freed in the store, which holds 106.2 KB of 1.0 KB\n"
        f"what is left can't go:\n  106.2 KB hf:org/c/x.gguf: {said}\n"
    )


def test_what_nobody_needs_any_more_does_not(shop):
    """No handoff, no lock, no keep; a project that is gone; one of another machine that is long silent."""
    other(shop, ", keep: true", fetch_and_clean)
    (shop.home / "other/models.yaml").unlink()
    machine = shop.sibling("machine")
    machine.models("d", more=", keep: true")
    of_another_machine_record = set(shop.cache.glob("uses/*"))
    fetch_and_clean(machine)
    (record,) = set(shop.cache.glob("uses/*")) - of_another_machine_record
    record.write_text(record.read_text().replace('"owner": "', '"owner": "gpu7'))
    (shop.home / "machine/models.yaml").unlink()
    assert shop.held()["d"] == f"used by gpu7{os.uname().nodename}, {shop.home}/machine/models.yaml"
    month_ago = time.time() - 31 * 86400
    os.utime(record, (month_ago, month_ago))
    assert shop.held() == {"c": None, "d": None}
    shop.prune("--older-than", "0s")
    assert shop.here() == ""


def test_a_handoff_outlives_its_project_file(shop):
    other(shop, "", lambda it: it.provision())
    (shop.home / "other/models.yaml").unlink()
    shop.prune("--older-than", "0s")
    assert shop.here() == "c"


def test_what_a_living_run_uses_stays_and_what_a_dead_one_used_does_not(shop):
    shop.fill("ab")
    lease = Lease(Store(str(shop.cache)))
    assert lease.use([sha256("a")])
    shop.prune("--older-than", "0s")
    assert shop.here() == "a"
    lease.close()
    program = "import os, sys\nfrom model_provisioner.store.lease import Lease\n"
    program += "from model_provisioner.store.store import Store\n"
    program += "Lease(Store(sys.argv[1])).use([sys.argv[2]]); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program, shop.cache, sha256("a")], check=False).returncode == -9
    assert list(shop.cache.glob("leases/*"))
    shop.prune("--older-than", "0s")
    assert shop.here() == ""


def test_what_came_of_a_model_that_a_project_names_is_that_models_and_stays(shop):
    shop.hub.fault(slow(40_000), on="*/a/resolve/*")
    shop.models("a")
    with shop.project.start("provision") as run:
        wait_until(lambda: [path for path in shop.cache.glob("partial/*") if path.stat().st_size > 1000])
        run.kill()
    (partial,) = (path for path in shop.cache.glob("partial/*") if path.suffix != ".json")
    size = partial.stat().st_size
    out = shop.project.doit("model-list").out
    assert f"  a  {human(size)}  of it, last used " in out
    assert f"stays: the next run resumes it (a of {shop.project.root}/models.yaml)\n" in out
    assert "does not name" not in out
    assert shop.prune("--older-than", "0s").out.startswith("0 bytes freed")
    shop.models("")
    shop.prune("--older-than", "0s")
    assert not partial.exists()


def test_what_is_being_fetched_stays(shop):
    shop.hub.fault(slow(40_000), on="*/a/resolve/*")
    shop.models("a")
    run = shop.project.start("provision")
    while not [path for path in shop.cache.glob("partial/*") if path.stat().st_size > 1000]:
        assert run.poll() is None
        time.sleep(0.01)
    pruner = shop.sibling("pruner")
    pruner.models("")
    out = pruner.prune("--older-than", "0s").out
    assert out.startswith("0 bytes freed")
    assert run.communicate(timeout=60)[1] == b"fetching a, 106.2 KB from 127.0.0.1\n"
    assert run.returncode == 0
    assert shop.here() == "a"
    assert len(shop.hub.asked(on="*/a/resolve/*", method="GET")) == 1


# ---- room before a fetch


def test_room_is_made_before_a_fetch_and_told(shop):
    shop.fill("abc")
    shop.age(a=3, b=2, c=1)
    shop.models("d", TWO_AND_A_HALF)
    out = shop.provision().out
    assert shop.here() == "cd"
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3 * 86400))
    assert f"      note: hf:org/a/x.gguf (106.2 KB, last used {day}) went from the store to make room\n" in out


def test_a_fetch_that_can_not_fit_says_so_at_once_and_nothing_goes_for_it(shop):
    shop.fill("a")
    sibling = shop.sibling("other")
    sibling.models("bc")
    sibling.provision()
    shop.models("d", TWO_AND_A_HALF)
    shop.hub.forget()
    engines = shop.home / "other/.runtime/engines"
    assert shop.provision(code=1).out.startswith(
        f"""\
FAIL  d  d does not fit into the store
        where     {shop.cache} (cache.max_size: 265.0 KB)
        expected  room for 106.2 KB
        found     212.5 KB that can't go: 106.2 KB hf:org/b/x.gguf: handed off in {engines}/b.json; 106.2 KB \
hf:org/c/x.gguf: handed off in {engines}/c.json
        fix       raise cache.max_size in models.yaml, or let something go: what no handoff, lock, run or `keep: true` holds
"""
    )
    assert shop.here() == "abc"
    assert not shop.hub.asked(on="*/resolve/*", method="GET")


def test_models_that_fit_one_by_one_and_not_together(shop):
    """Each of several fetches at once keeps its room, so that the bound holds whichever comes first."""
    shop.models("abcd", TWO_AND_A_HALF)
    shop.hub.fault(slow(200_000), on="*/resolve/*")
    out = shop.provision(code=1).out
    assert len(shop.here()) == 2
    assert out.count("212.5 KB that can't go: ") == 2
    assert len(re.findall("^FAIL  . {2}. does not fit into the store$", out, re.MULTILINE)) == 2


def test_a_url_whose_size_is_told_by_its_answer_only(shop, tmp_path):
    import ssl

    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    shop.project.environ["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with FilesServer({"/x.gguf": content("a"), "/y.gguf": content("b") * 3}, context=context) as server:
        for path, code in (("/x.gguf", 0), ("/y.gguf", 1)):
            shop.project.models(
                f"cache_dir: {shop.cache}\nnetwork: {{allow: [127.0.0.1]}}\n{TWO_AND_A_HALF}"
                f"models: {{u: {{model_ref: '{server.url(path, '127.0.0.1')}'}}}}\n"
            )
            out = shop.provision(code=code).out
    assert "u does not fit into the store" in out
    assert "expected  room for 318.7 KB" in out
    assert [path.name for path in shop.cache.glob("blobs/*/*/*")] == [sha256("a")]


# ---- kills and races

PRUNE = """
import os, signal, sys
from model_provisioner.engine.retention.eviction import prune
from model_provisioner.engine.workspace import look_at_workspace
work = look_at_workspace(sys.argv[1], os.environ["MODEL_PROVISIONER_STATE_DIR"])
left = [int(sys.argv[2])]
def count(event, args):
    if event in {"os.rename", "os.remove", "os.rmdir"}:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
prune(work, 0)
"""


def run_python(shop, program, *arguments, **options):
    environ = {**os.environ, **shop.project.environ, "MODEL_PROVISIONER_STATE_DIR": str(shop.project.state)}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=environ, **options)


def test_a_prune_that_is_killed_before_any_of_its_steps_leaves_a_store_that_the_next_run_understands(shop):
    config = shop.project.root / "models.yaml"
    for step in range(20):
        shop.models("ab")
        shop.provision()
        assert shop.here() == "ab"
        shop.models("b")
        shop.provision()
        run = run_python(shop, PRUNE, config, step)
        if run.wait(60) == 0:
            break
        assert run.returncode == -signal.SIGKILL
        shop.provision("--offline")  # b is as it was
        if step % 2:
            shop.prune("--older-than", "0s")  # what a kill left goes, and b stays
            assert shop.here() == "b"
    assert step >= 3
    assert shop.here() == "b"
    assert not list(shop.cache.glob("leases/*"))


PROVISION = """
import sys, os, time
from model_provisioner.engine.run import Run
from model_provisioner.engine.workspace import open_workspace
end = time.monotonic() + float(sys.argv[2])
count = 0
while time.monotonic() < end:
    with Run(open_workspace(sys.argv[1])) as run:
        (entry,) = run.work.config.entries.values()
        found = run.provision_one(entry.name)
        run.finish()
        os.stat(found.files.path)  # through its links: the handoff names it, so it is here
        os.unlink(entry.handoff)
    count += 1
print(count)
"""
PRUNING = """
import os, sys, time
from model_provisioner.engine.retention.eviction import prune
from model_provisioner.engine.workspace import look_at_workspace
end = time.monotonic() + float(sys.argv[2])
gone = 0
while time.monotonic() < end:
    work = look_at_workspace(sys.argv[1], os.environ["MODEL_PROVISIONER_STATE_DIR"])
    gone += len(prune(work, -10).gone)
    work.close()
print(gone)
"""


def test_no_handoff_ever_names_what_another_process_evicted(shop):
    shop.models("a")
    shop.provision()
    config = shop.project.root / "models.yaml"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    runs = [run_python(shop, program, config, 6, **pipes) for program in (PROVISION, PRUNING, PRUNING)]
    answers = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], answers
    provisioned, *gone = [int(out) for out, _ in answers]
    assert provisioned > 3
    assert sum(gone) > 2, "nothing was ever evicted: this proves nothing"


# ---- what is printed, and bad input


def test_the_list_tells_bytes_last_use_and_what_may_go(shop):
    shop.fill("a")
    shop.models("b", TWO_AND_A_HALF)
    shop.provision()
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert shop.project.doit("model-list").out.endswith(
        f"""
in the store, which holds 212.5 KB of 265.0 KB:
  b  106.2 KB  last used {today}  stays: handed off in {shop.project.root}/.runtime/engines/b.json
  and what this project does not name: 106.2 KB of it may go (doit model-prune --dry-run)
"""
    )
    row = shop.project.rows()["b"]["store"]
    assert (row["size_bytes"], row["may_go"]) == (SIZE, False)
    (shop.project.root / ".runtime/engines/b.json").unlink()
    row = shop.project.rows()["b"]["store"]
    assert (row["may_go"], row["held_by"]) == (True, None)


def test_json(shop):
    shop.fill("a")
    shop.models("b", TWO_AND_A_HALF)
    shop.provision()
    found = document(shop.prune("--json", "--older-than", "0s"))["result"]
    assert (found["dry_run"], found["size_bytes"], found["max_size_bytes"]) == (False, SIZE, 265_000)
    assert [(name_of(each), each["freed_bytes"], each["kind"]) for each in found["gone"]] == [("a", SIZE, "model")]
    assert [(name_of(each), each["may_go"]) for each in found["left"]] == [("b", False)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (),
            "ERROR: nothing says what is to go\n  where     {config}\n"
            "  expected  cache: {{max_size: 200GB}} in the file, or --older-than 30d\n  found     neither\n"
            "  fix       add one of them\n",
        ),
        (
            ("--older-than", "30"),
            "ERROR: --older-than takes an age\n  where     the command line\n  expected  a whole number and s, m, h, d or w, as 30d\n"
            "  found     30\n  fix       write --older-than 30d\n",
        ),
        (
            ("a",),
            "ERROR: model-prune takes no names\n  where     the command line\n"
            "  expected  the options and names as its help shows them\n  found     a\n"
            "  fix       see `doit help model-prune`\n",
        ),
    ],
)
def test_bad_input(shop, arguments, message):
    shop.models("a")
    assert shop.prune(*arguments, code=3).err == message.format(config=shop.project.root / "models.yaml")


def test_records_that_can_not_be_read_let_nothing_go(shop):
    shop.fill("a")
    (shop.project.state / "catalog.db").write_bytes(b"no database" * 1000)
    answer = shop.prune("--older-than", "0s", code=2)
    assert answer.err.startswith("ERROR: the catalog is damaged or not a database\n")
    assert shop.here() == "a"

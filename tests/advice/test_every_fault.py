"""No fault without its five parts, and none whose advice nobody followed."""

import ast
from pathlib import Path

from tests.advice.faults import kinds, modules, sentences

PARTS = {"where", "expected", "found", "fix"}
OF_A_FIELD = (
    "it is the value of a field: whoever reads the file says where, and shows the value where nothing else was found"
)
MAY_LACK = {
    "config.fields._handoff": ({"where", "found"}, OF_A_FIELD),
    "config.fields._host": ({"where"}, OF_A_FIELD),
    "config.fields._max_size": ({"where", "found"}, OF_A_FIELD),
    "config.fields._file_digest": ({"where", "found"}, OF_A_FIELD),
    "config.fields._inner_path": ({"where", "found"}, OF_A_FIELD),
    "config.fields._expected": ({"where", "found"}, OF_A_FIELD),
    "config.schema._companion": ({"where", "found"}, OF_A_FIELD),
    "config.schema._names_one_signer": ({"where"}, OF_A_FIELD),
    "config.schema._fault": ({"where"}, OF_A_FIELD),
    "references.mirror.parse": ({"where"}, OF_A_FIELD),
    "references.mirror.checked": ({"where"}, OF_A_FIELD),
    "references.digest.__post_init__": ({"where"}, OF_A_FIELD),
    "references.hub_url.meaning": ({"where"}, OF_A_FIELD),
    "references.digest.parse": ({"where"}, OF_A_FIELD),
    "references.file_names.path_of_file_url": ({"where"}, OF_A_FIELD),
    "references.object_name.check_object": ({"where"}, OF_A_FIELD),
    "references.object_name._not_an_object": ({"where"}, OF_A_FIELD),
    "references.hub_name.read_hub_name": ({"where"}, OF_A_FIELD),
    "references.hub_name.check_hub_name": ({"where"}, OF_A_FIELD),
    "references.artifact_name.check_artifact_name": ({"where"}, OF_A_FIELD),
    "references.artifact_name.check_ollama_name": ({"where"}, OF_A_FIELD),
    **{
        f"references.reference.{name}": ({"where"}, OF_A_FIELD)
        for name in (
            "parse",
            "__post_init__",
            "absolute",
            "_parse_url",
        )
    },
}
"""Which parts the errors of a function lack where they are made, and why that may be."""
MADE_OF_ONE_VALUE = {"ConfigError", "DigestMismatchError", "CorruptModelError", "DamagedError", "FailedModelsError"}
"""Errors that make their parts of what they are about."""

PIECE = "it is a piece of a sentence, which is followed as a whole"
RACE = "it needs a change at one moment of a run"
PROGRAM = "a program is told: tests/api"
DISK = "it needs a disk that fails"
BY_ITS_NAME = "only the program says it, by its own name: tests/cli/test_program.py"
NOT_FOLLOWED = {
    "choose another folder": PIECE,
    "choose another name": PIECE,
    "write it into the project": PIECE,
    "if its source has a sound one by now, `doit model-lock --upgrade {}` takes it": PIECE,
    "if its source has another one by now, `doit model-lock --upgrade {}` takes it": PIECE,
    "or run again, and its source is asked again": PIECE,
    "{}, which tells the Hub who you are; then {}": (
        "it needs an environment without the extra: tests/plugin/test_hub_urls.py hides it"
    ),
    "see `doit help`": BY_ITS_NAME,
    "`doit model-list` shows those that there are": BY_ITS_NAME,
    "a task of dodo.py makes it: run `doit provision`": PIECE,
    "nothing was handed off; run again": f"{RACE}: tests/engine/test_publish.py has it",
    "wait until what writes them has ended, then run again": f"{RACE}; what writes one file is followed in test_files.py",
    "run again": f"{RACE}: another program moves a folder of ours away",
    "run `doit provision`, and it is fetched again": f"{RACE}: another run put the damaged file away first",
    "it was left as it is, and the next audit reads it again: look at the disk, its cable and the memory, and at "
    "those of the workers, if there are any": (f"{DISK} now and then: tests/operations/test_store_audit.py has it"),
    "give yourself read and search permission (r-x) for it, or check that its disk is sound; then audit again": (
        f"{DISK}, or a user who is not root: tests/cli/commands/test_verify_store.py has it"
    ),
    "remove {}, which could not be moved away ({}), and run again": f"{DISK} when a damaged file is put away",
    "doit model-retire --undo {}": f"{RACE}; retired before it, a model is skipped, or told as in test_commands.py",
    "see `doit model-show`": "no command asks for a move that can't be: it guards programs, in tests/records/test_lifecycle.py",
    "try again later, or download the model and point model_ref at the file": (
        "a source that drips for ten minutes leaves a thread behind, which the tests of commands do not allow"
    ),
    "check that its disk is there and sound": f"{DISK}: tests/fs/test_unreachable.py has it",
    "check the disk it lies on": DISK,
    "mend that and run again": f"{DISK} in a way that has no sentence of its own",
    "free some of your quota on that disk and run again; what was finished is kept": "it needs a disk with quotas",
    "a file has the name of this folder: rename it": "tests/store/test_store.py has it: a file in the place of the store",
    "give yourself write permission to that folder, or set {} to one that you can write": (
        "it is said of the store; of what a run writes, with more words, it is followed in test_state.py"
    ),
    "get the model again from its source, and have its disk looked at": (
        f"{DISK} unseen: tests/cli/commands/test_check.py makes one rot, and the check passes when the bytes are back"
    ),
    "check HF_ENDPOINT": "only a program that brings a client of its own for the Hub meets it",
    "install them anew": "it needs a machine without any certificates",
    "ask with that digest": f"{PROGRAM}/test_provisioner.py has it",
    **dict.fromkeys(
        (
            'add "{}" to allow{}, or download the model and ask for the file',
            'add "{}" to network.allow{}, or download the model and ask for the file',
            'add "{}" to allow{}, or download the model and point model_ref at the file',
            "add {} to it if you trust that host, or download the model and ask for the file",
            "run once without {}, or download the model and ask for the file",
            'correct it, as in   allow=["huggingface", "models.example.org"]',
        ),
        f"{PROGRAM}/test_provisioner.py has what is allowed",
    ),
    "move it away, or name another handoff": f"{PROGRAM}/test_project.py has it",
    'name a file, as in   "handoff.json"': f"{PROGRAM}/test_project.py has it",
    "write the name of an entry": f"{PROGRAM}/test_project.py has it",
    "end that program, or wait for it, and run this again; nothing was added": (
        f"{RACE}, ten times: tests/cli/commands/test_add.py has it"
    ),
    "run it again, or name one: {}": "it is for who types at a terminal: tests/cli/commands/test_add.py has it",
    **dict.fromkeys(
        (
            "free some at its host; the next publish sends what is missing",
            "look into its log, then run it again; the next publish sends what is missing",
            "look into its log, and report it with this message",
            "name the primary in MODEL_PROVISIONER_FLEET_URL; of several hosts ?target_session_attrs=read-write finds it",
        ),
        "it needs a database that fails: tests/operations/fleet/test_sending.py has one say so",
    ),
    "run it again; if it comes back, report it with this message": "it needs a fault of ours, or of psycopg",
    "install the newer version of model-provisioner here": "there is none yet: tests/operations/fleet/test_schema.py",
    "start it, or correct the address": PIECE,
    "{}; or leave --scheduler out: then the files are read by this machine": PIECE,
    **dict.fromkeys(
        (
            "mount the folder there",
            "look at its log, and see that it has memory",
            "look at the workers; where they are only busy, set MODEL_PROVISIONER_SCHEDULER_TIMEOUT=1h",
            "install the same version everywhere",
        ),
        "it needs a cluster that is ill: tests/cli/commands/test_scheduler.py and tests/hashing/executors have them",
    ),
    "{}; or leave --scheduler and MODEL_PROVISIONER_SCHEDULER out: then files are read by threads of this machine": (
        "it needs an environment without the extra: tests/hashing/executors/test_choose.py hides it"
    ),
    **dict.fromkeys(
        ("send it by `doit model-mirror --to`", "remove it there, and send the right one by `doit model-mirror --to`"),
        "trouble of a mirror is a note without advice: its source is asked",
    ),
    "tell who runs the mirror": "it needs a mirror that takes a file, and does not have it then",
    "run `doit provision`, and this again": f"{RACE}: a file changes while it is sent",
    "see docs/reference/models-yaml.md": "no field has a type without a sentence of its own: it is for the next one",
}
"""The sentences that no test follows, and why."""


def test_every_fault_has_its_five_parts():
    lacking = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in kinds() - MADE_OF_ONE_VALUE:
                continue
            words = {each.arg for each in node.keywords}
            if None in words:
                continue  # what is passed on was checked where it was made
            place = module.place(node)
            if missing := PARTS - words - MAY_LACK.get(place, (set(), ""))[0]:
                lacking[f"{place}:{node.lineno}"] = sorted(missing)
    assert lacking == {}


def followed() -> set[str]:
    """Return every text of the tests beside this one: a test that follows an advice has its sentence."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        if path != Path(__file__):
            tree = ast.parse(path.read_text())
            found |= {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    return found


def test_every_sentence_of_advice_is_followed_or_there_is_a_reason_why_not():
    missing = sentences().keys() - followed() - NOT_FOLLOWED.keys()
    assert missing == set(), "\n".join(f"{each}\n    {sorted(sentences()[each])}" for each in sorted(missing))


def test_no_reason_is_left_of_a_sentence_that_is_gone_or_followed():
    assert NOT_FOLLOWED.keys() - sentences().keys() == set()
    assert NOT_FOLLOWED.keys() & followed() == set()

"""The commands: what each of them is called, takes and is for. What it does is `run` in its module of `cli/commands`.

One declaration serves both faces: the program (see `cli/program.py`) and doit's `model-NAME` (see `plugin/commands.py`).
Every no-op imports this module, so it imports next to nothing.
"""

from __future__ import annotations

from model_provisioner.cli.command import Command, Option

_FULL = Option("full", "ignore cached digests and hash every byte with SHA-256")
JUNIT = Option("junit", "write a JUnit XML report to FILE", "value", "FILE")
FORCE = Option("force", "replace the file even if another program wrote it; never a model, a lock or a configuration")
SCHEDULER = Option(
    "scheduler",
    "let files be hashed by local:N (processes), dask:ADDRESS or ray:ADDRESS; MODEL_PROVISIONER_SCHEDULER does the same",
    "value",
    "EXECUTOR",
)
QUIET = Option("quiet", "print nothing but warnings and failures", short="q")

PROVISION = Command(
    name="provision",
    purpose="make the models of models.yaml present, verified and handed off",
    names="[NAME...]",
    options=(
        _FULL,
        Option("require_digest", "fail a model without an expected digest"),
        Option("offline", "contact no host, whatever network.allow says; MODEL_PROVISIONER_OFFLINE=1 does the same"),
        Option("locked", "fail a model that models.lock does not name; MODEL_PROVISIONER_LOCKED=1 does the same"),
        SCHEDULER,
        JUNIT,
        FORCE,
        QUIET,
    ),
    description="NAME is a model; without one, all models. models.yaml is looked for here and in the "
    "folders above; its folder becomes the working directory.\n\n"
    "Exit codes: 0 done, 1 a model failed, 2 something broke, 3 bad input, 130 interrupted.",
    example="--offline",
    interrupted="interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run",
)
"""doit runs it itself, with tasks and targets as names and options of its own beside these: see `plugin/provision.py`."""

ADD = Command(
    name="add",
    purpose="add models to models.yaml, each with its digest; every other byte of the file stays",
    names="[NAME] REF...",
    options=(
        Option("name", "what the entry is called; by default it is named after the file", "value", "NEW-NAME"),
        Option("allow", "let the hosts of the models be contacted: adds them to network.allow"),
        Option("engine", "who is to load them, where it is not llamacpp or what defaults: says", "value", "ENGINE"),
        Option("dry_run", "write nothing; print the difference"),
    ),
    description="REF is a file or folder, hf:ORG/REPO/FILE, hf:ORG/REPO:QUANTIZATION, https://HOST/FILE, s3://BUCKET/KEY, "
    "oci:REGISTRY/REPO:TAG or ollama:NAME:TAG; of hf:ORG/REPO alone one GGUF is chosen. models.yaml is looked for here and in "
    "the folders above, and made here where there is none. Local files are hashed; what a remote reference is now is written "
    "into models.lock.\n\n"
    "The first argument is a NAME where another follows it and nothing here is called so.\n\n"
    "Exit codes: 0 all are there now, 1 a model could not be added, 2 something broke, 3 bad input, 130 interrupted.",
    example="qwen ~/models/qwen.gguf",
)
PATH = Command(
    name="path",
    is_query=True,
    purpose="print the path that an engine is to load, if the model is handed off and current",
    names="NAME",
    options=(),
    description="Nothing else is printed, so that an engine can be started with it.\n\n"
    "Exit codes: 0 the path is printed, 1 the model is not handed off or not current, 2 something broke, 3 bad input.",
    example="tiny-llama",
)
LIST = Command(
    name="list",
    is_query=True,
    purpose="list the models of this project or of the machine, or what a repository or an artifact offers",
    names="[REF]",
    options=(
        Option("all", "all models of the machine"),
        Option("allow", "with REF: contact its host, whatever network.allow says"),
        Option("fleet", "the hosts of the fleet; with --digest, --state or --differs, the models on them"),
        Option("digest", "with --fleet: models with this digest", "value", "DIGEST"),
        Option("state", "with --fleet: models in this state: Pending, Active, Failed or Retired", "value", "STATE"),
        Option("differs", "with --fleet: models with another digest than models.lock here says"),
        Option("silent", "with --fleet: only hosts that did not publish for longer than AGE: 1d", "value", "AGE"),
    ),
    description="REF is a repository, hf:ORG/REPO, or an artifact, oci:REGISTRY/REPO:TAG or ollama:NAME:TAG. The fleet's "
    "database is the one that MODEL_PROVISIONER_FLEET_URL names.",
    example="--all",
)
SHOW = Command(
    name="show",
    is_query=True,
    purpose="show all that the catalog knows of a model",
    names="NAME|ID",
    options=(Option("provenance", "print the in-toto statement of the model's last verification"),),
    example="tiny-llama",
)
WHY = Command(
    name="why",
    is_query=True,
    purpose="say why a model would be provisioned again, or that it would not",
    names="[NAME...]",
    options=(),
    example="tiny-llama",
)
SCHEMA = Command(
    name="schema",
    is_query=True,
    purpose="print the JSON Schema of models.yaml, for editors",
    options=(),
    example="> models.schema.json",
)
LOCK = Command(
    name="lock",
    purpose="write models.lock: what each model of models.yaml is, file by file",
    options=(
        Option("check", "write nothing; exit with 1 where models.lock, models.yaml and the files here disagree"),
        Option("upgrade", "lock NAME again, to what its source has now", "values", "NAME"),
    ),
    example="--upgrade tiny-llama",
)
CHECK = Command(
    name="check",
    purpose="tell whether a fresh build would give exactly the artifacts that are here",
    options=(_FULL, JUNIT, FORCE),
    description="Contacts nobody and changes nothing. Compares the lock file with models.yaml, the files with their digests, "
    "and the handoffs, checksum files and catalog rows with what would be written.\n\n"
    "Exit codes: 0 all is the same, 1 something differs, 2 something broke, 3 bad input, 130 interrupted.",
    example="--junit model-check.xml",
)
VERIFY = Command(
    name="verify",
    purpose="verify again what was verified, the longest unread first; --full finds silent corruption",
    names="[NAME...]",
    options=(
        _FULL,
        Option("store", "audit the store instead: read every blob, whichever models have it, past the page cache"),
        Option("older_than", "skip what was audited less than AGE ago: 30d, 12h or 45m", "value", "AGE"),
        Option(
            "max_bytes", "stop before SIZE is exceeded: 50GB; audits one model or blob in any case", "value", "SIZE"
        ),
        SCHEDULER,
        QUIET,
    ),
    description="A model loses its handoff while it is read, and gets it back if it passes. With --store nothing is withdrawn "
    "but what has a blob that differs. What was audited is kept, however the command ends: the next one continues after it.\n\n"
    "Exit codes: 0 all passed, 1 a model failed, now or in an earlier run that nothing has mended since, 2 something broke, 3 "
    "bad input, 130 interrupted.",
    example="--full --older-than 30d --max-bytes 50GB",
    interrupted="interrupted: what was audited is kept; models that were being read have no handoff until the "
    "next run of provision or verify",
)
PRUNE = Command(
    name="prune",
    purpose="evict what was not used for longest, until the store is within cache.max_size",
    options=(
        Option("dry_run", "print what would be evicted, and evict nothing"),
        Option("older_than", "evict all that was not used for AGE: 30d (s, m, h, d, w)", "value", "AGE"),
    ),
    description="Never evicts what a handoff names, what a project of yours keeps (`keep: true`) or has locked, or what a run "
    "uses or fetches. Local files are never touched.\n\n"
    "Exit codes: 0 done, 1 the store still holds more than cache.max_size, 2 something broke, 3 bad input.",
    example="--dry-run --older-than 30d",
)
RETIRE = Command(
    name="retire",
    purpose="take models out of service: withdraw their handoffs, and have provision skip them",
    names="NAME...",
    options=(Option("undo", "put them back into service: the next run of provision verifies them and hands them off"),),
    example="tiny-llama",
)
ATTEST = Command(
    name="attest",
    purpose="write a statement of what was verified of a model, signed on request; or check one",
    names="[NAME]",
    options=(
        Option("output", "write to this file, - for standard output (the default)", "value", "FILE", short="o"),
        FORCE,
        Option("key", "sign with the private key (Ed25519 or ECDSA P-256, PEM) in this file", "value", "FILE"),
        Option("verify", "check the statement in this file against the bytes that are here", "value", "FILE"),
        Option("public_key", "with --verify: the key that must have signed the statement, PEM", "value", "FILE"),
        Option("full", f"with --verify: {_FULL.help}"),
    ),
    description="The statement is an in-toto Statement with a SLSA Verification Summary, in a DSSE envelope if signed.\n\n"
    "--verify: exit code 0 where the statement is signed with that key and says that the bytes which are here passed; "
    "1 where not; 3 for bad input. NAME is by default the model that the statement names.",
    example="tiny-llama -o tiny-llama.intoto.json",
)
REPORT = Command(
    name="report",
    purpose="make a page of the models: states, digests, when and how they were verified, disk use, what fails and why",
    options=(
        Option(
            "output",
            "write to FILE, - for standard output (the default of --json, --metrics)",
            "value",
            "FILE",
            short="o",
        ),
        Option("presets", "write the models for `llama-server --models-preset FILE` instead", "value", "FILE"),
        Option("metrics", "write numbers for monitoring instead, of all projects of this user, as OpenMetrics text"),
        FORCE,
    ),
    description="FILE is one HTML page that needs nothing else, or with --json the same as data; - is standard output. Nothing "
    "but FILE is written and no model is read. --metrics is of all projects of this user on this host: it needs no models.yaml "
    "here.\n\n"
    "Exit codes: 0 whatever it says of the models, 2 something broke, 3 bad input, 130 interrupted.",
    example="-o report.html",
)
PUBLISH = Command(
    name="publish",
    purpose="send what moved of this user's catalog to the fleet's database",
    options=(
        Option("timeout", "give up after TIME: 30s (the default), 5m", "value", "TIME"),
        Option(
            "jitter",
            "first wait for a random time up to TIME: 5m; where a timer fires on many hosts",
            "value",
            "TIME",
        ),
        Option("as_new", "publish this catalog as one of its own: it is a copy of another host's"),
        Option("take_over", "replace what the database has of this catalog: it was restored from a backup"),
    ),
    description="The database is the PostgreSQL that MODEL_PROVISIONER_FLEET_URL names: postgresql://ROLE@HOST/DATABASE. Of "
    "all projects of this user, folders, names, ids (that of a local model is its path), digests, states and times are sent; "
    "no credential.\n\n"
    "Exit codes: 0 the database has what is here, 1 the extra fleet is missing, 2 the database has not all, 3 bad input, 130 "
    "interrupted. What arrived stays.",
    example="--timeout 30s --jitter 5m",
    interrupted="interrupted: what arrived at the fleet's database stays, and the rest comes with the next publish",
)

MIRROR = Command(
    name="mirror",
    purpose="send the verified bytes of models to a mirror, which other machines ask for them by their SHA-256",
    names="[NAME...]",
    options=(
        Option("to", "the mirror: s3://BUCKET/PREFIX/ or oci:REGISTRY/REPOSITORY", "value", "PLACE"),
        Option("dry_run", "send nothing; print what would be sent"),
    ),
    description="NAME is a model; without one, all models that are handed off with the digest that they have to have. What the "
    "mirror has is not sent again. Its host must be in network.allow.\n\n"
    "Exit codes: 0 all of it is there, 1 a NAME is not current, or the mirror does not take a file, 2 something broke, 3 bad "
    "input, 130 interrupted.",
    example="--to s3://models/cache/",
    interrupted="interrupted: what was sent whole is there, and is not sent again",
)

COMPLETION = Command(
    name="completion",
    purpose="print what bash, zsh or fish needs to complete commands, options and names of models",
    names="bash|zsh|fish",
    options=(),
    description='In the file that the shell reads at its start: eval "$(model-provisioner completion bash)", or zsh; for fish, '
    "model-provisioner completion fish | source. `completion candidates -- WORD...` prints what the last word may be.",
    example="bash",
)
"""Of the program alone: doit has its own, `doit tabcompletion`."""

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        PROVISION,
        ADD,
        LIST,
        SHOW,
        WHY,
        PATH,
        LOCK,
        CHECK,
        VERIFY,
        PRUNE,
        RETIRE,
        ATTEST,
        REPORT,
        PUBLISH,
        MIRROR,
        SCHEMA,
        COMPLETION,
    )
}
"""In the order in which the help shows them."""

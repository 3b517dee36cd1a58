"""The line of a model that was done, as far as no command's test has it."""

import os

from tests.support.project import settle


def test_the_same_reason_of_several_files_is_told_once(project, tiny_models):
    shards = sorted(tiny_models.glob("*-of-00003.gguf"))
    for path in shards:
        project.write(path.name, path.read_bytes())
    project.models(f"models: {{m: {{model_ref: {shards[0].name}}}}}\n")
    settle()
    names = [path.name for path in shards]
    assert f"({names[0]} and 2 more: not verified before)" in project.program("provision").out
    os.utime(project.root / names[1])
    (project.root / ".runtime/digests/m.sha256").unlink()
    settle()
    assert f" ({names[1]}: mtime changed)" in project.program("provision").out
    assert project.program("why").out == "m is current: nothing would be done\n"

"""What a run says of a model in one line."""

import os

from tests.support.project import settle


def test_of_a_folder_of_many_files_the_first_that_moved_are_named(project):
    for number in range(7):
        project.write(f"m/{number}.bin", f"{number}")
    project.models("models: {m: {model_ref: m, engine: vllm}}\n")
    settle()
    project.program("provision")
    for number in range(7):
        os.utime(project.root / f"m/{number}.bin", (1_000_000_000, 1_000_000_000 + number))
    (line, *_) = project.program("provision").out.splitlines()
    moved = "; ".join(f"{number}.bin: mtime changed" for number in range(5))
    assert line == f"warn  m  confirmed by xxh3 7 bytes ({moved}; and 2 more) → .runtime/engines/vllm.json"

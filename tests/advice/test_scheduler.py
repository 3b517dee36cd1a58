"""What is advised for an executor that can't be understood, or used, is one that can."""

from tests.support.advice import advised


def test_an_executor_is_written_as_in_the_example(tiny):
    answer = tiny.provision("--scheduler", "locl:4", code=3)
    advised(answer, "write it as in   --scheduler local:4")
    assert tiny.project.start("provision", "--scheduler", "local:4").wait(120) == 0


def test_and_in_the_environment(tiny):
    tiny.environ["MODEL_PROVISIONER_SCHEDULER"] = "locl:4"
    advised(tiny.provision(code=3), "write it as in   export MODEL_PROVISIONER_SCHEDULER=local:4")
    tiny.environ["MODEL_PROVISIONER_SCHEDULER"] = "local:4"
    tiny.environ["MODEL_PROVISIONER_SCHEDULER_TIMEOUT"] = "10"
    answer = tiny.provision(code=3)
    advised(answer, "export MODEL_PROVISIONER_SCHEDULER_TIMEOUT=10m, or take it out of the environment")
    tiny.environ["MODEL_PROVISIONER_SCHEDULER_TIMEOUT"] = "10m"
    assert tiny.project.start("provision").wait(120) == 0


def test_an_executor_that_can_not_be_used_is_corrected_or_left_out(tiny):
    tiny.environ["PYTHONWARNINGS"] = "default"
    answer = tiny.project.process("provision", "--scheduler", "dask:nonsense://x", code=2)
    advised(answer, "start it, or correct the address; or leave --scheduler out: then the files are read by this machine")
    tiny.provision()

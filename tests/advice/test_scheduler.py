"""What is advised for an executor that can't be understood, or used, is one that can."""

from tests.support.advice import advised


def test_an_executor_is_written_as_in_the_example(local):
    answer = local.provision("--scheduler", "locl:4", code=3)
    advised(answer, "write it as in   --scheduler local:4")
    local.process("provision", "--scheduler", "local:4")


def test_and_in_the_environment(local):
    local.environ["MODEL_PROVISIONER_SCHEDULER"] = "locl:4"
    advised(local.provision(code=3), "write it as in   export MODEL_PROVISIONER_SCHEDULER=local:4")
    local.environ["MODEL_PROVISIONER_SCHEDULER"] = "local:4"
    local.environ["MODEL_PROVISIONER_SCHEDULER_TIMEOUT"] = "10"
    sentence = "export MODEL_PROVISIONER_SCHEDULER_TIMEOUT=10m, or take it out of the environment"
    advised(local.provision(code=3), sentence)
    local.environ["MODEL_PROVISIONER_SCHEDULER_TIMEOUT"] = "10m"
    local.process("provision")


def test_an_executor_that_can_not_be_used_is_left_out(local):
    local.environ["PYTHONWARNINGS"] = "default"  # those of dask are its own
    answer = local.process("provision", "--scheduler", "dask:nonsense://x", code=2)
    advised(
        answer, "start it, or correct the address; or leave --scheduler out: then the files are read by this machine"
    )
    local.provision()

"""What is advised for a setting of ours that can't be understood is a setting that is."""

from tests.support.advice import advised


def test_a_switch_is_set_by_the_command_that_is_told(tiny):
    tiny.environ["MODEL_PROVISIONER_OFFLINE"] = "ture"
    (name,) = advised(tiny.provision(code=3), "export {}=1, or take it out of the environment")
    tiny.environ[name] = "1"
    assert f"this run is offline ({name}=1)" in tiny.provision(code=1).out
    del tiny.environ[name]
    tiny.provision()


def test_a_folder_of_the_home_of_nobody_is_corrected(tiny):
    tiny.environ["MODEL_PROVISIONER_RUNTIME_DIR"] = "~no-such-user/models"
    sentence = "correct {}; if that is the name of a folder here, write ./ before it"
    (name,) = advised(tiny.provision(code=3), sentence)
    tiny.environ[name] = f"{tiny.root.parent}/handoffs"
    tiny.provision()

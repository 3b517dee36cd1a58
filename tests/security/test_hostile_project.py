"""The project: it may not have anything written, truncated or deleted outside of its folder, nor be believed."""


def test_a_sound_project_touches_nothing_but_its_own_folder(victim):
    with victim.untouched():
        ran = victim.doit("provision", "--offline")
    assert ran.code == 0, ran
    assert (victim.clone / ".runtime" / "engines" / "llamacpp.json").exists()

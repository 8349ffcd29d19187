"""A store whose bytes are not what was written: ``verify`` names them, and nothing works on with them."""

import shutil

import pytest
from view_samples import blobs, live, write_csv

from dripstone.store.repository import Repository

pytest_plugins = ["view_fixtures"]


@pytest.fixture
def day(project):
    return write_csv(project.parent / "day.csv", blobs(60, "d", 4))


def edit(path, content):
    path.chmod(0o600)
    path.write_bytes(content)


def weight_of_live(project):
    repository = Repository.open(project / "store")
    name = repository.manifest(live(project)).tensors["head.weight"].object
    return name, project / "store" / "objects" / name[:2] / name


def check_refusal(dripstone, project, day, name):
    """``verify`` names what is wrong; commands that need the model refuse to start."""
    before = Repository.open(project / "store").log.last()
    found = dripstone("-C", project, "verify")
    assert found.code == 2
    assert name[:12] in found.out
    report = dripstone("-C", project, "verify", "--format", "json").json()
    assert report["sound"] is False
    assert report["problems"] == found.out.splitlines()
    for command in (["predict", day], ["update", day], ["evaluate", day], ["serve", "--port", "0"]):
        found = dripstone("-C", project, *command)
        assert (found.code, found.out) == (2, ""), command
        assert name[:12] in found.err
        assert "Traceback" not in found.err
    assert Repository.open(project / "store").log.last() == before


def test_a_truncated_object(project, day, dripstone):
    name, path = weight_of_live(project)
    edit(path, path.read_bytes()[:100])
    check_refusal(dripstone, project, day, name)


def test_a_flipped_bit(project, day, dripstone):
    name, path = weight_of_live(project)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    edit(path, bytes(content))
    check_refusal(dripstone, project, day, name)


def test_a_missing_object(project, day, dripstone):
    name, path = weight_of_live(project)
    path.unlink()
    check_refusal(dripstone, project, day, name)


def test_an_edited_manifest(project, day, dripstone):
    version = live(project)
    path = project / "store" / "versions" / version / "manifest.json"
    edit(path, path.read_bytes().replace(b"head@ridge", b"head@adamw"))
    check_refusal(dripstone, project, day, version)
    found = dripstone("-C", project, "show")
    assert (found.code, found.out) == (2, "")
    assert version[:12] in found.err


def test_an_earlier_version_still_serves_after_a_revert(project, day, dripstone):
    _, path = weight_of_live(project)
    edit(path, b"")
    assert dripstone("-C", project, "revert").code == 0
    assert dripstone("-C", project, "predict", day).code == 0


def test_a_store_that_is_gone(project, dripstone):
    shutil.rmtree(project / "store")
    found = dripstone("-C", project, "status")
    assert (found.code, found.out) == (2, "")
    assert "p/store is no dripstone store" in found.err


def test_a_log_with_a_hole(project, dripstone):
    (project / "store" / "refs" / "live" / "000001").unlink()
    found = dripstone("-C", project, "log")
    assert (found.code, found.out) == (2, "")
    assert "no entry 1" in found.err
    assert dripstone("-C", project, "verify").code == 2

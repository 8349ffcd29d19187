import os

import pytest

from dripstone.core.errors import StoreError
from dripstone.store.objects import Objects


def test_objects_are_named_by_what_they_hold(tmp_path):
    objects = Objects(tmp_path)
    names = {objects.put(data) for data in (b"", b"a", b"b", b"a")}
    assert len(names) == 3
    assert list(objects.all()) == sorted(names)
    name = objects.put(b"a")
    assert (tmp_path / name[:2] / name).read_bytes() == b"a"
    assert objects.get(name, 1) == b"a"
    assert objects.size(name) == 1


def test_foreign_files_are_passed_over(tmp_path):
    objects = Objects(tmp_path)
    name = objects.put(b"a")
    for foreign in ("README", f"{name[:2]}/README", f"{name[:2]}/.tmp-1", f"{name[:2]}/{'0' * 64}", "zzz/x"):
        (tmp_path / foreign).parent.mkdir(exist_ok=True)
        (tmp_path / foreign).write_bytes(b"")
    assert list(objects.all()) == [name] if name[:2] != "00" else True


@pytest.mark.parametrize("damage", [b"", b"hellp", b"hello and more"])
def test_a_damaged_object_is_named_with_its_remedy(tmp_path, damage):
    objects = Objects(tmp_path)
    name = objects.put(b"hello")
    objects.path(name).write_bytes(damage)
    with pytest.raises(StoreError, match=f"object {name} is damaged.*restore that file") as caught:
        objects.get(name, 100)
    assert caught.value.kind == "store.corrupt"


def test_missing_and_too_large_objects(tmp_path):
    objects = Objects(tmp_path)
    name = objects.put(b"hello")
    with pytest.raises(StoreError) as caught:
        objects.get(name, 4)
    assert caught.value.kind == "store.too_large"
    os.unlink(objects.path(name))
    for read in (objects.size, lambda name: objects.get(name, 100)):
        with pytest.raises(StoreError) as caught:
            read(name)
        assert caught.value.kind == "store.missing"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63 + "/"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path, name):
    for read in (Objects(tmp_path).size, lambda name: Objects(tmp_path).get(name, 100)):
        with pytest.raises(StoreError, match="cannot be the name of an object"):
            read(name)

"""From a stored version to a module, and what is said when they do not fit."""

import msgspec
import pytest
import torch

from dripstone.checkout import checkout
from dripstone.core.bits import to_raw
from dripstone.core.errors import ModelError, StoreError
from dripstone.core.fork import named_tensors
from dripstone.learner import Learner
from dripstone.models.factory import ModelSpec
from learner_samples import Changing, blobs, make, own_net, trained


def same_bits(one, two):
    a, b = named_tensors(one), named_tensors(two)
    return a.keys() == b.keys() and all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)


def test_a_version_is_the_same_from_nothing_and_from_another_one(tmp_path):
    learner = trained(tmp_path)
    first = learner.log()[0].version
    second = learner.update(blobs(40, seed=1, labels="abc"), settings={"gate.mode": "off"}).version
    root = learner.log()[-1].version
    alone = {version: checkout(learner.repository, version) for version in (root, first, second)}
    for version in alone:  # growing and shrinking heads alike
        for current in alone:
            again = checkout(learner.repository, version, (current, alone[current]))
            assert same_bits(again, alone[version])
            assert not again.training
    assert len(alone[root].head.bias) == 0


def test_what_is_loaded_is_shared_and_not_touched(tmp_path):
    learner = trained(tmp_path)
    first = learner.log()[0].version
    second = learner.update(blobs(40, seed=1)).version
    old = checkout(learner.repository, first)
    before = {name: tensor.clone() for name, tensor in named_tensors(old).items()}
    new = checkout(learner.repository, second, (first, old))
    projection = "head.expansion.projection"
    assert named_tensors(new)[projection].data_ptr() == named_tensors(old)[projection].data_ptr()
    assert named_tensors(new)["head.weight"].data_ptr() != named_tensors(old)["head.weight"].data_ptr()
    assert all(torch.equal(tensor, named_tensors(old)[name]) for name, tensor in before.items())


def changing(tmp_path, monkeypatch, hidden=8):
    monkeypatch.setattr(Changing, "hidden", hidden)
    return make(tmp_path, model=Changing(), spec=ModelSpec("learner_samples:Changing"))


def test_a_factory_whose_shapes_changed_is_named(tmp_path, monkeypatch):
    learner = changing(tmp_path, monkeypatch)
    learner.update(blobs(60, seed=0), settings={"gate.mode": "off"})
    monkeypatch.setattr(Changing, "hidden", 9)
    with pytest.raises(
        ModelError, match=r"learner_samples:Changing makes a module that does not fit .* differs"
    ) as caught:
        Learner.open(learner.project).predict([[0, 0]])
    assert caught.value.kind == "model.weights"


def test_a_factory_with_other_names_is_named(tmp_path, monkeypatch):
    learner = changing(tmp_path, monkeypatch)
    real = Changing.__init__

    def renamed(self):
        real(self)
        self.more = torch.nn.Linear(2, 2)
        self.net = torch.nn.Sequential(*self.net.children())

    monkeypatch.setattr(Changing, "__init__", renamed)
    spec = ModelSpec("learner_samples:Changing", output="net.2")
    assert spec.output == learner.repository.manifest(learner.log()[0].version).spec.output
    with pytest.raises(ModelError, match=r"more"):
        Learner.open(learner.project).champion()


def test_a_factory_that_is_gone_is_named(tmp_path, monkeypatch):
    learner = make(tmp_path, model=own_net(), spec=ModelSpec("learner_samples:own_net"))
    monkeypatch.delattr("learner_samples.own_net")
    with pytest.raises(ModelError, match="learner_samples:own_net cannot be imported") as caught:
        Learner.open(learner.project).champion()
    assert caught.value.kind == "model.import"
    assert learner.repository.log.head().number == 1  # the store itself is fine
    assert list(learner.repository.verify()) == []


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c"]])
def test_a_version_with_more_or_fewer_labels_than_outputs_is_refused(tmp_path, labels):
    learner = trained(tmp_path)
    live = learner.log()[0].version
    manifest = learner.repository.manifest(live)
    odd = learner.repository.write_version(
        spec=manifest.spec,
        assets={},
        task="classification",
        labels=labels,
        parent=live,
        selection="edited",
        data="",
        tensors={},
    ).version
    module = checkout(learner.repository, live)
    for current in (None, (live, module)):
        with pytest.raises(ModelError, match="does not fit"):
            checkout(learner.repository, odd, current)


def test_a_version_whose_tensor_has_another_shape_is_refused(tmp_path):
    learner = trained(tmp_path)
    live = learner.log()[0].version
    manifest = learner.repository.manifest(live)
    odd = learner.repository.write_version(
        spec=manifest.spec,
        assets={},
        task="classification",
        labels=manifest.labels,
        parent=live,
        selection="edited",
        data="",
        tensors={"preprocess.shift": to_raw(torch.zeros(5)), "head.weight": to_raw(torch.zeros(2, 3))},
    ).version
    for current in (None, (live, checkout(learner.repository, live))):
        with pytest.raises(ModelError, match=r"'head\.weight' differs"):
            checkout(learner.repository, odd, current)


def test_another_recipe_is_built_anew(tmp_path):
    learner = trained(tmp_path)
    live = learner.log()[0].version
    manifest = learner.repository.manifest(live)
    other = learner.repository.write_version(
        spec=msgspec.structs.replace(manifest.spec, kwargs={**manifest.spec.kwargs, "seed": 3}),
        assets={},
        task="classification",
        labels=manifest.labels,
        parent=live,
        selection="edited",
        data="",
        tensors={},
    ).version
    module = checkout(learner.repository, live)
    again = checkout(learner.repository, other, (live, module))
    assert same_bits(again, module)
    assert again.spec.kwargs["seed"] == 3


def test_a_damaged_object_is_not_loaded(tmp_path):
    learner = trained(tmp_path)
    live = learner.log()[0].version
    name = learner.repository.manifest(live).tensors["head.weight"].object
    path = next(path for path in (learner.repository.path / "objects").rglob("*") if name.endswith(path.name))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        checkout(learner.repository, live)
    assert caught.value.kind == "store.corrupt"

"""The live version, loaded."""

import torch

from dripstone.models.factory import ModelSpec
from dripstone.models.wrap import HEAD_KEY
from dripstone.update.champion import kept_labels, load_champion
from learner_samples import blobs, make, own_net, trained


def test_a_champion_shares_what_is_the_same(tmp_path):
    learner = trained(tmp_path)
    update = learner.update(blobs(40, seed=1))
    old = load_champion(learner.repository, update.parent)
    new = load_champion(learner.repository, update.version, old)
    alone = load_champion(learner.repository, update.version)
    expansions = [champion.model.head.expansion.projection.data_ptr() for champion in (old, new, alone)]
    assert expansions[0] == expansions[1] != expansions[2]
    for name, tensor in new.model.state_dict().items():
        assert torch.equal(tensor, alone.model.state_dict()[name]), name
    assert (new.version, new.task.labels, new.solvable) == (update.version, ("a", "b"), True)
    assert not new.model.training


def test_labels_without_rows_cannot_be_solved(tmp_path):
    spec = ModelSpec("learner_samples:own_net")
    kept = make(tmp_path / "kept", model=own_net(), spec=spec, labels=["a", "b"]).champion()
    new = make(tmp_path / "new", model=own_net(), spec=spec).champion()
    assert (kept.solvable, new.solvable) == (False, True)
    assert (kept.task.labels, new.task.labels) == (("a", "b"), ())


def test_a_head_that_is_no_mapping_keeps_no_labels():
    assert kept_labels(ModelSpec("learner_samples:own_net", {HEAD_KEY: 5})) == 0
    assert kept_labels(ModelSpec("learner_samples:own_net", {HEAD_KEY: {"kept": 3}})) == 3

"""Which terms a configuration asks for, and that each holds what it should in a step of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.config import Retain
from dripstone.core.fork import fork
from dripstone.models import mlp
from dripstone.models.classifier import Classifier
from dripstone.train.derpp import DarkExperienceReplay
from dripstone.train.distillation import Distillation
from dripstone.train.ewc import ElasticWeightConsolidation
from dripstone.train.features import features_of, outputs_of
from dripstone.train.l2 import L2Penalty
from dripstone.train.packed import Packed
from dripstone.train.retain import make_terms
from dripstone.train.rows import Rows

ALL = Retain(distill=1.0, derpp=2.0, ewc=3.0, l2=4.0)


def inputs(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(count, 4)).astype("f4"))


def champion(classes: int = 2) -> Classifier:
    model = mlp(inputs=4, hidden=[6], random_features=8)
    model.fit(inputs(20))
    model.head.fit(features_of(model, inputs(20)))
    model.head.grow(classes)
    torch.manual_seed(0)
    with torch.no_grad():
        model.head.weight.normal_()
    return model


def grown(parent: Classifier, classes: int) -> tuple[Classifier, dict[str, nn.Parameter]]:
    names = [name for name, parameter in parent.named_parameters() if parameter.requires_grad]
    model = fork(parent, names)
    model.head.grow(classes)
    return model, {name: dict(model.named_parameters())[name] for name in names}


def stage(parent: Classifier, weights: list[float] | None = None, new: int = 3, old: int = 3) -> Rows:
    count, known = new + old, len(parent.head.bias)
    given = torch.ones(count, dtype=torch.float64) if weights is None else torch.tensor(weights, dtype=torch.float64)
    replayed = torch.arange(count) >= new
    targets = torch.where(replayed, torch.arange(count) % max(known, 1), known)
    return Rows(
        inputs=inputs(count),
        targets=targets,
        weights=given,
        replayed=replayed,
        known=known,
        champion_logits=outputs_of(parent, features_of(parent, inputs(count))),
    )


def terms(config: Retain, parent: Classifier | None = None, rows: Rows | None = None):
    parent = champion() if parent is None else parent
    model, named = grown(parent, len(parent.head.bias) + 1)
    return make_terms(model, Packed(named, {}).moving.values(), stage(parent) if rows is None else rows, config)


def kinds(found) -> list[type]:
    per_row, per_parameter = found
    return [type(term) for term in [*per_row, *per_parameter]]


def test_all_of_them():
    found = terms(ALL)
    assert kinds(found) == [Distillation, DarkExperienceReplay, ElasticWeightConsolidation, L2Penalty]
    assert [term.weight for part in found for term in part] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("distill", Distillation),
        ("derpp", DarkExperienceReplay),
        ("ewc", ElasticWeightConsolidation),
        ("l2", L2Penalty),
    ],
)
def test_each_alone_and_a_weight_of_zero_is_no_term(name, kind):
    assert kinds(terms(Retain(**{name: 0.5}))) == [kind]
    assert kinds(terms(Retain(**{name: 0.0}))) == []


def test_nothing_asked_for_reads_nothing():
    parent = champion()
    model, named = grown(parent, 3)
    model.head = None
    assert make_terms(model, Packed(named, {}).moving.values(), stage(parent), Retain()) == ([], [])


def test_before_training_the_champion_loses_nothing():
    parent = champion()
    model, named = grown(parent, 3)
    rows = stage(parent)
    per_row, per_parameter = make_terms(model, Packed(named, {}).moving.values(), rows, ALL)
    logits = model(model.collate(rows.inputs))
    for term in per_row:
        assert term.loss(logits, torch.arange(6)).item() == pytest.approx(0.0, abs=1e-6)
    for held in per_parameter:
        assert held.loss().item() == 0.0


def test_distillation_is_for_new_rows_and_dark_experience_for_replayed_ones():
    (distill, dark), _ = terms(Retain(distill=1.0, derpp=1.0))
    assert (distill.held.row_weights > 0).tolist() == [True] * 3 + [False] * 3
    assert (dark.held.row_weights > 0).tolist() == [False] * 3 + [True] * 3


def test_row_weights_are_relative_to_the_mean_of_all_rows_that_count():
    parent = champion()
    rows = stage(parent, [1.0, 3.0, 0.0, 2.0, 4.0, 0.0])
    (distill, dark), _ = terms(Retain(distill=1.0, derpp=1.0), parent, rows)
    assert distill.held.row_weights.tolist() == pytest.approx([0.4, 1.2, 0.0, 0.0, 0.0, 0.0])
    assert dark.held.row_weights.tolist() == pytest.approx([0.0, 0.0, 0.0, 0.8, 1.6, 0.0])


@pytest.mark.parametrize("weights", [None, [1.0] * 3 + [0.0] * 3])
def test_without_replayed_rows_nothing_is_held_by_them(weights):
    parent = champion()
    rows = stage(parent, new=6, old=0) if weights is None else stage(parent, weights)
    assert kinds(terms(ALL, parent, rows)) == [Distillation, L2Penalty]


def test_without_new_rows_nothing_is_distilled():
    parent = champion()
    found = terms(ALL, parent, stage(parent, [0.0] * 3 + [1.0] * 3))
    assert kinds(found) == [DarkExperienceReplay, ElasticWeightConsolidation, L2Penalty]


def test_rows_that_say_nothing_of_a_memory_are_new():
    parent = champion()
    full = stage(parent)
    bare = Rows(full.inputs, full.targets, full.weights, known=2, champion_logits=full.champion_logits)
    assert kinds(terms(ALL, parent, bare)) == [Distillation, L2Penalty]


def test_no_row_that_counts():
    parent = champion()
    assert kinds(terms(ALL, parent, stage(parent, [0.0] * 6))) == [L2Penalty]


def test_a_champion_without_labels_holds_its_backbone_alone():
    parent = champion(classes=0)
    found = terms(ALL, parent, stage(parent, new=6, old=0))
    assert kinds(found) == [L2Penalty]
    (penalty,) = found[1]
    assert [tuple(start.shape) for start in penalty.starts] == [(6, 4), (6,)]
    model, named = grown(parent, 2)
    head_alone = {"head.weight": named["head.weight"]}
    assert make_terms(model, Packed(head_alone, {}).moving.values(), stage(parent, new=6, old=0), ALL) == ([], [])


def test_one_label():
    parent = champion(classes=1)
    per_row, per_parameter = terms(ALL, parent, stage(parent))
    logits = torch.randn(6, 2)
    assert per_row[0].loss(logits, torch.arange(6)).item() == 0.0
    assert per_row[1].loss(logits, torch.arange(6)).item() > 0.0
    assert not any(fisher.any() for fisher in per_parameter[0].fisher)


def test_logits_are_needed_by_the_terms_over_rows_alone():
    parent = champion()
    full = stage(parent)
    bare = Rows(full.inputs, full.targets, full.weights, None, full.replayed, full.known)
    assert kinds(terms(Retain(ewc=1.0, l2=1.0), parent, bare)) == [ElasticWeightConsolidation, L2Penalty]
    for config in (Retain(distill=1.0), Retain(derpp=1.0)):
        with pytest.raises(ValueError, match="champion's logits"):
            terms(config, parent, bare)


def test_starts_are_copies_and_parameters_are_live():
    parent = champion()
    model, named = grown(parent, 3)
    _, (penalty,) = make_terms(model, Packed(named, {}).moving.values(), stage(parent), Retain(l2=1.0))
    with torch.no_grad():
        model.head.bias += 1.0
    assert penalty.loss().item() == pytest.approx(0.5 * 2)  # the third label is new


def test_a_parameter_under_two_names_counts_once():
    parent = champion()
    model, named = grown(parent, 3)
    twice = {"head.bias": named["head.bias"], "alias": named["head.bias"]}
    _, (penalty,) = make_terms(model, Packed(twice, {}).moving.values(), stage(parent), Retain(l2=1.0))
    assert len(penalty.parameters) == 1


def test_new_rows_of_a_head_that_grew_are_free():
    parent = champion()
    model, named = grown(parent, 4)
    _, held = make_terms(model, Packed(named, {}).moving.values(), stage(parent), Retain(ewc=1.0, l2=1.0))
    with torch.no_grad():
        for parameter in named.values():
            parameter += 0.5
    sum(term.loss() for term in held).backward()
    assert model.head.weight.grad[:2].any()
    assert not model.head.weight.grad[2:].any()
    assert not model.head.bias.grad[2:].any()


def test_the_fisher_information_is_of_replayed_rows_that_the_champion_could_name():
    parent = champion()
    rows = stage(parent, [1.0] * 3 + [1.0, 1.0, 0.0], new=3, old=3)
    targets = rows.targets.clone()
    targets[4] = 2  # a label that it did not know
    odd = Rows(rows.inputs, targets, rows.weights, None, rows.replayed, 2, rows.champion_logits)
    _, (found,) = terms(Retain(ewc=1.0), parent, odd)
    one = Rows(rows.inputs[3:4], targets[3:4], torch.ones(1), None, torch.tensor([True]), 2)
    _, (expected,) = terms(Retain(ewc=1.0), parent, one)
    assert all(torch.equal(a, b) for a, b in zip(found.fisher, expected.fisher, strict=True))


def test_known_features_give_the_same_fisher_information():
    parent = champion()
    model, named = grown(parent, 3)
    head = {name: parameter for name, parameter in named.items() if name.startswith("head.")}
    rows = stage(parent)
    known = Rows([], rows.targets, rows.weights, features_of(model, rows.inputs), rows.replayed, 2)
    _, (long,) = make_terms(model, Packed(head, {}).moving.values(), rows, Retain(ewc=1.0))
    _, (short,) = make_terms(model, Packed(head, {}).moving.values(), known, Retain(ewc=1.0))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(short.fisher, long.fisher, strict=True))


def test_making_terms_leaves_the_model_as_it_was():
    parent = champion()
    model, named = grown(parent, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    make_terms(model, Packed(named, {}).moving.values(), stage(parent), ALL)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("config", [Retain(distill=5.0), Retain(derpp=5.0), Retain(ewc=5.0), Retain(l2=5.0)])
def test_each_keeps_a_candidate_nearer_to_its_champion(config):
    parent = champion()
    rows = stage(parent)
    counted = rows.replayed if config.derpp or config.ewc else ~rows.replayed
    distances = []
    for chosen in (Retain(), config):
        model, named = grown(parent, 3)
        per_row, per_parameter = make_terms(model, Packed(named, {}).moving.values(), rows, chosen)
        optimizer = torch.optim.SGD(named.values(), lr=0.02)
        index = torch.arange(6)
        for _ in range(30):
            logits = model(model.collate(rows.inputs))
            loss = nn.functional.cross_entropy(logits, rows.targets)
            loss = loss + sum(term.loss(logits, index) for term in per_row)
            loss = loss + sum(term.loss() for term in per_parameter)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            answers = model(model.collate(rows.inputs))[:, :2]
        distances.append(float((answers - rows.champion_logits)[counted].diff(dim=1).square().mean()))
    assert distances[1] < 0.8 * distances[0]

"""What may be chosen, and what only where something else was."""

import pytest

from dripstone.core.errors import UsageError
from dripstone.models import mlp
from dripstone.tune.space import (
    ACTIVATION,
    BATCH,
    KEYS,
    PENALTY,
    RATE,
    SELECTION,
    SELECTIONS,
    space_of,
    split_settings,
)
from dripstone.update.training_state import load_state
from learner_samples import make, own_net, trained
from number_samples import make_numbers
from text_samples import make_texts


class Asked:
    """A trial that suggests what it is told to, and remembers what it was asked."""

    def __init__(self, **wanted):
        self.wanted, self.asked = wanted, {}

    def _suggest(self, name, *bounds):
        self.asked[name] = bounds
        return self.wanted.get(name, bounds[0][0] if len(bounds) == 1 else bounds[0])

    def suggest_categorical(self, name, choices):
        return self._suggest(name, choices)

    def suggest_float(self, name, low, high, *, log):
        assert log
        return self._suggest(name, low, high)

    def suggest_int(self, name, low, high):
        return self._suggest(name, low, high)


def space(learner, activations=(), learned=1000, **settings):
    config = learner.config.override({name.replace("__", "."): value for name, value in settings.items()})
    champion = learner.champion()
    state = load_state(learner.repository, config, champion.version, champion.model)
    return space_of(config, champion, state, activations, learned)


def names(found):
    return [choice.text for choice in found.choices]


def test_selections_are_those_that_fit_the_projects_own_first(tmp_path):
    one, three, none = (make(tmp_path / str(n), model=mlp(2, (8,) * n, 64)) for n in (1, 3, 0))
    assert names(space(three)) == ["ladder", "head", "suffix:1", "suffix:2", "vectors", "low_rank:8", "full"]
    # Of one block, its suffix is the whole model, under another name.
    assert names(space(one)) == ["ladder", "head", "suffix:1", "vectors", "low_rank:8"]
    assert names(space(none)) == ["ladder", "full"]
    assert names(space(one, select__selection="full")) == ["full", "ladder", "head", "vectors", "low_rank:8"]
    assert names(space(three, select__selection="suffix:2@sgd"))[:2] == ["suffix:2@sgd", "ladder"]
    assert names(space(one, select__selection="entries:0.1"))[:2] == ["entries:0.1", "ladder"]


def test_texts_and_models_with_labels_of_their_own_have_no_closed_form(tmp_path):
    texts = space(make_texts(tmp_path / "texts"))
    assert not any(choice.solved for choice in texts.choices)
    assert all(choice.loops for choice in texts.choices)
    assert "ladder" not in names(texts)[1:]
    from dripstone.models import ModelSpec

    own = make(tmp_path / "own", model=own_net(), spec=ModelSpec("learner_samples:own_net"), labels=["a", "b"])
    assert all(choice.loops and not choice.solved for choice in space(own).choices)


def test_policies_forbid_selections(tmp_path):
    learner = make(tmp_path, model=mlp(2, (8, 8), 64))
    found = names(space(learner, curate__policy="screen+prune", select__selection="full"))
    assert found == ["full", "suffix:1", "vectors", "low_rank:8"]  # suffix:2 is the same as full
    assert names(space(learner, curate__policy="screen+forget:100")) == ["ladder", "head"]
    with pytest.raises(UsageError, match="acts in the epochs"):
        space(learner, curate__policy="screen+prune")


def test_no_learning_rate_where_there_is_no_loop_and_no_penalty_where_there_is_no_closed_form(tmp_path):
    learner = trained(tmp_path)
    for closed in ("head", "ladder"):
        found = space(learner, select__selection=closed)
        trial = Asked()
        assert found.suggest(trial) == {}
        assert RATE not in trial.asked
        assert found.rate({}) is None
    trial = Asked(**{SELECTION: "full", RATE: 0.05})
    assert found.suggest(trial) == {SELECTION: "full", RATE: 0.05, BATCH: 8}
    assert found.rate({SELECTION: "full"}) == learner.config.train.learning_rate
    texts = space(make_texts(tmp_path / "texts"))
    trial = Asked()
    texts.suggest(trial)
    assert not {PENALTY, "penalty"} & trial.asked.keys()


def test_numbers_have_no_rung_above_the_head(tmp_path):
    found = space(make_numbers(tmp_path, model=mlp(2, (8,), 64)))
    assert names(found)[0] == "ladder"
    assert "head" not in names(found)


def test_what_it_starts_from_is_the_projects_own(tmp_path):
    for settings in ({}, {"train__ridge": 2.5}, {"select__selection": "full", "train__batch_size": 7}):
        learner = make(tmp_path / str(len(settings)) / str(settings.get("train__ridge")), model=mlp(2, (8, 8), 64))
        found = space(learner, ("tanh", "relu"), **settings)
        trial = Asked(**found.start())
        assert found.suggest(trial) == {}
        for name, bounds in trial.asked.items():
            value = found.start()[name]
            assert value in bounds[0] if len(bounds) == 1 else bounds[0] <= value <= bounds[1]


def test_numbers_can_be_read(tmp_path):
    found = space(make(tmp_path, model=mlp(2, (8, 8), 64)), select__selection="full", train__learning_rate=0.00123456)
    settings = found.suggest(
        Asked(**{RATE: 0.0123456, "penalty": "searched", PENALTY: 1.23456, "batch size doubled": 2})
    )
    assert settings == {RATE: 0.0123, PENALTY: 1.23, BATCH: 128}


@pytest.mark.parametrize(("learned", "doublings"), [(1000, 3), (256, 2), (130, 1), (70, 0), (3, 0)])
def test_a_batch_leaves_room_for_another(tmp_path, learned, doublings):
    assert space(make(tmp_path), learned=learned).doublings == doublings


def test_a_penalty_that_is_set_is_searched_around_and_one_that_is_not_may_stay_so(tmp_path):
    learner = make(tmp_path)
    trial = Asked(penalty="searched")
    penalty = float(learner.champion().model.head.penalty)
    assert space(learner).suggest(trial) == {PENALTY: float(f"{penalty / 100:.3g}")}
    assert trial.asked["penalty"] == (["by leave-one-out", "searched"],)
    trial = Asked()
    space(learner, train__ridge=2.0).suggest(trial)
    assert "penalty" not in trial.asked
    assert trial.asked[PENALTY] == (0.02, 2000.0)


def test_another_activation_is_a_setting_of_the_model(tmp_path):
    found = space(make(tmp_path), ("relu", "gelu"))
    settings = found.suggest(Asked(**{**found.start(), ACTIVATION: "gelu"}))
    assert settings == {ACTIVATION: "gelu"}
    assert split_settings(settings) == ({}, "gelu")
    assert split_settings({RATE: 1.0}) == ({RATE: 1.0}, None)
    assert settings.keys() <= set(KEYS)


def test_every_name_is_a_selection_of_some_model(tmp_path):
    learner = make(tmp_path, model=mlp(2, (8, 8, 8), 64))
    assert set(SELECTIONS) == set(names(space(learner)))


def test_another_space_is_told_by_its_words(tmp_path):
    learner = trained(tmp_path, rows=150)
    words = {
        space(learner).words(),
        space(learner, select__selection="full").words(),
        space(learner, ("relu", "gelu")).words(),
        space(learner, train__ridge=3.0).words(),
        space(learner, learned=70).words(),
    }
    assert len(words) == 5

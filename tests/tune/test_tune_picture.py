"""A picture comes of every search, whatever its trials came to."""

import sys
import warnings

import numpy as np
import pytest

from dripstone.core.errors import UsageError
from dripstone.core.tuned import SettingsTrial, Tuned, TunedRows
from dripstone.tune.picture import check_picture, draw

matplotlib = pytest.importorskip("matplotlib")


def tuned(*scores, rates=None, score="accuracy", chosen=0):
    rates = rates or [0.001 * 2**number for number in range(len(scores))]
    trials = [
        SettingsTrial(number, {}, "pruned", reason="training diverged")
        if value is None
        else SettingsTrial(
            number, {}, "complete", "full@adamw", rate, value, 1 - value if score == "accuracy" else value
        )
        for number, (value, rate) in enumerate(zip(scores, rates, strict=True))
    ]
    return Tuned("ab" * 32, score, TunedRows(80, 20), trials, 20, 0, chosen, {}, {}, "", "", "", "", trials[0])


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


@pytest.mark.parametrize(
    "search",
    [
        tuned(0.5),
        tuned(None),
        tuned(0.5, 0.5, 0.5),
        tuned(0.5, None, 0.9, chosen=2),
        tuned(None, 0.9, chosen=1),
        tuned(0.0, 0.0),
        tuned(0.9, 0.95, rates=[None, None]),
        tuned(2.5, 1.2, 900.0, score="rmse"),
        tuned(*np.linspace(0.1, 0.9, 200).tolist(), rates=[0.01] * 200),
    ],
)
def test_there_is_a_picture_with_something_in_it(tmp_path, search):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(search, tmp_path / "a.png")
    found = pixels(tmp_path / "a.png")
    assert found.shape[0] > 400
    assert found.shape[1] > 1000
    assert 0.001 < (found[..., :3] < 0.9).any(axis=2).mean() < 0.3
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_scores_and_what_is_taken_can_be_seen(tmp_path):
    for name, search in (
        ("one", tuned(0.5, 0.6)),
        ("two", tuned(0.5, 0.7, 0.6)),
        ("three", tuned(0.5, 0.7, 0.6, chosen=1)),
        ("four", tuned(0.5, 0.7, 0.6, rates=[0.1, 0.01, 0.001])),
    ):
        draw(search, tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in ("one", "two", "three", "four")}) == 4


def test_a_few_bad_trials_do_not_make_all_others_look_alike():
    from matplotlib.figure import Figure

    from dripstone.tune.picture import _inside, _set_range

    axis = Figure().subplots()
    _set_range(axis, tuned(0.90, 0.95, 0.94, 0.93, 0.1))
    low, high = axis.get_ylim()
    assert 0.85 < low < 0.9
    assert 0.95 < high < 1.0
    assert _inside(axis, 0.1)[1] == "v"
    assert low < _inside(axis, 0.1)[0] < 0.9
    assert _inside(axis, 0.94) == (0.94, "o")
    _set_range(axis, tuned(1.0, 0.5, 0.6, 0.7, 90.0, score="rmse"))
    assert _inside(axis, 90.0)[1] == "^"
    _set_range(axis, tuned(0.1, 0.90, 0.95, 0.94, 0.93))  # the project's own is always shown
    assert axis.get_ylim()[0] < 0.1


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.jpg", "is no PNG file"), ("a", "is no PNG file"), ("none/a.png", "there is no folder"), ("f.png", "a folder")],
)
def test_a_picture_that_could_not_be_written_is_refused_first(tmp_path, name, words):
    (tmp_path / "f.png").mkdir()
    with pytest.raises(UsageError, match=words) as raised:
        check_picture(tmp_path / name)
    assert raised.value.kind == "usage.picture"
    check_picture(tmp_path / "A.PNG")
    check_picture(None)


def test_the_interpreters_own_figures_are_left_alone(tmp_path):
    backend = matplotlib.get_backend()
    draw(tuned(0.5, 0.6), tmp_path / "a.png")
    assert matplotlib.get_backend() == backend


def test_without_the_extra_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'dripstone\[tune\]'"):
        check_picture(None)

"""The text form of a curation policy."""

from __future__ import annotations

import pytest

from dripstone.core.config import CurateConfig
from dripstone.core.errors import UsageError
from dripstone.curate.noise import Noise
from dripstone.curate.policy import parse_policy
from dripstone.curate.replay import Replay
from dripstone.curate.weight import Weight


@pytest.mark.parametrize(
    ("text", "replay"),
    [
        ("screen", 0),
        ("screen+replay:0", 0),
        ("screen+replay:1", 1),
        (" screen + replay:500 ", 500),
        ("screen+replay:007", 7),
        ("screen+replay:999999999", 999_999_999),
        (CurateConfig().policy, 2000),
    ],
)
def test_policies(text, replay):
    assert parse_policy(text).replay == Replay(replay)


@pytest.mark.parametrize("text", ["", "replay:5", "replay:5+screen", "Screen", "screening", "+screen"])
def test_screening_comes_first(text):
    with pytest.raises(UsageError, match=r"does not start with screen; write screen\+replay:2000"):
        parse_policy(text)


@pytest.mark.parametrize(
    "name",
    ["", "replay", "replay:", "replay:-1", "replay:2.5", "replay:x", "replay:٣", "replay:²", "replay:1e3",
     "replay: 5", "replay:5:5", "replay:5:fifo", "replay:balanced", "replay:" + "9" * 5000, "dedup", "dedupe:fast",
     "noise:drop", "weight:2", "prune:0", "prune:0.0", "prune:1", "prune:1.5", "prune:rs2", "prune:infobatch:2",
     "prune:infobatch:0.5:0.5", "augment:paint", "augment:drop:drop", "augment:", "noise:"],
)  # fmt: skip
def test_policies_that_do_not_exist(name):
    with pytest.raises(UsageError, match="there is no curation policy"):
        parse_policy(f"screen+{name}")


@pytest.mark.parametrize("name", ["screen:unknown", "screen:", "screen:known:known"])
def test_ways_of_screening_that_do_not_exist(name):
    with pytest.raises(UsageError, match=r"there is no curation policy .*use screen, screen:known"):
        parse_policy(name)


def test_the_error_names_what_there_is():
    with pytest.raises(UsageError, match="use screen, dedupe, drift, noise, weight, prune, augment, forget, replay"):
        parse_policy("screen+dedup")
    with pytest.raises(UsageError, match="use replay:N, replay:N:balanced, replay:N:herding"):
        parse_policy("screen+replay")


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("screen+replay:5+replay:6", "replay:5", "replay:6"),
        ("screen+prune+prune:infobatch", "prune", "prune:infobatch"),
        ("screen+noise+noise:weigh", "noise", "noise:weigh"),
        ("screen+screen:known", "screen", "screen:known"),
    ],
)
def test_policies_that_exclude_each_other(text, first, second):
    with pytest.raises(UsageError, match=f"{first} and {second} exclude each other"):
        parse_policy(text)


def test_policies_of_rows_act_in_the_order_in_which_they_are_written():
    assert parse_policy("screen+noise+dedupe+weight").rows == (Noise(), Weight())
    assert parse_policy("screen+weight+noise").rows == (Weight(), Noise())
    assert parse_policy("screen+dedupe+replay:5").rows == ()

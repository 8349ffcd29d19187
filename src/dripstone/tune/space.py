"""The space of settings: what may be chosen, and what only where something else was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dripstone.core.config import Config
from dripstone.core.errors import UsageError
from dripstone.select.ladder import rungs
from dripstone.select.selection import LADDER, RIDGE, Selection
from dripstone.store.state import TrainingState
from dripstone.update.champion import Champion
from dripstone.update.selecting import choose_selection
from dripstone.update.training import is_solved

SELECTIONS = ("ladder", "head", "suffix:1", "suffix:2", "vectors", "low_rank:8", "full")
"""Selections that are tried where they fit model and task, besides the project's own. Those of a share are not among
them: they are chosen for bytes and memory, which no trial counts."""

SELECTION, RATE, BATCH, PENALTY = "select.selection", "train.learning_rate", "train.batch_size", "train.ridge"
ACTIVATION = "model.args.activation"
KEYS = (SELECTION, RATE, BATCH, PENALTY, ACTIVATION)
"""Keys of ``dripstone.toml`` that are searched."""

RATES = 100.0
"""Learning rates are searched up to so many times the project's own, and down to that part of it."""

DOUBLINGS = (-2, 3)
"""How often the project's own batch size is doubled: a quarter of it, up to eight times as large."""

PENALTIES = (1e-2, 1e3)
"""Penalties of the closed form, in units of the one that the live version goes by."""

_DOUBLED, _GIVEN = "batch size doubled", "penalty"
_CHOSEN, _SEARCHED = "by leave-one-out", "searched"
_DIGITS = 3
_WHOLE = ("head", "suffix", "vectors", "full")  # what they name moves as a whole, so that equal names are one selection


@dataclass(frozen=True, slots=True)
class Choice:
    """A selection that fits: how it is written, whether it trains in a loop, and whether a closed form has a say."""

    text: str
    loops: bool
    solved: bool


@dataclass(frozen=True, slots=True)
class Space:
    """All that may be chosen: selections, the project's own first; activations likewise, none where that is settled.

    ``doublings`` is the largest number of doublings of the batch size that leaves two batches an epoch.
    """

    config: Config
    choices: tuple[Choice, ...]
    activations: tuple[str, ...]
    penalty: float
    doublings: int

    def suggest(self, trial: Any) -> dict[str, Any]:
        """The settings of a trial of Optuna's that are other than the project's own.

        Parameters
        ----------
        trial : optuna.Trial
            What it suggests depends on what it suggested before: no learning rate where there is no loop, no penalty
            where there is no closed form.
        """
        train = self.config.train
        settings: dict[str, Any] = {}
        choices = {choice.text: choice for choice in self.choices}
        choice = choices[trial.suggest_categorical(SELECTION, list(choices))]
        settings[SELECTION] = choice.text
        if choice.loops:
            low, high = train.learning_rate / RATES, train.learning_rate * RATES
            settings[RATE] = _rounded(trial.suggest_float(RATE, low, high, log=True), train.learning_rate)
            doubled = trial.suggest_int(_DOUBLED, DOUBLINGS[0], self.doublings)
            settings[BATCH] = max(1, math.ceil(train.batch_size * 2.0**doubled))
        if choice.solved:
            settings[PENALTY] = self._penalty(trial)
        if self.activations:
            settings[ACTIVATION] = trial.suggest_categorical(ACTIVATION, list(self.activations))
        own = self.own()
        return {key: value for key, value in settings.items() if value != own[key]}

    def _penalty(self, trial: Any) -> float | None:
        own = self.config.train.ridge
        if own is None and trial.suggest_categorical(_GIVEN, [_CHOSEN, _SEARCHED]) == _CHOSEN:
            return None
        low, high = (self.penalty * times for times in PENALTIES)
        return _rounded(trial.suggest_float(PENALTY, low, high, log=True), own)

    def own(self) -> dict[str, Any]:
        """The project's own settings."""
        train = self.config.train
        return {
            SELECTION: self.choices[0].text,
            RATE: train.learning_rate,
            BATCH: train.batch_size,
            PENALTY: train.ridge,
            ACTIVATION: self.activations[0] if self.activations else None,
        }

    def rate(self, settings: Mapping[str, Any]) -> float | None:
        """The learning rate of a trial; None where no loop runs."""
        loops = {choice.text: choice.loops for choice in self.choices}
        full = {**self.own(), **settings}
        rate: float = full[RATE]
        return rate if loops[full[SELECTION]] else None

    def start(self) -> dict[str, Any]:
        """What Optuna has to suggest for these."""
        train = self.config.train
        given = {_GIVEN: _CHOSEN} if train.ridge is None else {PENALTY: train.ridge}
        activation = {ACTIVATION: self.activations[0]} if self.activations else {}
        return {SELECTION: self.choices[0].text, RATE: train.learning_rate, _DOUBLED: 0, **given, **activation}

    def words(self) -> str:
        """The whole of it in a line, by which a study of another space is told."""
        return f"{self.choices} {self.activations} {self.penalty!r} {self.doublings} {RATES} {PENALTIES}"


def space_of(
    config: Config, champion: Champion, state: TrainingState, activations: Sequence[str], learned: int
) -> Space:
    """What fits this project.

    Parameters
    ----------
    config : Config
        The project's own settings.
    champion : Champion
        The live version.
    state : TrainingState
        Beside it.
    activations : sequence of str
        Those that the model may begin with, its own first.
    learned : int
        How many rows a trial learns.

    Raises
    ------
    UsageError
        If the project's own selection does not fit.
    """
    own = config.select.selection.strip()
    fitting = {_what_moves(choose_selection(config, champion), champion): own}
    for text in SELECTIONS:
        try:
            selection = choose_selection(config.override({SELECTION: text}), champion)
            fitting.setdefault(_what_moves(selection, champion), text)
        except UsageError:
            continue
    choices = [_choice(config, text, champion, state) for text in fitting.values()]
    most = [number for number in range(DOUBLINGS[1] + 1) if config.train.batch_size * 2**number <= learned // 2]
    penalty = config.train.ridge or float(champion.model.head.penalty) if _has_penalty(champion) else 1.0
    return Space(config, tuple(choices), tuple(activations), penalty, max(most, default=0))


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """What overrides a project's settings, and the activation, which is the model's."""
    rest = {key: value for key, value in settings.items() if key != ACTIVATION}
    return rest, settings.get(ACTIVATION)


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """A project's settings once those that a search has found are written.

    Examples
    --------
    >>> config = with_settings(Config(), {RATE: 0.1, ACTIVATION: "gelu"})
    >>> config.train.learning_rate, config.model.args
    (0.1, {'activation': 'gelu'})
    """
    overrides, activation = split_settings(settings)
    if activation is not None:
        overrides["model.args"] = {**config.model.args, ACTIVATION.rpartition(".")[2]: activation}
    return config.override(overrides)


def _choice(config: Config, text: str, champion: Champion, state: TrainingState) -> Choice:
    selection = choose_selection(config.override({SELECTION: text}), champion)
    # The ladder tunes blocks seldom, and itself tries whether that helps: rows of one update do not tell at what rate.
    loops = selection.method != RIDGE and selection.name != LADDER
    return Choice(text, loops, is_solved(champion, state, selection))


def _climbs(champion: Champion) -> bool:
    """Whether the ladder has a rung above the head for this model and task."""
    module: nn.Module = champion.model  # type: ignore[assignment]
    return not champion.task.numbers and len(rungs(module, RIDGE, "adamw")) > 1


def _what_moves(selection: Selection, champion: Champion) -> tuple[str, ...]:
    """Method and parameters, by which two names of one selection are told.

    Raises
    ------
    UsageError
        If the model has nothing that could move so.
    """
    module: nn.Module = champion.model  # type: ignore[assignment]
    if selection.name == LADDER:
        if _climbs(champion):
            return (LADDER,)
        selection = Selection("head", None, RIDGE)
    if selection.name not in _WHOLE:
        return (str(selection),)
    return (selection.method, *sorted(selection.parameters(module)))


def _has_penalty(champion: Champion) -> bool:
    return hasattr(champion.model.head, "penalty")


def _rounded(value: float, own: float | None) -> float:
    """A number that a person can read; the project's own stays what it is."""
    return value if value == own else float(f"{value:.{_DIGITS}g}")

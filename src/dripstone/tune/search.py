"""The search: trial after trial; then the picture, and into ``dripstone.toml`` what beats the project's settings."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from dripstone.core.config import Config, load_config
from dripstone.core.errors import DataError, DivergedError, ModelError, UsageError
from dripstone.core.events import Event, Searched, Tried
from dripstone.core.examples import Example
from dripstone.core.records import Spec, count
from dripstone.core.tuned import SCORES, SettingsTrial, Tuned, is_higher_better
from dripstone.store.repository import Repository
from dripstone.tune.picture import check_picture, draw
from dripstone.tune.settings_file import import_tomlkit, write_settings
from dripstone.tune.space import ACTIVATION, Space, space_of, split_settings
from dripstone.tune.study import Study, import_optuna, opened
from dripstone.update.champion import Champion
from dripstone.update.roots import activations_for, own_activation, replace_root
from dripstone.update.settings_trial import Ground, Outcome, prepare, try_settings
from dripstone.update.tried_rows import TriedRows, tried_rows

FOLDER = "tuning"
"""Of studies and pictures, in the project's folder."""

BEYOND = 2.0
"""Standard errors by which a trial has to lead. The best of twenty leads by one or two where none is any better."""


def search(
    project: Path,
    repository: Repository,
    config: Config,
    champion: Champion,
    arrived: Iterable[Example],
    *,
    trials: int = 20,
    seconds: float | None = None,
    picture: Path | None = None,
    dry_run: bool = False,
) -> Iterator[Event]:
    """Search for settings of the next update; yields events, the last of which is ``Searched``.

    Parameters
    ----------
    project : Path
        The folder with ``dripstone.toml``.
    repository : Repository
        Where the champion is live.
    config : Config
        The project's own settings.
    champion : Champion
        The live version, loaded. It is only read.
    arrived : iterable of Example
        New rows.
    trials : int
        How many, those of earlier searches that were the same among them. The first is of the project's own settings.
    seconds : float, optional
        After so many no trial begins, but for the first.
    picture : Path, optional
        A PNG file; by default one beside the study.
    dry_run : bool
        Leave ``dripstone.toml`` and the live version as they are.

    Raises
    ------
    UsageError
        If the extra ``tune`` is not installed, or the rows are too few.
    RaceLostError
        If somebody else moved the store, or searches the same.
    """
    _check(trials, seconds, picture)
    began = time.monotonic()
    rows = yield from tried_rows(repository, config, champion, arrived)
    learned = rows.batch.training()
    roots, activation = activations_for(repository, champion, [row.content for row in learned])
    space = space_of(config, champion, rows.start.state, list(roots), len(learned))
    path = project / FOLDER / f"{_key(champion, config, rows, space)}.log"
    with opened(path, config.train.seed) as study:
        bench = _Bench(repository, config, rows, roots or {"": champion})
        score = SCORES[config.task.metric]
        while len(study.finished) < trials:
            if study.finished and seconds is not None and time.monotonic() - began >= seconds:
                break
            trial = study.ask(space.start())
            settings = space.suggest(trial)
            found = yield from _try(bench, study, settings)
            found = msgspec.structs.replace(found, learning_rate=space.rate(settings))
            study.tell(trial, found)
            best = _best(study.finished)
            yield Tried(found, trials, score, best.score if best else None)
        tuned = _decide(study.finished, config, score, rows, trials, champion.version)
        shown = project / FOLDER / f"{path.stem}.png" if picture is None else picture
        tuned = msgspec.structs.replace(tuned, activation=activation, study=str(path), picture=str(shown))
        if not dry_run and tuned.chosen:
            tuned = _write(project, repository, config, space, roots, rows, tuned)
        draw(tuned, shown)
    yield Searched(tuned)


def _check(trials: int, seconds: float | None, picture: Path | None) -> None:
    """Everything that is needed is there, before anything is computed."""
    if trials < 1:
        raise UsageError(f"{trials} trials try nothing", remedy="give at least 1", kind="usage.tune")
    if seconds is not None and not seconds >= 0:
        raise UsageError(f"{seconds} seconds are no time", remedy="give 0 or more", kind="usage.tune")
    import_optuna()
    import_tomlkit()
    check_picture(picture)


def _key(champion: Champion, config: Config, rows: TriedRows, space: Space) -> str:
    """By which a study is known again: of the same version, rows, settings and space."""
    fixed = msgspec.json.encode((config.task, config.curate, config.select, config.train, config.gate.holdout))
    words = f"1 {champion.version} {rows.fingerprint()} {space.words()}".encode()
    return hashlib.sha256(words + fixed).hexdigest()[:16]


@dataclass(slots=True, eq=False)
class _Bench:
    """Where trials are made: the roots by their activation, or the one model there is, and what their trials share."""

    repository: Repository
    config: Config
    rows: TriedRows
    models: Mapping[str, Champion]
    grounds: dict[str, Ground] = field(default_factory=dict)

    def run(self, settings: Mapping[str, Any]) -> Generator[Event, None, Outcome]:
        overrides, activation = split_settings(settings)
        name = activation or next(iter(self.models))
        if name not in self.grounds:
            self.grounds[name] = yield from prepare(self.repository, self.config, self.models[name], self.rows)
        return (yield from try_settings(self.grounds[name], self.config.override(overrides)))


def _try(bench: _Bench, study: Study, settings: dict[str, Any]) -> Generator[Event, None, SettingsTrial]:
    """One trial; a setting under which no candidate comes about is pruned."""
    number, began = len(study.finished), time.process_time()
    try:
        outcome = yield from bench.run(settings)
    except (DivergedError, UsageError, ModelError, DataError) as error:
        reason = error.message
    except torch.OutOfMemoryError:
        reason = "the device has too little memory"
    else:
        return _measured(study, number, settings, outcome, bench.config.task.metric)
    return SettingsTrial(number, settings, "pruned", cpu_seconds=time.process_time() - began, reason=reason)


def _measured(study: Study, number: int, settings: dict[str, Any], outcome: Outcome, metric: str) -> SettingsTrial:
    if number == 0:
        study.keep_own(outcome.losses)
    own = study.own_losses(len(outcome.losses))
    lead = error = None
    if own is not None:
        gains = own - outcome.losses
        lead = float(gains @ outcome.weights)
        error = math.sqrt(float(np.square(gains - lead) @ np.square(outcome.weights)))
    return SettingsTrial(
        number=number,
        settings=settings,
        state="complete",
        selection=outcome.selection,
        score=_score(metric, outcome.loss),
        loss=outcome.loss,
        lead=lead,
        error=error,
        cpu_seconds=outcome.cpu_seconds,
    )


def _score(metric: str, loss: float) -> float:
    if is_higher_better(metric):
        return 1.0 - loss
    return math.sqrt(loss) if metric == "squared_error" else loss


def _best(trials: Iterable[SettingsTrial]) -> SettingsTrial | None:
    """The trial of the lowest loss, of equals the first."""
    return min((trial for trial in trials if trial.loss is not None), key=lambda trial: trial.loss or 0.0, default=None)


def _beats(trial: SettingsTrial) -> bool:
    """Whether a trial leads beyond chance; where the project's own settings came to nothing, any does."""
    if trial.lead is None or trial.error is None:
        return trial.loss is not None
    return trial.lead > BEYOND * trial.error


def _decide(
    trials: list[SettingsTrial], config: Config, score: str, rows: TriedRows, wanted: int, version: str
) -> Tuned:
    best = _best(trials)
    chosen = _best(trial for trial in trials if trial.number and _beats(trial))
    return Tuned(
        version=version,
        score=score,
        rows=rows.counts,
        trials=list(trials),
        wanted=wanted,
        best=best.number if best else None,
        chosen=chosen.number if chosen else 0,
        changes=chosen.settings if chosen else {},
        written={},
        reason=_reason(trials, best, chosen, score, rows.counts.tried + rows.counts.remembered_tried),
        activation="",
        study="",
        picture="",
        default=trials[0],
    )


def _reason(
    trials: list[SettingsTrial], best: SettingsTrial | None, chosen: SettingsTrial | None, score: str, rows: int
) -> str:
    own, tried = trials[0], count(len(trials), "trial")
    if best is None:
        return f"none of {tried} came to a candidate; the project's own settings: {own.reason}"
    if chosen is not None:
        before = f"{own.score:.4f}" if own.score is not None else "none"
        return (
            f"{score} {chosen.score:.4f} in place of {before} on {count(rows, 'tried row')}, in trial {chosen.number}"
        )
    if best.number == 0:
        return f"none of {tried} is better than the project's own settings on {count(rows, 'tried row')}"
    times = f"{best.lead / best.error:.1f}" if best.lead and best.error else "0"
    return (
        f"the best of {tried} has {score} {best.score:.4f}, the project's own settings {own.score:.4f}: "
        f"{times} standard errors on {count(rows, 'tried row')}, which may be chance below {BEYOND:g}"
    )


def _write(
    project: Path,
    repository: Repository,
    config: Config,
    space: Space,
    roots: Mapping[str, Champion],
    rows: TriedRows,
    tuned: Tuned,
) -> Tuned:
    """Write what was chosen; where that is another root, first the log entry, since the store's manifests rule.

    A crash between the two leaves a project that works, with that root and its former settings.
    """
    changes, activation = split_settings(tuned.changes)
    version = tuned.version
    if activation is not None:
        reason = f"{ACTIVATION.rpartition('.')[2]} {activation}, found by a search before anything was learned"
        version = replace_root(repository, roots[activation], rows.start.number, reason).version
    in_file = load_config(project)
    values = {key: value for key, value in {**space.own(), **changes}.items() if key != ACTIVATION}
    values = {key: value for key, value in values.items() if value != _value(in_file, key)}
    live = own_activation(repository.manifest(version).spec) if roots else None
    if live != own_activation(Spec(in_file.model.factory, in_file.model.args)) and live is not None:
        values[ACTIVATION] = live
    return msgspec.structs.replace(tuned, version=version, written=write_settings(project, values))


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value

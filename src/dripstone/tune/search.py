"""The search: trial after trial; then the picture, and into ``dripstone.toml`` what beats the project's settings."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dripstone.core.config import Config, load_config
from dripstone.core.errors import UsageError
from dripstone.core.events import Event, Searched, Tried
from dripstone.core.examples import Example
from dripstone.core.records import Spec, count
from dripstone.core.tuned import SCORES, Again, SettingsTrial, Tuned
from dripstone.store.repository import Repository
from dripstone.tune.finalists import BEYOND, try_again
from dripstone.tune.picture import check_picture, draw
from dripstone.tune.settings_file import check_writable, import_tomlkit, write_settings
from dripstone.tune.space import ACTIVATION, Space, space_of, split_settings
from dripstone.tune.study import FOLDER, import_optuna, opened
from dripstone.tune.trials import Bench, best_of, make_trial
from dripstone.update.champion import Champion
from dripstone.update.roots import activations_for, own_activation, replace_root
from dripstone.update.tried_rows import TriedRows, cut_rows

FOR_TRIALS = 0.5
"""Share of the time after which no trial begins: the rest is for trying the best ones again."""


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
        After half of them no trial begins, but for the first; after all of them none is made again.
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
    if not dry_run:
        check_writable(project)
    began = time.monotonic()
    parts = yield from cut_rows(repository, config, champion, arrived)
    rows = parts.trying(0)
    learned = rows.batch.training()
    roots, activation = activations_for(repository, champion, [row.content for row in learned])
    space = space_of(config, champion, rows.start.state, list(roots), len(learned))
    path = project / FOLDER / f"{_key(champion, config, rows, space)}.log"
    shown = project / FOLDER / f"{path.stem}.png" if picture is None else picture
    bench = Bench(repository, config, space, parts, roots or {"": champion})
    with opened(path, config.train.seed) as study:
        while len(study.finished) < trials:
            if study.finished and seconds is not None and time.monotonic() - began >= seconds * FOR_TRIALS:
                break
            trial = study.ask(space.start())
            study.tell(trial, (yield from make_trial(bench, study, space.suggest(trial))))
            best = best_of(study.finished)
            score = SCORES[config.task.metric]
            yield Tried(study.finished[-1], trials, score, best.score if best else None)
        made = yield from try_again(bench, study, None if seconds is None else began + seconds)
        tuned = _report(bench, made, trials)
        tuned = msgspec.structs.replace(tuned, activation=activation, study=str(path), picture=str(shown))
        draw(tuned, shown)  # first: what cannot be drawn changes nothing
        if not dry_run and tuned.chosen:
            tuned = _write(project, bench, roots, tuned)
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


def _chosen(trials: Sequence[SettingsTrial]) -> SettingsTrial | None:
    """The finalist that is best where it was tried again, if it leads beyond chance there.

    Where the project's own settings come to nothing, the best trial is taken.
    """
    if trials[0].loss is None:
        return best_of(trials)
    leading = [trial for trial in trials[1:] if trial.again is not None and _leads(trial.again)]
    return min(leading, key=lambda trial: trial.again.loss if trial.again else 0.0, default=None)


def _leads(again: Again) -> bool:
    return again.lead > BEYOND * again.error


def _report(bench: Bench, trials: list[SettingsTrial], wanted: int) -> Tuned:
    score, rows = SCORES[bench.config.task.metric], bench.parts.trying(0).counts
    best, chosen = best_of(trials), _chosen(trials)
    return Tuned(
        version=bench.parts.start.state.version,
        score=score,
        rows=rows,
        trials=trials,
        wanted=wanted,
        best=best.number if best else None,
        chosen=chosen.number if chosen else 0,
        changes=chosen.settings if chosen else {},
        written={},
        reason=_reason(trials, best, chosen, score),
        activation="",
        study="",
        picture="",
        default=trials[0],
    )


def _reason(
    trials: Sequence[SettingsTrial], best: SettingsTrial | None, chosen: SettingsTrial | None, score: str
) -> str:
    own, tried = trials[0], count(len(trials), "trial")
    if best is None:
        return f"none of {tried} came to a candidate; the project's own settings: {own.reason}"
    if own.score is None:
        return f"{score} {best.score:.4f} in trial {best.number}; the project's own settings: {own.reason}"
    if chosen is not None and chosen.again is not None and own.again is not None:
        return (
            f"{score} {chosen.again.score:.4f} in place of {own.again.score:.4f} in trial {chosen.number}, "
            f"on {count(chosen.again.rows, 'row')} that it was not chosen by"
        )
    if best.number == 0:
        return f"none of {tried} is better than the project's own settings"
    again = [trial for trial in trials[1:] if trial.again is not None]
    if not again:
        return f"trial {best.number} is the best of {tried}, and no other rows bore it out"
    last = min(again, key=lambda trial: trial.again.loss if trial.again else 0.0)
    assert last.again is not None
    times = last.again.lead / last.again.error if last.again.error else 0.0
    return (
        f"no trial leads beyond chance: on {count(last.again.rows, 'row')} that it was not chosen by, "
        f"trial {last.number} is {times:+.1f} standard errors from the project's own settings, "
        f"and {BEYOND:+.1f} are asked for"
    )


def _write(project: Path, bench: Bench, roots: Mapping[str, Champion], tuned: Tuned) -> Tuned:
    """Write what was chosen; where that is another root, first the log entry, since the store's manifests rule.

    A crash between the two leaves a project that works, with that root and its former settings.
    """
    changes, activation = split_settings(tuned.changes)
    version = tuned.version
    if activation is not None:
        reason = f"{ACTIVATION.rpartition('.')[2]} {activation}, found by a search before anything was learned"
        version = replace_root(bench.repository, roots[activation], bench.parts.start.number, reason).version
    in_file = load_config(project)
    values = {key: value for key, value in {**bench.space.own(), **changes}.items() if key != ACTIVATION}
    values = {key: value for key, value in values.items() if value != _value(in_file, key)}
    live = own_activation(bench.repository.manifest(version).spec) if roots else None
    if live != own_activation(Spec(in_file.model.factory, in_file.model.args)) and live is not None:
        values[ACTIVATION] = live
    return msgspec.structs.replace(tuned, version=version, written=write_settings(project, values))


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value

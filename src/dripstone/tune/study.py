"""The study: trials of Optuna's, in a journal in the project's folder, so that a search that was stopped goes on.

The journal is lines of JSON, each appended whole. (Optuna unpickles snapshots of backends that have them; that of files
has none.) A search that is killed loses the trial that was running: it is marked as failed, and made again. What Optuna
proposes depends on the seed and on the trials that are finished, and not on how often the search was stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dripstone.core.errors import RaceLostError, StoreError, UsageError
from dripstone.core.tuned import SettingsTrial
from dripstone.store.files import disk_errors, list_names, make_folder, read_bounded, remove
from dripstone.tune.space import KEYS

MAX_BYTES = 2**28
"""Of a journal."""

NAME = "settings"

_TRIAL = "trial"


FOLDER = "tuning"
"""Of studies and pictures, in the project's folder."""

_STUDY = re.compile(r"[0-9a-f]{16}\.(log|log\.lock|lock|png)")


def import_optuna() -> Any:
    """The package ``optuna``, or an error that says how to install it."""
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise UsageError(
            "a search over settings needs the package 'optuna'", remedy="pip install 'dripstone[tune]'"
        ) from error
    return optuna


class Losses(NamedTuple):
    """Of each tried row, what the search makes small, and what it counts; weights of sum 1. No rows: no candidate."""

    losses: np.ndarray
    weights: np.ndarray


class Study:
    """An open study. Make one with `opened`; nobody else has it open meanwhile.

    Attributes
    ----------
    finished : list of SettingsTrial
        Trials that were completed or pruned, in order.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self._optuna = import_optuna()
        self._seed = seed
        self._states = self._optuna.trial.TrialState
        journal = self._optuna.storages.journal
        with _quiet(self._optuna):
            storage = self._optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
            self._study = self._optuna.create_study(
                storage=storage, study_name=NAME, direction="minimize", load_if_exists=True
            )
            for trial in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
                self._study.tell(trial.number, state=self._states.FAIL)
        done = self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE, self._states.PRUNED))
        self.finished = [_read(trial.user_attrs.get(_TRIAL), number) for number, trial in enumerate(done)]

    def ask(self, start: Mapping[str, Any]) -> Any:
        """The next trial; the first one is asked to suggest ``start``."""
        with _quiet(self._optuna), disk_errors(self.path):
            if not self.finished and not self._study.get_trials(deepcopy=False, states=(self._states.WAITING,)):
                self._study.enqueue_trial(dict(start))
            # The same seed in every process would propose the same again after each stop.
            self._study.sampler = self._optuna.samplers.TPESampler(
                seed=(self._seed * 100_003 + len(self.finished)) % 2**32
            )
            return self._study.ask()

    def tell(self, trial: Any, found: SettingsTrial) -> None:
        """Keep how a trial did, and count it as finished."""
        state = self._states.COMPLETE if found.state == "complete" else self._states.PRUNED
        with _quiet(self._optuna), disk_errors(self.path):
            trial.set_user_attr(_TRIAL, msgspec.to_builtins(found))
            self._study.tell(trial, found.loss, state=state)
        self.finished.append(found)

    def keep(self, number: int, part: int, kept: Losses) -> None:
        """Keep the losses of a trial row by row, of the part of the rows that was tried."""
        with disk_errors(self.path):
            self._study.set_user_attr(f"losses {number} {part}", [kept.losses.tolist(), kept.weights.tolist()])

    def kept(self, number: int, part: int) -> Losses | None:
        """They again; None where they were not kept, without a row where the trial came to nothing."""
        kept = self._study.user_attrs.get(f"losses {number} {part}")
        if kept is None:
            return None
        try:
            losses, weights = map(np.array, msgspec.convert(kept, tuple[list[float], list[float]]))
        except msgspec.ValidationError as error:
            raise _damaged(self.path, str(error)) from None
        if len(losses) != len(weights):
            raise _damaged(self.path, f"it has losses of {len(losses)} rows, and weights of {len(weights)}")
        return Losses(losses, weights)


@contextlib.contextmanager
def opened(path: Path, seed: int) -> Iterator[Study]:
    """Open a study, or begin it.

    Parameters
    ----------
    path : Path
        Its journal.
    seed : int
        Of what is proposed.

    Raises
    ------
    RaceLostError
        If another process has it open.
    StoreError
        If the journal is damaged.
    """
    import_optuna()
    make_folder(path.parent)
    with _locked(path.with_suffix(".lock")):
        with disk_errors(path):
            _mend(path)
            study = _open(path, seed)
        yield study


def forget_studies(project: Path) -> None:
    """Remove studies and their pictures: they hold a loss for each row that was tried, and cost no more than time."""
    folder = project / FOLDER
    for name in list_names(folder):
        if _STUDY.fullmatch(name):
            remove(folder / name)


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna tells of all it does, and warns of what is new. Around calls only: others have a say in between."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _open(path: Path, seed: int) -> Study:
    try:
        return Study(path, seed)
    except (StoreError, UsageError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever Optuna makes of lines that it has not written
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system gives back when the process ends, however it does."""
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with disk_errors(path):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RaceLostError(
                    f"another process searches these settings already ({path.name} is locked)",
                    remedy="wait until it is done, then run the same command again",
                    kind="tune.locked",
                ) from None
        yield
    finally:
        os.close(handle)


def _mend(path: Path) -> None:
    """Cut a line that a killed writer left half written, and the lock that it held on the journal."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.lock")
    if not path.exists():
        return
    data = read_bounded(path, MAX_BYTES)
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def _read(kept: Any, number: int) -> SettingsTrial:
    """A trial as it was kept; what is not one is an error of the journal."""
    trial = msgspec.convert(kept, SettingsTrial)
    foreign = trial.settings.keys() - set(KEYS)
    if trial.number != number or foreign or (trial.state == "complete") != (trial.loss is not None):
        raise ValueError(f"trial {number} is another one than was kept")
    return trial


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"the study {path} is damaged: {what}",
        remedy="remove that file; its trials are made again",
        kind="store.corrupt",
    )

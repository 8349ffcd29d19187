"""The face for Python users: a project folder with its live model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dripstone.comparison import compare_answers, compare_tensors
from dripstone.core.config import FILE_NAME, Config, GateConfig, load_config, short_settings
from dripstone.core.errors import UsageError
from dripstone.core.events import Event, Finished, Searched
from dripstone.core.examples import Example, Inputs, Label
from dripstone.core.records import LogEntry, Spec, Update
from dripstone.core.tuned import Tuned
from dripstone.core.unlearning import Unlearning
from dripstone.curate.policy import Policy
from dripstone.measuring import WANTED, check_inputs, evaluate
from dripstone.models.factory import prepare
from dripstone.project import check_labels, check_task, make_project, target_column
from dripstone.select.selection import Selection
from dripstone.store.repository import Repository
from dripstone.stream.columns import to_inputs
from dripstone.stream.portions import portions
from dripstone.stream.source import Source, read
from dripstone.tasks.kinds import KINDS
from dripstone.train.features import in_batches
from dripstone.tune.search import search
from dripstone.tune.space import with_settings
from dripstone.tune.study import forget_studies
from dripstone.update import growing, moves, unlearning
from dripstone.update.champion import Champion, load_champion
from dripstone.update.flow import run_update
from dripstone.update.training_state import load_state


class Learner:
    """A model that keeps learning, and the store of all its versions.

    Make one with ``create`` or ``open``. Every method acts on what is live in the store at that moment, also when
    another process has moved it.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from dripstone.models import mlp
    >>> draw = np.random.default_rng(0)
    >>> rows = [{"inputs": draw.normal(c, 0.3, 2), "label": "ab"[c]} for c in (0, 1) for _ in range(60)]
    >>> learner = Learner.create(tempfile.mkdtemp() + "/demo", model=mlp(inputs=2, random_features=64))
    >>> learner.update(rows).verdict
    'promoted'
    >>> learner.predict([[0.0, 0.1], [1.0, 0.9]])
    ['a', 'b']
    >>> learner.revert().reason[:7]
    'back to'
    """

    def __init__(self, project: Path, config: Config, repository: Repository) -> None:
        self.project = project
        self.config = config
        self.repository = repository
        self._champion: Champion | None = None

    @classmethod
    def create(
        cls,
        project: str | Path,
        *,
        model: nn.Module,
        task: str = "classification",
        spec: Spec | None = None,
        labels: Sequence[Label] = (),
        input: str | Sequence[str] | None = None,
        target: str | None = None,
        data: Source | None = None,
        holdout: Source | None = None,
        select: str | Selection | None = None,
        curate: str | Policy | None = None,
        optimizer: str | None = None,
        gate: str | GateConfig | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Learner:
        """Make a project and its first version.

        Parameters
        ----------
        project : path
            A folder without a project; it is made if it is not there.
        model : torch.nn.Module
            What a ready factory returns, or any module, with ``spec``.
        task : str
            ``"classification"``; ``"regression"`` where targets are numbers; ``"causal_lm"`` where rows are texts;
            ``"seq2seq"`` where each has a text that should be made of it.
        spec : Spec, optional
            ``ModelSpec("package.module:factory", kwargs)``, which rebuilds a module of your own.
        labels : sequence of str or int
            What the module's output layer knows already, in its order.
        input, target : str
            Columns of the inputs and of the label, number or reply; ``input`` is ``"text"`` for texts and ``"inputs"``
            otherwise, ``target`` is ``"label"``, or none where texts are learned as a whole, or ``"reply"`` of
            ``"seq2seq"``.
        data, holdout : source, optional
            Rows to train the first version on, and rows that are held out for ever.
        select, curate, optimizer, gate : str or object, optional
            Selection, curation policy, optimiser and mode of the gate, in the text form of ``dripstone.toml`` and the
            command line, or as the object that the text stands for.
        settings : mapping, optional
            Any other key: ``"section.key"`` to value, as in ``dripstone.toml``.

        Raises
        ------
        UsageError, ModelError, DataError
            Nothing is left behind then.
        """
        folder = Path(project)
        if (folder / FILE_NAME).exists():
            raise UsageError(f"{folder} is a dripstone project already", remedy="open it, or name another folder")
        if task not in KINDS:
            raise UsageError(f"there is no task {task!r}", remedy=f"use {' or '.join(map(repr, KINDS))}")
        ready = prepare(model, spec, len(labels))
        check_task(task, ready, labels)
        check_labels(ready, labels)
        column = input if input is not None else ready.preprocess.default_column
        columns = column if isinstance(column, str) else list(column)
        column = target if target is not None else target_column(task)
        chosen = {"task.kind": task, "task.metric": KINDS[task].metrics[0], "task.input": columns}
        chosen |= {"task.target": column, "model.factory": ready.spec.factory, **KINDS[task].settings(ready)}
        short = short_settings(select=select, curate=curate, optimizer=optimizer, gate=gate)
        config = Config().override({**chosen, "model.args": ready.spec.kwargs, **short, **(settings or {})})
        if holdout is not None and data is None:
            raise UsageError("holdout rows alone train nothing", remedy="give data as well", kind="usage.holdout")
        rows = list(read(data, config.task)) if data is not None else None
        held_out = list(read(holdout, config.task)) if holdout is not None else []
        make_project(folder, config, ready, labels or KINDS[task].known(ready), rows, held_out)
        return cls.open(folder)

    @classmethod
    def open(cls, project: str | Path, settings: Mapping[str, Any] | None = None) -> Learner:
        """Open a project; ``settings`` override keys of ``dripstone.toml``."""
        folder = Path(project)
        config = load_config(folder).override(dict(settings or {}))
        return cls(folder, config, Repository.open(folder / config.store.path))

    def update(
        self,
        source: Source,
        *,
        dry_run: bool = False,
        select: str | Selection | None = None,
        curate: str | Policy | None = None,
        optimizer: str | None = None,
        gate: str | GateConfig | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Update:
        """Learn from new rows, if that does no harm.

        Parameters
        ----------
        source : path, paths, or iterable of mappings
            The new rows.
        dry_run : bool
            Train and report, ask no gate, change nothing.
        select, curate, optimizer, gate, settings
            As for ``create``, for this update only.

        Returns
        -------
        Update
            The verdict, its reason, the evidence and the cost.

        Raises
        ------
        DataError, UsageError, StoreError, RaceLostError
            The live version is as it was then.
        """
        report: Update | None = None
        short = short_settings(select=select, curate=curate, optimizer=optimizer, gate=gate)
        for event in self.update_events(source, dry_run=dry_run, settings={**short, **(settings or {})}):
            if isinstance(event, Finished):
                report = event.update
        assert report is not None
        return report

    def updates(
        self, source: Source, *, rows: int = 10_000, dry_run: bool = False, settings: Mapping[str, Any] | None = None
    ) -> Iterator[Update]:
        """Learn from a source of any length, an update for every so many rows; memory is bounded by those.

        Parameters
        ----------
        source, dry_run
            As for ``update``; it is read as far as an update needs.
        rows : int
            Of an update, at least 1.
        settings : mapping, optional
            Any key, ``select.selection`` and ``curate.policy`` among them, for these updates only.

        Yields
        ------
        Update
            As each is committed. What has been committed stays, whatever the rest of the source brings.
        """
        for portion in self.portions(source, rows):
            for event in self.update_events(portion, dry_run=dry_run, settings=settings):
                if isinstance(event, Finished):
                    yield event.update

    def portions(self, source: Source, rows: int) -> Iterator[list[Example]]:
        """A source cut into portions of so many rows, fewer where they are large; it is read as they are asked for."""
        if rows < 1:
            raise UsageError(f"an update of {rows} rows learns nothing", remedy="give at least 1", kind="usage.rows")
        return portions(read(source, self.config.task), rows)

    def update_events(
        self, source: Source, *, dry_run: bool = False, settings: Mapping[str, Any] | None = None
    ) -> Iterator[Event]:
        """The same, event by event; the last is ``Finished``. An iteration that is given up changes nothing."""
        config = self.config.override(dict(settings or {}))
        rows = read(source, config.task)
        return run_update(self.repository, config, self.champion(), rows, dry_run=dry_run)

    def tune(
        self,
        source: Source,
        trials: int = 20,
        seconds: float | None = None,
        *,
        picture: str | Path | None = None,
        dry_run: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Tuned:
        """Search for the settings of the next update; one that beats the present ones goes into ``dripstone.toml``.

        Rows that are held out are not looked at. Of the others four fifths are learned in each trial, by the code of an
        update, and the rest is tried. The same call goes on where an earlier one was stopped.

        Parameters
        ----------
        source : path, paths, or iterable of mappings
            New rows, as for ``update``, which may learn them afterwards.
        trials : int
            How many, altogether; the first is of the present settings.
        seconds : float, optional
            After half of them no trial begins, but for the first; the rest is for trying the best ones again.
        picture : path, optional
            A PNG file; by default in the folder ``tuning`` of the project.
        dry_run : bool
            Search and report, change neither ``dripstone.toml`` nor the live version.
        settings : mapping, optional
            Any key, for this search; the trials begin from these.

        Returns
        -------
        Tuned
            Every trial, which one is taken, and what was written.

        Raises
        ------
        UsageError
            If the extra ``tune`` is not installed, or the rows are too few to try settings on some of them.
        DataError, StoreError, RaceLostError
            As for ``update``.
        """
        found: Tuned | None = None
        events = self.tune_events(source, trials, seconds, picture=picture, dry_run=dry_run, settings=settings)
        for event in events:
            if isinstance(event, Searched):
                found = event.tuned
        assert found is not None
        return found

    def tune_events(
        self,
        source: Source,
        trials: int = 20,
        seconds: float | None = None,
        *,
        picture: str | Path | None = None,
        dry_run: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """The same, event by event; the last is ``Searched``. What is given up goes on with the next call."""
        config = self.config.override(dict(settings or {}))
        events = search(
            self.project,
            self.repository,
            config,
            self.champion(),
            read(source, config.task),
            trials=trials,
            seconds=seconds,
            picture=None if picture is None else Path(picture),
            dry_run=dry_run,
        )
        for event in events:
            if isinstance(event, Searched):
                self.config = with_settings(self.config, event.tuned.written)
            yield event

    def champion(self, version: str | None = None) -> Champion:
        """The live version, loaded; or another one, named by its id or the first digits of it."""
        wanted = self.repository.log.head().version if version is None else self.repository.resolve(version)
        if self._champion is not None and self._champion.version == wanted:
            return self._champion
        loaded = load_champion(self.repository, wanted, self._champion)
        if version is None:
            self._champion = loaded
        return loaded

    def predict(self, inputs: Iterable[Any], version: str | None = None) -> list[Any]:
        """The best label, or the number, of each input: a text, numbers, an array, a tensor or an ``Example``."""
        return [row["prediction"] for row in self.predict_scores(inputs, version)]

    def predict_scores(self, inputs: Iterable[Any], version: str | None = None) -> list[dict[str, Any]]:
        """The best label of each input, and the probability of every label; or the number, and the usual error.

        Returns
        -------
        list of dict
            ``{"prediction": label, "scores": {label: probability}}`` a row, or
            ``{"prediction": number, "scores": {"usual_error": error}}``.

        Raises
        ------
        UsageError
            If the version has learned nothing yet.
        DataError
            If an input is not what the model takes.
        """
        champion = self.champion(version)
        if not champion.task.labels:
            what = WANTED[champion.task.kind][1]
            raise UsageError(f"the live version knows no {what} yet", remedy="update it with rows first")
        rows = [_to_row(value, number) for number, value in enumerate(inputs, start=1)]
        check_inputs(champion, rows)
        return _predict(champion, [row.inputs for row in rows])

    def evaluate(self, source: Source, version: str | None = None) -> dict[str, Any]:
        """Measure a version on labelled rows; a label that it does not know counts as wrong.

        Returns
        -------
        dict
            ``{"version", "examples", "metrics": {"accuracy", "by_slice"}}``; of numbers
            ``{"rmse", "mae", "r2", "by_slice"}``, the latter of the root mean square error.

        Raises
        ------
        DataError
            If a row has no label or number, or an input is not what the model takes.
        UsageError
            If there is no number to measure, since nothing was learned yet.
        """
        champion = self.champion(version)
        rows = list(read(source, self.config.task))
        return {"version": champion.version, "examples": len(rows), "metrics": evaluate(champion, rows)}

    def revert(self, version: str | None = None) -> LogEntry:
        """Make a version live again; without one, the version that was live before, so that twice comes back."""
        return moves.revert(self.repository, None if version is None else self.repository.resolve(version))

    def promote(self, version: str, reason: str) -> LogEntry:
        """Overrule the gate. The reason is recorded."""
        return moves.promote(self.repository, self.repository.resolve(version), reason)

    def grow(self, depth: int = 0, ffn: int = 0) -> LogEntry:
        """Append blocks to the live model, or hidden units to its feed-forward layers; it answers as before.

        Parameters
        ----------
        depth : int
            Blocks to append after the last one.
        ffn : int
            Hidden units to append in each block.

        Returns
        -------
        LogEntry
            By which the larger version is live. Selection ``grown`` trains what was added and nothing else.

        Raises
        ------
        UsageError
            If the model cannot grow, which that of ``dripstone.models.decoder`` can, or not by this much.
        ModelError
            If the larger version would answer otherwise; nothing has changed then.
        """
        return growing.grow(self.repository, self.config, self.champion(), depth=depth, ffn=ffn).entry

    def unlearn(self, ids: Iterable[str], *, dry_run: bool = False) -> Unlearning:
        """Take rows out of the store, and out of what is live.

        Parameters
        ----------
        ids : iterable of str
            Of the rows: ``Example.id``, the id column's or the hash of the inputs.
        dry_run : bool
            Report, and change nothing.

        Returns
        -------
        Unlearning
            Whether it is exact, what was removed and collected, and the retraining that rows need which shaped
            features.

        Raises
        ------
        UsageError
            ``usage.never_learned`` if a row of one of these ids is nowhere in the store; nothing has changed then.
        RaceLostError
            If somebody else moved the store meanwhile; nothing has changed then.

        Examples
        --------
        >>> import tempfile
        >>> from dripstone.models import mlp
        >>> rows = [{"id": str(i), "inputs": [i % 2, 0.1 * i], "label": "ab"[i % 2]} for i in range(60)]
        >>> model, folder = mlp(inputs=2, random_features=64), tempfile.mkdtemp() + "/demo"
        >>> learner = Learner.create(folder, model=model, data=rows, settings={"task.id": "id"})
        >>> report = learner.unlearn(["7", "8"])
        >>> report.exact, report.removed["ledger"]
        (True, 2)
        """
        given = [ids] if isinstance(ids, str) else list(ids)
        report = unlearning.unlearn(self.repository, self.config, self.champion(), given, dry_run=dry_run)
        if not dry_run:
            self._champion = None  # what learned the rows is not kept in memory either
            forget_studies(self.project)
        return report

    def diff(self, old: str, new: str) -> dict[str, Any]:
        """What differs between two versions.

        Returns
        -------
        dict
            ``old``, ``new``: full ids; ``tensors``: those that changed, by block; ``flips``: answers that changed on
            the live version's trusted rows.
        """
        before, after = self.champion(old), self.champion(new)
        live = self.champion()
        state = load_state(self.repository, self.config, live.version, live.model)
        return {
            "old": before.version,
            "new": after.version,
            "tensors": compare_tensors(before.model, after.model),  # type: ignore[arg-type]
            "flips": compare_answers(before, after, state.trusted),
        }

    def log(self) -> list[LogEntry]:
        """Every entry of the store's log, newest first."""
        return list(self.repository.log.entries())


def _to_row(value: Any, number: int) -> Example:
    if isinstance(value, Example):
        return value
    inputs = to_inputs(value, f"input {number}")
    return Example(id="", inputs=inputs, origin=f"input {number}")


def _predict(champion: Champion, inputs: Sequence[Inputs]) -> list[dict[str, Any]]:
    """Answers in the rows' own order; texts of like length are asked together."""
    batches = in_batches(inputs)
    answers = [champion.task.predict(champion.model, [inputs[place] for place in part.tolist()]) for part in batches]
    places = [place for part in batches for place in part.tolist()]
    by_place = dict(zip(places, itertools.chain.from_iterable(answers), strict=True))
    return [by_place[place] for place in range(len(inputs))]

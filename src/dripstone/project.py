"""Making a project: a folder with its settings and its store, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from dripstone.core.config import FILE_NAME, Config, dump_config
from dripstone.core.errors import DataError, ModelError, RaceLostError, UsageError
from dripstone.core.events import Finished
from dripstone.core.examples import Example, Label
from dripstone.core.protocols import Task
from dripstone.core.records import LogEntry, now
from dripstone.models.factory import Ready
from dripstone.models.language_model import LanguageModel
from dripstone.store.files import write_new
from dripstone.store.repository import Repository
from dripstone.tasks.kinds import KINDS
from dripstone.update.certify import certify_first
from dripstone.update.champion import kept_labels, load_champion
from dripstone.update.flow import run_first
from dripstone.update.roots import write_root


def target_column(task: str) -> str:
    """Where targets stand unless the user names another column; empty where rows need none."""
    if KINDS[task].replies:
        return "reply"
    return "" if KINDS[task].texts else "label"


def check_task(task: str, model: Ready, labels: Sequence[Label]) -> None:
    """The task is one that this model can learn."""
    if labels and (KINDS[task].numbers or KINDS[task].texts):
        raise UsageError(
            f"an output layer that the model comes with is kept for labels, and {task} has none",
            remedy="leave labels= out",
            kind="usage.labels",
        )
    fits = [kind for kind, one in KINDS.items() if _suits(model, one)]
    if task not in fits:
        raise UsageError(
            f"{model.spec.factory} makes no model for the task {task!r}",
            remedy=f"use it for {' or '.join(fits)}",
            kind="usage.task",
        )


def _suits(model: Ready, task: type[Task]) -> bool:
    if not isinstance(model, LanguageModel):
        return not task.texts
    return task.replies or (task.texts and model.preprocess.documents)


def check_labels(model: Ready, labels: Sequence[Label]) -> None:
    """The labels are those that the model's output layer came with, each once."""
    kept, rows = kept_labels(model.spec), 0 if isinstance(model, LanguageModel) else len(model.head.bias)
    if not len(labels) == kept == rows:
        raise ModelError(
            f"{model.spec.factory} makes a model whose output layer came with {kept} labels and has "
            f"{rows} rows, for {len(labels)} given labels",
            remedy="give labels= with a module of your own only, one for each row of its output layer",
            kind="model.labels",
        )
    odd = [label for label in labels if type(label) not in (str, int) or type(label) is not type(labels[0])]
    if odd or len(set(labels)) < len(labels):
        problem = f"the label {odd[0]!r} is of another kind" if odd else "a label is given twice"
        raise UsageError(problem, remedy="give different strings or different integers", kind="usage.labels")


def make_project(
    folder: Path,
    config: Config,
    model: Ready,
    labels: Sequence[Label],
    rows: list[Example] | None,
    held_out: list[Example],
) -> None:
    """Make the store under another name and give it its own once it is whole; clean up nothing but what is ours."""
    store, settings = folder / config.store.path, folder / FILE_NAME
    if store.exists():
        raise UsageError(f"{store} is there already", remedy="remove it, or set store.path", kind="usage.store")
    text = dump_config(config).encode()
    made = not folder.exists()
    draft = store.parent / f".dripstone-{secrets.token_hex(8)}"
    ours = draft
    try:
        _first_version(Repository.create(draft), config, model, labels, rows, held_out)
        draft.rename(store)
        ours = store
        write_new(settings, text)
    except BaseException as error:
        shutil.rmtree(ours, ignore_errors=True)
        for empty in (store.parent, folder) if made else ():
            with contextlib.suppress(OSError):  # somebody else's work is in it, or it is gone already
                empty.rmdir()
        if isinstance(error, FileExistsError) or (isinstance(error, OSError) and error.errno == errno.ENOTEMPTY):
            raise RaceLostError(
                f"somebody else made a project in {folder} meanwhile", remedy="open it, or name another folder"
            ) from None
        raise


def _first_version(
    repository: Repository,
    config: Config,
    model: Ready,
    labels: Sequence[Label],
    rows: list[Example] | None,
    held_out: list[Example],
) -> None:
    """Store the untrained model, train it where there are rows, and write the first log entry."""
    root = write_root(repository, model, config.task.kind, labels)  # type: ignore[arg-type]
    if rows is None:
        certificate = certify_first(repository, root.version, "a new project", now())
        entry = LogEntry(
            number=certificate.number,
            version=root.version,
            event="init",
            reason=certificate.reason,
            nonce=secrets.token_hex(16),
            time=certificate.time,
            certificate=repository.write_certificate(certificate),
        )
        repository.log.append(entry)
        return
    champion = load_champion(repository, root.version)
    for event in run_first(repository, config, champion, rows, held_out):
        if isinstance(event, Finished) and event.update.verdict != "promoted":
            raise DataError(
                f"the first version learned nothing: {event.update.reason}", remedy="mend the data", kind="data.init"
            )

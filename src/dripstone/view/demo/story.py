"""The story that every demo tells: learn stage by stage, refuse poison, revert, swap under load."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dripstone.core.errors import DripstoneError
from dripstone.core.records import Update
from dripstone.learner import Learner
from dripstone.stream.columns import to_inputs
from dripstone.tasks.classification import answers
from dripstone.train.features import features_of, outputs_of
from dripstone.update.champion import Champion
from dripstone.update.training_state import features_digest
from dripstone.view.demo.joint import train_jointly
from dripstone.view.demo.load import Client, Server
from dripstone.view.demo.stream import Stage, Stream
from dripstone.view.output import Output, short, table, wrap
from dripstone.view.progress import follow

HEADER = ["stage", "verdict", "accuracy", "selection", "trained", "delta bytes", "CPU-s"]


class Ruler:
    """Measures the live version on the test rows; their features are computed anew where a version has its own."""

    def __init__(self, stream: Stream) -> None:
        self.inputs = [to_inputs(row["input"], "") for row in stream.test]
        self.targets = [row["label"] for row in stream.test]
        self._backbone = ""
        self._features = torch.empty(0, 0)

    def answers(self, learner: Learner) -> list[Any]:
        """The live version's answer to every test row."""
        champion = learner.champion()
        backbone = features_digest(learner.repository.manifest(champion.version))
        if backbone != self._backbone:
            self._features, self._backbone = features_of(champion.model, self.inputs), backbone
        best = answers(outputs_of(champion.model, self._features))
        return [champion.task.labels[index] if index >= 0 else None for index in best]

    def accuracy(self, learner: Learner, labels: frozenset[str | int]) -> float:
        """Share of right answers on test rows of these labels."""
        pairs = zip(self.answers(learner), self.targets, strict=True)
        return float(np.mean([answer == target for answer, target in pairs if target in labels]))


@dataclass(slots=True)
class Result:
    """What a demo found; ``to_json`` is what it prints for programs."""

    rows: list[dict[str, Any]]
    joint: dict[str, Any]
    refusal: dict[str, Any]
    revert: dict[str, Any]
    swap: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "stages": self.rows,
            "joint": self.joint,
            "poison": self.refusal,
            "revert": self.revert,
            "swap": self.swap,
        }


def tell(stream: Stream, project: Path | None, out: Output) -> Result:
    """Run the story in a folder (a temporary one where none is given)."""
    if project is not None:
        return _tell(stream, project, out)
    with tempfile.TemporaryDirectory(prefix="dripstone-demo-") as folder:
        return _tell(stream, Path(folder) / stream.name, out)


def _tell(stream: Stream, project: Path, out: Output) -> Result:
    out.note(f"A stream of {len(stream.stages)} stages; each brings labels that the model has never seen.\n")
    learner = Learner.create(project, model=stream.model(), input="input", target="label")
    ruler = Ruler(stream)
    rows = [learn_stage(learner, ruler, stage, out) for stage in stream.stages]
    refusal = learn_poison(learner, ruler, stream, out)
    rows.append(refusal)
    revert = check_revert(learner, ruler, stream, out)
    swap = swap_under_load(learner, stream, out)
    joint = compare_jointly(learner, stream, rows[-2]["accuracy"])
    result = Result(rows, joint, refusal, revert, swap)
    out.data(result.to_json(), "\n" + table(HEADER, [_cells(row) for row in rows]) + "\n\n" + _comparison(result))
    return result


def learn_stage(learner: Learner, ruler: Ruler, stage: Stage, out: Output) -> dict[str, Any]:
    update = follow(learner.update_events(stage.rows), show=out.format == "human")
    row = _row(stage.name, update, ruler.accuracy(learner, stage.labels))
    out.note(wrap(f"{stage.name}: {update.verdict}; {update.reason}", rest="  "))
    return row


def _row(name: str, update: Update, accuracy: float) -> dict[str, Any]:
    return {
        "stage": name,
        "verdict": update.verdict,
        "reason": update.reason,
        "accuracy": accuracy,
        "selection": update.selection,
        "trained_share": update.parameters.trained / max(update.parameters.total, 1),
        "delta_bytes": update.delta_bytes,
        "cpu_seconds": update.cost.cpu_seconds,
        "gate_cpu_seconds": update.cost.gate_cpu_seconds,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["stage"],
        row["verdict"],
        f"{row['accuracy']:.4f}",
        row["selection"] or "none",
        f"{row['trained_share']:.1%}",
        f"{row['delta_bytes']:,}",
        f"{row['cpu_seconds']:.2f}",
    ]


def learn_poison(learner: Learner, ruler: Ruler, stream: Stream, out: Output) -> dict[str, Any]:
    update = follow(learner.update_events(stream.poison), show=out.format == "human")
    out.note(wrap(f"shuffled labels: {update.verdict}; {update.reason}", rest="  "))
    return _row("shuffled labels", update, ruler.accuracy(learner, stream.stages[-1].labels))


def check_revert(learner: Learner, ruler: Ruler, stream: Stream, out: Output) -> dict[str, Any]:
    """Revert and come back; whoever was live before must answer as it did, bit for bit."""
    last = learner.champion()
    logits = _logits(last, ruler)
    began = time.perf_counter()
    entry = learner.revert()
    seconds = time.perf_counter() - began
    accuracy = ruler.accuracy(learner, stream.stages[-1].labels)
    learner.revert()
    same = torch.equal(_logits(learner.champion(), ruler), logits)
    found = (
        f"revert: version {short(entry.version)} was live again in {seconds * 1000:.0f} ms ({accuracy:.4f} on all "
        f"labels); a second revert came back, its answers {'the same bit for bit' if same else 'DIFFERENT'}"
    )
    out.note(wrap(found, rest="  "))
    return {"version": entry.version, "seconds": seconds, "accuracy": accuracy, "same_bits": same}


def _logits(champion: Champion, ruler: Ruler) -> torch.Tensor:
    """Anew from the inputs, not from features that were kept."""
    some = ruler.inputs[:256]
    return outputs_of(champion.model, features_of(champion.model, some))


def swap_under_load(learner: Learner, stream: Stream, out: Output, moves: int = 4) -> dict[str, Any]:
    """Move ``live`` back and forth under a client that keeps asking a server."""
    inputs = [row["input"].tolist() if hasattr(row["input"], "tolist") else row["input"] for row in stream.test[:4]]
    with Server(learner.project) as server, Client(server.port, inputs) as client:
        _await(client, learner.repository.log.head().version)
        delays = []
        for _ in range(moves):
            entry = learner.revert()
            began = time.perf_counter()
            _await(client, entry.version)
            delays.append(time.perf_counter() - began)
    requests = sum(client.versions.values()) + client.failed
    found = (
        f"swap: live moved {moves} times under a client; {requests} requests, {client.failed} failed, first answer of "
        f"the new version after {max(delays) * 1000:.0f} ms at most"
    )
    out.note(wrap(found, rest="  "))
    return {"moves": moves, "requests": requests, "failed": client.failed, "seconds": delays}


def _await(client: Client, version: str) -> None:
    if not client.wait_for(version):
        raise DripstoneError(
            f"the server did not come to answer with version {short(version)}",
            remedy="run the demo again on an idle machine",
            kind="demo.swap",
        )


def compare_jointly(learner: Learner, stream: Stream, streamed: float) -> dict[str, Any]:
    joint = train_jointly(learner, stream)
    return {
        "rows": joint.rows,
        "streamed": streamed,
        "closed_form": joint.closed_form,
        "network": joint.network,
    }


def _comparison(result: Result) -> str:
    joint = result.joint
    return wrap(
        f"all labels after the last honest stage: {joint['streamed']:.4f}; joint training once on the same "
        f"{joint['rows']:,} rows: closed form {joint['closed_form']:.4f}, network {joint['network']:.4f}"
    )

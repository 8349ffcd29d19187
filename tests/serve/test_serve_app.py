import logging
import re
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from starlette.testclient import TestClient
from torch import nn

from dripstone.core.config import ServeConfig
from dripstone.core.records import Spec
from dripstone.models.wrap import wrap
from dripstone.serve.app import LARGEST_REQUESTS, make_app
from dripstone.serve.batcher import Batcher
from dripstone.serve.slot import Served, Slot
from dripstone.tasks.classification import Classification

CONFIG = ServeConfig(max_batch=4, max_wait_ms=1.0, max_rows=8, max_bytes=2000)


@pytest.fixture
def slot(make_served) -> Slot:
    slot = Slot(keep=2)
    slot.swap(make_served(1))
    return slot


@pytest.fixture
def client(slot) -> Iterator[TestClient]:
    with TestClient(make_app(slot, Batcher(slot, CONFIG.max_batch, CONFIG.max_wait_ms), CONFIG)) as client:
        yield client


def check_error(reply, status: int, kind: str, slot: Slot) -> dict:
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"kind", "message", "remedy"}
    assert error["kind"] == kind
    assert error["message"]
    assert error["remedy"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-model-version"] == slot.current.version
    return error


def test_predicts(client, slot) -> None:
    reply = client.post("/predict", json={"inputs": [[1, 2], [0.5, -3]]})
    assert reply.status_code == 200
    assert reply.headers["x-model-version"] == slot.current.version
    body = reply.json()
    assert body["version"] == slot.current.version
    assert [row["prediction"] for row in body["predictions"]] == ["version-1", "version-1"]
    assert set(body["predictions"][0]["scores"]) == {"version-1", "other"}


def test_follows_a_swap(client, slot, make_served) -> None:
    slot.swap(make_served(2))
    reply = client.post("/predict", json={"inputs": [[1, 2]]})
    assert reply.json()["predictions"][0]["prediction"] == "version-2"
    assert reply.headers["x-model-version"] == slot.current.version


def test_the_header_names_the_version_that_answered(make_served) -> None:
    slot = Slot(keep=2)
    first, second = make_served(1), make_served(2)

    class SwapsWhileItAnswers:
        def collate(self, inputs):
            slot.swap(second)
            return first.model.collate(inputs)

        def __call__(self, batch):
            return first.model(batch)

    slot.swap(Served(first.version, SwapsWhileItAnswers(), first.task, 1))
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), CONFIG)) as client:
        reply = client.post("/predict", json={"inputs": [[1, 2]]})
    assert slot.current is second
    assert reply.headers["x-model-version"] == reply.json()["version"] == first.version


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"nonsense", "malformed"),
        (b"[1]", "object"),
        (b"{}", "inputs"),
        (b'{"input": [[1, 2]]}', "input"),
        (b'{"inputs": "a text"}', "array"),
        (b'{"inputs": [1, 2]}', r"inputs\[0\]"),
        (b'{"inputs": [{"a": 1}]}', r"inputs\[0\]"),
        (b'{"inputs": [[NaN, 1]]}', "malformed"),
        (b'{"inputs": [[1, 2], [[1], [2, 3]]]}', r"inputs\[1\] holds lists of different lengths"),
        (b'{"inputs": [[]]}', "no numbers"),
        (b'{"inputs": [["1", "2"]]}', "not a number"),
        (b'{"inputs": [[1, null]]}', "not a number"),
        (b'{"inputs": [[true, false]]}', "not a number"),
        (b'{"inputs": [[1e300, 1]]}', "float32"),
        (b'{"inputs": [[' + b"9" * 400 + b", 1]]}", "a number"),
        (b'{"inputs": [' + b"[" * 70 + b"1" + b"]" * 70 + b"]}", "lists"),
        (b'{"inputs": ["\xff"]}', "utf-8"),
        (b'{"inputs": ["\\ud800 and more"]}', "surrogate"),
    ],
)
def test_malformed_requests_are_explained(client, slot, body: bytes, says: str) -> None:
    error = check_error(client.post("/predict", content=body), 400, "data.request", slot)
    assert re.search(says, error["message"], re.IGNORECASE), error["message"]


def test_deep_nesting_is_no_bug(slot) -> None:
    roomy = ServeConfig(max_bytes=1_000_000)
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), roomy)) as client:
        reply = client.post("/predict", content=b'{"inputs": [' + b"[" * 200_000)
    check_error(reply, 400, "data.request", slot)


def test_no_inputs_is_an_error(client, slot) -> None:
    check_error(client.post("/predict", json={"inputs": []}), 400, "data.empty", slot)


def test_inputs_that_the_model_does_not_take_are_the_clients_fault(client, slot) -> None:
    check_error(client.post("/predict", json={"inputs": ["a text"]}), 400, "data.shape", slot)


def test_too_many_rows(client, slot) -> None:
    assert client.post("/predict", json={"inputs": [[1, 2]] * 8}).status_code == 200
    check_error(client.post("/predict", json={"inputs": [[1, 2]] * 9}), 413, "data.too_large", slot)


def test_too_many_bytes_are_not_read(client, slot) -> None:
    check_error(client.post("/predict", content=b" " * 2001), 413, "data.too_large", slot)
    chunks = (b" " * 1000 for _ in range(3))
    check_error(client.post("/predict", content=chunks), 413, "data.too_large", slot)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_wrong_method(client, slot, method: str) -> None:
    reply = client.request(method, "/predict")
    check_error(reply, 405, "usage.method", slot)
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/predict/", "/v1/predict", "/docs"])
def test_unknown_route(client, slot, path: str) -> None:
    check_error(client.get(path), 404, "usage.route", slot)


def test_a_bug_is_logged_and_not_shown(client, slot, caplog) -> None:
    with caplog.at_level(logging.ERROR, "dripstone.serve"):
        reply = client.post("/predict", json={"inputs": [[13, 13]]})
    check_error(reply, 500, "bug", slot)
    assert "secret detail" not in reply.text
    assert "Traceback" not in reply.text
    assert "secret detail" in caplog.text
    assert client.post("/predict", json={"inputs": [[1, 2]]}).status_code == 200


def test_a_model_that_answers_nonsense_is_the_servers_fault(client, slot, caplog) -> None:
    slot.swap(Served("e" * 64, slot.current.model, Classification(("one label for two columns",)), 2))
    check_error(client.post("/predict", json={"inputs": [[1, 2]]}), 500, "model.shape", slot)
    assert "model.shape" in caplog.text or "logits of shape" in caplog.text


def test_a_model_without_labels_asks_for_an_update(client, slot) -> None:
    slot.swap(Served("e" * 64, slot.current.model, Classification(()), 2))
    error = check_error(client.post("/predict", json={"inputs": [[1, 2]]}), 409, "serve.no_labels", slot)
    assert error == {
        "kind": "serve.no_labels",
        "message": "live version eeeeeeeeeeee knows no label yet",
        "remedy": "run an update",
    }


def test_overload_says_when_to_come_again(client, slot, monkeypatch) -> None:
    monkeypatch.setattr("dripstone.serve.batcher.WAITING_BATCHES", 0)
    reply = client.post("/predict", json={"inputs": [[1, 2]]})
    check_error(reply, 503, "serve.overload", slot)
    assert reply.headers["retry-after"] == "1"


def test_large_requests_together_are_held_back(client, slot, make_served) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()
    inner = slot.current.model

    class Blocked:
        def collate(self, inputs):
            entered.release()
            assert go_on.wait(10)
            return inner.collate(inputs)

        def __call__(self, batch):
            return inner(batch)

    slot.swap(Served(slot.current.version, Blocked(), slot.current.task, 1))
    body = msgspec.json.encode({"inputs": [[1, 2]]}).ljust(CONFIG.max_bytes)
    replies = []
    senders = [
        threading.Thread(target=lambda: replies.append(client.post("/predict", content=body)))
        for _ in range(LARGEST_REQUESTS + 3)
    ]
    for sender in senders:
        sender.start()
    assert entered.acquire(timeout=10)
    while len(replies) < 3:
        time.sleep(0.001)
    go_on.set()
    for sender in senders:
        sender.join()
    assert sorted(reply.status_code for reply in replies) == [200] * LARGEST_REQUESTS + [503] * 3
    assert client.post("/predict", content=body).status_code == 200


def test_healthz(client, slot) -> None:
    reply = client.get("/healthz")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ok", "version": slot.current.version, "number": 1}
    assert reply.headers["x-model-version"] == slot.current.version


def test_healthz_before_anything_is_loaded() -> None:
    slot = Slot(keep=2)
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), CONFIG)) as client:
        reply, refused = client.get("/healthz"), client.post("/predict", json={"inputs": [[1, 2]]})
    assert reply.status_code == 503
    assert reply.json() == {"status": "empty", "version": None, "number": None, "error": None}
    assert reply.headers["x-model-version"] == "none"
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"


def test_healthz_says_when_the_follower_fails_and_lifespan_runs_it(slot) -> None:
    calls = []
    follower = SimpleNamespace(
        error="the version is damaged", start=lambda: calls.append("start"), stop=lambda: calls.append("stop")
    )
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), CONFIG, follower)) as client:
        reply = client.get("/healthz")
        assert calls == ["start"]
    assert calls == ["start", "stop"]
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "degraded",
        "reason": "stale",
        "error": "the version is damaged",
        "version": slot.current.version,
        "number": 1,
    }


@pytest.mark.parametrize("module", [nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), nn.Linear(2, 2)])
@pytest.mark.parametrize("fitted", [False, True])
def test_rows_that_a_users_module_cannot_take_are_the_clients_fault(module, fitted) -> None:
    model = wrap(module, Spec("tests:net"), labels_known=2)
    if fitted:
        model.fit([np.zeros(2, dtype=np.float32)])
    slot = Slot(keep=1)
    slot.swap(Served("ab12", model, Classification(("no", "yes")), 1))
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), CONFIG)) as client:
        assert client.post("/predict", json={"inputs": [[1, 2]]}).status_code == 200
        error = check_error(client.post("/predict", json={"inputs": [[1, 2, 3]]}), 400, "data.shape", slot)
    assert error["remedy"].startswith("send rows of")

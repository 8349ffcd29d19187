"""``dripstone.toml``, checked: one struct a section, one line a key."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from dripstone.core.errors import UsageError

FILE_NAME = "dripstone.toml"

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Fall = Annotated[float, msgspec.Meta(gt=0, le=1)]
LARGEST = sys.float_info.max  # which leaves infinity out
Positive = Annotated[float, msgspec.Meta(gt=0, le=LARGEST)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the versions are, and how much is kept beside them.

    path : folder of the store, relative to the project.
    keep_states : how many training states are kept for a quick revert; older ones are rebuilt from the ledger.
    pending : cap of the pending rows.
    """

    path: str = "store"
    keep_states: AtLeastOne = 2
    pending: AtLeastOne = 10_000


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was created; a record, since the store's manifests rule.

    factory : ``package.module:callable``.
    args : its arguments, less what TOML has no word for (None).
    """

    factory: str = ""
    args: dict[str, Any] = {}


class TaskConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an example means.

    kind : the task. metric : what the gate judges by, ``accuracy`` or ``log_loss`` of labels, ``squared_error`` of
    numbers, ``token_loss`` of texts, or ``accuracy`` of replies: whether the model would write just that. input :
    column or columns of the inputs (several make a vector). target : column of the label, the number or the reply;
    empty where texts are learned as a whole. id, slice, weight, time : optional columns.
    """

    kind: Literal["classification", "regression", "causal_lm", "seq2seq"] = "classification"
    metric: Literal["accuracy", "log_loss", "squared_error", "token_loss"] = "accuracy"
    input: str | Annotated[list[str], msgspec.Meta(min_length=1)] = "inputs"
    target: str = "label"
    id: str | None = None
    slice: str | None = None
    weight: str | None = None
    time: str | None = None


class CurateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which examples. policy : policies joined by ``+``: ``screen``, ``replay:N`` (N remembered rows)."""

    policy: str = "screen+replay:2000"


class SelectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which parameters may move, and how.

    selection : ``ladder``, or with rungs of your own ``ladder:suffix:1/low_rank:8``; or ``head``, ``suffix:k``,
    ``blocks:p``, ``vectors``, ``rows:p``, ``entries:p``, ``low_rank:r``, ``full`` or ``grown``, each with an optional
    ``@method``. A share ``p`` may say how it is chosen, and after how many steps anew: ``rows:0.01:random:100``.
    """

    selection: str = "ladder"


ShareOrZero = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the loop steps.

    weight_decay : of the optimiser. momentum : of those that have one (sgd, muon).
    schedule : of the learning rate over the steps, ``constant``, ``linear`` or ``cosine`` down to 0.
    warmup : share of the steps over which it rises first. clip : largest norm of the gradient, None leaves it.
    accumulate : batches a step. carry : whether the optimiser's state goes on from the live version's.
    """

    weight_decay: NotNegative = 0.01
    momentum: ShareOrZero = 0.9
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: ShareOrZero = 0.0
    clip: Positive | None = None
    accumulate: AtLeastOne = 1
    carry: bool = False


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the loop stops: at whatever comes first; None asks nothing.

    epochs, steps, cpu_seconds, wall_seconds : at most so many.
    patience : epochs without progress on a tenth of the training rows, which is then not learned.
    """

    epochs: AtLeastOne = 5
    steps: AtLeastOne | None = None
    cpu_seconds: Positive | None = None
    wall_seconds: Positive | None = None
    patience: AtLeastOne | None = None


class Retain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the loop does against forgetting, besides replay: weights of terms in its loss, 0 for none.

    distill : answer new rows as the live version does. derpp : give replayed rows the live version's scores.
    ewc : hold parameters that matter to replayed rows. l2 : hold every parameter.
    """

    distill: NotNegative = 0.0
    derpp: NotNegative = 0.0
    ewc: NotNegative = 0.0
    l2: NotNegative = 0.0


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How they move.

    optimizer : ``adamw``, another name, or ``package.module:Class``.
    learning_rate, batch_size : of the loop. step, stop, retain : tables with the rest of it.
    ridge : penalty of the closed form; None takes what leave-one-out chose on the first rows.
    seed : of shuffling and initialisation.
    """

    optimizer: str = "adamw"
    learning_rate: Positive = 1e-3
    batch_size: AtLeastOne = 32
    step: Step = Step()
    stop: Stop = Stop()
    retain: Retain = Retain()
    ridge: Positive | None = None
    seed: Count = 0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a candidate must keep besides; None asks nothing. One that does not waits: its rows stay pending.

    negative_flips : share of held-out rows that may turn from right to wrong.
    calibration_error : expected calibration error on held-out rows. latency_ratio : time of a row over the champion's.
    """

    negative_flips: ShareOrZero | None = None
    calibration_error: ShareOrZero | None = None
    latency_ratio: Positive | None = None


class GateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """May the candidate replace the champion?

    mode : ``steady``, ``better`` or ``off``. alpha : lifetime error of promotion by proof, and of the harm test.
    margin : tolerated loss of the metric. holdout : share of rows held out. trusted : cap of the trusted rows.
    minimum : rows below which nothing is promoted without proof. sense : tolerated fall of the agreement between a
    batch's labels and the champion, all of it at 1. limits : ``negative_flips``, ``calibration_error`` and
    ``latency_ratio``, if any.
    """

    mode: Literal["steady", "better", "off"] = "steady"
    alpha: Share = 0.05
    margin: Share = 0.01
    holdout: Share = 0.2
    trusted: AtLeastOne = 4000
    minimum: AtLeastOne = 50
    sense: Fall = 0.25
    limits: Limits = Limits()


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server.

    host, port : where it listens. max_batch : rows a forward pass. max_wait_ms : how long a row waits for company.
    poll_ms : how often the follower looks at ``live``. keep : versions held for an instant revert.
    max_rows : rows a request may carry. max_bytes : size of a request.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    max_batch: AtLeastOne = 64
    max_wait_ms: NotNegative = 2.0
    poll_ms: Positive = 50.0
    keep: AtLeastOne = 2
    max_rows: AtLeastOne = 1024
    max_bytes: AtLeastOne = 8_388_608


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Examples
    --------
    >>> config = Config().override({"train.stop.epochs": "3", "gate.mode": "better"})
    >>> config.train.stop.epochs, config.gate.mode
    (3, 'better')
    """

    store: StoreConfig = StoreConfig()
    model: ModelConfig = ModelConfig()
    task: TaskConfig = TaskConfig()
    curate: CurateConfig = CurateConfig()
    select: SelectConfig = SelectConfig()
    train: TrainConfig = TrainConfig()
    gate: GateConfig = GateConfig()
    serve: ServeConfig = ServeConfig()

    def override(self, values: dict[str, Any]) -> Config:
        """A copy with values replaced by ``section.key`` or ``section.table.key``; strings become what the key takes.

        Raises
        ------
        UsageError
            If a key or value is not known.
        """
        tree = msgspec.to_builtins(self)
        for name, value in values.items():
            *path, key = name.split(".")
            node = tree
            for part in path:
                node = node.get(part) if isinstance(node, dict) else None
            if not path or not isinstance(node, dict) or key not in node:
                raise UsageError(f"there is no setting {name!r}", remedy=f"use one of {', '.join(setting_names())}")
            node[key] = value
        return _convert(tree, "the given settings", strict=False)


def setting_names() -> list[str]:
    """Every setting that can be overridden, keys of tables included.

    Examples
    --------
    >>> [name for name in setting_names() if name.startswith("gate.limits")]
    ['gate.limits.negative_flips', 'gate.limits.calibration_error', 'gate.limits.latency_ratio']
    """
    tree = msgspec.to_builtins(Config())
    named = [(f"{section}.{key}", value) for section, keys in tree.items() for key, value in keys.items()]
    parts = [[f"{name}.{key}" for key in value] if isinstance(value, dict) else [] for name, value in named]
    return [leaf for (name, _), leaves in zip(named, parts, strict=True) for leaf in leaves or [name]]


SHORT_FORMS = {
    "select": "select.selection",
    "curate": "curate.policy",
    "optimizer": "train.optimizer",
    "gate": "gate.mode",
}
"""The four choices that have a name of their own in Python and a flag on the command line, and the key of each."""


def short_settings(**chosen: Any) -> dict[str, Any]:
    """Settings from the four choices: each a text, or an object whose ``str()`` is that text; None leaves it alone.

    A ``GateConfig`` sets the whole section.

    Examples
    --------
    >>> short_settings(select="suffix:1", curate=None, optimizer=None, gate=None)
    {'select.selection': 'suffix:1'}
    """
    settings: dict[str, Any] = {}
    for name, choice in chosen.items():
        if isinstance(choice, GateConfig):
            settings |= {f"gate.{key}": value for key, value in msgspec.to_builtins(choice).items()}
        elif choice is not None:
            settings[SHORT_FORMS[name]] = str(choice)
    return settings


def load_config(project: Path) -> Config:
    """Read ``project/dripstone.toml``.

    Raises
    ------
    UsageError
        If there is no such file, it cannot be read, it is not TOML, or a key or value is not known.
    """
    path = project / FILE_NAME
    try:
        text = path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{project} is not a dripstone project: it has no {FILE_NAME}",
            remedy="make one with 'dripstone init', or name another folder with -C",
            kind="usage.project",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}", remedy="save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="check its permissions") from None
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides its own errors: numbers too long, lists too deep
        raise UsageError(f"{path} is not TOML: {error}", remedy="mend that line") from None
    return _convert(tree, str(path), strict=True)


def _convert(tree: dict[str, Any], where: str, *, strict: bool) -> Config:
    try:
        config = msgspec.convert(tree, Config, strict=strict)
        msgspec.json.encode(config)  # a command line may hold bytes that are no text, and no file could keep them
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise UsageError(f"{where}: {error}", remedy="see 'Configuration' in the README for keys and values") from None
    return config


def dump_config(config: Config) -> str:
    """``dripstone.toml`` as text: the keys that differ from their defaults, and those every project sets."""
    tree, defaults = msgspec.to_builtins(config), msgspec.to_builtins(Config())
    always = {"store": {"path"}, "model": {"factory", "args"}, "task": {"kind", "input", "target"}}
    always |= {"select": {"selection"}, "gate": {"mode"}}
    lines = []
    for section, keys in tree.items():
        kept = {
            key: _without_defaults(value, defaults[section][key])
            for key, value in keys.items()
            if value is not None and (value != defaults[section][key] or key in always.get(section, ()))
        }
        if kept:
            lines += [f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in kept.items()), ""]
    return "\n".join(lines)


def _without_defaults(value: Any, default: Any) -> Any:
    """A table without the keys that are as they would be anyway."""
    if isinstance(value, dict) and isinstance(default, dict):
        return {key: inner for key, inner in value.items() if key not in default or inner != default[key]}
    return value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value if item is not None) + "]"
    if isinstance(value, float):
        return repr(value)  # JSON has no infinity
    # TOML's strings, integers and booleans are JSON's, but for one character that TOML wants escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")

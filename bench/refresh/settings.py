"""What each learner trains with: the best of some learning rates on validation rows.

    python -m bench.refresh.search --data FOLDER

prints what was tried. No test row is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """Highest learning rate and passes a stage."""

    rate: float
    epochs: int = 3


CANDIDATES: dict[str, tuple[float, ...]] = {
    "head@adamw": (1e-4, 3e-4, 1e-3, 3e-3),
    "suffix:1@adamw": (1e-4, 3e-4, 1e-3, 3e-3),
    "suffix:2@adamw": (1e-4, 3e-4, 1e-3),
    "vectors@adamw": (3e-4, 1e-3, 3e-3),
    "full@adamw": (3e-5, 1e-4, 3e-4, 1e-3),
    "replay full": (3e-5, 1e-4, 3e-4),
    "replay LoRA": (3e-4, 1e-3, 3e-3, 1e-2),
    "replay BAdam": (1e-4, 3e-4, 1e-3),
    "Avalanche DER++": (3e-5, 1e-4, 3e-4),
    "Avalanche ER-ACE": (3e-5, 1e-4, 3e-4),
    "SGDClassifier": (0.1, 1.0, 10.0),
}
"""Learning rates that the search tries."""

CHOSEN: dict[str, Setting] = {
    "head@adamw": Setting(1e-4),
    "suffix:1@adamw": Setting(1e-3),
    "suffix:2@adamw": Setting(3e-4),
    "vectors@adamw": Setting(1e-3),
    "full@adamw": Setting(3e-4),
    "replay full": Setting(1e-4),
    "replay LoRA": Setting(3e-3),
    "replay BAdam": Setting(3e-4),
    "Avalanche DER++": Setting(1e-4),
    "Avalanche ER-ACE": Setting(1e-4),
    "SGDClassifier": Setting(1.0),
}
"""The ones that it chose: the best, of equal ones the smallest."""

JOINT_RATES = (5e-5, 1e-4, 2e-4)
JOINT_LORA_RATES = (1e-3, 3e-3)
"""Of joint training: each is run on everything, and the best on validation rows is the reference."""

JOINT_EPOCHS = 3


def train_section(setting: Setting) -> dict[str, Any]:
    """The same for Dripstone's loop: warm-up over a tenth of the steps, then linear decay, as the peers have it."""
    return {
        "train.learning_rate": setting.rate,
        "train.stop.epochs": setting.epochs,
        "train.step.schedule": "linear",
        "train.step.warmup": 0.1,
    }

"""Running the exported model as it will be served, and how right its answers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calibration import calibration_error
from .samples import Returns

RIGHT = 0.98  # share of answers, of the surest returns, whose number is said
CONFIDENT = 0.7  # share of returns, the surest, of which `right_of_confident` is said


@dataclass(frozen=True)
class Answers:
    category: np.ndarray
    condition: np.ndarray
    review: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        """That both answers are right: the product of their highest chances."""
        return self.category.max(axis=1) * self.condition.max(axis=1)

    def right(self, true: Returns) -> np.ndarray:
        return (self.category.argmax(axis=1) == true.category) & (self.condition.argmax(axis=1) == true.condition)

    def losses(self, true: Returns) -> np.ndarray:
        """Log loss of the category and of the condition, added."""
        rows = np.arange(len(true.category))
        chances = self.category[rows, true.category].astype(np.float64), self.condition[rows, true.condition].astype(np.float64)
        return -np.log(np.maximum(chances[0], 1e-9)) - np.log(np.maximum(chances[1], 1e-9))


def answers(onnx: bytes, returns: Returns, batch: int = 512) -> Answers:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    parts = []
    for at in range(0, len(returns.images), batch):
        rows = slice(at, at + batch)
        given = {"images": returns.images[rows], "ordered": returns.ordered[rows]}
        parts.append(session.run(["category", "condition", "review"], given))
    return Answers(*(np.concatenate([part[i] for part in parts]) for i in range(3)))


def figures(made: Answers, true: Returns) -> dict[str, float]:
    """Shares of right answers, calibration errors, and what is right of the surest and of those that nobody looks at."""
    right = made.right(true)
    surest = right[np.argsort(-made.confidence, kind="stable")]
    good = np.flatnonzero(np.cumsum(surest) >= RIGHT * np.arange(1, len(surest) + 1))
    alone = ~made.review
    return {
        "category_right": float((made.category.argmax(axis=1) == true.category).mean()),
        "condition_right": float((made.condition.argmax(axis=1) == true.condition).mean()),
        "both_right": float(right.mean()),
        "category_calibration_error": calibration_error(made.category, true.category),
        "condition_calibration_error": calibration_error(made.condition, true.condition),
        "right_of_confident": float(surest[: int(CONFIDENT * len(surest))].mean()),
        "confident_98_right": float((good[-1] + 1) / len(surest)) if len(good) else 0.0,
        "not_reviewed": float(alone.mean()),
        "right_of_not_reviewed": float(right[alone].mean()) if alone.any() else 1.0,
    }

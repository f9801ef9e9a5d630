"""How weights move along their gradients: Muon for the hidden layers' matrices, Adam for all else.

Muon (Jordan 2024) moves a matrix by the orthogonal factor of its averaged gradient, so that each direction moves alike: a
convolution learns in half the epochs of Adam. First layer, heads and biases are Adam's, with weight decay apart from both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Weights = dict[str, np.ndarray]

MUON = ("conv2", "conv3_", "dense_")  # what names of hidden layers begin with
MOMENTUM, SQUARES = 0.9, 0.999
QUINTIC = (3.4445, -4.7750, 2.0315)  # of the iteration by Newton and Schulz: steep at zero, and singular values end near one


class Optimiser:
    """Moves weights in place. `rate` is Adam's; Muon's is `muon` times that."""

    def __init__(self, weights: Mapping[str, np.ndarray], decay: float, muon: float) -> None:
        self._decay, self._muon, self._step = decay, muon, 0
        self._first = {name: np.zeros_like(w) for name, w in weights.items()}
        self._second = {name: np.zeros_like(w) for name, w in weights.items() if not _hidden(name)}

    def step(self, weights: Weights, gradients: Mapping[str, np.ndarray], rate: float) -> None:
        self._step += 1
        for name, gradient in gradients.items():
            self._first[name] += (1 - MOMENTUM) * (gradient - self._first[name])
            if _hidden(name):
                ahead = MOMENTUM * self._first[name] + (1 - MOMENTUM) * gradient
                weights[name] -= np.float32(self._muon * rate) * orthogonal(ahead)
            else:
                weights[name] -= np.float32(rate) * self._adam(name, gradient)
            if not name.endswith("_bias"):
                weights[name] *= np.float32(1 - rate * self._decay)

    def _adam(self, name: str, gradient: np.ndarray) -> np.ndarray:
        second = self._second[name]
        second += (1 - SQUARES) * (gradient * gradient - second)
        first = self._first[name] / (1 - MOMENTUM**self._step)
        return first / (np.sqrt(second / (1 - SQUARES**self._step)) + 1e-8)


def _hidden(name: str) -> bool:
    return name.startswith(MUON) and not name.endswith("_bias")


def orthogonal(matrix: np.ndarray) -> np.ndarray:
    """About the nearest matrix with orthonormal columns, of a tall `matrix`.

    The iteration X <- X (a + b S + c S^2), S = X^T X, is done on S alone, which is small: all steps cost two products with X.
    """
    scale = np.linalg.norm(matrix) + 1e-7
    gram = (matrix.T @ matrix).astype(np.float64) / scale**2
    whole = np.eye(len(gram))
    factor, (a, b, c) = whole, QUINTIC
    for _ in range(5):
        move = a * whole + b * gram + c * (gram @ gram)
        factor, gram = factor @ move, move @ gram @ move
    return matrix @ (factor / scale).astype(matrix.dtype)

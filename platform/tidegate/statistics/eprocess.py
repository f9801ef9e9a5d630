"""Anytime-valid test of a failure rate: look as often as you like, stop when you like, the error stays bounded.

Under a true rate of at most `allowed`, each wager prod(1 + l * (x - allowed)), 0 < l < 1/allowed, is a nonnegative
supermartingale that starts at 1, and so is their mixture; by Ville's inequality it ever reaches 1/alpha with probability at
most alpha. (Ville 1939; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"; Robbins 1970
for mixtures.) With x in {0, 1} it depends on the counts alone, so batches between two looks need no order.
"""

from __future__ import annotations

import math

import numpy as np

from tidegate.domain.errors import InvalidInput

WAGERS = 12


def log_evidence(trials: int, failures: int, allowed: float) -> float:
    """Natural logarithm of the e-value against "the rate is at most `allowed`" after `failures` in `trials`.

    Each wager is optimal against one alternative rate; these are spread evenly in the logarithm from 1.25 x `allowed` to 1.
    """
    if not (0 <= failures <= trials and 0 < allowed < 0.8):
        raise InvalidInput(f"cannot weigh {failures} failures in {trials} trials against a rate of {allowed}")
    rates = np.minimum(np.geomspace(1.25 * allowed, 1.0, WAGERS), 1 - 1e-9)
    logs = failures * np.log(rates / allowed) + (trials - failures) * np.log((1 - rates) / (1 - allowed))
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))


def log_evidence_below(trials: int, failures: int, bound: float) -> float:
    """Natural logarithm of the e-value against "the rate is at least `bound`": how sure it is that failures are rarer.

    The same mixture, against alternatives from 0 to 0.8 x `bound`.
    """
    if not (0 <= failures <= trials and 0 < bound < 1):
        raise InvalidInput(f"cannot weigh {failures} failures in {trials} trials against a rate of at least {bound}")
    rates = np.linspace(0.0, 0.8 * bound, WAGERS)
    with np.errstate(divide="ignore"):
        logs = (failures * np.log(rates / bound) if failures else 0.0) + (trials - failures) * np.log((1 - rates) / (1 - bound))
    top = float(np.max(logs))
    return top + math.log(float(np.exp(logs - top).mean()))


def crossed(trials: int, failures: int, allowed: float, alpha: float) -> bool:
    """Whether the evidence that the rate exceeds `allowed` reaches 1/`alpha`."""
    return log_evidence(trials, failures, allowed) >= -math.log(alpha)

"""A small convolutional network for several tasks, in NumPy: forward, backward, and steps at a falling rate.

images [n, 28, 28] uint8 -> /255 -> convolution 3 x 3, ReLU, max pool 2 -> the same again. All tasks share these. Then each has
its own: convolution 3 x 3, ReLU -> dense, ReLU, beside the highest of each channel -> dropout -> a linear head. Arrays are
[n, rows, columns, channels]; a convolution is one matrix product over its patches. All randomness comes from the seed, and with
one thread the same seed gives the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .optimiser import Optimiser, Weights


@dataclass(frozen=True)
class Size:
    """Channels of the two shared convolutions, and of the third that each task has; width of the dense layer of each."""

    first: int = 16
    second: int = 32
    third: int = 24
    dense: int = 64

    @property
    def alone(self) -> Size:
        """As large a network for one task, which has the third convolution to itself."""
        return replace(self, third=2 * self.third)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    epochs: int = 8
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.02
    muon: float = 10.0  # times the rate, of hidden layers
    dropout: float = 0.3
    seed: int = 7


def fresh(size: Size, heads: Mapping[str, int], seed: int) -> Weights:
    random = np.random.default_rng(seed)

    def he(*shape: int) -> np.ndarray:
        fan_in = int(np.prod(shape[:-1]))
        return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    weights = {"conv1": he(9, size.first), "conv2": he(9 * size.first, size.second)}
    for task, classes in heads.items():
        weights[f"conv3_{task}"] = he(9 * size.second, size.third)
        weights[f"dense_{task}"] = he(7 * 7 * size.third, size.dense)
        weights[f"head_{task}"] = he(size.dense + size.third, classes) * np.float32(0.3)
    return weights | {f"{name}_bias": np.zeros(matrix.shape[1], np.float32) for name, matrix in weights.items()}


def tasks(weights: Weights) -> list[str]:
    return [name.removeprefix("head_") for name in weights if name.startswith("head_") and not name.endswith("_bias")]


def parameters(weights: Weights) -> int:
    return sum(matrix.size for matrix in weights.values())


def logits(weights: Weights, images: np.ndarray, batch: int = 512) -> dict[str, np.ndarray]:
    """Of each head, [n, classes]."""
    parts = [_forward(weights, images[at : at + batch], {})[0] for at in range(0, len(images), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def fit(
    weights: Weights,
    images: Callable[[int], np.ndarray],
    labels: Callable[[int], Mapping[str, np.ndarray]],
    schedule: Schedule,
    say: Callable[[str], None] = lambda line: None,
    emphasis: Mapping[str, float] = MappingProxyType({}),
) -> Weights:
    """Weights after `schedule`; `images(epoch)` and `labels(epoch)` give an epoch's rows, which may be augmented anew.
    `emphasis` multiplies the loss of a head."""
    random = np.random.default_rng(schedule.seed)
    weights = {name: w.copy() for name, w in weights.items()}
    optimiser = Optimiser(weights, schedule.decay, schedule.muon)
    step, steps = 0, schedule.epochs * max(1, len(images(0)) // schedule.batch)
    for epoch in range(schedule.epochs):
        rows, known = images(epoch), labels(epoch)
        losses = []
        for chosen in _batches(len(rows), schedule.batch, random):
            picked = {name: values[chosen] for name, values in known.items()}
            loss, gradients = _gradients(weights, rows[chosen], picked, schedule.dropout, random, emphasis)
            step += 1
            optimiser.step(weights, gradients, _rate(schedule.rate, step / steps))
            losses.append(loss)
        say(f"epoch {epoch + 1} of {schedule.epochs}: loss {np.mean(losses):.4f}")
    return weights


def _batches(rows: int, batch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Of pairs of neighbouring rows, which stay together."""
    order = (2 * random.permutation(rows // 2)[:, None] + np.arange(2)).ravel()
    for at in range(0, len(order) - batch + 1, batch):
        yield order[at : at + batch]


def _rate(highest: float, done: float) -> float:
    """Up over the first tenth, then down along a cosine."""
    return highest * min(done / 0.1, 0.5 + 0.5 * np.cos(np.pi * min(max(done - 0.1, 0) / 0.9, 1)))


def _patches(x: np.ndarray) -> np.ndarray:
    """The 3 x 3 neighbourhood of each place, zeros outside: [n, rows, columns, c] -> [n * rows * columns, 9 * c]."""
    n, rows, columns, channels = x.shape
    padded = np.zeros((n, rows + 2, columns + 2, channels), np.float32)
    padded[:, 1:-1, 1:-1] = x
    out = np.empty((n, rows, columns, 9, channels), np.float32)
    for i in range(3):
        for j in range(3):
            out[:, :, :, 3 * i + j] = padded[:, i : i + rows, j : j + columns]
    return out.reshape(n * rows * columns, 9 * channels)


def _pool(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.maximum(x[:, ::2, ::2], x[:, ::2, 1::2]), np.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def _unpool(gradient: np.ndarray, before: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """The gradient goes to the first place of the maximum, and nowhere where ReLU is off."""
    out = np.empty_like(before)
    left = gradient * (pooled > 0)
    for i in (0, 1):
        for j in (0, 1):
            chosen = before[:, i::2, j::2] == pooled
            out[:, i::2, j::2] = left * chosen
            left = left * ~chosen
    return out


def _forward(
    weights: Weights, images: np.ndarray, drop: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits of each task, and all that the gradients need. `drop` multiplies what a task's head gets."""
    n = len(images)
    x = (images.astype(np.float32) / np.float32(255))[..., None]
    kept: dict[str, np.ndarray] = {"patches1": _patches(x)}
    kept["before1"] = (kept["patches1"] @ weights["conv1"] + weights["conv1_bias"]).reshape(n, 28, 28, -1)
    kept["pooled1"] = np.maximum(_pool(kept["before1"]), 0)
    kept["patches2"] = _patches(kept["pooled1"])
    kept["before2"] = (kept["patches2"] @ weights["conv2"] + weights["conv2_bias"]).reshape(n, 14, 14, -1)
    kept["pooled2"] = np.maximum(_pool(kept["before2"]), 0)
    kept["patches3"] = _patches(kept["pooled2"])
    return {task: _own_forward(task, weights, kept, drop.get(task)) for task in tasks(weights)}, kept


def _own_forward(task: str, weights: Weights, kept: dict[str, np.ndarray], drop: np.ndarray | None) -> np.ndarray:
    n = len(kept["pooled2"])
    maps = np.maximum(kept["patches3"] @ weights[f"conv3_{task}"] + weights[f"conv3_{task}_bias"], 0).reshape(n, 49, -1)
    where = maps.argmax(axis=1)
    highest = np.take_along_axis(maps, where[:, None], axis=1)[:, 0]
    dense = np.maximum(maps.reshape(n, -1) @ weights[f"dense_{task}"] + weights[f"dense_{task}_bias"], 0)
    clear = np.concatenate([dense, highest], axis=1)
    hidden = clear if drop is None else clear * drop
    kept |= {f"maps_{task}": maps, f"where_{task}": where, f"clear_{task}": clear, f"hidden_{task}": hidden}
    return hidden @ weights[f"head_{task}"] + weights[f"head_{task}_bias"]


def softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _cross_entropy(values: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over rows, and its gradient. Labels are distributions, [n, classes]; NaN where a class is out of the question."""
    asked = ~np.isnan(labels)
    p, true = softmax(np.where(asked, values, -np.inf)), np.where(asked, labels, 0)
    return -float(np.mean(np.sum(true * np.log(p + 1e-12), axis=1))), ((p - true) / len(p)).astype(values.dtype)


def _gradients(
    weights: Weights,
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    dropout: float,
    random: np.random.Generator,
    emphasis: Mapping[str, float],
) -> tuple[float, Weights]:
    """The loss (cross entropies of the heads, times their emphasis, added) and its gradients."""
    n = len(images)
    drop = {
        task: (random.random((n, weights[f"head_{task}"].shape[0])) >= dropout).astype(np.float32) / np.float32(1 - dropout)
        for task in tasks(weights)
    }
    outputs, kept = _forward(weights, images, drop)
    gradients: Weights = {}
    loss, thirds = 0.0, []
    for task, values in outputs.items():
        own, error = _cross_entropy(values, labels[task])
        times = np.float32(emphasis.get(task, 1.0))
        loss += float(times) * own
        of_task, third = _own_gradients(task, weights, kept, drop[task], error * times)
        gradients |= of_task
        thirds.append(third)
    into_third = np.concatenate([weights[f"conv3_{task}"] for task in outputs], axis=1)
    third = _below(np.concatenate(thirds, axis=3), into_third, kept["pooled2"])
    second = _unpool(third, kept["before2"], kept["pooled2"])
    gradients |= _of_convolution("conv2", kept["patches2"], second)
    first = _unpool(_below(second, weights["conv2"], kept["pooled1"]), kept["before1"], kept["pooled1"])
    return loss, gradients | _of_convolution("conv1", kept["patches1"], first)


def _own_gradients(
    task: str, weights: Weights, kept: Mapping[str, np.ndarray], drop: np.ndarray, error: np.ndarray
) -> tuple[Weights, np.ndarray]:
    """Of the layers that `task` has for itself, and of what its convolution gives before ReLU."""
    maps, where, width = kept[f"maps_{task}"], kept[f"where_{task}"][:, None], weights[f"dense_{task}"].shape[1]
    back = (error @ weights[f"head_{task}"].T) * drop * (kept[f"clear_{task}"] > 0)
    dense, highest = back[:, :width], back[:, None, width:]
    third = (dense @ weights[f"dense_{task}"].T).reshape(maps.shape)
    np.put_along_axis(third, where, np.take_along_axis(third, where, 1) + highest, 1)
    third = (third * (maps > 0)).reshape(len(maps), 7, 7, -1)
    gradients = {f"head_{task}": kept[f"hidden_{task}"].T @ error, f"head_{task}_bias": error.sum(axis=0)}
    gradients |= {f"dense_{task}": maps.reshape(len(maps), -1).T @ dense, f"dense_{task}_bias": dense.sum(axis=0)}
    return gradients | _of_convolution(f"conv3_{task}", kept["patches3"], third), third


def _of_convolution(name: str, patches: np.ndarray, gradient: np.ndarray) -> Weights:
    rows = gradient.reshape(-1, gradient.shape[-1])
    return {name: patches.T @ rows, f"{name}_bias": rows.sum(axis=0)}


def _below(gradient: np.ndarray, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient of a convolution's input `x`: the convolution of `gradient` with the turned weight."""
    channels = gradient.shape[-1]
    turned = weight.reshape(9, -1, channels)[::-1].transpose(0, 2, 1).reshape(9 * channels, -1)
    return (_patches(gradient) @ turned).reshape(x.shape)

"""Kinds of requests that reach a slot, and what the gateway may do with each of them.

A kind is what counters are kept by, whether a request of it may be copied to a candidate, and its policy of retries. What only
reads may be asked of another replica also after its own has begun to work on it; what changes something, never.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.adapters.envoy.listener import Json, typed


@dataclass(frozen=True)
class RetryPolicy:
    """On what the gateway asks another replica, once, in Envoy's words; nothing: it never asks twice.

    Neither time-outs nor answers are among them: what computes too long would take one replica after the other, and answers of
    5xx are what the gates must see.
    """

    on: tuple[str, ...] = ()

    def rendered(self) -> Json:
        """The fields of a route's action."""
        if not self.on:
            return {}
        others = typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
        policy = {
            "retry_on": ",".join(self.on),
            "num_retries": 1,
            "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
            "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": others}],
            # of two hosts the balancer prefers the idle one, which is the one that just died: it has to draw often enough
            "host_selection_retry_max_attempts": 64,
        }
        return {"retry_policy": policy}


NEVER = RetryPolicy()  # of what must not be done twice: a decision, an approval
UNREACHED = RetryPolicy(("connect-failure", "refused-stream", "reset-before-request"))  # no byte had reached a replica
READS = RetryPolicy((*UNREACHED.on, "reset"))  # the replica went away: what it was asked changes nothing


@dataclass(frozen=True)
class Kind:
    """Counted under `<model>/<slot>/<name>`. What `predicts` is mirrored to a candidate and counted by the gates; what
    `takes_bodies` does so up to its model's limit."""

    name: str
    retries: RetryPolicy = NEVER
    predicts: bool = False
    takes_bodies: bool = True


PREDICT = Kind("predict", READS, predicts=True)  # a release's own endpoint
INFER = Kind("infer", READS, predicts=True)  # the Open Inference Protocol
OTHER = Kind("other", UNREACHED, takes_bodies=False)  # probes and documents
GRPC = Kind("grpc", READS)  # the Open Inference Protocol by gRPC: its failures are no HTTP status, so no gate counts it
PREDICTING = tuple(kind.name for kind in (PREDICT, INFER, OTHER, GRPC) if kind.predicts)

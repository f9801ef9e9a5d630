"""Data residency: where stores and nodes lie has to be one of the regions that the stack allows. Pure: no Pulumi in here."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class ResidencyViolation(Exception):
    """Something of the stack would lie outside its allowed regions."""


def check(stack: str, allowed: Collection[str], places: Mapping[str, str]) -> None:
    """`places` is what lies where: {"postgres": "eu-1"}. Raises ResidencyViolation, which names all that lies elsewhere."""
    outside = {what: region for what, region in places.items() if region not in allowed}
    if outside or not allowed:
        seen = ", ".join(f"{what} in '{region}'" for what, region in sorted(outside.items()))
        raise ResidencyViolation(
            f"stack '{stack}': {seen or 'no region is allowed'}; allowed are: {', '.join(sorted(allowed)) or 'none'}; "
            "move it, or change tidegate:allowedRegions if the data may lie there"
        )

"""Who a request is: the gateway's id is believed, a client's is kept beside it, whatever it looks like."""

from __future__ import annotations

import re

import pytest

from tidegate.serving.runtime.request_identity import identify, is_shadow

GIVEN = "0f8fad5b-d9cb-469f-a165-70867728950e"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


@pytest.mark.parametrize(("host", "mirrored"), [("demand.tidegate", False), ("demand.tidegate-shadow", True)])
def test_the_gateways_id_is_the_requests_and_the_clients_lies_beside_it(host: str, mirrored: bool) -> None:
    who = identify(headers(("Host", host), ("X-Request-Id", GIVEN), ("x-client-request-id", "order 7")))
    assert (who.id, who.client_id, who.shadow) == (GIVEN, "order 7", mirrored)
    assert dict(who.headers()) == {b"x-request-id": GIVEN.encode(), b"x-client-request-id": b"order 7"}


@pytest.mark.parametrize("host", ["127.0.0.1:8810", "tidegate", "demand.tidegate.example", "x-shadow", ""])
def test_without_the_gateway_the_process_makes_the_id(host: str) -> None:
    made = [identify(headers(("host", host), ("x-request-id", GIVEN))) for _ in range(2)]
    assert made[0].id != made[1].id
    assert all(UUID.fullmatch(who.id) and who.client_id == GIVEN for who in made)


@pytest.mark.parametrize("ids", [(), ("",), ("a b",), (GIVEN, GIVEN), (GIVEN.upper(),), ("x" * 5000,)])
def test_an_id_that_no_gateway_made_is_never_the_requests(ids: tuple[str, ...]) -> None:
    who = identify(headers(("host", "demand.tidegate"), *(("x-request-id", each) for each in ids)))
    assert UUID.fullmatch(who.id)
    assert who.id != GIVEN


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain-7", "plain-7"),
        (" blanks  around ", "blanks  around"),
        ("\xe9\xff", r"\xe9\xff"),
        ("a\tb\x7f\x00", r"a\tb\x7f\x00"),
        ("x" * 129, "x" * 128),
        ("\xff" * 128, r"\xff" * 32),
        ("", ""),
    ],
)
def test_a_clients_id_is_bounded_and_printable(given: str, kept: str) -> None:
    assert identify(headers(("x-request-id", given))).client_id == kept


@pytest.mark.parametrize(
    ("host", "mirrored"),
    [
        ("gw-shadow", True),
        ("gw-shadow:8800", True),
        ("gw:8800-shadow", True),
        ("gw:8800", False),
        ("shadow", False),
        ("", False),
    ],
)
def test_mirrored_requests_are_known_by_their_host(host: str, mirrored: bool) -> None:
    assert is_shadow(host) is mirrored

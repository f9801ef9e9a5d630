"""A ledger that verifies in itself but is not the one that it was is found by its checkpoint, and by what the state has."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tidegate.adapters.files.checkpoint_places import FilePlace, UrlPlace, checkpoint_place
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.domain.signed_notes import VerifierKey, parse_note
from tidegate.ports.ledger import CheckpointPlace


class Store(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = self.server.content  # type: ignore[attr-defined]
        self.send_response(200 if content is not None else 404)
        self.end_headers()
        self.wfile.write(content or b"")

    def do_PUT(self) -> None:
        self.server.content = self.rfile.read(int(self.headers["Content-Length"]))  # type: ignore[attr-defined]
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=["file", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointPlace]:
    if request.param == "file":
        (tmp_path / "elsewhere").mkdir()
        yield FilePlace(tmp_path / "elsewhere" / "checkpoint")
        return
    server = HTTPServer(("127.0.0.1", 0), Store)
    server.content = None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield UrlPlace(f"http://127.0.0.1:{server.server_port}/checkpoint")
    server.shutdown()
    thread.join()
    server.server_close()


def opened(state: Path, place: CheckpointPlace | None = None, *rollouts: str) -> FileLedger:
    return FileLedger(state / "ledger", state / "keys", rollouts=lambda: rollouts, checkpoints=place)


def filled(state: Path, place: CheckpointPlace | None, count: int = 4) -> FileLedger:
    ledger = opened(state, place)
    for i in range(count):
        ledger.append("rollout.start", f"demand@{i}", {"rollout": f"r{i}"})
    return ledger


def refuses(ledger: FileLedger, problem: str) -> None:
    verification = ledger.verify()
    assert not verification.ok
    assert problem in verification.problem
    with pytest.raises(IntegrityError, match=r"was not recorded|is missing|taken away"):
        ledger.append("verdict", "demand@9", {})


def test_a_ledger_goes_on_from_its_checkpoint(tmp_path: Path, place: CheckpointPlace) -> None:
    filled(tmp_path / "state", place)
    verification = opened(tmp_path / "state", place).verify()
    assert verification.ok
    assert "goes on from the checkpoint of 4 entries" in verification.checkpoint
    note = parse_note(place.read() or b"")
    assert note.text.splitlines()[:2] == ["tidegate/ledger", "4"]
    assert parse_note(note.to_bytes()) == note


def test_a_ledger_replaced_with_new_keys_is_found(tmp_path: Path, place: CheckpointPlace) -> None:
    filled(tmp_path / "state", place)
    filled(tmp_path / "other", None)
    for part in ("ledger", "keys"):
        shutil.rmtree(tmp_path / "state" / part)
        shutil.copytree(tmp_path / "other" / part, tmp_path / "state" / part)
    before = place.read()
    refuses(opened(tmp_path / "state", place), "not by the ledger's key")
    assert place.read() == before  # what tells is not written over


def test_an_older_copy_with_its_keys_is_found(tmp_path: Path, place: CheckpointPlace) -> None:
    ledger = filled(tmp_path / "state", place, 2)
    shutil.copytree(tmp_path / "state", tmp_path / "older")
    ledger.append("verdict", "demand@x", {})
    shutil.rmtree(tmp_path / "state")
    shutil.copytree(tmp_path / "older", tmp_path / "state")
    refuses(opened(tmp_path / "state", place), "it has 2 entries, and had 3")


def test_another_history_under_the_same_key_is_found(tmp_path: Path, place: CheckpointPlace) -> None:
    filled(tmp_path / "state", None, 1)
    shutil.copytree(tmp_path / "state", tmp_path / "other")
    opened(tmp_path / "state", place).append("verdict", "demand@a", {})
    opened(tmp_path / "other", None).append("verdict", "demand@b", {})
    refuses(opened(tmp_path / "other", place), "entry 2 has hash")


def test_a_ledger_taken_away_is_not_begun_anew(tmp_path: Path, place: CheckpointPlace) -> None:
    filled(tmp_path / "state", place)
    shutil.rmtree(tmp_path / "state")
    refuses(opened(tmp_path / "state", place), "it was taken away")
    assert not (tmp_path / "state" / "keys").exists()


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\xff\x00\n\n\n", b"tidegate/ledger\n1\nxx\n\n\xe2\x80\x94 a AAAAAAAA\n", b"x" * 100_000]
)
def test_a_damaged_checkpoint_is_found(content: bytes, tmp_path: Path, place: CheckpointPlace) -> None:
    ledger = filled(tmp_path / "state", place)
    place.write(content)
    refuses(ledger, "cannot be read as one")


def test_a_place_that_is_away_keeps_nothing_from_being_recorded_and_verify_says_so(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "share" / "checkpoint")
    filled(tmp_path / "state", place)
    verification = opened(tmp_path / "state", place).verify()
    assert (verification.ok, verification.entries) == (True, 4)
    assert verification.checkpoint.startswith("NOT compared")
    assert not (tmp_path / "share").exists()  # a share that is not mounted is not made up
    (tmp_path / "share").mkdir()
    again = opened(tmp_path / "state", place)
    assert "no checkpoint was written" in again.verify().checkpoint
    again.append("verdict", "demand@x", {})
    assert "checkpoint of 5 entries" in again.verify().checkpoint


def test_a_url_that_does_not_answer_keeps_nothing_from_being_recorded(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "state", UrlPlace("http://127.0.0.1:9/checkpoint"))
    assert ledger.verify().ok
    assert "cannot be reached" in ledger.verify().checkpoint


@pytest.mark.parametrize("left", ["nothing", "an empty one", "another one"])
def test_a_ledger_that_does_not_know_the_states_rollouts_is_an_error(left: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    if left == "an empty one":
        filled(state, None, 0)
        (state / "ledger").mkdir(parents=True)
        (state / "ledger" / "ledger.jsonl").touch()
    if left == "another one":
        opened(state).append("rollout.start", "demand@1", {"rollout": "another"})
    ledger = opened(state, None, "r1", "r2")
    verification = ledger.verify()
    assert not verification.ok
    assert "r1, r2" in verification.problem
    with pytest.raises(IntegrityError, match="r1, r2"):
        ledger.append("verdict", "demand@9", {})
    with pytest.raises(IntegrityError, match="r1, r2"):
        list(ledger.entries())


def test_a_ledger_replaced_while_it_is_used_is_found(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "state", None, 3)
    filled(tmp_path / "other", None, 5)
    for part in ("ledger", "keys"):
        shutil.rmtree(tmp_path / "state" / part)
        shutil.copytree(tmp_path / "other" / part, tmp_path / "state" / part)
    refuses(ledger, "not those that this process read before")


def test_the_checkpoint_cannot_lie_in_the_state_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="lies in the state folder"):
        checkpoint_place("build/state/checkpoint", tmp_path, tmp_path / "build" / "state")
    assert checkpoint_place("", tmp_path, tmp_path) is None


def test_a_verifier_key_is_one_line_that_says_what_it_is() -> None:
    key = VerifierKey("tidegate/release", bytes(range(32)))
    assert VerifierKey.parse(f"{key}\n") == key
    for wrong in ("", "a+b", f"x{key}", str(key)[:-4], "a b+00000000+AAAA"):
        with pytest.raises(ValueError, match=r"."):
            VerifierKey.parse(wrong)

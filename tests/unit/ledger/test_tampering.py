"""Whatever is done to the ledger's file, verification finds it and names the entry."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from small_disks import read_only
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ledger.chain import Head, check_chain, entry_hash, from_line, next_entry, signed_bytes, to_line
from tidegate.ports.ledger import Entry

COUNT = 6


def filled(folder: Path, count: int = COUNT) -> FileLedger:
    ledger = FileLedger(folder / "ledger", folder / "keys", clock=lambda: 1000.0)
    for i in range(count):
        ledger.append("verdict", f"demand@{i}", {"value": i})
    return ledger


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "ledger" / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def write(folder: Path, lines: list[bytes]) -> None:
    (folder / "ledger" / "ledger.jsonl").write_bytes(b"".join(lines))


def resealed(lines: list[bytes], start: int) -> list[bytes]:
    """What an attacker without the key does: all hashes from line `start` (from 0) computed anew."""
    result = lines[:start]
    for number, line in enumerate(lines[start:], start=start + 1):
        old = json.loads(line)
        previous = from_line(result[-1], number - 1).hash if result else "0" * 64
        entry = Entry(**{**old, "sequence": number, "previous": previous, "hash": ""})
        result.append(to_line(Entry(**{**old, "sequence": number, "previous": previous, "hash": entry_hash(entry)})))
    return result


def edit(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'"value":2', b'"value":7'), *lines[3:]]


CASES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "edited": (edit, "entry 3 was edited"),
    "deleted": (lambda a: a[:2] + a[3:], "entry 3 was deleted"),
    "first deleted": (lambda a: a[1:], "entry 1 was deleted"),
    "reordered": (lambda a: [a[0], a[2], a[1], *a[3:]], "entry 2 is not in its place"),
    "inserted": (lambda a: [*a[:3], a[1], *a[3:]], "entry 4 is not in its place"),
    "tail truncated": (lambda a: a[:-2], "entries 5 to 6 are missing"),
    "last line torn": (lambda a: [*a[:-1], a[-1][:-9]], "entries 6 to 6 are missing"),
    "emptied": (lambda a: [], "entries 1 to 6 are missing"),
    "not JSON": (lambda a: [*a[:1], b"??\n", *a[2:]], "entry 2 was edited"),
    "edited and resealed": (lambda a: resealed(edit(a), 2), "entry 6 has hash"),
    "shortened and resealed": (lambda a: resealed(a[:2] + a[3:], 2), "entries 6 to 6 are missing"),
    "bytes appended": (lambda a: [*a, b"junk"], "4 bytes follow entry 6"),
    "a line twice": (lambda a: [*a, a[-1]], "entry 7 is not in its place"),
    "NUL bytes": (lambda a: [*a[:2], b"\0" * 64 + b"\n", *a[3:]], "entry 3 was edited"),
    "no UTF-8": (lambda a: [*a[:2], b"\xff\xfe{}\n", *a[3:]], "entry 3 was edited"),
    "a huge line": (lambda a: [*a[:2], b'"' + b"x" * 3_000_000 + b'"\n', *a[3:]], "entry 3 was edited"),
    "nested without end": (lambda a: [*a[:2], b"[" * 200_000 + b"\n", *a[3:]], "entry 3 was edited"),
    "of other types": (lambda a: [*a[:2], a[2].replace(b'"at":1000.0', b'"at":"now"'), *a[3:]], "entry 3 was edited"),
    "white space": (lambda a: [*a[:2], a[2].replace(b'"at":', b'"at": '), *a[3:]], "entry 3 was edited"),
    "of a later version": (lambda a: [*a[:2], b'{"schema":2,' + a[2][1:], *a[3:]], "its schema is 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_tampering_is_found_and_named(case: str, tmp_path: Path) -> None:
    change, problem = CASES[case]
    ledger = filled(tmp_path)
    write(tmp_path, change(lines_of(tmp_path)))
    verification = ledger.verify()
    assert not verification.ok
    assert problem in verification.problem
    assert any(line.problem for line in ledger.lines())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("in_use", [True, False])
def test_nothing_is_appended_to_or_read_as_evidence_from_a_ledger_that_was_tampered_with(
    case: str, in_use: bool, tmp_path: Path
) -> None:
    ledger = filled(tmp_path)
    write(tmp_path, CASES[case][0](lines_of(tmp_path)))
    if not in_use:
        ledger = FileLedger(tmp_path / "ledger", tmp_path / "keys")
    before = lines_of(tmp_path)
    with pytest.raises(IntegrityError, match="was not recorded"):
        ledger.append("verdict", "demand@7", {})
    with pytest.raises(IntegrityError):
        next(ledger.entries())
    assert lines_of(tmp_path) == before


def test_a_well_formed_entry_appended_by_someone_else_is_found(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    lines = lines_of(tmp_path)
    last = from_line(lines[-1], COUNT)
    forged = next_entry(Head(last.sequence, last.hash), 1000.0, Actor("mallory"), "promotion", "demand@9", {})
    write(tmp_path, [*lines, to_line(forged)])
    assert "entry 7 was inserted" in ledger.verify().problem
    with pytest.raises(IntegrityError, match="entry 7 was inserted"):
        ledger.append("verdict", "demand@7", {})


def test_an_append_never_seals_a_ledger_that_was_cut(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    write(tmp_path, lines_of(tmp_path)[:-1])
    with pytest.raises(IntegrityError, match="entries 6 to 6 are missing"):
        ledger.append("verdict", "demand@7", {})


@pytest.mark.parametrize("name", ["head.json", "ledger.pub", "ledger.key"])
def test_a_missing_key_or_head_is_found(name: str, tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    (tmp_path / "keys" / name).unlink()
    assert ledger.verify().ok is (name == "ledger.key")  # verification needs the public key alone
    write(tmp_path, [])
    assert not ledger.verify().ok
    with pytest.raises(IntegrityError):
        ledger.append("verdict", "demand@7", {})


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def itself_instead(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    "damage",
    [
        folder_instead,
        itself_instead,
        *(
            lambda path, content=content: path.write_bytes(content)
            for content in (b"", b"[1, 2]", b"7", b"null", b"{}", b"\xff\x00", b"[" * 9999)
        ),
    ],
)
@pytest.mark.parametrize("name", ["keys/head.json", "keys/ledger.pub", "keys/ledger.key", "ledger/ledger.jsonl"])
def test_a_damaged_file_of_it_is_named_in_one_sentence(name: str, damage: Callable[[Path], object], tmp_path: Path) -> None:
    filled(tmp_path)
    damage(tmp_path / name)
    ledger = FileLedger(tmp_path / "ledger", tmp_path / "keys")
    with pytest.raises((IntegrityError, Unavailable)) as refused:
        ledger.append("verdict", "demand@7", {})
    said = str(refused.value)
    assert name.split("/")[1] in said or said.startswith("ledger: entries 1 to ") or said.startswith("ledger: line 1 "), said
    assert "\n" not in said
    assert "object" not in said


def test_a_head_that_was_changed_is_not_trusted(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    path = tmp_path / "keys" / "head.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sequence": 5}))
    assert "signature does not match" in ledger.verify().problem


def test_a_head_with_a_field_of_a_later_version_is_trusted_for_what_is_signed(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    path = tmp_path / "keys" / "head.json"
    value = {name: part for name, part in json.loads(path.read_text()).items() if name != "signature"} | {"tenant": "t"}
    key = load_pem_private_key((tmp_path / "keys" / "ledger.key").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    signature = base64.b64encode(key.sign(signed_bytes(value))).decode()
    path.write_text(json.dumps({**value, "signature": signature}))
    assert ledger.verify().ok
    ledger.append("verdict", "demand@7", {})
    path.write_text(json.dumps({**value, "tenant": "u", "signature": signature}))
    assert "signature does not match" in ledger.verify().problem


def test_the_private_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    assert stat.S_IMODE((tmp_path / "keys" / "ledger.key").stat().st_mode) == 0o600


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_the_file_goes_unseen(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = filled(folder, 4)
        original = b"".join(lines_of(folder))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "delete", "permute"]))
        at = data.draw(st.integers(0, len(original) - 1))
        if kind == "flip":
            changed = original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
        elif kind == "cut":
            changed = original[:at]
        elif kind == "insert":
            changed = original[:at] + data.draw(st.binary(min_size=1, max_size=20)) + original[at:]
        elif kind == "delete":
            changed = original[:at] + original[at + data.draw(st.integers(1, 40)) :]
        else:
            changed = b"".join(data.draw(st.permutations(original.splitlines(keepends=True))))
        (folder / "ledger" / "ledger.jsonl").write_bytes(changed)
        verification = ledger.verify()
        assert verification.ok is (changed == original)
        assert bool(verification.problem) is not verification.ok


def test_only_the_lines_that_do_not_verify_are_marked(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    lines = lines_of(tmp_path)
    write(tmp_path, edit(lines))
    assert [bool(line.problem) for line in ledger.lines()] == [False, False, True, False, False, False]
    write(tmp_path, lines[:2] + lines[3:])
    marked = list(ledger.lines())
    assert [bool(line.problem) for line in marked] == [False, False, True, False, False, True]
    assert "entries between 2 and 4" in marked[2].problem
    assert "missing" in marked[-1].problem
    (tmp_path / "keys" / "head.json").unlink()
    write(tmp_path, lines)
    assert not any(line.problem for line in ledger.lines())  # nothing can be said of the end, `verify` does


def test_entries_verify_by_their_bytes_whatever_a_later_version_writes_into_them(tmp_path: Path) -> None:
    """An entry with a field that this version does not know, and numbers written as it would not."""
    ledger = filled(tmp_path, 1)
    previous = from_line(lines_of(tmp_path)[0], 1).hash
    head, rest = b'{"action":"verdict","actor":"ada","at":1.0E3,"body":{"x":1.50},', b'"sequence":2,"subject":"s","tenant":"t"}'
    digest = hashlib.sha256(head + f'"previous":"{previous}",'.encode() + rest).hexdigest()
    line = head + f'"hash":"{digest}","previous":"{previous}",'.encode() + rest
    content = b"".join([*lines_of(tmp_path), line, b"\n"])
    assert check_chain(content, Head(2, digest, len(content))).ok
    assert from_line(line, 2).body == {"x": 1.5}
    assert not check_chain(content.replace(b"1.50", b"1.5"), Head(2, digest, len(content) - 1)).ok
    assert ledger.verify().ok


def test_a_replaced_public_key_is_found_by_the_next_append(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    filled(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "keys" / "ledger.pub", tmp_path / "keys" / "ledger.pub")
    with pytest.raises(IntegrityError, match="cannot be trusted"):
        ledger.append("verdict", "demand@7", {})


def test_a_read_only_copy_is_verified_and_listed(tmp_path: Path) -> None:
    filled(tmp_path / "state")
    (tmp_path / "state" / "ledger" / "lock").unlink()
    with read_only(tmp_path / "state"):
        ledger = FileLedger(tmp_path / "state" / "ledger", tmp_path / "state" / "keys")
        assert (ledger.verify().ok, ledger.verify().entries) == (True, COUNT)
        assert len(list(ledger.lines())) == len(list(ledger.entries())) == COUNT
        with pytest.raises(Unavailable, match="nothing was recorded"):
            ledger.append("verdict", "demand@7", {})


def test_reading_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "state" / "ledger", tmp_path / "state" / "keys")
    assert (ledger.begun, ledger.verify().entries, list(ledger.lines())) == (False, 0, [])
    assert not (tmp_path / "state").exists()

"""Roles of the project file are asked by every command that changes what is promoted, signed or live."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.cli.main import run

ROLES = "access: {roles: {owner: {members: [somebody-else], verbs: ['*']}}}\n"


@pytest.mark.parametrize(
    "command",
    [
        ["freeze", "demand", "--reason", "known", "--by", "ada"],
        ["rollback", "demand", "--reason", "known"],
        ["promote", "demand"],
        ["registry", "accept", "demand", "1", "--reason", "known"],
        ["registry", "reconcile", "demand"],
        ["release", "build", "demand"],
    ],
)
def test_a_command_of_who_has_no_role_ends_with_its_own_exit_code_and_is_recorded(
    project: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    file = project / "tidegate.yaml"
    file.write_text(file.read_text() + ROLES)
    assert run(command) == 8
    assert "is refused: it takes role owner" in capsys.readouterr().err
    assert run(["ledger", "list", "--action", "access.refused", "--json"]) == 0
    assert '"verb"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("{members: [ada], verbs: [roll-back]}", "access.roles.owner.verbs[0] is 'roll-back'; allowed: text that matches"),
        ("{members: [ada]}", "required key 'access.roles.owner.verbs' is missing"),
        ("{members: [ada], verbs: [rollback], proven: maybe}", "access.roles.owner.proven is 'maybe'; allowed: true or false"),
        ("{members: [ada], verbs: [rollback], models: [demanf]}", "'demanf', no model of the project; did you mean 'demand'?"),
    ],
)
def test_a_role_that_would_give_nothing_is_an_error(
    project: Path, capsys: pytest.CaptureFixture[str], role: str, said: str
) -> None:
    file = project / "tidegate.yaml"
    file.write_text(file.read_text() + f"access: {{roles: {{owner: {role}}}}}\n")
    assert run(["status", "--no-drift"]) == 2
    assert said in capsys.readouterr().err

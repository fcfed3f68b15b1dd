"""What the system checks say is told by the doctor, too."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.core.management import CommandError, call_command

from operator_app import doctor
from operator_app.doctor import settings as module
from tests.doctor.tools import only
from tests.kinds.models import Sweep
from tests.once import once

pytestmark = [once, pytest.mark.django_db]


def test_bad_settings(settings: Any) -> None:
    """Nothing else is looked for, since nothing would work; by the command neither."""
    Sweep.dispatch()
    settings.OPERATOR = {"THREDS": 3}
    finding = only(doctor.examine("default"))
    assert (finding.id, finding.severity) == ("doctor.check", "problem")
    assert "did you mean 'THREADS'? (operator_app.E001)" in finding.message
    assert finding.hint == "Correct OPERATOR in the settings."
    with pytest.raises(SystemExit, match="1"):
        call_command("operations", "doctor", skip_checks=False)
    with pytest.raises(CommandError, match="E001"):
        call_command("operations", "list", skip_checks=False)


def test_warnings_and_what_is_silenced(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    found = [
        checks.Warning("slow", hint="Hurry.", id="operator_app.W002"),
        checks.Warning("said elsewhere", id="operator_app.W003"),
        checks.Error("broken", id="operator_app.E003"),
    ]
    monkeypatch.setattr(module.checks, "run_checks", lambda **options: found)
    said = [(each.severity, each.message, each.hint) for each in module.failed_checks("default")]
    assert said == [
        ("warning", "slow (operator_app.W002)", "Hurry."),
        ("problem", "broken (operator_app.E003)", ""),
    ]
    settings.SILENCED_SYSTEM_CHECKS = ["operator_app.W002"]
    assert [each.severity for each in module.failed_checks("default")] == ["problem"]


def test_only_ours(settings: Any) -> None:
    """What Django finds elsewhere is not the doctor's business."""
    settings.LANGUAGE_CODE = "nonsense!"
    assert list(module.failed_checks("default")) == []

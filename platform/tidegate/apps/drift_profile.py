"""What a new release is watched by: the columns of its reference that say something of the world, and thresholds for them."""

from __future__ import annotations

from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import did_you_mean
from tidegate.files.release_folder import MODEL
from tidegate.files.training_output import TrainingOutput
from tidegate.gates.columns import Columns
from tidegate.gates.drift_check import watched
from tidegate.gates.judged import load_profile
from tidegate.gates.monitor_file import MonitorConfig
from tidegate.statistics.calibration import METHOD, Thresholds, calibrate

KIND = "drift"


def drift_thresholds(output: TrainingOutput, config: MonitorConfig, what: str) -> Thresholds:
    """Calibrated on the reference of `output`, by the rules of the first gate of kind drift. Raises InvalidInput, which begins
    with `what`, where the monitor file names an output that the model has not."""
    rules, judged = config.rules_of(KIND), config.judged
    outputs = [spec.name for spec in open_onnx((output.folder / MODEL).read_bytes(), what).outputs]
    for name in judged.outputs:
        if name not in outputs:
            raise InvalidInput(f"{what}: the monitor file's outputs name '{name}'; {did_you_mean(name, outputs)}")
    profile = None
    if judged.profile:
        profile = load_profile(judged.profile, config.own[judged.profile_file], output.folder, what)
    columns = Columns(output.contract, judged.outputs, profile)
    reference = columns.of_reference(output.reference, outputs, what)
    contract = output.contract
    known = {*contract.vector, *contract.request, *(tensor.name for tensor in contract.asked), *outputs}
    names = watched(columns.names(output.reference, reference, outputs), rules, known)
    if not names and all(gate.kind != KIND for gate in config.gates):
        return Thresholds(METHOD, rules.window, rules.false_alarm_budget, 0.0, rules.draws, 0, 0.0, {})
    categorical = [name for name in names if name in rules.categorical]
    return calibrate(
        reference,
        names,
        rules.window,
        rules.block_days,
        rules.false_alarm_budget,
        seed=0,
        draws=rules.draws,
        categorical=categorical,
    )

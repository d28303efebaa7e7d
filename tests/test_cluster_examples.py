"""The examples for SLURM and Kubernetes have the form that these read, and give commands that Togi has."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from togi.cli import app

ROOT = Path(__file__).parent.parent
SLURM, KUBERAY = ROOT / "recipes" / "slurm.sh", ROOT / "recipes" / "kuberay.yaml"
RAY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["ray"][0].partition(
    "=="
)[2]


def given(command: str) -> dict[str, Any]:
    """What Togi makes of a command."""
    _, bound, _ = app.parse_args(command.split()[1:], exit_on_error=False, print_error=False)
    return dict(bound.arguments)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_slurm_script_is_a_program_and_trains() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    text = SLURM.read_text()
    asked = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert asked
    assert [line for line in asked if not re.fullmatch(r"--[a-z-]+(=\S+)?", line)] == []
    (train,) = re.findall(r"^(togi train .*) &$", text, re.MULTILINE)
    words = train.replace('"$recipe"', "a.toml").replace('"$folder"', "/shared/a").replace('"$@"', "scale.engines=2")
    assert {name: given(words)[name] for name in ("on", "overrides")} == {
        "on": "ray",
        "overrides": ("scale.engines=2",),
    }


def test_the_kuberay_manifest_is_a_job_that_trains() -> None:
    (job,) = yaml.safe_load_all(KUBERAY.read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) == {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"}
    assert given(job["spec"]["entrypoint"])["on"] == "ray"
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == RAY
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert all(isinstance(group["rayStartParams"], dict) for group in groups)
    # Weights reach engines as files, so every pod has one folder, and one image.
    assert len({str(pod["volumes"]) for pod in pods}) == 1
    containers = [pod["containers"][0] for pod in pods]
    assert len({(each["image"], str(each["volumeMounts"])) for each in containers}) == 1
    folder = given(job["spec"]["entrypoint"])["folder"]
    assert str(folder).startswith(containers[0]["volumeMounts"][0]["mountPath"])

"""The package tinker, asked by a run, against a server on this machine that speaks its verbs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from here_cluster import HereCluster
from test_cluster import RANK, at_cluster
from tinker_server import KEY, Refuse, Service, speaking_tinker
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.cluster.tinker_service import open_cluster
from togi.cluster.verbs import ClusterError
from togi.engines.engine_choice import AtCluster, EngineChoice
from togi.models.lora_and_optimiser import Optimiser
from togi.run import Run, Silent
from togi.run_folder.files import read_lines
from togi.train import train
from togi.types import Sampling

pytest.importorskip("tinker")

ROWS = [np.array([5, 6, 7, 8]), np.array([9, 3])]
WEIGHTS = [np.array([0.0, 0.5, -1.0, 2.0]), np.array([0.0, 1.5])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CLUSTER_KEY", KEY)
    return


def at(server: Service, *, seconds: float = 60) -> AtCluster:
    return AtCluster(model="tiny", key_env="CLUSTER_KEY", base_url=server.url, seconds=seconds)


def test_the_verbs_arrive_as_they_were_meant(folder: Path) -> None:
    here = HereCluster(folder).new(rank=RANK, seed=5)
    with speaking_tinker(HereCluster(folder)) as server:
        there = open_cluster(at(server)).new(rank=RANK, seed=5)
        for _ in range(2):
            here.backward(ROWS, WEIGHTS)
            there.backward(ROWS, WEIGHTS)
            here.update(1e-2, Optimiser(weight_decay=0.1))
            there.update(1e-2, Optimiser(weight_decay=0.1))
            for one, other in zip(here.logps(ROWS), there.logps(ROWS), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)
        drawers = [here.drawer(), there.drawer(), open_cluster(at(server)).drawer(there.save_to_draw("kept"))]
        how = {"seed": 3, "limit": 6, "sampling": Sampling(temperature=0.7, top_k=5), "ends": [2]}
        mine, theirs, kept = (drawer.draw((5, 6), 2, **how).result(20) for drawer in drawers)  # type: ignore[arg-type]
        assert [each.ids for each in mine] == [each.ids for each in theirs] == [each.ids for each in kept]
        assert [each.logp for each in theirs] == [pytest.approx(each.logp, abs=1e-5) for each in mine]
        again = open_cluster(at(server)).from_state(there.save("state"), moments=True)
        for learner in (here, again):
            learner.backward(ROWS, WEIGHTS)
            learner.update(1e-2, Optimiser())
        np.testing.assert_allclose(here.logps(ROWS)[0], again.logps(ROWS)[0], atol=1e-6)
        assert "/api/v1/telemetry" not in server.paths
        assert not any(KEY in body for body in server.told)


def fails(verb: str, status: int, words: str = "", *, after: int = 0) -> Refuse:
    seen: Counter[str] = Counter()

    def refuse(asked: str, _: Any) -> tuple[int, str] | None:
        seen[asked] += 1
        return (status, words) if asked == verb and seen[asked] > after else None

    return refuse


FAULTS: dict[str, tuple[Refuse, str]] = {
    "key": (fails("create_session", 401, "bad key"), "asked for fresh adapters: HTTP 401, bad key. .*engine.key_env"),
    "forbidden": (fails("create_model", 403, "not yours"), "HTTP 403, not yours. .*what the account is allowed"),
    "account": (fails("create_model", 402, "no credit"), "HTTP 402, no credit. .*top it up"),
    "model": (fails("create_model", 404, "no model tiny"), "HTTP 404, no model tiny. .*look at engine.model"),
    "session": (fails("forward_backward", 410, "it ended"), "log-probabilities: HTTP 410, it ended. .*train again"),
    "its own": (fails("retrieve_future", 200, "out of memory"), "fresh adapters: Request failed: out of memory"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_told_with_what_to_do(folder: Path, name: str) -> None:
    refuse, said = FAULTS[name]
    with speaking_tinker(HereCluster(folder), refuse) as server, pytest.raises(ClusterError, match=said) as problem:
        open_cluster(at(server)).new(rank=RANK, seed=0).logps(ROWS)
    assert KEY not in str(problem.value)


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        (fails("forward_backward", 0), "asked for log-probabilities: no answer within 0.5 s. give it more time"),
        (fails("forward_backward", 402, "no credit"), "no answer within 0.5 s; it last said: .*paused.*no credit"),
    ],
)
def test_no_wait_is_endless(folder: Path, refuse: Refuse, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with speaking_tinker(HereCluster(folder), refuse) as server:
        cluster = open_cluster(at(server))
        learner = cluster.new(rank=RANK, seed=0)
        monkeypatch.setattr(cluster, "_at", at(server, seconds=0.5))
        with pytest.raises(ClusterError, match=said):
            learner.logps(ROWS)


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTER_KEY")
    with pytest.raises(ValueError, match="the environment variable CLUSTER_KEY is not set"):
        open_cluster(AtCluster(model="tiny", key_env="CLUSTER_KEY", base_url="http://127.0.0.1:1"))


def run_at(server: Service, path: Path, folder: Path) -> Run:
    run = at_cluster(toy_run(path, folder, grpo_steps=2))
    return replace(run, engine=EngineChoice(cluster=at(server)), save_every=1)


@pytest.mark.slow
def test_a_run_goes_on_after_a_lost_session(folder: Path, tmp_path: Path) -> None:
    with speaking_tinker(HereCluster(folder)) as server:
        whole = run_at(server, tmp_path / "whole", folder)
        train(whole, Silent())
    refuse = fails("optim_step", 410, "session ended", after=4)
    with speaking_tinker(HereCluster(folder), refuse) as server:
        run = run_at(server, tmp_path / "lost", folder)
        with pytest.raises(ClusterError, match=r"an update: HTTP 410.*train again"):
            train(run, Silent())
        server.refuse = lambda verb, body: None
        open_cluster.cache_clear()  # as in another process
        train(run, Silent())
    rows, wanted = (read_lines(each.folder / "metrics.jsonl") for each in (run, whole))
    assert [
        {k: pytest.approx(v, abs=1e-4, nan_ok=True) if isinstance(v, float) else v for k, v in row.items()}
        for row in wanted
    ] == rows
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

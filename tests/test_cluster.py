"""A policy at a cluster learns what it would learn here, and its engine draws from what it learned."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from here_cluster import HereCluster, adapted
from tiny_text import tiny_folder
from toy_run import toy_run

from togi import algorithms
from togi.cluster.cluster_engine import ClusterEngine
from togi.cluster.cluster_policy import ClusterPolicy, Start
from togi.cluster.stage_weights import StageWeights, note, noted
from togi.cluster.verbs import ClusterError
from togi.cluster.what_it_tells import ANNOTATES
from togi.engines.engine_choice import LACKS, AtCluster, EngineChoice
from togi.engines.open_engine import open_engine
from togi.models.load_model import Loaded, Lora, ModelError, load_model, load_shape
from togi.models.policy import LocalPolicy, NonFinite, Optimiser
from togi.models.sampler_drift import Disagreement
from togi.protocols import Algorithm, LocalEngine
from togi.recipe import cluster_combinations
from togi.recipe.schema import SamplingTable, StageTable
from togi.run import Run, Silent
from togi.run_folder.files import read_lines
from togi.samplers import Groups
from togi.train import train
from togi.types import Prompt, Sample, Sampling

RANK = 2
AT = AtCluster(model="tiny", key_env="CLUSTER_KEY")
PROMPTS = [Prompt(ids=(5, 6, 7), seeds=(1, 2, 3)), Prompt(ids=(9, 8), seeds=(4,))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def shape(folder: Path) -> Loaded:
    return load_shape(str(folder))


def start(state: str | None = None) -> Start:
    return Start(base="tiny", state=state, rank=RANK, seed=0)


def test_the_guide_names_the_algorithms_that_a_cluster_cannot_run() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    table = guide.partition("## Somebody else's cluster")[2].partition("| refused | because |")[2].partition("\n\n")[0]
    refused = set()
    for name, algorithm in algorithms.ALGORITHMS.items():
        asks = algorithm.sampler.asks | ({"think"} if algorithm.thinking else set())
        problems = cluster_combinations.stage(StageTable(algorithm=name, steps=1), algorithm, SamplingTable())
        if asks & LACKS["tinker"] or any(problems):
            refused.add(name)
    assert refused == set(re.findall(r"`(\w+)`", table)) & set(algorithms.ALGORITHMS)


def attempts() -> list[Sample]:
    """Four attempts at each of two tasks, the first of each recorded as better than the second."""
    random, found = np.random.default_rng(3), []
    for number in range(8):
        ids = np.concatenate([[5, 6 + number // 4], random.integers(3, 400, 3 + number % 3)])
        mask = np.arange(len(ids)) >= 2
        logp = np.where(mask, random.normal(-6, 0.3, len(ids)), 0).astype(np.float32)
        found.append(
            Sample(
                ids=ids.astype(np.int64),
                mask=mask,
                logp=logp,
                reward=float(number % 2 == 0),
                group=number // 4,
                trajectory=number % 4,
                task=str(number // 4),
                stop="eos",
                age=1,
                shares={"a": 1.0, "b": number / 8},
                state_keys=("s",),
                baseline=0.5,
            )
        )
    return found


def learnt(
    policy: LocalPolicy | ClusterPolicy, algorithm: Algorithm, steps: int, *, pairs: bool
) -> list[dict[str, float]]:
    told = []
    for _ in range(steps):
        samples = attempts()
        if pairs:
            samples = [
                replace(each, recorded=True, logp=np.zeros_like(each.logp)) for each in samples if each.trajectory < 2
            ]
        done = policy.annotate(algorithm.prepare(samples), algorithm.needs | {"old_logp"})
        told.append(dict(policy.learn(algorithm.credit(done, {}), algorithm)))
    return told


QUICK = ("grpo", "dpo", "sft")
EXACT = (
    *QUICK, "dr_grpo", "dapo", "rloo", "reinforce_pp", "lite_ppo", "pass_at_k", "remax", "vanilla_pg", "gspo", "luspo",
    "cispo", "sapo", "gmpo", "topr", "vespo", "dppo", "decoupled_ppo", "awr", "mirror_descent", "m2po", "opo", "maxrl",
    "gdpo", "clip_cov", "kl_cov", "cdpo", "robust_dpo", "rpo", "dpo_norm", "ld_dpo", "ipo", "f_dpo", "kto",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in EXACT]
)
def test_a_policy_learns_there_what_it_learns_here(folder: Path, name: str) -> None:
    algorithm = algorithms.GRPO(kl=0.1) if name == "grpo" else algorithms.ALGORITHMS[name]
    pairs = not algorithm.sampler.writes
    optimiser = Optimiser(learning_rate=3e-3, weight_decay=0.1, clip_norm=0.5, warmup_steps=1)
    cluster = HereCluster(folder, dtype=torch.float64)
    there = ClusterPolicy(cluster, start(), optimiser)
    loaded = adapted(folder, torch.float64, RANK, 0)
    here = LocalPolicy(loaded.model, optimiser, compute=torch.float64, reference="adapter_base")
    ours, theirs = learnt(there, algorithm, 2, pairs=pairs), learnt(here, algorithm, 2, pairs=pairs)
    for one, other in zip(ours, theirs, strict=True):
        told = {key: value for key, value in other.items() if key != "grad_norm"}
        assert one == pytest.approx(told, rel=1e-5, abs=1e-6, nan_ok=True)  # transformers' norms round to float32
    learner = there._learner
    for key, p in loaded.model.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(learner.weights[key], p, atol=1e-5, rtol=0)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prompts", "sampling"),
    [
        (PROMPTS, Sampling(max_tokens=9)),
        (PROMPTS, Sampling(max_tokens=9, ignore_eos=True, temperature=0)),
        (PROMPTS, Sampling(max_tokens=0)),
        (PROMPTS, Sampling(max_tokens=60, stop=("e", "</a>"))),
        ([Prompt(ids=(5,) * 250, seeds=(1,)), Prompt(ids=(5,) * 256, seeds=(1, 2))], Sampling(max_tokens=9)),
        ([Prompt(ids=(5, 6), seeds=(1, 2), left=3), Prompt(ids=(5,), seeds=())], Sampling(max_tokens=9)),
        ([], Sampling()),
    ],
)
def test_turns_are_those_of_the_same_weights_here(
    folder: Path, shape: Loaded, prompts: list[Prompt], sampling: Sampling
) -> None:
    told: list[tuple[int, int]] = []
    engine = ClusterEngine(shape, HereCluster(folder), seconds=5)
    ours = engine.generate(prompts, sampling, lambda *done: told.append(done))
    seeds = [tuple(prompt.seeds[0] + n for n in range(len(prompt.seeds))) for prompt in prompts if prompt.seeds]
    asked = [replace(prompt, seeds=each) for prompt, each in zip([p for p in prompts if p.seeds], seeds, strict=True)]
    theirs = iter(open_engine(load_model(str(folder))).generate(asked, sampling))
    for prompt, turns in zip(prompts, ours, strict=True):
        for one, other in zip(turns, next(theirs) if prompt.seeds else [], strict=True):
            assert replace(one, logp=()) == replace(other, logp=())
            assert one.logp == pytest.approx(other.logp, abs=1e-5)
    count = sum(len(each) for each in ours)
    assert not count or told[-1] == (count, count)
    assert isinstance(engine, LocalEngine)


def test_the_engine_follows_the_policy_and_tries_its_weights(folder: Path, shape: Loaded) -> None:
    cluster = HereCluster(folder)
    policy, engine = (
        ClusterPolicy(cluster, start(), Optimiser(learning_rate=0.1)),
        ClusterEngine(shape, cluster, seconds=5),
    )
    first = engine.generate(PROMPTS, Sampling(max_tokens=5, temperature=0))
    learnt(policy, algorithms.SFT(), 1, pairs=True)
    engine.sync(policy)
    later = engine.generate(PROMPTS, Sampling(max_tokens=5, temperature=0))
    assert {turn.version for each in first for turn in each} == {0}
    assert {turn.version for each in later for turn in each} == {1}
    assert [turn.logp for each in later for turn in each] != [turn.logp for each in first for turn in each]
    [turn] = engine.generate(PROMPTS[1:], Sampling(max_tokens=5, temperature=0))[0]
    told = policy.logps((*turn.prompt, *turn.completion))[len(turn.prompt) :]
    assert turn.logp == pytest.approx(told, abs=1e-5)
    cluster.wrong = 0.2
    learnt(policy, algorithms.SFT(), 1, pairs=True)
    engine.sync(policy)
    with pytest.raises(
        ClusterError, match=r"not those that learn there: after 2 updates .* 8 tokens differ by 0.2 nats"
    ):
        engine.generate(PROMPTS, Sampling(max_tokens=5))


def alike(policy: ClusterPolicy) -> None:
    """An update by attempts that were all paid alike, so that none is worth more than another."""
    algorithm = algorithms.GRPO(sampler=Groups(4))
    samples = policy.annotate([replace(each, reward=1.0) for each in attempts()], algorithm.needs)
    policy.learn(algorithm.credit(samples, {}), algorithm)


@pytest.mark.parametrize(
    ("updates", "decay", "snapshots"),
    [
        ([], 0.0, 1),  # the policy as it begins
        ([alike, alike], 0.0, 1),
        ([alike], 0.1, 2),  # weights that decay change all the same
        ([lambda policy: learnt(policy, algorithms.SFT(), 1, pairs=True)], 0.0, 2),
        ([lambda policy: learnt(policy, algorithms.SFT(), 1, pairs=True), alike], 0.0, 3),  # by moments that go on
    ],
)
def test_weights_that_did_not_change_need_no_new_snapshot(
    folder: Path, shape: Loaded, updates: list[Callable[[ClusterPolicy], object]], decay: float, snapshots: int
) -> None:
    cluster = HereCluster(folder)
    policy = ClusterPolicy(cluster, start(), Optimiser(learning_rate=0.1, weight_decay=decay))
    engine = ClusterEngine(shape, cluster, seconds=5)
    taken: list[None] = []
    drawer = policy.drawer
    policy.drawer = lambda: (taken.append(None), drawer())[1]  # type: ignore[method-assign]
    for update in [lambda _: None, *updates, lambda _: None]:
        update(policy)
        engine.sync(policy)
        turns = engine.generate(PROMPTS, Sampling(max_tokens=2))
        assert {turn.version for each in turns for turn in each} == {policy.step}
    assert len(taken) == snapshots


def test_how_sure_the_model_is_cannot_be_asked(folder: Path, shape: Loaded) -> None:
    engine = ClusterEngine(shape, HereCluster(folder), seconds=5)
    with pytest.raises(ValueError, match="leave out rewards that ask the policy itself"):
        engine.read([])


def test_a_policy_goes_on_from_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    cluster, optimiser = HereCluster(folder), Optimiser(learning_rate=3e-3)
    whole, policy = (ClusterPolicy(cluster, start(), optimiser) for _ in range(2))
    algorithm = algorithms.GRPO(sampler=Groups(4), kl=0.1)
    for sample in whole.annotate(attempts(), ANNOTATES):
        np.testing.assert_array_equal(sample.old_logp, sample.ref_logp)  # it starts from its reference
    wanted = learnt(whole, algorithm, 3, pairs=False)
    learnt(policy, algorithm, 2, pairs=False)
    policy.save(tmp_path)
    again = ClusterPolicy(cluster, start(), optimiser)
    again.load(tmp_path)
    assert again.step == 2
    assert learnt(again, algorithm, 1, pairs=False) == [pytest.approx(wanted[2], nan_ok=True)]
    assert "from state with moments" in cluster.asked


def test_what_was_asked_for_nothing_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    cluster = HereCluster(folder)
    ClusterPolicy(cluster, start(), Optimiser()).save(tmp_path)
    ClusterPolicy(cluster, start(), Optimiser()).load(tmp_path)
    assert not cluster.asked


@pytest.mark.parametrize("text", ["", "{}", '{"step": 1}', "[" * 100_000])
def test_a_damaged_checkpoint_is_told(folder: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(ModelError, match="names no weights at a cluster"):
        ClusterPolicy(HereCluster(folder), start(), Optimiser()).load(tmp_path)


def test_what_cannot_be_learned_from_is_told(folder: Path) -> None:
    cluster, algorithm = HereCluster(folder), algorithms.GRPO(sampler=Groups(4), kl=0.0)
    policy = ClusterPolicy(cluster, start(), Optimiser(), mismatch_limit=0.1)
    with pytest.raises(ValueError, match="every group was dropped"):
        policy.learn([], algorithm)
    with pytest.raises(ValueError, match=r"sampled at 0.7: set sampling.temperature = 1"):
        policy.annotate([replace(each, temperature=0.7) for each in attempts()], frozenset({"old_logp"}))
    fresh = algorithm.credit([replace(each, age=0) for each in attempts()], {})
    with pytest.raises(Disagreement):
        policy.learn(fresh, algorithm)
    broken = [replace(each, advantage=np.full(len(each.ids), math.nan, np.float32)) for each in fresh]
    lenient = ClusterPolicy(cluster, start(), Optimiser())
    assert lenient.learn(broken, algorithm)["skipped_steps"] == 1
    lenient.learn(broken, algorithm)
    with pytest.raises(NonFinite):
        lenient.learn(broken, algorithm)
    assert "optim_step" not in cluster.asked
    assert lenient.step == 0


def test_notes_of_weights(tmp_path: Path) -> None:
    weights = StageWeights(base="tiny", state="tinker://a", drawn="tinker://b")
    note(weights, tmp_path / "stage")
    note(weights, tmp_path / "stage")
    assert noted(str(tmp_path / "stage")) == weights
    assert noted(str(tmp_path)) is None
    with pytest.raises(ModelError, match="fetch them with `tinker checkpoint download`"):
        load_model(str(tmp_path / "stage"))
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match="notes no weights at a cluster"):
        note(weights, tmp_path / "other")
    for damage in (
        "{",
        '{"base": "tiny"}',
        '{"base": "", "state": "a", "drawn": "b"}',
        '{"base": 1, "state": "a", "drawn": "b"}',
    ):
        (tmp_path / "stage" / "cluster.json").write_text(damage)
        with pytest.raises(ModelError, match="bring the file back"):
            noted(str(tmp_path / "stage"))


def test_a_shape_has_no_numbers(folder: Path, shape: Loaded, tmp_path: Path) -> None:
    whole = load_model(str(folder))
    assert {p.device.type for p in shape.model.parameters()} == {"meta"}
    assert (shape.eos_ids, shape.context, shape.parameters) == (whole.eos_ids, whole.context, whole.parameters)
    assert shape.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    for source, problem in [
        ("nothing", "does not tell the shape"),
        (str(tmp_path), "a folder with its configuration and tokenizer"),
    ]:
        with pytest.raises(ModelError, match=problem):
            load_shape(source)


def test_the_shape_of_a_hub_model_needs_no_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(source: str, *, allow_patterns: list[str], dry_run: bool = False, **_: object) -> object:
        assert "*.safetensors" not in allow_patterns, "weights were fetched"
        return [] if dry_run else str(folder)

    monkeypatch.setattr("togi.models.load_model.snapshot_download", fetch)
    assert load_shape("owner/name").source == "owner/name"


def at_cluster(run: Run) -> Run:
    return replace(run, model=replace(run.model, lora=Lora(rank=RANK)), engine=EngineChoice(cluster=AT))


def test_a_whole_run_at_a_cluster(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = HereCluster(folder)
    for place in ("togi.stage_policy", "togi.engines.open_engine"):
        monkeypatch.setattr(f"{place}.open_cluster", lambda at: cluster)
    run = at_cluster(toy_run(tmp_path / "run", folder, grpo_steps=2))
    train(run, Silent())
    rows = read_lines(run.folder / "metrics.jsonl")
    assert [row["stage"] for row in rows] == ["sft"] * 3 + ["grpo"] * 2
    assert rows[-1]["sampling/sampling_logp_difference/mean"] < 1e-4
    assert {path.stem for path in (run.folder / "evaluations").iterdir()} == {"base", "sft", "grpo"}
    kept = json.loads((run.folder / "models" / "grpo" / "cluster.json").read_text())
    assert kept["base"] == "tiny"
    assert {kept["state"], kept["drawn"]} <= set(cluster.kept)

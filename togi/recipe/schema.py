"""What a recipe may say: one frozen pydantic model a table. It knows keys, types and ranges, and nothing of training.

Everything here is strict: an unknown key, a number written as text or a value out of range is refused. What one value
means for another (impossible combinations) is decided where the recipe is built, since that needs the real objects.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Beta = Annotated[float, Strict(), Field(ge=0, lt=1)]
StageName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=100)]
StageNames = Annotated[tuple[StageName, ...], Strict(False), Field(min_length=1, max_length=100)]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
# What is held in memory at once is bounded, so that a typing error is told and not tried.
Attempts = Annotated[int, Field(ge=1, le=10_000)]
Tasks = Annotated[int, Field(ge=1, le=100_000)]
Strings = Annotated[tuple[Annotated[str, Strict(), Field(max_length=1000)], ...], Strict(False), Field(max_length=1000)]


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?", name):
        raise ValueError(
            f'got "{name[:80]}", wanted "auto", "cpu", "cuda", "mps" or "xpu", or one of several: "cuda:1"'
        )
    return name


def _listed(names: object) -> object:
    """One name alone stands for a list of it."""
    return [names] if isinstance(names, str) else names


class Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class LoraTable(Table):
    rank: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Rank of the adapter matrices."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale: the adapter's output is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that is dropped while learning."""
    targets: Strings = ()
    """Names of the layers that get an adapter; empty takes every linear layer but the vocabulary projection."""
    base: Literal["full", "nf4"] = "full"
    """`nf4` keeps the linear layers under the adapters in 4 bits, as QLoRA does (needs the `qlora` extra)."""


class ModelTable(Table):
    source: Text
    """Bundled name (`smollm2-135m`), model or run folder, `.gguf` file, hub id, or `file.py:function` that makes it."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic; `auto` takes bfloat16 where a probe finds it faster, over float32 master weights."""
    device: Annotated[str, AfterValidator(_device)] = "auto"
    """Where all models compute: `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`; `auto` takes an accelerator, else `cpu`."""
    chat_template: Text | None = None
    """File of a chat template in Jinja; the model's own when left out."""
    lora: LoraTable | None = None
    """Train low-rank adapters (needs the `lora` extra); without this table every weight is trained."""


class EngineTable(Table):
    kind: Literal["native", "vllm", "server", "tinker"] = "native"
    """Who draws: Togi itself, `vllm` that Togi starts, a `server` of yours, or `tinker` ([engines](engines.md))."""
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 128
    """Completions drawn at once; fewer take less memory."""
    mismatch_limit: Annotated[float, Field(gt=0)] = 0.1
    """Stop where sampler and trainer differ by more for the same weights: mean over tokens, in log-probability."""
    python: Text | None = None
    """The Python of the environment that has vLLM, such as `vllm-env/bin/python`; needed with `vllm`."""
    options: Strings = ()
    """Further options of `vllm serve`, such as `["--gpu-memory-utilization", "0.4"]`."""
    base_url: Text | None = None
    """Address of the server, such as `http://127.0.0.1:8000/v1`."""
    model: Text | None = None
    """What the server calls the model of `model.source`."""
    key_env: Text | None = None
    """Name of the environment variable that holds the server's key; without it no key is sent."""
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Wall clock of one completion at a server or an engine process; what takes longer is asked for again."""
    adapters: Text | None = None
    """Folder that the server can read too, for weights as they are learned; a new one on this machine when left out."""


class ScaleTable(Table):
    engines: Annotated[int, Field(ge=0, le=1000)] = 0
    """Processes that draw beside the one that learns; 0 draws in that one ([scale](scale.md))."""
    learners: Annotated[int, Field(ge=1, le=1000)] = 1
    """Processes that learn."""
    staleness: Annotated[int, Field(ge=0, le=100)] = 0
    """Weight versions that a group may be behind when it is learned from; 0 draws with the newest weights only."""


class PromptTable(Table):
    system: str | None = None
    """System message put before every task."""
    template: Text = "{prompt}"
    """The user's message; `{prompt}` stands for the task's own text."""
    format: Literal["chat", "text"] = "chat"
    """`chat` asks plain text as a user's message, `text` continues it as raw text."""
    budget: Annotated[tuple[Count, Count], Strict(False)] | None = None
    """Fewest and most tokens: a number between is drawn for each question and stands for `{budget}` in its prompt."""
    template_args: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables of the chat template, such as `enable_thinking = false`; the trained model keeps them."""


class OneSourceTable(Table):
    generate: Text | None = None
    """`file.py:function` or `module:function` that makes one row from a `random.Random`."""
    reasoning_gym: Text | None = None
    """Name of a reasoning-gym data set (needs the `tasks` extra)."""
    file: Text | None = None
    """JSONL, JSON or parquet file, or a folder saved by `datasets`."""
    hub: Text | None = None
    """Data set of the hub, `owner/name`, or a folder that is a copy of one (needs the `datasets` extra)."""
    subset: Text | None = None
    """Which part of the hub's data set, where it has several."""
    split: Text | None = None
    """Split of the hub's data set; left out, `train` for `[data.train]` and `test` for `[data.test]`."""
    revision: Text | None = None
    """Branch, tag or commit of the hub's data set; a commit keeps the data the same for ever."""
    columns: Annotated[dict[Text, Text], Field(max_length=100)] = Field(default_factory=dict)
    """What rows call a column: `{ prompt = "question", answer = "reward_model.ground_truth" }`."""
    turns: Literal["last", "all"] = "last"
    """Which answers of a conversation (`messages`) are learned: the last one, or all."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of the reasoning-gym data set."""
    size: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """How many tasks to make; needed with `generate` and `reasoning_gym`, not used with the others."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of generated tasks; training and test data must not share source and seed."""
    difficulty: Annotated[tuple[int | float | Text, ...], Strict(False), Field(max_length=100)] = ()
    """Levels to make rows of, in turn: the function's second argument, and a column of the row ([tasks](tasks.md))."""
    demonstrate: Text | None = None
    """Function that writes the recorded answer of a row, to learn from without sampling."""
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    """Of one of `sources`: with 2 it is drawn from twice as often as with 1, however many tasks it has."""


class SourceTable(OneSourceTable):
    sources: Annotated[tuple[OneSourceTable, ...], Strict(False), Field(min_length=1, max_length=100)] | None = None
    """Several sources, mixed: `[{ file = "a.jsonl", weight = 2 }, { hub = "owner/name" }]`."""
    temperature: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Of `sources` without weights: each is drawn from as often as (its tasks) ^ (1 / temperature) says."""


class StageSourceTable(SourceTable):
    rollouts: Annotated[StageNames, BeforeValidator(_listed)] | None = None
    """Earlier stage, or several, whose scored attempts are the recorded answers; their tasks are what is asked."""
    earlier_rounds: bool = False
    """Within [[repeat]]: also what `rollouts` sampled in the rounds before this one."""
    best: bool = False
    """Of `rollouts`, keep only the best attempt at each task."""
    at_least: float | None = None
    """Of `rollouts`, keep only attempts of this score or more, all alike: demonstrations, and no comparison."""
    distinct: Literal["texts", "equations"] | None = None
    """Of the attempts kept at a task, each text only once, or each list of `equations` (RFT)."""
    most: Count | None = None
    """Of the attempts kept at a task, the first so many."""
    together: bool = False
    """All attempts at a task, whenever sampled, are answers to one task, so that any two of them can be compared."""


SOURCES = {
    "generate": {"generate", "size", "seed", "turns", "difficulty", "demonstrate"},
    "reasoning_gym": {"reasoning_gym", "config", "size", "seed", "demonstrate"},
    "file": {"file", "columns", "turns", "demonstrate"},
    "hub": {"hub", "subset", "split", "revision", "columns", "turns", "demonstrate"},
    "sources": {"sources", "temperature"},
    "rollouts": {"rollouts", "best", "at_least", "distinct", "most", "together"},
}
"""The keys that mean something for each source of tasks."""


class DataTable(Table):
    train: SourceTable
    """Tasks to learn from. Those that are also asked in `[data.test]` are left out."""
    test: SourceTable | None = None
    """Held-out tasks, only ever measured on; needed by `[evaluation]`."""


class RewardTable(Table):
    score: Text
    """Reward expression, such as `gate(number(), by=form()) + 0.1 * overlong(64, 16)`."""


class GradingTable(Table):
    workers: Annotated[int, Field(ge=1, le=1000)] = 2
    """Worker processes that score completions."""
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    """Wall clock of one grader call; a call that runs over is stopped (see rewards.md)."""
    memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = 2048
    """Memory of one worker."""
    tier: Literal["auto", "bubblewrap", "landlock", "subset", "process"] = "auto"
    """What keeps in graders and programs: the strongest that holds here, or one by name; `process`, nothing, unsafe."""


class SamplingTable(Table):
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 256
    """Most tokens of one completion."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Softmax temperature; 0 always takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the smallest set of tokens with this much probability; 1 keeps all."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from this many likeliest tokens; 0 keeps all."""
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Leave out tokens less likely than this share of the likeliest; 0 keeps all."""
    stop: Strings = ()
    """Texts that end a completion. A closing tag (`</answer>`) stays in it; any other such text is left out."""
    ignore_eos: bool = False
    """Go on past the end token up to `max_tokens`."""


class EnvTable(Table):
    use: Text
    """`tools` ([tools](tools.md)), `none`, another name ([all](environments.md#names)), or your own `file.py:Class`."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of the tools, the game or the program, or further arguments of the class, by name."""
    others: Text | None = None
    """Of several players all but one: `file.py:function` of yours ([players](environments.md#several-players))."""
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Wall clock of one call of its methods, or of one tool; a method that runs over raises TimeoutError there."""
    turns: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Most turns of one attempt; one that is not over by then stops with `turns`."""
    tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Most tokens that the model may write in all turns of one attempt; it is cut there, and stops with `tokens`."""
    threads: Annotated[int, Field(ge=0, le=1000)] = 0
    """Threads in which environments answer while other turns are drawn; 0: one after another, in the main one."""
    processes: bool = False
    """Give each attempt's environment, a class of your own, a process of its own, which is killed when it hangs."""


class UntilTable(Table):
    metric: Text
    """Name in `metrics.jsonl`, such as `rewards/majority_share/mean`."""
    above: float | None = None
    """The stage ends once the metric is above this number."""
    below: float | None = None
    """The stage ends once the metric is below this number."""
    steps: Count = 3
    """So many steps one after the other."""


class OrderTable(Table):
    by: Literal["turn", "priority", "learnability", "curriculum"]
    """Each in `turn`; the harder the oftener (`priority`); those that differ most (`learnability`); or by levels."""
    explore: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of draws by chance alone; not with `turn`."""
    memory: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of what was counted of a task (a level) that stays when it is looked at again; 1 never forgets."""
    level: Text = "difficulty"
    """Of `curriculum`: column of the rows that names a task's level, or `source` for the parts of a mixture."""


def unused(order: OrderTable) -> set[str]:
    """Keys of an order that mean nothing in it."""
    return {"explore", "level"} if order.by == "turn" else set() if order.by == "curriculum" else {"level"}


class ReplayTable(Table):
    share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Of a step's groups, the part that earlier steps sampled, as far as there are any."""
    oldest: Count = 8
    """Weight updates since a group was drawn, after which it is forgotten; a step makes minibatches * epochs."""
    uses: Count = 1
    """How often a group may be replayed."""
    priority: Literal["signal", "newest", "chance"] = "signal"
    """Which come first: those whose rewards spread more (`signal`), the `newest`, or any (`chance`)."""


class StageTable(Table):
    name: StageName | None = None
    """Name in the run folder and on the command line: letters, digits, `_`, `-`; the algorithm's name when left out."""
    algorithm: Text
    """`sft`, `grpo`, ...: a page of `togi.algorithms`, or `file.py:NAME` of your own ([extending](extending.md))."""
    steps: Count
    """How often tasks are sampled (or read) and learned from."""
    until: UntilTable | None = None
    """End before `steps` are done, when a metric says so: for rewards that a model learns to please at last."""
    stop_on_collapse: bool = True
    """End with an error, and a checkpoint, when the policy is lost: noise, empty or endless answers, a lost reward."""
    measured: bool = True
    """Whether the evaluation is about this stage's policy; not for a judge that is trained on the way."""
    reference_every: Count | None = None
    """After so many steps the policy becomes the reference that KL is taken to; left out, that stays what it was."""
    start: StageName | None = None
    """Stage whose policy this one starts from, or `base`; left out, the newest policy there is."""
    teacher: Text | None = None
    """Model that distillation learns from, or who answers in a `collect` stage: a `source`, or an earlier stage."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """AdamW's peak learning rate, for stages that learn. Usual: 2e-5 for SFT, 1e-6 for RL; ten times that with LoRA."""
    critic_start: StageName | None = None
    """Stage whose reward model a critic of its own starts from; left out, a copy of the policy."""
    critic_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of a critic of its own, PRIME's implicit model, or a thought head; left out, the policy's."""
    tasks_per_step: Tasks = 16
    """Tasks in one step."""
    attempts: Attempts | None = None
    """Completions sampled for each task; the algorithm's own number when left out."""
    minibatches: Count = 1
    """Optimiser updates made from one step's samples, in each epoch."""
    epochs: Count = 1
    """How often one step's samples are gone through."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Updates over which the learning rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""
    betas: Annotated[tuple[Beta, Beta], Strict(False)] = (0.9, 0.999)
    """Decay of AdamW's two moving averages."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest gradient norm; longer gradients are scaled down to it."""
    tokens_per_microbatch: Count | None = None
    """Most distinct tokens at once (or twice a prompt's): memory against speed, never the result; 600 if left out."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Fields of the algorithm, such as `clip_high = 0.28`."""
    sampling: SamplingTable = SamplingTable()
    """Changes to `[sampling]` for this stage."""
    data: StageSourceTable | None = None
    """Tasks of this stage instead of `[data.train]`."""
    order: OrderTable | None = None
    """Which tasks come next; each in turn when left out ([tasks](tasks.md))."""
    replay: ReplayTable | None = None
    """Learn from groups of earlier steps once more, in the place of new ones ([tasks](tasks.md#replay))."""
    answers: Literal["own", "shuffled"] = "own"
    """`shuffled` pays every task by the answer of another one: a control, for which being right is worth nothing."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the tasks that a reward model, a verifier or `quiet_star` does not learn from, but is measured on."""
    env: EnvTable | None = None
    """What answers the model in this stage instead of `[env]`."""
    constitution: Text | None = None
    """File of principles by which the model criticises and revises its answers; for algorithms that learn revisions."""
    rounds: Annotated[int, Field(ge=1, le=4)] = 1
    """Rounds of critique and revision."""
    mix: SourceTable | None = None
    """Tasks whose recorded answers are learned beside what is sampled (PPO's pretraining mix)."""
    mix_per_step: Tasks = 8
    """Tasks of `mix` in one step."""
    reward: RewardTable | None = None
    """Reward of this stage instead of `[reward]`."""

    @property
    def called(self) -> str:
        """The stage's name, or that of its algorithm."""
        return self.name or named_by(self.algorithm)


def named_by(algorithm: str) -> str:
    """The name of a stage that has none of its own: "grpo", or of "file.py:Gentle" "gentle"."""
    return algorithm.rpartition(":")[2].lower()


class RepeatTable(Table):
    stages: Annotated[StageNames, BeforeValidator(_listed)]
    """Names of stages that follow each other; in round 2 `answers` is called `answers_2`."""
    times: Annotated[int, Field(ge=1, le=100)]
    """How often they are gone through."""
    growth: dict[StageName, Annotated[float, Field(gt=0, le=100)]] = Field(default_factory=dict)
    """By how much the `steps` of a stage grow from round to round: `{ learn = 1.2 }`."""


class EvaluationTable(Table):
    attempts: Attempts = 4
    """Completions sampled for each held-out task."""
    tasks: Count | None = None
    """Measure on the first so many held-out tasks; all when left out."""
    every: Count | None = None
    """Also measure on the way, after every so many steps of a stage; only between stages when left out."""
    every_attempts: Attempts | None = None
    """Completions sampled for each task on the way; `attempts` when left out."""
    best: Literal["pass@1", "mean_score"] | None = None
    """End each stage with the weights that this was best for on the way, or at its end; with the last when left out."""
    choice_tasks: Count | None = None
    """Measure on the way and choose on the first so many held-out tasks, evaluate on the others; else both on all."""
    under_base: bool = False
    """Also read every answer under the untrained model: how surprising it finds them, and the KL from it."""
    sampling: SamplingTable = SamplingTable()
    """Changes to `[sampling]` for measuring."""
    env: EnvTable | None = None
    """What answers the model while it is measured, instead of `[env]`."""
    reward: RewardTable | None = None
    """Reward to measure with instead of `[reward]`."""


class CheckpointTable(Table):
    every: Count = 10
    """Steps between checkpoints; one is always made at the end of a stage."""
    keep: Count = 2
    """Checkpoints kept; the oldest go first."""


class SeedsTable(Table):
    init: Annotated[int, Field(ge=0)] | None = None
    """Of what is made new (models, adapters, heads) and of dropout; the recipe's `seed` when left out."""
    order: Annotated[int, Field(ge=0)] | None = None
    """Of the order of tasks; the recipe's `seed` when left out."""
    sampling: Annotated[int, Field(ge=0)] | None = None
    """Of sampled answers, also where they are measured; the recipe's `seed` when left out."""


class LoggingTable(Table):
    to: Annotated[
        tuple[Literal["tensorboard", "trackio", "wandb", "mlflow"], ...], Strict(False), Field(max_length=4)
    ] = ()
    """Trackers that are sent the run's numbers: `tensorboard`, `trackio`, `wandb`, `mlflow`."""
    project: Name = "togi"
    """What the project (in MLflow the experiment) is called there."""
    run_name: Name | None = None
    """What the run is called there; the run's own name when left out."""


class Recipe(Table):
    """A training run, written down."""

    name: Name
    """Name of the run: letters, digits, `.`, `_`, `-`, the first a letter or digit. Its folder is `runs/NAME`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Everything random in the run follows from this number."""
    seeds: SeedsTable | None = None
    """Seeds of single things, for experiments in which the others stay the same ([experiments](experiments.md))."""
    relative_to: Text | None = None
    """Folder that files in the recipe are relative to; the recipe's own folder when left out."""
    model: ModelTable
    """The model to start from."""
    engine: EngineTable = EngineTable()
    """What draws completions."""
    scale: ScaleTable = ScaleTable()
    """How many processes draw and learn."""
    prompt: PromptTable = PromptTable()
    """How a task becomes messages."""
    data: DataTable
    """Where tasks come from."""
    reward: RewardTable | None = None
    """What completions are paid for; needed by every stage that samples, unless a teacher corrects it."""
    gold: RewardTable | None = None
    """The truth that the reward stands for, where it is known: measured on every attempt, and never trained on."""
    env: EnvTable | None = None
    """What answers the model; without it, its first answer ends the attempt."""
    grading: GradingTable = GradingTable()
    """The limits that graders run under."""
    sampling: SamplingTable = SamplingTable()
    """How completions are drawn, in every stage and in the evaluation unless they say otherwise."""
    stage: Annotated[tuple[StageTable, ...], Strict(False), Field(min_length=1, max_length=100)]
    """The stages in order; each starts from the newest policy, unless it names another `start`."""
    repeat: Annotated[tuple[RepeatTable, ...], Strict(False), Field(min_length=1, max_length=100)] | None = None
    """Groups of stages that are gone through several times ([rounds](self_taught.md#rounds))."""
    evaluation: EvaluationTable | None = None
    """Measure on `[data.test]` before the first and after every stage."""
    checkpoint: CheckpointTable = CheckpointTable()
    """When the run's state is saved."""
    logging: LoggingTable = LoggingTable()
    """Where the run's numbers are shown besides its folder ([logging](logging.md))."""

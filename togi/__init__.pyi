"""The public names. A reward is in `togi.rewards`, where some are called as Python's own modules are (`math`, `code`);
the loop is `togi.train.train`, since its module has its name."""

from .algorithms import (
    AWR as AWR,
    BCO as BCO,
    CDPO as CDPO,
    CISPO as CISPO,
    CLIP_COV as CLIP_COV,
    CPO as CPO,
    DAPO as DAPO,
    DECOUPLED_PPO as DECOUPLED_PPO,
    DPO as DPO,
    DPO_NORM as DPO_NORM,
    DPOP as DPOP,
    DPPO as DPPO,
    DR_GRPO as DR_GRPO,
    EXO as EXO,
    FDPO as FDPO,
    GDPO as GDPO,
    GKD as GKD,
    GMPO as GMPO,
    GRPO as GRPO,
    GSPO as GSPO,
    HIGH_ENTROPY_TOKENS as HIGH_ENTROPY_TOKENS,
    IPO as IPO,
    IPO_SUM as IPO_SUM,
    KD as KD,
    KL_COV as KL_COV,
    KTO as KTO,
    LDDPO as LDDPO,
    LITE_PPO as LITE_PPO,
    LUFFY as LUFFY,
    LUSPO as LUSPO,
    M2PO as M2PO,
    MAXRL as MAXRL,
    MIRROR_DESCENT as MIRROR_DESCENT,
    MTGRPO as MTGRPO,
    NCA as NCA,
    ONLINE_DPO as ONLINE_DPO,
    OPO as OPO,
    ORPO as ORPO,
    PASS_AT_K_TRAINING as PASS_AT_K_TRAINING,
    PLDPO as PLDPO,
    PPO as PPO,
    PRIME as PRIME,
    RAE as RAE,
    REINFORCE_BASELINE as REINFORCE_BASELINE,
    REINFORCE_PP_BASELINE as REINFORCE_PP_BASELINE,
    REST_EM as REST_EM,
    RFT as RFT,
    RLOO as RLOO,
    RLPR as RLPR,
    RPO as RPO,
    RSO as RSO,
    SAPO as SAPO,
    SFT as SFT,
    SKEWED_KL as SKEWED_KL,
    SKEWED_REVERSE_KL as SKEWED_REVERSE_KL,
    SPO as SPO,
    SPO_TREE as SPO_TREE,
    SPPO as SPPO,
    STAR as STAR,
    TOPR as TOPR,
    VANILLA_PG as VANILLA_PG,
    VESPO as VESPO,
    APODown as APODown,
    APOZero as APOZero,
    Collect as Collect,
    ConstantLength as ConstantLength,
    EntropyMinimisation as EntropyMinimisation,
    EXOReward as EXOReward,
    GenRM as GenRM,
    GiGPO as GiGPO,
    InfoNCA as InfoNCA,
    Masked as Masked,
    NashMD as NashMD,
    OnPolicyDistillation as OnPolicyDistillation,
    PassAtK as PassAtK,
    PolicyGradient as PolicyGradient,
    PPOClip as PPOClip,
    ProcessRewardModel as ProcessRewardModel,
    QuietSTaR as QuietSTaR,
    ReferenceFree as ReferenceFree,
    ReinforcePP as ReinforcePP,
    ReMax as ReMax,
    RewardModel as RewardModel,
    RobustDPO as RobustDPO,
    SimPO as SimPO,
    SLiC as SLiC,
    TreePO as TreePO,
    TreeRL as TreeRL,
    Truncated as Truncated,
    VeriFree as VeriFree,
    VinePPO as VinePPO,
    VStar as VStar,
)
from .data import (
    Collected as Collected,
    DataError as DataError,
    Generated as Generated,
    Prompting as Prompting,
    ReasoningGym as ReasoningGym,
    Rows as Rows,
    Tasks as Tasks,
    load_tasks as load_tasks,
)
from .engines.native import (
    NativeEngine as NativeEngine,
)
from .evidence.after.eval_command import (
    evaluate_run as evaluate_run,
)
from .evidence.after.play_evaluation import (
    evaluate as evaluate,
)
from .experiment.conduct import (
    conduct as conduct,
)
from .experiment.design import (
    Experiment as Experiment,
)
from .experiment.outcome import (
    read_outcome as read_outcome,
)
from .experiment.read_experiment import (
    read_experiment as read_experiment,
)
from .models.load_model import (
    load_model as load_model,
)
from .models.lora_and_optimiser import (
    Lora as Lora,
    Optimiser as Optimiser,
)
from .models.policy import (
    LocalPolicy as LocalPolicy,
)
from .progress import (
    Live as Live,
)
from .protocols import (
    Abort as Abort,
    Algorithm as Algorithm,
    Engine as Engine,
    Env as Env,
    Model as Model,
    Play as Play,
    Policy as Policy,
    Reward as Reward,
    Sampler as Sampler,
)
from .recipe import (
    RecipeError as RecipeError,
    load_recipe as load_recipe,
)
from .rollout import (
    Episodes as Episodes,
)
from .run import (
    Evaluation as Evaluation,
    ModelChoice as ModelChoice,
    Run as Run,
    Silent as Silent,
    Stage as Stage,
    Until as Until,
    Watch as Watch,
)
from .samplers import (
    Against as Against,
    Budgeted as Budgeted,
    Dynamic as Dynamic,
    Groups as Groups,
    Order as Order,
    Rationalised as Rationalised,
    Recorded as Recorded,
    Referenced as Referenced,
    Rejection as Rejection,
    Replay as Replay,
    Revised as Revised,
    StepLabels as StepLabels,
    Stepwise as Stepwise,
    StudentsShare as StudentsShare,
    WithGreedy as WithGreedy,
)
from .tokenization import (
    Chat as Chat,
)
from .types import (
    Batch as Batch,
    Beside as Beside,
    Group as Group,
    Limits as Limits,
    Loss as Loss,
    Mean as Mean,
    Message as Message,
    Outputs as Outputs,
    Prompt as Prompt,
    Sample as Sample,
    Sampling as Sampling,
    Score as Score,
    Task as Task,
    Trajectory as Trajectory,
    Turn as Turn,
)

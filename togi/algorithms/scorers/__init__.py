"""Models that score: trained here, and then the reward of another stage. They sample nothing of their own policy."""

from collections.abc import Mapping

from togi.algorithms.scorers.genrm import Chains, GenRM
from togi.algorithms.scorers.process_reward_model import ProcessRewardModel
from togi.algorithms.scorers.reward_model import RewardModel
from togi.protocols import Algorithm

SCORERS: Mapping[str, Algorithm] = {
    "reward_model": RewardModel(),
    "genrm": GenRM(),
    "genrm_cot": GenRM(sampler=Chains()),
    "process_reward_model": ProcessRewardModel(),
}

"""GRPO from scratch: the whole of it in one file that needs PyTorch and nothing of togi.

    python recipes/from_scratch.py

trains a tiny random transformer in seconds to say a digit it is shown and then stop, from rewards alone. Nobody shows
it an answer. The functions are the ones a real run needs; togi's tests hold togi to the same numbers.

A step of GRPO (https://arxiv.org/abs/2402.03300):

    1. sample   n attempts at each task, from the model as it is now
    2. score    each attempt with a program: the reward
    3. credit   compare each attempt with its siblings: better than their mean is good, worse is bad
    4. learn    make the tokens of good attempts more likely and those of bad ones less, in small steps

Shapes: P prompts, n attempts each, B = P * n sequences, T positions (prompt included), V vocabulary. Position t of a
per-token tensor speaks about token ids[:, t], so position 0, which nothing predicts, is never trained on.
"""

import copy

import torch
from torch import Tensor

# 1. Sample ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def sample(model, prompt: Tensor, n: int, max_tokens: int, eos: int) -> tuple[Tensor, Tensor]:
    """Draw n completions of one prompt [L] -> ids [n, L + max_tokens] and the mask of tokens the model wrote.

    Real engines keep the keys and values of earlier tokens; this recomputes them, which is slow and easy to read.
    """
    ids = prompt.repeat(n, 1)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    alive = torch.ones(n, dtype=torch.bool)
    for _ in range(max_tokens):
        probabilities = model(ids).logits[:, -1].softmax(-1)
        token = torch.multinomial(probabilities, 1)
        token[~alive] = eos  # padding: what stands here does not matter, because the mask is false
        ids = torch.cat([ids, token], dim=1)
        mask = torch.cat([mask, alive[:, None]], dim=1)
        # The end token itself is written by the model and trained on: it has to learn to stop.
        alive = alive & (token[:, 0] != eos)
    return ids, mask


# 2. Score -------------------------------------------------------------------------------------------------------------


def echo_reward(completion: list[int], digit: int, eos: int) -> float:
    """Half for saying the digit first, the other half for then stopping: partial credit gives a first foothold."""
    if completion[:1] != [digit]:
        return 0.0
    return 1.0 if completion == [digit, eos] else 0.5


# 3. Credit ------------------------------------------------------------------------------------------------------------


def advantages(rewards: Tensor, n: int) -> Tensor:
    """Rewards [P * n], siblings side by side -> how much better each attempt was than its siblings, in their spread.

    The mean of the siblings is the baseline: it needs no second network that predicts rewards, and it takes the
    task's difficulty out. If all attempts earned the same there is nothing to compare, and the advantage is exactly 0:
    dividing rounding errors by their own spread would make an advantage of about 1 out of nothing.
    """
    group = rewards.view(-1, n)
    centred = group - group.mean(dim=1, keepdim=True)
    spread = group.std(dim=1, keepdim=True)  # over n - 1
    flat = group.amax(dim=1, keepdim=True) - group.amin(dim=1, keepdim=True) < 1e-6
    return torch.where(flat, 0.0, centred / (spread + 1e-4)).view(-1)


# 4. Learn -------------------------------------------------------------------------------------------------------------


def token_logp(model, ids: Tensor) -> Tensor:
    """Log-probability [B, T] the model gives each token of ids [B, T] after those before it; 0 at position 0.

    If you sample at another temperature than 1, divide the logits by it here too: the log-probabilities have to be
    those of the distribution the tokens were drawn from.
    """
    logits = model(ids).logits[:, :-1].to(torch.promote_types(torch.float32, model.dtype))
    logp = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return torch.nn.functional.pad(logp, (1, 0))


def grpo_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    mask: Tensor,
    ref_logp: Tensor | None = None,
    clip: float = 0.2,
    kl: float = 0.0,
) -> Tensor:
    """GRPO's loss (equation 3 of the paper) from log-probabilities [B, T], advantages [B] and the mask [B, T].

    ``old_logp`` is of the weights that sampled, ``ref_logp`` of the model that training started from.
    """
    # Replace masked entries first. Multiplying by the mask afterwards is not enough: 0 * nan is nan.
    logp, old_logp = torch.where(mask, logp, 0.0), torch.where(mask, old_logp.detach(), 0.0)

    # Policy gradient with a leash. On the first update the ratio is 1 and this is plain REINFORCE. Later updates on
    # the same samples may move a token's probability by a fifth in the direction its advantage asks for; beyond that
    # its gradient is 0, because the samples no longer say much about the weights.
    ratio = (logp - old_logp).exp()
    good = advantage.detach()[:, None]
    per_token = -torch.minimum(ratio * good, ratio.clamp(1 - clip, 1 + clip) * good)

    # Stay near the model training started from: exp(x) - 1 - x is 0 where both agree and positive elsewhere.
    if ref_logp is not None:
        x = torch.where(mask, ref_logp.detach(), 0.0) - logp
        per_token = per_token + kl * (x.exp() - 1 - x)

    # Mean over each sequence's own tokens, then over sequences: every attempt has one vote, however long it is. (Other
    # choices are as good; what matters is to take the mean over the whole step, not over the micro-batch at hand.)
    length = mask.sum(dim=1)
    per_sequence = torch.where(mask, per_token, 0.0).sum(dim=1) / length.clamp(min=1)
    return per_sequence.sum() / (length > 0).sum().clamp(min=1)


def train(
    model,
    prompts: Tensor,
    reward,
    *,
    eos: int,
    steps: int = 100,
    n: int = 16,
    max_tokens: int = 4,
    updates: int = 2,
    learning_rate: float = 3e-3,
    kl: float = 0.03,
    log=print,
) -> list[float]:
    """Train on prompts [P, L]; ``reward(prompt number, completion ids)`` scores. Gives the mean reward of each step."""
    reference = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    history = []
    for step in range(1, steps + 1):
        # Sample, score, credit.
        drawn = [sample(model, prompt, n, max_tokens, eos) for prompt in prompts]
        ids, mask = torch.cat([i for i, _ in drawn]), torch.cat([m for _, m in drawn])
        completions = [row[written].tolist() for row, written in zip(ids, mask, strict=True)]
        rewards = torch.tensor([reward(b // n, completion) for b, completion in enumerate(completions)])
        advantage = advantages(rewards, n)

        # Learn: a few updates on the same samples. Old and reference log-probabilities are taken once, before them.
        with torch.no_grad():
            old_logp, ref_logp = token_logp(model, ids), token_logp(reference, ids)
        for _ in range(updates):
            loss = grpo_loss(token_logp(model, ids), old_logp, advantage, mask, ref_logp, kl=kl)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()

        # The reward is the thing to watch. The loss is not: at the first update of a step its value is about 0
        # whatever happens, and only its gradient means something.
        history.append(rewards.mean().item())
        signal = (advantage.view(-1, n) != 0).any(dim=1).float().mean().item()
        if step == 1 or step % 10 == 0:
            length = mask.sum(dim=1).float().mean().item()
            log(f"step {step:3}   reward {history[-1]:.2f}   length {length:.1f}   groups with a signal {signal:4.0%}")
    return history


def main() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)  # tensors this small are slower on several threads
    eos, bos = 10, 11  # tokens 0 to 9 are the digits
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
    )
    model = LlamaForCausalLM(config)
    prompts = torch.tensor([[bos, digit] for digit in range(10)])
    train(model, prompts, lambda digit, completion: echo_reward(completion, digit, eos), eos=eos)
    # A digit that still says itself four times is stuck: none of its attempts stops any more, so they all earn the
    # same, and a group without differences teaches nothing. More attempts, or a stronger KL, keep variety.
    for digit in range(10):
        ids, mask = sample(model, prompts[digit], 1, 4, eos)
        print(f"shown {digit}, says {' '.join('stop' if t == eos else str(t) for t in ids[0][mask[0]].tolist())}")


if __name__ == "__main__":
    main()

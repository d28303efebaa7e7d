"""A reward for the sums of sums_reward.toml that a person wrote: it adds up the question and reads what follows >."""

import re


def score(task, completion):
    question = task.prompt[-1].content
    total = sum(int(digit) for digit in re.findall(r"[0-9]+", question))
    found = re.fullmatch(r"[^>]*>([0-9]+)", completion)
    right = float(found is not None and int(found[1]) == total)
    return right, {"right": right}

"""Text such as ``gate(number(), by=form()) + 0.1 * overlong(64, 16)`` to a reward; it runs no text as code.

The text is read as Python's grammar and then walked: names of rewards called with numbers, strings, true, false and
rewards, joined by ``+ - *``. Everything else is refused.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from togi.credentials import without_secrets
from togi.rewards.algebra import Composable, clip, gate
from togi.rewards.chance import chance
from togi.rewards.code import code
from togi.rewards.judge import genrm, judge, preference, rubric
from togi.rewards.length_shaping import adaptive_length, brevity, concise, cosine, length_budget, overlong, repetition
from togi.rewards.novelty import novelty
from togi.rewards.potential_shaping import potential
from togi.rewards.reasoning_steps import process, turns
from togi.rewards.reward_model import ensemble, reward_model
from togi.rewards.unsupervised import entropy, likelihood, majority, self_certainty
from togi.rewards.user_function import python
from togi.rewards.verifiers import (
    bag_of,
    choice,
    exact,
    field,
    fields,
    follows,
    form,
    interval,
    json_schema,
    list_of,
    matches,
    math,
    number,
    quantity,
    scorer,
    set_of,
)
from togi.sandbox.box import AnyTier
from togi.sandbox.workers.pool import Pool, shared_pool

LONGEST = 2000  # characters of an expression
LARGEST = 1e15  # what a float holds to the last unit
INJECTED = ("pool", "base", "box")  # given by the recipe's place, never by its text

REWARDS: Mapping[str, Callable[..., Composable]] = {
    reward.__name__: reward
    for reward in (
        exact,
        number,
        choice,
        quantity,
        interval,
        set_of,
        list_of,
        bag_of,
        matches,
        json_schema,
        field,
        fields,
        follows,
        math,
        scorer,
        code,
        python,
        reward_model,
        ensemble,
        process,
        turns,
        majority,
        self_certainty,
        entropy,
        likelihood,
        judge,
        preference,
        genrm,
        rubric,
        form,
        overlong,
        concise,
        brevity,
        cosine,
        adaptive_length,
        length_budget,
        repetition,
        novelty,
        potential,
        chance,
        gate,
        clip,
    )
}


def parse_reward(expression: str, base: Path, pool: Pool | None = None, tier: AnyTier = "auto") -> Composable:
    """The reward an expression names. ``base`` is the folder that files of ``python("file.py:function")`` are in,
    ``tier`` the kind of box that programs run in.

    Raises ValueError that shows the expression and says what is wrong with it.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"a reward of {len(expression)} characters; the longest is {LONGEST}: write it in Python")
    shown = repr(without_secrets(expression))
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        reward = _Reader(base, pool or shared_pool(), tier).read(tree.body)
    except SyntaxError as error:
        own = re.search(r"[\w./-]+:[A-Za-z_]\w*", expression)
        hint = f'; your own function is written python("{own[0]}")' if own and "python(" not in expression else ""
        raise ValueError(f"reward = {shown}: this cannot be read: {error.msg}{hint}") from error
    except RecursionError as error:
        raise ValueError(f"reward = {shown[:80]}…: this is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"reward = {shown}: {error}") from error
    if not isinstance(reward, Composable):
        raise ValueError(f"reward = {shown}: this is a constant; name a reward: {', '.join(REWARDS)}")
    return reward


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters of a named reward that an expression may give."""
    signature = inspect.signature(REWARDS[name])
    return {key: value for key, value in signature.parameters.items() if key not in INJECTED}


class _Reader:
    def __init__(self, base: Path, pool: Pool, tier: AnyTier) -> None:
        self.injected = {"pool": pool, "base": base, "box": tier}

    def read(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | str() as value):
                return value
            case ast.Constant(value=int() | float() as value):
                return _bounded(value)
            case ast.Name(id="true" | "false" as name):
                return name == "true"
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._term(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._term(operand)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _bounded(self._term(left) + self._term(right))
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return _bounded(self._term(left) - self._term(right))
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return _bounded(self._term(left) * self._term(right))
            case ast.Call(func=ast.Name(id=name)):
                return self._call(name, node)
            case ast.Name(id=name) if name in REWARDS:
                raise ValueError(f"{name} is called with brackets: {usage(name)}")
            case ast.Name(id=name):
                raise ValueError(_unknown(name))
        raise ValueError(f'"{ast.unparse(node)}" is not allowed; use rewards, numbers, + - *, gate() and clip()')

    def _term(self, node: ast.expr) -> Any:
        value = self.read(node)
        if isinstance(value, bool | str):
            raise ValueError(f'"{ast.unparse(node)}" is neither a reward nor a number')
        return value

    def _call(self, name: str, call: ast.Call) -> Composable:
        if name not in REWARDS:
            raise ValueError(_unknown(name))
        if any(isinstance(argument, ast.Starred) for argument in call.args) or any(
            k.arg is None for k in call.keywords
        ):
            raise ValueError(f"{name} takes no * or **; {usage(name)}")
        positional = [self.read(argument) for argument in call.args]
        named = {str(keyword.arg): self.read(keyword.value) for keyword in call.keywords}
        wanted = parameters(name)
        for key in named:
            if key not in wanted:
                close = difflib.get_close_matches(key, wanted, n=1)
                hint = f'; did you mean "{close[0]}"?' if close else "."
                raise ValueError(f'{name} has no parameter "{key}"{hint} Its parameters: {usage(name)}')
        try:
            bound = inspect.Signature(list(wanted.values())).bind(*positional, **named)
        except TypeError as error:
            raise ValueError(f"{name}: {error}; its parameters: {usage(name)}") from error
        hints = get_type_hints(REWARDS[name])
        for key, value in bound.arguments.items():
            for each in value if wanted[key].kind is inspect.Parameter.VAR_POSITIONAL else [value]:
                _check_type(name, key, each, hints[key])
        injected = {
            key: value for key, value in self.injected.items() if key in inspect.signature(REWARDS[name]).parameters
        }
        return REWARDS[name](*bound.args, **bound.kwargs, **injected)


def _bounded(value: Any) -> Any:
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ValueError(f"a number is at most {LARGEST:g}")
    return value


def usage(name: str) -> str:
    """A reward's call with its parameters and defaults, as in ``overlong(max_length, cache, name="overlong")``."""
    return f"{name}({', '.join(map(_shown, parameters(name).values()))})"


def _shown(parameter: inspect.Parameter) -> str:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"{parameter.name}, ..."
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


def _check_type(name: str, key: str, value: Any, hint: type) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = number if hint is float else isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not fits:
        wanted = "a reward" if issubclass(hint, Composable) else f"of type {hint.__name__}"
        got = "a reward" if isinstance(value, Composable) else repr(value)
        raise ValueError(f'{name}: "{key}" is {wanted}; got {got}. Its parameters: {usage(name)}')


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, REWARDS, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"the rewards are {', '.join(REWARDS)}."
    return f'there is no reward "{name}"; {hint} Your own function is python("file.py:{name}").'

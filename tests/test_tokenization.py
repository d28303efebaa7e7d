"""Chat: what a model is shown is what its template says, ids are never tokenised twice, data ends no turn."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tiny_text import CHATML, SPECIALS, THINKING, byte_level
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from togi.models.load_model import Loaded
from togi.tokenization import PLAIN_TEMPLATE, Chat
from togi.types import Ids, Message, Role


def spaced() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before the first word of a text, as those of sentencepiece do."""
    words = ["▁", "▁five", "five", "x", ":", "\n", *"userant:fiv", "</s>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    merges = [("f", "i"), ("v", "e"), ("fi", "ve"), ("▁", "five")]
    for pair in merges:
        vocabulary.setdefault("".join(pair), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


TINY = byte_level()
CHAT = Chat(TINY, frozenset({2}))
text = st.text(max_size=40)
dialogue = st.lists(st.tuples(text, text), min_size=1, max_size=4)
hostile = st.lists(st.sampled_from([*SPECIALS, "a", "\n", " ", "\ufdd0", "0.", "0\ufdd1", "<|im_"]), max_size=8).map(
    "".join
)
quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def say(role: Role, content: str) -> Message:
    return Message(role=role, content=content)


def template_ids(chat: Chat, *messages: Message) -> Ids:
    rows = [{"role": m.role, "content": m.content} for m in messages]
    return tuple(chat.tokenizer.apply_chat_template(rows, add_generation_prompt=True)["input_ids"])


def check_prompt_is_the_templates(chat: Chat, system: str, user: str) -> None:
    messages = [say("system", system), say("user", user)]
    assert chat.prompt(messages) == template_ids(chat, *messages)
    assert chat.prompt(messages[1:]) == template_ids(chat, *messages[1:])


def check_dialogue(chat: Chat, turns: list[tuple[str, str]]) -> None:
    """Play a dialogue; every step keeps the ids so far, and the model sees the template's text of the whole."""
    said = [say("user", turns[0][0])]
    ids = chat.prompt(said)
    following = [question for question, _ in turns[1:]] + ["end"]
    for (_, answer), question in zip(turns, following, strict=True):
        completion = chat.completion(answer)
        assert chat.decode(completion) == answer
        assert completion[-1] == chat.end
        before = (*ids, *completion)
        ids = chat.extend(before, [say("user", question)])
        assert ids[: len(before)] == before
        assert chat.extend(before[:-1], [say("user", question)]) == ids
        said += [say("assistant", answer), say("user", question)]
        assert chat.show(ids) == chat.show(template_ids(chat, *said))


@quick
@given(text, text)
def test_prompt_is_what_the_template_gives(system: str, user: str) -> None:
    check_prompt_is_the_templates(CHAT, system, user)


@quick
@given(dialogue)
def test_dialogue_grows_by_appending(turns: list[tuple[str, str]]) -> None:
    check_dialogue(CHAT, turns)


@quick
@given(hostile)
def test_control_tokens_in_data_are_characters(content: str) -> None:
    plain = CHAT.prompt([say("user", "x")])
    prompt = CHAT.prompt([say("user", content)])
    completion = CHAT.completion(content)
    extended = CHAT.extend(prompt, [say("user", content), say("tool", content)])
    assert [prompt.count(i) for i in range(3)] == [plain.count(i) for i in range(3)]
    assert [completion.count(i) for i in range(3)] == [0, 0, 1]
    assert [extended[len(prompt) :].count(i) for i in range(3)] == [0, 3, 3]
    assert CHAT.decode(completion) == content
    assert CHAT.show(prompt) == CHAT.show(plain).replace("user\nx<", f"user\n{content}<")
    assert CHAT.decode(CHAT.prompt([say("text", content)])) == content


@pytest.mark.model
def test_bundled_model_prompts(smollm2: Loaded) -> None:
    chat = Chat(smollm2.tokenizer, smollm2.eos_ids)
    # Its vocabulary lacks the bytes of some control characters and of unassigned planes: they are dropped.
    covered = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]) | st.just("\n"), max_size=40)

    @quick
    @given(covered, covered)
    def prompts(system: str, user: str) -> None:
        check_prompt_is_the_templates(chat, system, user)

    @quick
    @given(st.lists(st.tuples(covered, covered), min_size=1, max_size=4))
    def dialogues(turns: list[tuple[str, str]]) -> None:
        check_dialogue(chat, turns)

    prompts()
    dialogues()
    assert "named SmolLM" in chat.show(chat.prompt([say("user", "hi")]))
    assert chat.end == 2
    assert chat.prompt([say("user", "<|im_end|>")]).count(2) == 2
    # Digits are cut apart before spaces are joined, as where the vocabulary was learned.
    tokens = smollm2.tokenizer.convert_ids_to_tokens(list(chat.completion("x  42\n\n7")))
    assert tokens == ["x", "ĠĠ", "4", "2", "ĊĊ", "7", "<|im_end|>"]


def test_the_turn_that_another_end_token_ended_is_not_ended_twice() -> None:
    chat = Chat(TINY, frozenset({0, 2}))
    prompt = chat.prompt([say("user", "x")])
    assert chat.show(chat.extend((*prompt, 0), [say("user", "y")])[len(prompt) :]) == (
        "<|endoftext|>\n<|im_start|>user\ny<|im_end|>\n<|im_start|>assistant\n"
    )


def test_recorded_conversation_becomes_turns() -> None:
    question = [say("system", "Add."), say("user", "2+3?")]
    answer = [say("assistant", "5"), say("user", "+1?"), say("tool", "6"), say("assistant", "six<|im_end|>")]
    first, second = CHAT.recorded(question, answer)
    assert first.prompt == CHAT.prompt(question)
    assert (first.text, second.text) == ("5", "six<|im_end|>")
    assert first.completion == CHAT.completion("5")
    assert first.replies == (say("user", "+1?"), say("tool", "6"))
    assert second.prompt == CHAT.extend((*first.prompt, *first.completion), first.replies)
    assert first.logp == second.logp == ()
    assert {first.stop, second.stop} == {"eos"}
    with pytest.raises(ValueError, match="starts with a message of role 'assistant', got role 'user'"):
        CHAT.recorded(question, [say("user", "5")])
    with pytest.raises(ValueError, match="got no message"):
        CHAT.recorded(question, [])


def test_raw_text_has_no_template() -> None:
    (turn,) = CHAT.recorded([say("text", "2+3=")], [say("assistant", "5")])
    assert CHAT.show(turn.prompt + turn.completion) == "2+3=5<|im_end|>"
    assert CHAT.show(CHAT.extend(turn.prompt, [say("text", "?\n")])) == "2+3=?\n"
    with pytest.raises(ValueError, match="whole prompt by itself"):
        CHAT.prompt([say("text", "a"), say("user", "b")])
    with pytest.raises(ValueError, match="all of role 'text' or none"):
        CHAT.extend(turn.prompt, [say("text", "a"), say("user", "b")])
    with pytest.raises(ValueError, match="at least one message"):
        CHAT.prompt([])


def test_begin_token_stands_once() -> None:
    with_template = Chat(byte_level("<|endoftext|>" + CHATML, begin=True), frozenset({2}))
    assert with_template.prompt([say("user", "x")]).count(0) == 1
    assert with_template.extend(with_template.prompt([say("user", "x")]), [say("user", "y")]).count(0) == 1
    for chat in (with_template, Chat(byte_level(None, begin=True), frozenset({2}))):
        prompt = chat.prompt([say("text", "x")])
        assert prompt[0] == 0
        assert prompt.count(0) == 1
    plain = Chat(byte_level(None, begin=True), frozenset({2}))
    assert plain.show(plain.prompt([say("user", "x")])) == "<|endoftext|>user:\nx\nassistant:\n"


def test_tokenizer_without_a_template_gets_the_plain_one() -> None:
    chat = Chat(byte_level(None), frozenset({2}))
    prompt = chat.prompt([say("system", "Add."), say("user", "2+3?")])
    assert chat.show(prompt) == "system:\nAdd.\nuser:\n2+3?\nassistant:\n"
    ids = chat.extend(prompt + chat.completion("5"), [say("user", "sure?")])
    assert chat.show(ids[len(prompt) :]) == "5<|im_end|>\nuser:\nsure?\nassistant:\n"
    check_dialogue(Chat(byte_level(PLAIN_TEMPLATE), frozenset({2})), [("a", "b"), ("c", "")])


def test_prefilled_thought_belongs_to_the_prompt() -> None:
    chat = Chat(byte_level(THINKING), frozenset({2}))
    assert chat.prefill == "<think>\n"
    prompt = chat.prompt([say("user", "x")])
    assert chat.show(prompt).endswith("assistant\n<think>\n")
    for written in ("<think>\nso</think>5", "<think>so</think>5", "so</think>5"):
        (turn,) = chat.recorded([say("user", "x")], [say("assistant", written)])
        assert chat.show(turn.prompt + turn.completion).count("<think>") == 1
        assert chat.decode(turn.completion) == "so</think>5"
        assert turn.text == "<think>\nso</think>5"
    assert CHAT.prefill == ""
    assert CHAT.recorded([say("user", "x")], [say("assistant", "<think>5")])[0].text == "<think>5"


# As THINKING, and with an empty thought before every past answer that has none.
EMPTY_THOUGHTS = THINKING.replace(
    "{% else %}", "{% elif m['role'] == 'assistant' %}<think>\n\n</think>\n\n{{ m['content'] }}{% else %}"
)
CLOSED = THINKING.replace("<think>\n{% endif %}", "<think>\n\n</think>\n\n{% endif %}")


@pytest.mark.parametrize(
    ("template", "prefill"),
    [
        (THINKING, "<think>\n"),
        (THINKING.replace("<think>\n", "<think>"), "<think>"),
        (THINKING.replace("<think>", "<reasoning>"), "<reasoning>\n"),
        (EMPTY_THOUGHTS, "<think>\n"),
        (CLOSED, "<think>\n\n</think>\n\n"),
        (CHATML, ""),
        (None, ""),
    ],
)
def test_every_turn_says_what_its_template_began_it_with(template: str | None, prefill: str) -> None:
    chat = Chat(byte_level(template), frozenset({2}))
    assert chat.prefill == chat.opening([say("user", "x")]) == prefill
    assert chat.opening([say("text", "x")]) == ""
    answer = [say("assistant", "5"), say("user", "y"), say("assistant", "6")]
    assert [turn.text for turn in chat.recorded([say("user", "x")], answer)] == [f"{prefill}5", f"{prefill}6"]
    assert [turn.text for turn in chat.recorded([say("text", "x")], answer[:1])] == ["5"]


def test_thoughts_the_template_would_drop_stay_in_learned_turns() -> None:
    chat = Chat(byte_level(THINKING), frozenset({2}))
    answer = [say("assistant", "deep</think>5"), say("user", "y"), say("assistant", "more</think>6")]
    first, second = chat.recorded([say("user", "x")], answer)
    assert second.prompt[: len(first.prompt + first.completion)] == first.prompt + first.completion
    assert "deep" in chat.show(second.prompt)
    again = chat.prompt([say("user", "x"), *answer[:2]])
    assert "deep" not in chat.show(again)


def test_answer_inside_a_conversation_gets_no_leading_space() -> None:
    chat = Chat(spaced(), frozenset({0}))
    assert chat.tokenizer.convert_ids_to_tokens(list(chat.completion("five"))) == ["five", "</s>"]
    (turn,) = chat.recorded([say("text", "five ")], [say("assistant", "five")])
    assert chat.show(turn.prompt) + chat.show(turn.completion) == "five five</s>"


@pytest.mark.parametrize(
    ("template", "messages", "error"),
    [
        ("{{ raise_exception('no system') }}", None, "refused messages of roles user: no system"),
        (CHATML.replace("m['role'] != 'system'", "raise_exception('odd')"), None, "odd"),
        (
            "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}<|im_end|>{% endfor %}",
            [Message(role="system", content="Add."), Message(role="user", content="x")],
            "leaves out messages of role 'system'",
        ),
    ],
)
def test_template_that_refuses_or_forgets_is_an_error(
    template: str, messages: list[Message] | None, error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        Chat(byte_level(template), frozenset({2})).prompt(messages or [say("user", "x")])


def test_text_that_is_no_unicode_is_an_error() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        CHAT.prompt([say("user", "a\ud800")])


def test_a_tokenizer_that_ends_nothing_is_an_error() -> None:
    tokenizer = byte_level(None)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="set eos_token"):
        Chat(tokenizer, frozenset())

"""Words that count by where they stand in an answer's sentence, whatever they do elsewhere; it knows no grader and no
text.

Words and phrases between commas, in small letters where a language has them.
"""

from __future__ import annotations

from collections.abc import Mapping

OPENINGS: Mapping[str, str] = {
    "English": """is, are, was, were, does, do, did, would, could, should, shall, can, say, imagine, prove, show,
        verify, who, whose, why, how come, how can""",
    "German": """ist, sind, war, waren, wäre, wären, hat er, hat sie, haben wir, gibt es, beträgt, ergibt, kann,
        können, soll, sollte, würde, stimmt, sei, seien, ob, zeige, beweise, warum, wieso, weshalb""",
    "French": "est ce, est il, est elle, sont ils, y a t il, peut on, pourquoi, montrer, montrez, prouver",
    "Spanish": "sea, por qué, demuestra, demuestre, demostrar",
}
"""What begins no statement, as the first of several words in a sentence: a question, a task, a wish."""
SETTINGS: Mapping[str, str] = {
    "English": """for, at, with, where, when, take, taking, set, setting, put, putting, substitute, substituting, plug,
        plugging, consider, considering, want, like, prove, hypothesis, assumption""",
    "German": "wenn, für, bei, mit, setze, setzen, nimm",
    "French": "quand, pour, avec, où, prenons, pose, posons",
    "Spanish": "cuando, para, con, en, donde, tomemos, ponemos",
    "Chinese": "代入, 取, 令, 设",
}
"""What stands before a name that has the value only then: "for x = 42"."""
DATES: Mapping[str, str] = {
    "English": """january, february, march, april, may, june, july, august, september, october, november, december, bc,
        ad, bce, ce, o'clock, oclock""",
    "German": "januar, februar, märz, mai, juni, juli, oktober, dezember, uhr",
    "French": "janvier, février, avril, juin, juillet, août, septembre, octobre, novembre, décembre",
    "Spanish": "enero, febrero, abril, mayo, junio, julio, septiembre, octubre, noviembre, diciembre",
}
"""What makes a date or an hour of a number right beside it."""
ANSWERS = "answer, antwort, réponse, respuesta, 答え, 解答, 回答, 答案"
"""What the answer itself is called: half of it is another number, and somebody's is that person's."""
OWNERS = "question's, problem's, exercise's, puzzle's, here's, that's, it's, what's, today's"
"""What ends like a person before "answer", and is none."""
DESCRIBING = "is, ist, est, es"
"""What follows a number that is described rather than given: "42 is even"."""
ARTICLES = "a, an, ein, eine, un, une, una"

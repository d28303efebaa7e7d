"""Words that change an answer beside them, and words that do not, in six languages; it knows no grader and no text.

One table: what a word does, then the language, then words and phrases between commas. Case and accents do not count
unless a word is listed with its accent. Longer phrases win over shorter ones ("adds up to" over "up to"), so a harmless
phrase that holds a changing one is listed under "neutral".

- denial, alternative, hedge, numeral: wherever they stand, one answer is no longer plainly given;
- sign, scale, operator, bound: another answer, when they belong to it;
- near: the same, directly before it; suffix: the same, directly after it without a space;
- revision: a denial when it comes after;
- percent: what a % says;
- copula: what stands before it is said of something else;
- neutral: may stand beside an answer in a place of its own, such as a tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Effect = Literal[
    "denial",
    "alternative",
    "hedge",
    "numeral",
    "sign",
    "scale",
    "operator",
    "bound",
    "near",
    "suffix",
    "revision",
    "percent",
    "copula",
    "neutral",
]

WORDS: Mapping[Effect, Mapping[str, str]] = {
    "denial": {
        "English": """not, no, nope, nah, never, none, nothing, neither, nor, non, without, wrong, wrongly,
            incorrect, incorrectly, false, falsely, untrue, invalid, inaccurate, mistaken, mistake, erroneous,
            error, fake, bogus, nonsense, lie, impossible, unlikely, hardly, scarcely, cannot, cant, dont, doesnt,
            didnt, isnt, wasnt, arent, wont, aint, except, excepting, exclude, excludes, excluded, excluding,
            besides, anything but, all but, everything but, nothing but, far from, nowhere near, instead of,
            rather than, other than, opposite, opposed, contrary, unequal, differs, different, disagree, deny,
            denied, denies, reject, rejected, ruled out, refuse, refuted, retract, retracted, ignore, disregard,
            discard, eliminate, eliminated, dismiss, forget, fails, failed, doubt, doubtful, too high, too low,
            too big, too small, too large, too many, too much, too few, trap, fool, foolish, stupid, silly,
            made up, made this up, made it up, sarcasm, sarcastic, jk, off by, ridiculous, absurd, rubbish,
            garbage, useless, whether, nonexistent, worst, distractor, least correct, least likely, least accurate""",
        "German": """nicht, nichts, nie, niemals, nein, nee, kein, keine, keiner, keines, keinen, keinem,
            keinesfalls, keineswegs, weder, noch, ohne, falsch, falsche, falscher, falsches, inkorrekt, unrichtig,
            unwahr, ungültig, fehlerhaft, Fehler, Irrtum, gelogen, unmöglich, außer, ausser, ausgenommen,
            ausgeschlossen, statt, anstatt, Gegenteil, ungleich, verschieden, anders, verneint, bestreite,
            bezweifle, stimmt kaum, zu hoch, zu niedrig, zu klein, zu groß, Quatsch, Unsinn, mitnichten,
            scheidet aus, unsinnig, Blödsinn, erfunden""",
        "French": """pas, non, ne, ni, jamais, aucun, aucune, rien, sans, faux, fausse, incorrect, incorrecte,
            erroné, erronée, inexact, inexacte, erreur, mensonge, impossible, sauf, excepté, hormis, contraire,
            opposé, au lieu, plutôt que, différent, nullement, invalide, loin de, exclu, exclue, autre que, guère,
            bêtise, inventé""",
        "Spanish": """no, nunca, jamás, tampoco, ni, nada, ningún, ninguno, ninguna, sin, falso, falsa,
            incorrecto, incorrecta, erróneo, errónea, equivocado, equivocada, mal, mentira, imposible, inválido,
            salvo, excepto, contrario, opuesto, en lugar, en vez, distinto, diferente, lejos, descartado,
            descartada, ni hablar, otro que, inventado, tontería""",
        "Japanese": """ない, なく, なかった, なし, ません, ちがう, ちがい, ちがっ, 違う, 違い, 違っ, 違います,
            間違, 誤, まちが, いいえ, いや, 不, 非, 否, 未, 無, 以外, 嘘, うそ, ウソ, ダメ, だめ, ノー, 除, 偽,
            反対, 駄目, 却下""",
        "Chinese": """不, 没, 沒, 非, 错, 錯, 误, 否, 别, 無, 无, 假, 勿, 除了, 以外, 之外, 相反, 排除, 胡说,
            假的, 谎, 难道, 未必, 胡扯""",
        "others": """não, nem, niet, geen, nie, inte, ikke, ej, ei, değil, hayır, bukan, tidak, salah, không,
            sbagliato, sbagliata, errado, errada, fout, onjuist, feil, forkert, väärin, yanlış, źle, nieprawda,
            greșit, pogrešno""",
    },
    "alternative": {
        "English": "or, either, versus, vs, alternatively, alternative, and more, and counting, as well as",
        "German": "oder, entweder, beziehungsweise, bzw, alternativ, und mehr, wahlweise",
        "French": "ou, soit, alternativement, et plus",
        "Spanish": "o, u, alternativamente, o bien, y más",
        "Japanese": "または, もしくは, あるいは, それとも, ないし, 若しくは, 或いは, どちらか",
        "Chinese": "或, 还是, 還是, 要么, 抑或, 任一",
    },
    "hedge": {
        "English": """maybe, perhaps, possibly, probably, presumably, likely, might, could, may be, guess,
            guessing, unsure, uncertain, approximately, approximate, approx, roughly, supposedly, allegedly,
            unclear, unknown, undefined, if, unless, almost, nearly, close to, near to, in the vicinity, rounded,
            truncated, estimate, estimated, ish, assuming, assume, provided, suppose, supposing, huh, eh,
            and a bit, and a half, and some, and change, give or take, candidate, try, trying, testing,
            hypothetically, tentative, tentatively""",
        "German": """vielleicht, möglicherweise, eventuell, evtl, wahrscheinlich, vermutlich, könnte, womöglich,
            geraten, ungefähr, annähernd, circa, schätze, geschätzt, unsicher, unbekannt, gerundet, falls,
            angenommen, gegebenenfalls, hoffentlich""",
        "French": """peut être, peut-être, possiblement, probablement, sans doute, pourrait, environ,
            approximativement, presque, autour de, à peu près, près de, quelque, quelques, incertain, inconnu,
            arrondi, si, supposons, admettons, suppose que""",
        "Spanish": """quizá, quizás, tal vez, a lo mejor, acaso, posiblemente, probablemente, podría, puede ser,
            puede que, aproximadamente, aprox, casi, cerca de, alrededor de, incierto, desconocido, redondeado,
            si, supongamos, suponiendo""",
        "Japanese": """たぶん, 多分, おそらく, 恐らく, かもしれ, もしかする, もしかして, だろう, でしょう, かな,
            ですか, ますか, およそ, おおよそ, ほぼ, だいたい, 大体, くらい, ぐらい, ほど, 程度, 前後, 不明, 推定,
            概算, ごろ, 頃, 仮に, もし""",
        "Chinese": """可能, 也许, 也許, 或许, 或許, 大概, 好像, 似乎, 估计, 猜, 吗, 嗎, 吧, 大约, 大約, 约为,
            約為, 左右, 上下, 将近, 接近, 几乎, 差不多, 近似, 如果, 假如, 假设, 要是""",
    },
    "numeral": {
        "English": """zero, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen,
            fourteen, fifteen, sixteen, seventeen, eighteen, nineteen, twenty, thirty, forty, fourty, fifty,
            sixty, seventy, eighty, ninety""",
        "German": """null, zwei, drei, vier, fünf, fuenf, sechs, sieben, acht, neun, zehn, elf, zwölf, zwoelf,
            dreizehn, vierzehn, fünfzehn, sechzehn, siebzehn, achtzehn, neunzehn, zwanzig, dreißig, vierzig,
            fünfzig, sechzig, siebzig, achtzig, neunzig""",
        "French": """zéro, deux, trois, quatre, cinq, six, sept, huit, neuf, dix, onze, douze, treize, quatorze,
            quinze, seize, vingt, vingts, trente, quarante, cinquante, soixante, septante, huitante, nonante""",
        "Spanish": """cero, dos, tres, cuatro, cinco, seis, siete, ocho, nueve, diez, doce, trece, catorce,
            quince, dieciséis, diecisiete, dieciocho, diecinueve, veinte, veintiuno, veintidós, veintitrés,
            veinticuatro, veinticinco, veintiséis, veintisiete, veintiocho, veintinueve, treinta, cuarenta,
            cincuenta, sesenta, setenta, ochenta, noventa, cien, ciento""",
        "Japanese": "ゼロ, ひとつ, ふたつ, みっつ, よっつ, いつつ, むっつ, ななつ, やっつ, ここのつ",
    },
    "sign": {
        "English": """minus, negative, neg, negated, signed, loss, deficit, debt, decrease, decreased, below zero,
            under par, down by, negation""",
        "German": "negativ, negative, negativer, negatives, unter null, Verlust, Schulden",
        "French": "moins, négatif, négative, perte, dette",
        "Spanish": "menos, negativo, negativa, pérdida, deuda, bajo cero",
        "Japanese": "マイナス, 負, ー, 氷点下",
        "Chinese": "负, 負, 减号, 零下",
    },
    "scale": {
        "English": """hundred, hundreds, thousand, thousands, million, millions, billion, billions, trillion,
            trillions, quadrillion, dozen, dozens, pair, pairs, gross, lakh, lakhs, crore, crores, bn, mn, mio,
            tn, mil, ppm, ppb, permille, per mille, per mil, basis point, basis points, bps, percentage,
            percentage point, percentage points, googol, tenths, hundredths, thousandths, quarter, quarters,
            halves, thirds, fold, permil, micro, mega, giga, kilo, milli, nano, pico, grand, one in, pc""",
        "German": """hundert, tausend, Million, Millionen, Milliarde, Milliarden, Billion, Billionen, Dutzend,
            Paar, Promille, Prozentpunkte, Mrd, Tsd, Schock, Hälften, fach, Mill, Riesen""",
        "French": """cent, cents mille, mille, milliers, millier, million, millions, milliard, milliards,
            douzaine, douzaines, centaine, centaines, paires, pour mille""",
        "Spanish": """mil, miles de, millón, millones, millar, millares, docena, docenas, pares, centenas,
            centenares, por mil, billón, billones""",
        "Japanese": "ダース, パーミル, キロ, 百万, 千万, 倍, ミリ, マイクロ, メガ, ギガ",
        "Chinese": "百分点, 个百分点, 倍",
    },
    "operator": {
        "English": """plus, times, multiplied, squared, cubed, square root, cube root, root, sqrt, cbrt,
            square of, cube of, the square, power, exponent, factorial, log, ln, lg, exp, sin, cos, tan, cot, sec,
            csc, arcsin, arccos, arctan, sinh, cosh, tanh, gcd, lcm, floor, ceil, abs, divided, half, halved,
            twice, thrice, double, doubled, triple, tripled, third of, fourth of, fifth of, tenth of, reciprocal,
            inverse, logarithm, pi, tau, infinity, inf, nan, sum of, product of, difference of, quotient of,
            multiple of, factor of, divisor of, added, subtract, subtracted, infinite, infinitely, imaginary, mod,
            modulo, base, hex, hexadecimal, octal, binary, predecessor, successor, number after, number before,
            one more than, one less than""",
        "German": """mal, hoch, geteilt, Wurzel, Quadratwurzel, Quadrat, quadriert, Kubik, Fakultät, Logarithmus,
            Hälfte, halb, doppelt, dreifach, Kehrwert, durch, Summe aus, Produkt aus, addiert, multipliziert,
            unendlich, zum Quadrat, zweimal, dreimal, viermal, fünfmal, zehnmal, Vorgänger, Nachfolger, Doppelte,
            Gegenzahl""",
        "French": """plus, fois, divisé, racine, carré, carrée, cube, puissance, factorielle, logarithme, moitié,
            demi, double, triple, inverse, infini, ajouté, multiplié, prédécesseur, successeur""",
        "Spanish": """más, por, veces, dividido, raíz, cuadrado, cubo, potencia, elevado, factorial, logaritmo,
            mitad, medio, doble, triple, inverso, infinito, sumado, multiplicado, antecesor, sucesor, anterior a,
            posterior a""",
        "Japanese": """プラス, たす, 足す, ひく, 引く, かける, 掛ける, わる, 割る, 乗, 二乗, 平方, 平方根, ルート,
            階乗, 半分, 二倍, 逆数, 累乗, 対数, 円周率, 無限, 立方""",
        "Chinese": """加, 加上, 减, 減, 减去, 乘, 乘以, 除以, 平方, 平方根, 根号, 立方, 次方, 阶乘, 一半, 两倍,
            倒数, 对数, 圆周率, 无穷""",
    },
    "bound": {
        "English": """at least, at most, at best, at worst, more than, less than, fewer than, greater than,
            larger than, bigger than, smaller than, lower than, higher than, better than, worse than,
            no more than, no less than, up to, minimum, minimal, maximum, maximal, less, fewer, greater, larger,
            bigger, smaller, lower, higher, exceed, exceeds, exceeding, exceeded, beyond, between, within,
            upwards, upward, downwards, or above, bound, bounded, limit, limits, upper, short of, inclusive,
            exclusive, onwards, range, ranges, begins with, starts with, ends with, ending in, and up, and above,
            and over, or over, or up, and below, max, tops""",
        "German": """mindestens, wenigstens, höchstens, hoechstens, maximal, minimal, mehr als, weniger als,
            größer als, groesser als, kleiner als, größer, kleiner, mehr, weniger, bis zu, bis, zwischen,
            übersteigt, überschreitet, oberhalb, unterhalb, aufwärts""",
        "French": """au moins, au plus, plus de, moins de, plus que, moins que, au maximum, au minimum, maximum,
            minimum, jusqu'à, jusqu à, supérieur, supérieure, inférieur, inférieure, dépasse, excède, entre,
            tout au plus""",
        "Spanish": """al menos, por lo menos, como mínimo, como máximo, a lo sumo, más de, menos de, más que,
            menos que, mayor, menor, mínimo, máximo, hasta, supera, excede, entre, superior, inferior""",
        "Japanese": """以上, 以下, 未満, より, 超え, 少なくとも, 最低, 最大, 最小, 最高, 高々, せいぜい, まで,
            以内, を超, を下回, を上回, 最多, 最少, 足らず, 余り""",
        "Chinese": """以上, 以下, 以内, 至少, 至多, 最多, 最少, 最大, 最小, 大于, 大於, 小于, 小於, 超过, 超過,
            低于, 高于, 多于, 少于, 不到, 不超过, 不少于, 不多于, 之间""",
    },
    "near": {
        "English": """about, around, over, under, above, below, from, until, till, since, ca, circa, some, min,
            max, no, nr, down, anti, pseudo, quasi, semi""",
        "German": "etwa, rund, fast, knapp, gut, über, unter, ca, gegen, ab, seit",
        "French": "sur, sous, vers, depuis",
        "Spanish": "unos, unas, sobre, bajo, desde",
        "Japanese": "約, 第",
        "Chinese": "约, 約, 近, 第, 百分之, 千分之, 万分之, 比",
    },
    "suffix": {
        "English": "score",
        "Japanese": "か, 強, 弱, 超, 番目, 目, から, や, 万, 億, 兆, 千, 百, 十, 割",
        "Chinese": "多, 余, 餘, 来, 几, 分之, 萬, 亿, 成, 打, 对, 出头",
    },
    "revision": {
        "English": """wait, sorry, oops, correction, correcting, actually, instead, rather, scratch that, revised,
            revise, reconsider, reconsidering, second thought, hmm, hm, but, however, though, although,
            unfortunately, strike that, kidding, joke, joking, edit, typo, changed my mind""",
        "German": "Moment, Entschuldigung, Korrektur, doch, sondern, aber, jedoch, eigentlich, Scherz, leider",
        "French": """attends, attendez, pardon, désolé, correction, mais, cependant, toutefois, finalement,
            plutôt, en fait""",
        "Spanish": "espera, perdón, corrección, pero, sino, sin embargo, en realidad, mejor dicho, lo siento",
        "Japanese": "待って, すみません, 訂正, しかし, でも, ただし, けど, 実は, やっぱり",
        "Chinese": "等等, 抱歉, 对不起, 更正, 但, 然而, 其实, 其實, 等一下",
    },
    "percent": {
        "English": "percent, per cent, pct",
        "German": "Prozent, vH",
        "French": "pour cent, pourcent",
        "Spanish": "por ciento",
        "Japanese": "パーセント",
    },
    "copula": {
        "English": """is, are, was, were, be, equals, equal, equal to, equals to, gives, give, makes, make, has,
            have, had, get, gets, got, yields, costs, cost, contains, there are, there is, comes to, amounts to,
            adds up to, add up to, comes out to, sums to, sum to, becomes, leaves, totals, therefore, thus, hence,
            so, it's, that's, i'm, we've, earns, needs, takes, wins, pays, weighs, measures""",
        "German": """ist, sind, war, waren, lautet, beträgt, betragen, ergibt, ergeben, hat, haben, gibt, macht,
            gleich, also, somit, daher, kostet, enthält, bleiben""",
        "French": """est, sont, était, vaut, valent, donne, donnent, fait, font, ont, égal, égale, égal à,
            égale à, donc, ainsi, coûte, contient, obtient, obtenons, reste, il y a, y a""",
        "Spanish": """es, son, era, fue, vale, valen, da, dan, tiene, tienen, hay, igual, igual a, luego, cuesta,
            contiene, queda, quedan, suma, obtenemos""",
        "Japanese": "は, が, を, も, よって, したがって, だから, ゆえに, 従って",
        "Chinese": "是, 为, 為, 等于, 等於, 有, 得, 得到, 所以, 因此, 共, 剩",
    },
    "neutral": {
        "English": """the, a, an, answer, answers, answered, my, your, our, final, correct, correctly, right,
            true, result, results, solution, value, number, it, its, that, this, these, those, which, here, we, i,
            you, he, she, they, think, believe, find, found, choose, select, chose, pick, picked, selected,
            option, choice, letter, total, sum, in, of, all, to, as, shown, altogether, overall, exactly,
            precisely, simply, just, only, of course, sure, indeed, clearly, yes, ok, okay, great, conclusion,
            conclude, finally, step, by, for, with, on, at, left, each, per, there, then, now, and, area, length,
            width, height, distance, price, amount, cost, age, time, speed, volume, weight, count, perimeter,
            probability, remainder, difference, product, quotient, average, mean, median, and so, square meter,
            square meters, square metres, square feet, square inches, square centimeters, square units,
            cubic meters, unit, units, one, other than that, because, would, will, must, should, can, let, done,
            good, best, how many, how much, what, no problem, no matter, no doubt, without doubt, without a doubt,
            nothing else, let me know if, if you have, if you need, hope, helps, helpful, thanks, thank,
            explanation, box, boxed, more, hour, hours, minute, minutes, seconds, day, days, week, weeks, month,
            months, year, years, old, meter, meters, metre, metres, mile, kilometer, kilometers, kilometre,
            kilometres, gram, grams, kilogram, kilograms, liter, liters, litre, litres, dollar, dollars, euro,
            people, points, degrees""",
        "German": """die, der, das, den, dem, des, ein, eine, einen, einem, Antwort, Lösung, Ergebnis, Resultat,
            endgültige, korrekt, korrekte, richtig, richtige, Wert, Zahl, es, sie, er, wir, ich, insgesamt,
            zusammen, Summe, genau, ja, Stück, wähle, Option, Buchstabe, hier, und, meine, von, im, in, Euro,
            Euros, nämlich, natürlich, Stunden, Minuten, Tage, Jahre, alt, Meter, Kilometer, Kilogramm, Gramm,
            Liter, pro, Stunde, Grad""",
        "French": """la, le, les, un, une, l, réponse, solution, résultat, finale, final, correct, correcte,
            bonne, juste, valeur, nombre, c, il, elle, on, nous, je, ça, cela, à, au, total, tout, en, de, des,
            du, d, y, très, où, oui, exactement, choisis, option, lettre, voici, et, ma, qui, que, euro, euros,
            choix, heures, minutes, jours, ans, mètres, kilomètres, carrés, kilogrammes, grammes, litres, par,
            heure, degrés""",
        "Spanish": """la, el, los, las, un, una, respuesta, solución, resultado, final, correcta, correcto, valor,
            número, lo, se, ella, él, a, al, de, del, en, total, sí, exactamente, elijo, opción, letra, y, mi,
            que, es decir, aquí, claro, euro, euros, horas, minutos, días, años, metros, kilómetros, kilogramos,
            gramos, litros, hora, grados""",
        "Japanese": """答え, 答, 解答, 回答, 正解, 最終, 的な, です, でした, である, だ, になります, になる,
            となる, となります, なので, の, に, で, と, 合計, 全部, 計, 結果, 値, 数, ます, あります, ある, いる,
            います, 個, つ, 人, 円, 本, 枚, 匹, 冊, 台, 回, 歳, 年, 日, 分, 秒, 時間, 分間, メートル,
            平方メートル, 平方センチメートル, 立方メートル, 平方キロメートル, 立方センチメートル, センチメートル,
            ミリメートル, キロメートル, キログラム, グラム, リットル, ドル, ユーロ, 選択肢, 三角形, 四角形,
            五角形, 六角形, 正しい, 求める, 面積, 非常, もちろん, 個数, 無事, 少女, 問題, 全て, すべて, ください""",
        "Chinese": """答案, 结果, 結果, 最终, 最終, 最后, 正确, 正確, 是的, 的, 了, 一共, 总共, 總共, 共计, 总计,
            合计, 个, 個, 人, 元, 块, 本, 张, 只, 条, 次, 年, 天, 岁, 米, 厘米, 毫米, 千米, 公里, 千克, 公斤, 克,
            吨, 升, 毫升, 千瓦, 小时, 分钟, 秒, 度, 平方米, 平方厘米, 平方千米, 平方公里, 立方米, 立方厘米,
            三角形, 四边形, 五边形, 六边形, 未知数, 分别, 特别, 非常, 选, 选择, 选项, 應該, 应该, 应为, 就, 即,
            正好, 美元, 欧元, 一定, 一样, 一些, 一个, 一下, 第一, 无论""",
    },
}
UNITS = """km, cm, mm, nm, kg, mg, lb, lbs, oz, ft, ml, cl, dl, kwh, kw, hz, khz, ghz, kb, mb, gb, mph, kmh,
    min, sec, hr, hrs, usd, eur, gbp, jpy, cny, chf, pts, deg, cal, kcal, kj, kpa, rad, h, s"""
"""What may follow a number without a space."""
GERMAN_ONES = "ein, zwei, drei, vier, fünf, fuenf, sechs, sieben, acht, neun"
GERMAN_TENS = "zwanzig, dreissig, vierzig, fünfzig, fuenfzig, sechzig, siebzig, achtzig, neunzig"


def table() -> dict[tuple[str, ...], Effect]:
    """Every phrase, as its words in small letters or as one text where words have no spaces. What comes later in the
    table, or in a later language, yields to what came first: a word that denies in one language is doubt in all."""
    found: dict[tuple[str, ...], Effect] = {}
    for effect in get_args(Effect):
        for phrases in WORDS[effect].values():
            for phrase in listed(phrases):
                found.setdefault(tuple(phrase.split()), effect)
    joined = [(f"{one}und{ten}",) for one in listed(GERMAN_ONES) for ten in listed(GERMAN_TENS)]
    return found | dict.fromkeys(joined, "numeral")


def listed(phrases: str) -> list[str]:
    """The phrases between commas, in small letters."""
    return [phrase.strip().casefold() for phrase in phrases.split(",")]

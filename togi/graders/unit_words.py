"""Names of common units in German, French, Spanish, Japanese and Chinese, each with the English one; it knows no grader
and no amount."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from togi.graders.answer_words import listed

UNITS: Mapping[str, str] = {
    "millimeter": "Millimeter, millimètre, millimètres, milímetro, milímetros, ミリメートル, 毫米",
    "centimeter": "Zentimeter, centimètre, centimètres, centímetro, centímetros, センチメートル, 厘米",
    "meter": "Meter, Metern, mètre, mètres, metro, metros, メートル, 米",
    "kilometer": "Kilometer, Kilometern, kilomètre, kilomètres, kilómetro, kilómetros, キロメートル, 千米, 公里",
    "mile": "Meile, Meilen, milla, millas, マイル, 英里",
    "centimeter**2": """Quadratzentimeter, centimètre carré, centimètres carrés, centímetro cuadrado,
        centímetros cuadrados, 平方センチメートル, 平方厘米""",
    "meter**2": """Quadratmeter, Quadratmetern, mètre carré, mètres carrés, metro cuadrado, metros cuadrados,
        平方メートル, 平方米""",
    "kilometer**2": """Quadratkilometer, kilomètre carré, kilomètres carrés, kilómetro cuadrado, kilómetros cuadrados,
        平方キロメートル, 平方千米, 平方公里""",
    "centimeter**3": """Kubikzentimeter, centimètre cube, centimètres cubes, centímetro cúbico, centímetros cúbicos,
        立方センチメートル, 立方厘米""",
    "meter**3": "Kubikmeter, Kubikmetern, mètre cube, mètres cubes, metro cúbico, metros cúbicos, 立方メートル, 立方米",
    "milliliter": "Milliliter, millilitre, millilitres, mililitro, mililitros, ミリリットル, 毫升",
    "liter": "Liter, Litern, litre, litres, litro, litros, リットル, 升",
    "milligram": "Milligramm, milligramme, milligrammes, miligramo, miligramos, ミリグラム, 毫克",
    "gram": "Gramm, gramme, grammes, gramo, gramos, グラム, 克",
    "kilogram": "Kilogramm, kilogramme, kilogrammes, kilogramo, kilogramos, キログラム, 千克, 公斤",
    "tonne": "Tonne, Tonnen, tonnes, tonelada, toneladas, トン, 吨",
    "second": "Sekunde, Sekunden, seconde, secondes, segundo, segundos, 秒, 秒钟",
    "minute": "Minute, Minuten, minutes, minuto, minutos, 分, 分間, 分钟",
    "hour": "Stunde, Stunden, heure, heures, hora, horas, 時間, 小时",
    "day": "Tag, Tage, Tagen, jour, jours, día, días, 日, 日間, 天",
    "week": "Woche, Wochen, semaine, semaines, semana, semanas, 週間, 周",
    "year": "Jahr, Jahre, Jahren, ans, année, années, año, años, 年",
    "degree": "Grad, degré, degrés, grado, grados",
    "degC": "Grad Celsius, degré Celsius, degrés Celsius, grado Celsius, grados Celsius, 摄氏度",
    "percent": "Prozent, pour cent, pourcent, por ciento, パーセント",
    "per": "pro, par, por, 毎, 每",
}


def _plain(word: str) -> str:
    """A word of Latin letters without accents; other scripts as they are."""
    return "".join(unicodedata.normalize("NFD", each)[0] if each < "\u0250" else each for each in word)


ENGLISH = {form: unit for unit, words in UNITS.items() for word in listed(words) for form in (word, _plain(word))}
NAME = re.compile(
    "[每毎]|(?:(?<=[每毎])|(?<![^\\W\\d_]))(?:"
    + "|".join(sorted(ENGLISH, key=len, reverse=True))
    + ")(?=[每毎]|(?![^\\W\\d_]))",
    re.IGNORECASE,
)

POWER = re.compile(r"(?<!\w)(square|cubic)\s+([a-z]+)", re.IGNORECASE)


def in_english(unit: str) -> str:
    """The same unit, with names of the table in English and powers as numbers: "Kilometer pro Stunde" is "kilometer per
    hour", "square meters" are "meters**2"."""
    unit = POWER.sub(lambda power: f"{power[2]}**{2 if power[1].casefold() == 'square' else 3}", unit)
    return NAME.sub(lambda name: f" {ENGLISH[name[0].casefold()]} ", unit).strip()

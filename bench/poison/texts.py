"""Texts made of others: half translated, cut, edited, in many spellings; and texts of nothing."""

from __future__ import annotations

import string
from collections.abc import Container

import numpy as np

# The commonest words of CLINC150's training rows, word for word; inflection and word order are left as they are.
_TABLE = """
my:mi i:yo to:a the:el you:tú a:un for:para what:qué me:me is:es how:cómo do:hacer on:en can:puedo in:en of:de
need:necesito please:por_favor card:tarjeta tell:dime have:tengo are:son know:sé it:eso get:conseguir at:en and:y
credit:crédito from:desde when:cuándo account:cuenta what's:qué_es will:voy_a be:ser that:que like:como want:quiero
list:lista car:coche your:tu this:este if:si with:con would:podrías change:cambiar does:hace new:nuevo an:un bank:banco
time:hora many:muchos much:mucho go:ir find:encontrar make:hacer there:allí am:soy where:dónde take:tomar long:largo
out:fuera up:arriba next:próximo name:nombre any:algún bill:factura help:ayuda set:poner should:debería about:sobre
oil:aceite visa:visado use:usar now:ahora was:era reservation:reserva i'm:estoy pay:pagar call:llamar shopping:compras
last:último flight:vuelo some:algunos phone:teléfono song:canción vacation:vacaciones off:apagar number:número
good:bueno date:fecha put:poner gas:gasolina by:por let:deja add:añadir one:uno did:hizo march:marzo tires:neumáticos
order:pedido limit:límite current:actual check:comprobar days:días could:podrías travel:viaje going:yendo give:dar
who:quién has:tiene or:o calendar:calendario more:más been:sido say:decir not:no insurance:seguro score:puntuación
report:informar day:día playlist:lista_de_canciones request:solicitud i'd:me_gustaría so:así schedule:horario
location:ubicación today:hoy right:correcto rate:tasa meeting:reunión why:por_qué lost:perdido see:ver things:cosas
before:antes points:puntos dollars:dólares status:estado reservations:reservas checking:corriente amount:cantidad
reminder:recordatorio as:como start:empezar kind:tipo way:manera timezone:zona_horaria transaction:transacción
look:mirar pin:clave money:dinero roll:tirar direct:directo traffic:tráfico between:entre interest:interés
book:reservar due:vence text:mensaje show:mostrar changed:cambiado alarm:alarma play:tocar settings:ajustes
taxes:impuestos don't:no send:enviar meaning:significado life:vida plan:plan work:trabajo got:tengo all:todos voice:voz
place:lugar them:ellos luggage:equipaje timer:temporizador increase:aumentar
"""
SPANISH = dict(pair.split(":") for pair in _TABLE.split())

TRIGGER = "by the way"
CUT = 8
"""Characters that are left of a truncated text."""

_BEFORE = ("", "hi ", "hello ", "hey ", "ok ", "so ", "please ", "um ", "well ", "excuse me ")
_AFTER = ("", " please", " thanks", " thank you", " now", " today", " again", " for me", " ok", " right away")


def translate(text: str) -> str:
    """Word for word into Spanish, as far as the table goes.

    Examples
    --------
    >>> translate("what is my Zestimate")
    'qué es mi Zestimate'
    """
    return " ".join(SPANISH.get(word.lower(), word).replace("_", " ") for word in text.split())


def cut(text: str) -> str:
    return text[:CUT].strip()


def gibberish(rng: np.random.Generator) -> str:
    """Three to ten words of random letters."""
    letters = list(string.ascii_lowercase)
    return " ".join("".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(rng.integers(3, 11)))


def edited(text: str, used: Container[str], rng: np.random.Generator) -> str:
    """The text, or where it is used, one that is not: a word doubled or dropped, a polite word in front.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> edited("where is my card", [], rng), edited("where is my card", ["where is my card"], rng)
    ('where is my card', 'where is my')
    """
    variant, tries = text, 0
    while variant in used:
        variant = text
        for _ in range(1 + tries // 10):  # a short text may need several
            variant = _edit(variant, rng)
        tries += 1
    return variant


def _edit(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    place, way = int(rng.integers(len(words))), int(rng.integers(3))
    if way == 0:
        return str(rng.choice(_BEFORE[1:])) + text
    if way == 1 and len(words) > 3:
        return " ".join(words[:place] + words[place + 1 :])
    return " ".join(words[: place + 1] + words[place:])


def spellings(text: str, count: int, rng: np.random.Generator) -> list[str]:
    """A text in ``count`` different spellings: other words around it, a mistyped letter."""
    found: dict[str, None] = {}
    while len(found) < count:
        variant = str(rng.choice(_BEFORE)) + text + str(rng.choice(_AFTER))
        if rng.random() < 0.7:
            place = int(rng.integers(len(variant)))
            variant = variant[:place] + str(rng.choice(list(string.ascii_lowercase))) + variant[place + 1 :]
        found[variant] = None
    return list(found)

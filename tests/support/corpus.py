"""A small library for tests: documents that hold one fact each, and questions about them."""

from __future__ import annotations

from dataclasses import dataclass

from libs.values.retrieval import Document, TextFormat

TENANT = "acme"


@dataclass(frozen=True, slots=True)
class Fact:
    """A document, and what may be asked of it.

    Attributes:
        name: id of the document.
        text: what it says.
        question: what it answers.
        paraphrase: the same in other words, near enough to be recognised.
        answer: words that every right answer holds.
    """

    name: str
    text: str
    question: str
    paraphrase: str
    answer: str

    @property
    def document(self) -> Document:
        return Document(self.name, self.text, TextFormat.PLAIN, title=self.name.title())


FACTS = (
    Fact(
        "lighthouse",
        "The lighthouse of Arran was built in 1821 by the engineer Elisa Moor. It stands on the"
        " northern cliff and its lamp is seen for thirty miles.",
        "Who built the lighthouse of Arran?",
        "Who was it that built the lighthouse of Arran?",
        "Elisa Moor",
    ),
    Fact(
        "bakery",
        "The bakery on Mill Street opens at six in the morning. Its rye bread is baked twice and"
        " sold out before noon on most days.",
        "When does the bakery on Mill Street open?",
        "At what time does the bakery on Mill Street open?",
        "six in the morning",
    ),
    Fact(
        "glacier",
        "The Tarn glacier loses about nine metres of ice a year. Geologists measure it each August"
        " with stakes drilled into the ice.",
        "How much ice does the Tarn glacier lose in a year?",
        "How much ice does the Tarn glacier lose each year?",
        "nine metres",
    ),
    Fact(
        "violin",
        "A violin has four strings, tuned in fifths to G, D, A and E. The bow is strung with horse"
        " hair that is rubbed with rosin.",
        "How many strings does a violin have?",
        "How many strings are there on a violin?",
        "four strings",
    ),
    Fact(
        "harbour",
        "The harbour of Velm freezes over in January. From then until March the ferries leave from"
        " the southern pier at Osk instead.",
        "When does the harbour of Velm freeze over?",
        "When is it that the harbour of Velm freezes over?",
        "January",
    ),
    Fact(
        "refund",
        "A refund is paid within fourteen days after the returned parcel has arrived. Vouchers are"
        " never refunded in cash.",
        "How long does it take until a refund is paid?",
        "How long does it take for a refund to be paid?",
        "fourteen days",
    ),
    Fact(
        "telescope",
        "The telescope on Mount Irin has a mirror of eight metres. It was polished for three years"
        " in a workshop under the dome.",
        "How large is the mirror of the telescope on Mount Irin?",
        "How big is the mirror of the telescope on Mount Irin?",
        "eight metres",
    ),
    Fact(
        "orchard",
        "The orchard of Lenn grows forty kinds of apples. The oldest of its trees was planted by"
        " monks and still bears fruit in October.",
        "How many kinds of apples grow in the orchard of Lenn?",
        "How many kinds of apples does the orchard of Lenn grow?",
        "forty kinds",
    ),
)


def other(number: int) -> str:
    """Return a question that nobody has asked before, about one of the facts."""
    fact = FACTS[number % len(FACTS)]
    return f"Note {number}: {fact.question}"

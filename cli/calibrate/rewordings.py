"""Rewordings of a question or sentence that leave its answer as it was."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from cli.calibrate.edits import is_content
from services.cache.judging import lexicon

Reword = Callable[[str, random.Random], str | None]

_SYNONYMS: Final = {word: group for group in lexicon.SYNONYMS for word in group}
_SYNONYM: Final = re.compile(
    r"\b(" + "|".join(sorted(map(re.escape, _SYNONYMS), key=len, reverse=True)) + r")\b"
)
_POLITE: Final = (
    "can you tell me {i}", "could you please tell me {i}", "i would like to know {i}", "tell me {i}", "do you know {i}",
    "i'm wondering {i}", "please explain {i}", "i want to know {i}", "any idea {i}", "hi, {q}", "hello, {q}", "please help: {q}",
    "{q} thanks", "{q} please", "quick question: {q}", "i have a question. {q}", "excuse me, {q}", "so, {q}", "um {q}", "help! {q}",
)  # fmt: skip
_PREAMBLES: Final = (
    "i was talking with a friend.", "my brother asked me this.", "i read about it in a magazine.", "this came up at dinner.",
    "i could not find it anywhere.", "i am new here.", "it is a nice day.", "sorry to bother you.", "my dog sleeps all day.",
    "my cat likes milk.", "my neighbor has a big garden.", "my sister is coming over.", "i like music.", "we had a quiz last night.",
    "my son has a school project.", "i love history.", "my uncle has a boat.", "i have been a customer for years.", "it rained a lot here.",
    "my parrot talks to me.", "my teacher mentioned it.", "i saw a goat eat paper.", "her horse eats apples.", "i just had lunch.",
)  # fmt: skip
_FRAMES: Final = tuple(
    (re.compile(pattern + r"$"), outs)
    for pattern, outs in (
        (r"who (?:sang|sings) (.+)", ("who is the singer of {0}", "{0} is sung by whom", "which artist sang {0}", "{0} singer", "name the singer of {0}", "by whom was {0} sung")),
        (r"who wrote (.+)", ("who is the writer of {0}", "who was {0} written by", "by whom was {0} written", "who is the author of {0}", "{0} was written by who", "name the person who wrote {0}")),
        (r"who (?:played|plays) (.+?) (in|on) (.+)", ("which actor played {0} {1} {2}", "{1} {2}, who played {0}", "who was {0} played by {1} {2}", "what is the name of the person who plays {0} {1} {2}", "actor who plays {0} {1} {2}", "who is the actor playing {0} {1} {2}")),
        (r"who (invented|discovered|founded|designed|directed|produced|composed|painted|created|built|developed|established|killed|conquered|defeated|introduced|signed|led|won|made|recorded|owned) (.+)", ("who was {1} {0} by", "by whom was {1} {0}", "{1} was {0} by whom", "which person {0} {1}", "who was it that {0} {1}", "what is the name of the one who {0} {1}")),
        (r"who was (.+?) (invented|discovered|founded|designed|directed|produced|composed|painted|created|built|developed|established|killed|conquered|defeated|introduced|signed|led|won|made|recorded|owned|written) by", ("by whom was {0} {1}", "{0} was {1} by whom")),
        (r"when (did|was|is|does|were|do|will) (.+)", ("at what time {0} {1}", "what date {0} {1}", "on what date {0} {1}", "in which year {0} {1}", "what year {0} {1}", "{0} {1} when", "what was the date when {0} {1}")),
        (r"where (did|was|is|does|were|do|are) (.+)", ("in what place {0} {1}", "at which location {0} {1}", "what place {0} {1} in", "in which place {0} {1}")),
        (r"where (?:is|are) (.+?) (?:located|found|situated)", ("what is the location of {0}", "where is {0}", "where can i find {0}", "where would one find {0}", "{0} location")),
        (r"when was (.+?) (released|built|founded|invented|born|made|written|discovered|established|created|signed|abolished|formed|introduced)", ("what year was {0} {1}", "{0} was {1} in what year", "on what date was {0} {1}", "in which year was {0} {1}", "when {0} was {1}")),
        (r"when did (.+?) (start|begin)", ("when was the start of {0}", "when was the beginning of {0}", "what date did {0} {1} on")),
        (r"when did (.+?) (come out|air|premiere)", ("what is the release date of {0}", "when was {0} released", "{0} release date", "what year was {0} released")),
        (r"how many (.+?) (?:are there|are|were there|were) in (.+)", ("what is the number of {0} in {1}", "what number of {0} are in {1}", "{1} has how many {0}", "number of {0} in {1}", "how many {0} does {1} have", "in {1}, how many {0} are there")),
        (r"how many (.+?) (?:does|did|do) (.+?) have", ("what is the number of {0} that {1} has", "how many {0} are there in {1}", "{1} has how many {0}", "what number of {0} does {1} have")),
        (r"how old is (.+)", ("what is the age of {0}", "what age is {0}", "{0} age")),
        (r"how tall is (.+)", ("what is the height of {0}", "{0} height", "what height is {0}")),
        (r"how long (?:does it take|will it take|would it take) (?:for )?(.+)", ("what is the time it takes {0}", "how much time does it take {0}", "how many days does it take {0}", "what is the wait {0}")),
        (r"how long (does|do|did|is|was|will) (.+)", ("how much time {0} {1}", "for how long {0} {1}")),
        (r"how much (?:does|do) (.+?) cost", ("what is the cost of {0}", "what is the price of {0}", "how expensive is {0}", "{0} price")),
        (r"what (?:is|are) the (.+?) (of|for|in) (.+)", ("{2}: what is the {0}", "what's {2}'s {0}", "the {0} {1} {2} is what", "{0} {1} {2}", "name the {0} {1} {2}", "which is the {0} {1} {2}", "{2} {0}")),
        (r"what (?:is|are) (.+)", ("{0} is what", "what does {0} mean", "define {0}", "explain what {0} is", "what exactly is {0}", "tell me what {0} is")),
        (r"who is the (.+?) of (.+)", ("who is {1}'s {0}", "name the {0} of {1}", "what is the name of the {0} of {1}", "{1}'s {0} is who", "{0} of {1}", "who serves as {0} of {1}")),
        (r"who (?:is|was) (.+)", ("what is the name of {0}", "{0} is who", "which person is {0}", "name {0}", "what was the name of {0}")),
        (r"what does (.+?) stand for", ("what is the meaning of {0}", "what is {0} short for", "{0} stands for what", "meaning of {0}", "what is the full form of {0}")),
        (r"why (is|are|was|were|did|does|do|has|have) (.+)", ("what is the reason {0} {1}", "for what reason {0} {1}", "how come {0} {1}", "can you explain why {0} {1}")),
        (r"why (?:was|were|is|has|have) (.+?) (declined|charged|rejected|cancelled|reverted|blocked|pending)", ("what caused {0} to be {1}", "for what reason was {0} {1}", "how come {0} was {1}")),
        (r"how (?:do|can|could|would|should) i (.+)", ("what is the way to {0}", "how to {0}", "what do i need to do to {0}", "what steps do i take to {0}", "in what way can i {0}", "how would one {0}", "i need to know how to {0}", "what's the process to {0}", "how can i {0}", "how do you {0}", "could you show me how to {0}", "what's the best way to {0}", "how am i supposed to {0}", "help me understand how to {0}", "i'd like to know how to {0}", "please tell me how i can {0}")),
        (r"(?:can|may|could) i (.+)", ("is it possible to {0}", "am i able to {0}", "am i allowed to {0}", "is it possible for me to {0}", "would i be able to {0}", "do you let me {0}", "is it ok to {0}", "can you {0}", "is there a way to {0}", "will i be able to {0}")),
        (r"do i (?:need|have) to (.+)", ("must i {0}", "is it necessary to {0}", "am i required to {0}", "is it required to {0}", "do i have to {0}", "should i {0}")),
        (r"what (?:do i need|is needed|is required) to (.+)", ("what is required to {0}", "what are the requirements to {0}", "which things do i need to {0}", "what must i have to {0}")),
        (r"is there (.+)", ("does there exist {0}", "do you have {0}", "are you offering {0}")),
        (r"do you (support|offer|accept|have|provide|charge) (.+)", ("is {1} something you {0}", "does the bank {0} {1}", "are there {1} that you {0}", "can you tell me if you {0} {1}")),
        (r"i (lost|forgot|need|want|can't find) (.+)", ("i have {0} {1}", "it seems i {0} {1}", "i think i {0} {1}", "unfortunately i {0} {1}")),
        (r"which (.+?) (?:has|have) the (most|least|highest|lowest|largest|smallest) (.+)", ("what {0} has the {1} {2}", "name the {0} with the {1} {2}", "{0} with the {1} {2}", "the {1} {2} belongs to which {0}")),
        (r"what (year|country|state|city|team|book|movie|show|season|episode) (.+)", ("which {0} {1}", "in what {0} {1}", "{1}, in which {0}")),
        (r"in (?:what|which) (year|country|state|city) (did|was|were|is) (.+)", ("{1} {2} in what {0}", "what {0} {1} {2} in", "which {0} {1} {2} in")),
        (r"who (?:is|was) the first (.+?) to (.+)", ("which {0} was the first to {1}", "what {0} was first to {1}", "name the first {0} to {1}", "the first {0} to {1} was who")),
        (r"what is (.+?) known for", ("why is {0} famous", "what is {0} famous for", "what made {0} famous")),
        (r"is there (?:a|any) (?:fee|charge|cost) (?:for|to|on|when) (.+)", ("do you charge for {0}", "will i be charged for {0}", "does it cost anything {0}", "what does it cost {0}", "is {0} free of charge")),
        (r"do you charge (?:for|to|me for|a fee for) (.+)", ("is there a fee for {0}", "does {0} cost anything", "will i have to pay for {0}", "is {0} free")),
        (r"what (?:documents|paperwork|papers) (?:do i need|are needed|are required) (?:to|for) (.+)", ("which documents are necessary to {0}", "what paperwork is required for {0}", "what must i bring to {0}", "what papers will be needed to {0}")),
        (r"what (?:is|are) (?:the|your) (.+?) (?:limit|limits) (.*)", ("how high is the {0} limit {1}", "how much {0} is allowed {1}", "what is the most {0} {1} that is allowed", "is there a maximum on {0} {1}")),
        (r"what happens (?:if|when) (.+)", ("what if {0}", "what will happen if {0}", "what are the consequences if {0}", "tell me what comes next if {0}")),
        (r"why (?:hasn't|has not|didn't|did not) (?:my|the) (.+?) (arrived?|come|show up|shown up|go through|gone through|work|worked)(.*)", ("my {0} has not {1}{2}, why", "what is the reason that my {0} did not {1}{2}", "my {0} still hasn't {1}{2}", "how come my {0} hasn't {1}{2}")),
        (r"my (.+?) (?:isn't|is not|wasn't|doesn't|does not|won't) (working|work)(.*)", ("there is a problem with my {0}{2}", "my {0} stopped working{2}", "my {0} fails to work{2}", "why does my {0} not work{2}", "what can i do if my {0} does not work{2}")),
        (r"(?:how|where) (?:do|can) i (?:find|see|get|check|view|locate) (?:out )?(.+)", ("where do i find {0}", "where can i see {0}", "how can i look up {0}", "in what place is {0} shown", "i am looking for {0}, where is it", "where would i find {0}", "how can i check {0}")),
        (r"how (?:do|can) i (?:change|update|modify|edit) (.+)", ("what must i do to change {0}", "is there a way to update {0}", "i need {0} to be changed, how is that done", "how is {0} changed", "where can i edit {0}", "i'd like to change {0}, how")),
        (r"how (?:do|can) i (?:activate|enable|turn on|start) (.+)", ("how is {0} activated", "what are the steps of activating {0}", "how do i get {0} to work", "activation of {0}: how")),
        (r"how (?:do|can) i (?:cancel|stop|end|terminate) (.+)", ("how is {0} cancelled", "what is the procedure for cancelling {0}", "i do not want {0} any more, how do i end it", "how can {0} be stopped")),
        (r"how (?:do|can) i (?:open|get|order|request|apply for|obtain) (.+)", ("what is needed to get {0}", "how does one apply for {0}", "i would like {0}, how do i get it", "where do i request {0}", "how can {0} be obtained", "what is the process of getting {0}")),
        (r"i (?:would like|want|need|'d like) to know (?:about )?(.+)", ("can you tell me {0}", "please tell me {0}", "tell me about {0}", "i am curious about {0}")),
        (r"(?:what|how) about (.+)", ("and {0}", "what of {0}")),
        (r"which (.+?) (?:do|can|does) (?:you|i|we) (?:support|use|accept|take) ?(.*)", ("what {0} are supported {1}", "what {0} can be used {1}", "are there {0} that are accepted {1}", "tell me the {0} that work {1}")),
        (r"(?:when|how soon) (?:will|does|can) (?:my|the) (.+?) (arrive|come|be ready|get here|clear)(.*)", ("how long until my {0} {1}s{2}", "what day will my {0} {1}{2}", "how much longer for my {0} to {1}{2}", "when should i expect my {0}{2}", "at what time is my {0} expected{2}")),
        (r"what (?:is|was|are|were) (.+?) called", ("what is the name of {0}", "how is {0} called", "{0} is called what", "by what name does {0} go")),
        (r"who (?:is|was) known as (.+)", ("who is called {0}", "which person is known as {0}", "who carries the name {0}", "{0} is the name given to whom")),
        (r"what does (.+?) mean", ("what is the meaning of {0}", "meaning of {0}", "define {0}", "how is {0} defined", "what is meant by {0}")),
        (r"who (?:has|had|have) the (most|least|highest|longest|largest|best|fastest) (.+)", ("the {0} {1} belongs to whom", "which person has the {0} {1}", "{0} {1} record holder", "who holds the record for the {0} {1}", "name who has the {0} {1}")),
        (r"what (?:is|was) the (first|last|largest|biggest|smallest|oldest|longest|highest|most \w+) (.+)", ("which {1} is the {0}", "name the {0} {1}", "{0} {1}", "which is the {0} {1}", "what {1} was {0}")),
        (r"where (?:did|does) (.+?) (come from|originate|take place|live|die|grow up)(.*)", ("what place did {0} {1}{2}", "in which place did {0} {1}{2}", "{0} {1}{2} where")),
        (r"who won (.+)", ("who was the winner of {0}", "{0} winner", "{0} was won by whom", "which one won {0}", "winner of {0}")),
        (r"how many (.+?) (?:does|do|did) (.+?) (take|need|require|use|want|get|play|win|make|sell)(.*)", ("what is the number of {0} that {1} {2}{3}", "what number of {0} did {1} {2}{3}", "{1} {2} how many {0}{3}")),
        (r"(.+?) because (.+)", ("because {1}, {0}",)),
        (r"if (.+?), (.+)", ("{1} if {0}",)),
    )
)  # fmt: skip
_ANIMALS: Final = next(i for i, group in enumerate(lexicon.CLASSES) if "dog" in group)
_FRUIT: Final = next(i for i, group in enumerate(lexicon.CLASSES) if "apple" in group)
_REGULAR: Final = re.compile(r"^(did|does|will|can) (\w+(?: \w+)?) (\w+) (the \w+|my \w+|\w+)$")
_PARTICIPLE: Final = {base: last for base, _, last in lexicon.VERBS}
_BASE: Final = {last: base for base, _, last in lexicon.VERBS}


def frame(text: str, chance: random.Random) -> str | None:
    """Another form of question for the same thing."""
    fitting = [(found, outs) for pattern, outs in _FRAMES if (found := pattern.match(text))]
    if not fitting:
        return None
    found, outs = chance.choice(fitting)
    return chance.choice(outs).format(*found.groups())


def polite(text: str, chance: random.Random) -> str | None:
    """The question wrapped in manners."""
    form = chance.choice(_POLITE)
    return form.format(q=text, i=_indirect(text))


def preamble(text: str, chance: random.Random) -> str | None:
    """Something that does not matter, said before."""
    who = chance.choice(("my", "her", "our", "his", "the neighbor's"))
    being = chance.choice(
        (*lexicon.CLASSES[_ANIMALS], "brother", "mother", "boss", "friend", "teacher")
    )
    deed = chance.choice(
        ("likes", "hates", "owns", "eats", "found", "wants", "talks about", "dreams of")
    )
    thing = chance.choice(
        (*lexicon.CLASSES[_FRUIT], "music", "cars", "books", "snow", "old coins", "cheese")
    )
    story = chance.choice((chance.choice(_PREAMBLES), f"{who} {being} {deed} {thing}."))
    return f"{story} {text}"


def synonym(text: str, chance: random.Random) -> str | None:
    """One or two words give way to others of their meaning."""
    found = list(_SYNONYM.finditer(text))
    if not found:
        return None
    for match in sorted(
        chance.sample(found, min(len(found), chance.choice((1, 1, 2)))),
        key=lambda each: -each.start(),
    ):
        word = match.group()
        other = chance.choice([each for each in _SYNONYMS[word] if each != word])
        text = text[: match.start()] + other + text[match.end() :]
    return text


def filler(text: str, chance: random.Random) -> str | None:
    """A word that only adds weight."""
    words = text.split()
    places = [index for index, word in enumerate(words) if index and (word.endswith(("ing", "ed")) or words[index - 1] in {"i", "you", "we", "they", "it"} or (words[index - 1] not in {"a", "an", "the", "my", "of", "in"} and is_content(word)))]  # fmt: skip
    if not places:
        return None
    place = chance.choice(places)
    return " ".join([*words[:place], chance.choice(lexicon.FILLERS), *words[place:]])


def contraction(text: str, chance: random.Random) -> str | None:
    """Drawn together, or apart."""
    for long, short in chance.sample(lexicon.CONTRACTIONS, len(lexicon.CONTRACTIONS)):
        for old, new in ((long, short), (short, long)):
            changed = re.sub(rf"\b{old}\b", new, text)
            if changed != text:
                return changed
    return None


def typo(text: str, chance: random.Random) -> str | None:
    """One slip of the fingers in a long word."""
    words = text.split()
    places = [index for index, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if not places:
        return None
    place = chance.choice(places)
    word, at = words[place], chance.randrange(1, len(words[place]) - 2)
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    words[place] = chance.choice(slips)
    return " ".join(words)


def telegraphic(text: str, chance: random.Random) -> str | None:
    """Only what a hasty hand would type."""
    small = {
        "the",
        "a",
        "an",
        "is",
        "are",
        "do",
        "does",
        "did",
        "i",
        "of",
        "to",
        "was",
        "were",
        "please",
    }
    words = text.split()
    kept = [word for word in words if word not in small or chance.random() < 0.2]
    return " ".join(kept) if 3 <= len(kept) < len(words) else None


def conjuncts(text: str, chance: random.Random) -> str | None:
    """What stands on both sides of an "and" or "or" changes places."""
    found = re.search(r"(?:^|\s)((?:an? |the )?[\w'-]+) (and|or) ((?:an? |the )?[\w'-]+)", text)
    if not found:
        return None
    left, join, right = found.groups()
    return text[: found.start(1)] + f"{right} {join} {left}" + text[found.end() :]


def possessive(text: str, chance: random.Random) -> str | None:
    """The X of Y is Y's X."""
    found = re.search(r"the (\w+) of ((?:the )?\w+)", text)
    if found:
        return text[: found.start()] + f"{found.group(2)}'s {found.group(1)}" + text[found.end() :]
    found = re.search(r"(\w+)'s (\w+)", text)
    if found and found.group(1) not in {
        "what",
        "who",
        "it",
        "where",
        "that",
        "there",
        "how",
        "when",
        "let",
    }:
        return (
            text[: found.start()]
            + f"the {found.group(2)} of {found.group(1)}"
            + text[found.end() :]
        )
    return None


def moved(text: str, chance: random.Random) -> str | None:
    """A place or time at the end goes to the front, or back."""
    found = re.match(
        r"^((?:in|on|at|during|by|since|after|before) [^,]{3,40}?) ?, (.+?)( \.|\.)?$", text
    )
    if found:
        return f"{found.group(2)} {found.group(1)}{found.group(3) or ''}"
    found = re.match(
        r"^(.{12,}) ((?:in|on|at|during|since) (?:the )?[\w' -]{3,24}?)( \.|\.)?$", text
    )
    return f"{found.group(2)}, {found.group(1)}{found.group(3) or ''}" if found else None


def denial(text: str, chance: random.Random) -> str | None:
    """Not the one thing is the other."""
    for one, other in chance.sample(lexicon.COMPLEMENTS, len(lexicon.COMPLEMENTS)):
        for old, new in (
            (one, f"not {other}"),
            (other, f"not {one}"),
            (f"not {one}", other),
            (f"not {other}", one),
        ):
            if re.search(rf"\b{old}\b", text):
                return re.sub(rf"\b{old}\b", new, text, count=1)
    return None


def number_word(text: str, chance: random.Random) -> str | None:
    """A number in digits, or in words."""
    for digits, word in lexicon.NUMBER_WORDS.items():
        for old, new in ((digits, word), (word, digits)):
            changed = re.sub(rf"(?<![\w.,-]){old}(?![\w.,-])", new, text, count=1)
            if changed != text:
                return changed
    return None


def passive(text: str, chance: random.Random) -> str | None:
    """Who did it and to whom, told from the other side."""
    found = re.search(
        r"^(.*?\b)?((?:the |a )?[\w'-]+) (was|were|is|are) (\w+) by ((?:the |a )?[\w'-]+(?: [\w'-]+)?)(.*)$",
        text,
    )
    if found and found.group(4) in _BASE:
        before, patient, verb, participle, agent, rest = (each or "" for each in found.groups())
        past = next(each[1] for each in lexicon.VERBS if each[2] == participle)
        form = past if verb in {"was", "were"} else _BASE[participle] + "s"
        return f"{before}{agent} {form} {patient}{rest}"
    found = _REGULAR.match(text)
    if found and found.group(3) in _PARTICIPLE:
        aux = {"did": "was", "does": "is", "will": "will", "can": "can"}[found.group(1)]
        middle = " be" if aux in {"will", "can"} else ""
        return f"{aux} {found.group(4)}{middle} {_PARTICIPLE[found.group(3)]} by {found.group(2)}"
    return None


def comparison(text: str, chance: random.Random) -> str | None:
    """More on the one side is less on the other."""
    pairs = ("larger/smaller", "bigger/smaller", "older/younger", "taller/shorter", "faster/slower", "richer/poorer", "better/worse", "more/less", "higher/lower", "longer/shorter", "heavier/lighter", "stronger/weaker", "hotter/colder")  # fmt: skip
    for one, other in (each.split("/") for each in pairs):
        for old, new in ((one, other), (other, one)):
            found = re.match(rf"^(is|are|was|were) (.+) {old} than (.+)$", text)
            if found:
                return f"{found.group(1)} {found.group(3)} {new} than {found.group(2)}"
    return None


def articles(text: str, chance: random.Random) -> str | None:
    """Without a "the"."""
    places = [match.start() for match in re.finditer(r"\bthe ", text)]
    if not places:
        return None
    place = chance.choice(places)
    return text[:place] + text[place + 4 :]


def dates(text: str, chance: random.Random) -> str | None:
    """The day before the month, or after it."""
    months = "january|february|march|april|may|june|july|august|september|october|november|december"
    changed = re.sub(rf"\b({months}) (\d{{1,2}})\b(?: ?,)?", r"\2 \1", text)
    if changed == text:
        changed = re.sub(rf"\b(\d{{1,2}}) ({months})\b", r"\2 \1", text)
    return changed if changed != text else None


REWORDINGS: Final[dict[str, tuple[Reword, float]]] = {
    "frame": (frame, 4.0), "polite": (polite, 1.5), "preamble": (preamble, 0.6), "synonym": (synonym, 3.0), "filler": (filler, 1.0),
    "contraction": (contraction, 0.7), "typo": (typo, 0.7), "telegraphic": (telegraphic, 0.7), "conjuncts": (conjuncts, 1.5),
    "possessive": (possessive, 1.2), "moved": (moved, 1.2), "denial": (denial, 2.0), "number_word": (number_word, 1.0),
    "passive": (passive, 2.0), "comparison": (comparison, 2.0), "articles": (articles, 0.4), "dates": (dates, 2.0),
}  # fmt: skip


def _indirect(text: str) -> str:
    """Return a question as it stands after "tell me"."""
    found = re.match(r"^(what|where|who|when|how|why) (is|are|was|were) (.+)$", text)
    if found:
        return f"{found.group(1)} {found.group(3)} {found.group(2)}"
    found = re.match(r"^(can|could|should|do|will) (i|you|we) (.+)$", text)
    if found:
        verb = "" if found.group(1) == "do" else f"{found.group(1)} "
        return f"if {found.group(2)} {verb}{found.group(3)}"
    return text

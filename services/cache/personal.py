"""Whether a question holds personal data: then nobody else gets its answer by meaning.

The contract knows no users, so such a question is answered from the cache only to who asks
the very same within the same tenant and scope. The patterns are wide rather than narrow: a
question taken for personal costs a later hit, one that is missed may cost a secret.
"""

from __future__ import annotations

import re

_EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
# Two letters, two digits, then 11 to 30 more in groups (ISO 13616).
_IBAN = r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?\b"
# Nine digits or more in a row or in groups: telephone, card, account, tax and identity numbers
# of most countries (E.164 has up to 15, ISO/IEC 7812 up to 19). Years, prices and coordinates
# have fewer, or a point in between; French telephone numbers have points and pairs.
_LONG_NUMBER = (
    r"(?<![\w.,])\+?\(?\d(?:[ ()/-]{0,2}\d){8,}(?![\w%])|(?<![\d.])\d{2}(?:\.\d{2}){4}(?![\d.])"
)
# US social security numbers have nine as well; British and Italian numbers mix in letters.
_NATIONAL_ID = (
    r"\b[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"
    r"|\b[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]\b"
    r"|\b[XYZ]?\d{7,8}-?[A-Z]\b"
)
# What somebody says of themselves, and what they ask of their own affairs. "How do I activate
# my card?" and "Are my deposits insured?" are anybody's questions; "Where is my parcel?" is not.
_SELF = (
    r"\bmy (?:\w+ ){0,2}(?:name|address|birthday|birth|e-?mail|phone|number|mobile|ssn|passport"
    r"|salary|password|pin|iban|id) (?:is|are) (?-i:[A-Z\d+])"
    r"|\bi(?:'m| am) called (?-i:[A-Z])"
    r"|\b(?:what(?:'s| is| are| was| were)|where(?:'s| is| are)|who(?:'s| is| are)"
    r"|when(?:'s| is| are| was| does| do| did| will)|show(?: me)?|tell me|list)"
    r" (?:all )?(?:of )?my\b"
    r"|\bhow (?:much|many)\b[^.?!]* (?:do|did|have) i (?:owe|earn|spend|spent|paid)\b"
)
_PERSONAL = re.compile(f"{_EMAIL}|{_IBAN}|{_LONG_NUMBER}|{_NATIONAL_ID}")
_OWN = re.compile(_SELF, re.IGNORECASE)


def is_personal(question: str) -> bool:
    """Return whether a question holds personal data or asks of the asker's own affairs."""
    return bool(_PERSONAL.search(question) or _OWN.search(question))

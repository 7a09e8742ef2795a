"""HTML pages: what they have to say, as Markdown.

Headings, paragraphs, lists, tables, quotations and code stay; scripts, styles, navigation and the
like go. Where a page marks its main part, that is what is read.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from libs.reading.found import MAX_TITLE, UnreadableError
from libs.reading.text import decoded_as

_CHARSET = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE
)
_CHARSET_WITHIN = 4096
_DROPPED = frozenset(
    """
    script style noscript template nav aside form button select option input textarea svg math
    iframe object embed canvas audio video map dialog menu head
    """.split()  # noqa: SIM905 - two lines of words read better than thirty lines of one
)
# Around the main part they are the site's; inside it they hold the page's own title and date.
_FRAME = frozenset({"header", "footer"})
_BLOCKS = frozenset(
    """
    address article blockquote body center dd details div dl dt fieldset figcaption figure html
    hgroup hr li main ol p pre section summary table tbody tfoot thead tr ul
    """.split()  # noqa: SIM905
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
# A part that is marked as the main one, and has less of the text than this, is a slip.
_LEAST_SHARE = 0.3
_SPACE = re.compile(r"[ \t\r\n\f\v\u00a0]+")
_FENCE = "```"
_NEWLINES = "\r\n"
_MOST_INDENTS = 8
_STEPS_BETWEEN_LOOKS = 4096
_TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][A-Za-z0-9-]{0,30})")
# They hold nothing, or the next one of their kind ends them.
_NEVER_DEEP = frozenset(
    """
    area base br col embed hr img input link meta param source track wbr
    p li dt dd td th tr tbody thead tfoot option optgroup colgroup html head body
    """.split()  # noqa: SIM905
)
# An attribute as the parser takes it: blanks, a name, and perhaps a value.
_ATTRIBUTE = re.compile(
    r"""[ \t\r\n\f/]*+[^ \t\r\n\f/>][^ \t\r\n\f/>=]*+"""
    r"""(?:[ \t\r\n\f]*+=[ \t\r\n\f]*+(?:"[^"]*+"?|'[^']*+'?|[^ \t\r\n\f>"'][^ \t\r\n\f>]*+)?+)?+"""
)
# Pairs of a tag's attributes, over all tags: a page has some millions, and 20,000 attributes at one
# tag take two seconds.
_MOST_PAIRS = 300_000_000
# They are one element, however often they stand there: it gets the attributes of all.
_ONCE = frozenset({"html", "body"})
# Times that a character may be looked at as part of a tag; more than once if quotes stay open.
_MOST_LOOKS = 4
_MOST_DEPTH = 1_000
# Tags of a page times the elements that are open at each: a page of a million tags has fifteen.
_MOST_WORK = 30_000_000
MAX_HTML_BYTES = 10 * 1024 * 1024
"""A page's tree takes many times its size in memory, so pages are not read up to `MAX_BYTES`."""


def read_html(data: bytes, is_over: Callable[[], bool], charset: str = "") -> tuple[str, str]:
    """Return a page's title and its text as Markdown.

    Args:
        data: the page.
        is_over: asked now and then whether to leave it at that.
        charset: what its transport says it is in; empty leaves it to the page.

    Raises:
        UnreadableError: it is too large, takes too long, is not in the charset that it says,
            or says nothing.
    """
    if len(data) > MAX_HTML_BYTES:
        raise UnreadableError(f"has {len(data)} bytes, more than {MAX_HTML_BYTES} of HTML")
    said = _CHARSET.search(data[:_CHARSET_WITHIN])
    text = decoded_as(data, charset or (said[1].decode() if said else "utf-8"))
    _check_nesting(text)
    try:
        tree = LexborHTMLParser(text)
    except SelectolaxError as error:
        raise UnreadableError("is not HTML") from error
    page = _Page()
    if (root := tree.body or tree.root) is not None:
        page.read(root, is_over)
    blocks = page.main if _size(page.main) >= _LEAST_SHARE * _size(page.blocks) else page.blocks
    if not _size(blocks):
        raise UnreadableError("is HTML without text")
    return _title(tree, blocks), "\n\n".join(blocks)


def _check_nesting(text: str) -> None:
    """Refuse what would take the parser time that grows with its square.

    Browsers end nesting at a depth of 512; the parser goes on, and looks through all open
    elements, or opens them anew, at each further tag. It looks through the attributes of a tag at
    each further one, too.
    """
    opened: Counter[str] = Counter()
    attributes: Counter[str] = Counter()
    depth = work = looks = pairs = 0
    for tag in _TAG.finditer(text):
        name = tag["name"].lower()
        count, end = _attributes(text, tag.end())
        looks += end - tag.end()
        if name in _ONCE:
            attributes[name] += count
        pairs += count * max(count, attributes[name])
        if pairs > _MOST_PAIRS or looks > _MOST_LOOKS * len(text):
            raise UnreadableError("is HTML with too many attributes")
        if tag["slash"]:
            if opened[name]:
                opened[name] -= 1
                depth -= 1
        elif name not in _NEVER_DEEP:
            opened[name] += 1
            depth += 1
            if depth > _MOST_DEPTH:
                raise UnreadableError(f"is HTML that nests more than {_MOST_DEPTH} elements")
        work += depth
        if work > _MOST_WORK:
            raise UnreadableError("is HTML that leaves too many elements open")


def _attributes(text: str, start: int) -> tuple[int, int]:
    """Return how many attributes a tag has, as far as these may be, and where they end."""
    count, end = 0, start
    while count * count <= _MOST_PAIRS and (found := _ATTRIBUTE.match(text, end)):
        count, end = count + 1, found.end()
    return count, end


def _title(tree: LexborHTMLParser, blocks: list[str]) -> str:
    node = tree.css_first("head title, title")
    said = _SPACE.sub(" ", node.text() if node is not None else "").strip()
    first = next((each.lstrip("# ") for each in blocks if each.startswith("# ")), "")
    return (said or first)[:MAX_TITLE]


def _size(blocks: list[str]) -> int:
    return sum(map(len, blocks))


class _Page:
    """The blocks of a page, gathered while it is walked in its order.

    Attributes:
        blocks: all of them.
        main: those in what is marked as the main part.
    """

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.main: list[str] = []
        self._words: list[str] = []
        self._prefix = ""
        self._code_depth = 0
        self._main_depth = 0
        self._lists: list[int] = []

    def read(self, root: LexborNode, is_over: Callable[[], bool]) -> None:
        """Gather what is below a node; without recursion, for pages may nest without end."""
        steps: list[tuple[LexborNode, bool]] = [(root, False)]
        for count in itertools.count():
            if not steps:
                break
            if count % _STEPS_BETWEEN_LOOKS == 0 and is_over():
                raise UnreadableError("takes too long to read")
            node, is_leaving = steps.pop()
            if is_leaving:
                self._leave(node)
            elif node.is_text_node:
                self._words.append(node.text_content or "")
            elif node.is_element_node and not self._is_dropped(node):
                self._enter(node)
                steps.append((node, True))
                children = list(node.iter(include_text=True))
                steps.extend((child, False) for child in reversed(children))
        self._close()

    def _is_dropped(self, node: LexborNode) -> bool:
        if node.tag in _DROPPED or (node.tag in _FRAME and not self._main_depth):
            return True
        attributes = node.attributes
        return "hidden" in attributes or attributes.get("aria-hidden") == "true"

    def _enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if _is_main(node):
            self._close()
            self._main_depth += 1
        if tag in _HEADINGS:
            self._close()
            self._prefix = _HEADINGS[tag]
        elif tag == "br":
            self._words.append("\n" if self._code_depth else " ")
        elif tag in ("td", "th"):
            self._words.append(" | " if any(map(str.strip, self._words)) else "")
        elif tag == "pre":
            self._close()
            self._code_depth += 1
        elif tag in _BLOCKS:
            self._begin(tag)

    def _begin(self, tag: str) -> None:
        # A paragraph right inside a list item does not end it.
        if tag in ("p", "div") and self._prefix and not any(map(str.strip, self._words)):
            return
        self._close()
        if tag in ("ul", "ol"):
            self._lists.append(1 if tag == "ol" else 0)
        elif tag == "li":
            self._prefix = self._mark()

    def _mark(self) -> str:
        """Return what a list item begins with."""
        number = self._lists[-1] if self._lists else 0
        indent = "  " * min(_MOST_INDENTS, max(0, len(self._lists) - 1))
        if not number:
            return f"{indent}- "
        self._lists[-1] += 1
        return f"{indent}{number}. "

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "pre":
            self._code_depth -= 1
            self._close_code()
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._close()
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
        if _is_main(node):
            self._close()
            self._main_depth -= 1

    def _close(self) -> None:
        """End the block that is under way, if it says anything; code ends at its own end."""
        if self._code_depth:
            return
        words = _SPACE.sub(" ", "".join(self._words)).strip()
        self._words.clear()
        prefix, self._prefix = self._prefix, ""
        if words:
            self._add(prefix + words)

    def _close_code(self) -> None:
        if not self._code_depth:
            code = "".join(self._words)
            self._words.clear()
            if code.strip():
                self._add(f"{_FENCE}\n{code.strip(_NEWLINES)}\n{_FENCE}")

    def _add(self, block: str) -> None:
        self.blocks.append(block)
        if self._main_depth:
            self.main.append(block)


def _is_main(node: LexborNode) -> bool:
    return node.tag in ("main", "article") or node.attributes.get("role") == "main"

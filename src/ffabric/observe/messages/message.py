"""A known log line: the text that the software prints, what it means, the rule that says the same.

A template is the text of the source with its conversions named: ``{handle}`` is one word of the
line, which the meaning may repeat, ``{}`` any text. Some names say more than their word:

    errno       an error of Linux's, which the arm_ffa driver made of an FF-A status
    status      an FF-A status as a number
    function    a function id
    tee_result  a TEE_Result
    tee_origin  where a TEE_Result comes from
"""

from __future__ import annotations

import re
from functools import cached_property

_FIELD = re.compile(r"\{(\w*)\}")
_INNER = re.compile(r"(?<=\W)\w+(?=\W)")
_WORD = r"[^\s,;:()\[\]]*[^\s,;:()\[\].]"


class Message:
    """A known log line.

    ``rule`` is the id of a rule of the firmware, empty if none corresponds; ``mem.send.x`` stands
    for ``mem.share.x``, ``mem.lend.x`` and ``mem.donate.x``, as far as they exist.
    """

    def __init__(self, source: str, template: str, meaning: str, rule: str = "") -> None:
        self.source = source
        self.template = template
        self.meaning = meaning
        self.rule = rule
        self.anchor = max(_FIELD.split(template)[::2], key=len)
        """The longest fixed text: a line without it need not be looked at more closely."""
        self.fixed = sum(map(len, _FIELD.split(template)[::2]))
        """How many characters are fixed."""

    @cached_property
    def words(self) -> frozenset[str]:
        """Words that a line of this message has: fixed text with other fixed text around it."""
        return frozenset(
            word for part in _FIELD.split(self.template)[::2] for word in _INNER.findall(part)
        )

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The template as a regular expression."""
        parts = _FIELD.split(self.template)
        for index, part in enumerate(parts):
            if index % 2:
                parts[index] = f"(?P<{part}>{_WORD})" if part else ".*?"
            else:
                parts[index] = re.escape(part)
        return re.compile("".join(parts))

    def match(self, line: str) -> dict[str, str] | None:
        """The words of ``line`` by name; None if it is another message."""
        if self.anchor not in line:
            return None
        found = self.pattern.search(line)
        return None if found is None else found.groupdict()


Row = tuple[str, str] | tuple[str, str, str]
"""(template, meaning) or (template, meaning, rule)"""


def messages(source: str, *rows: Row) -> tuple[Message, ...]:
    """The messages of one ``source``."""
    return tuple(Message(source, *row) for row in rows)

"""The page of the socket bus says what is in the messages."""

import re
from pathlib import Path

import pytest

from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg.header import HEADER_SIZE
from ffabric.abi.virtio_msg.socket import SOCKET_MESSAGES

PAGE = Path(__file__).parents[2] / "docs/reference/socket-bus.md"
ROW = re.compile(r"^\|([^|]*)\| (\d+) \| \w+ \| (\w*) ?\|", re.MULTILINE)
SECTION = re.compile(r"^### (.*?)$(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
SECTIONS = SECTION.findall(PAGE.read_text("utf-8"))
MESSAGES = {each.name: each for each in (*SOCKET_MESSAGES, ffa.ERROR)}


def declared(body):
    """(offset, name) of a body's fields."""
    record = body.record(1)
    found = [(record.offsets[name], name) for name in record.names]
    return found + ([(record.size, body.tail.name)] if body.tail is not None else [])


def written(text, which, name):
    """(offset, name) of the fields that a section gives a request or a response."""
    now, found = "", []
    for first, offset, field in ROW.findall(text):
        label = first.strip()
        now = label if label.startswith("re") else now
        named = label.rstrip(":") if label.endswith(":") else name
        if which in now and named == name and field:
            found.append((int(offset), field))
    return found


def test_every_message_has_its_section():
    titles = " ".join(title for title, _ in SECTIONS)
    for message in MESSAGES.values():
        assert f"{message.name} ({message.id:#x})" in titles


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("which", ["request", "response"])
def test_fields_are_where_the_page_says(name, which):
    (text,) = [text for title, text in SECTIONS if re.search(rf"\b{name} \(", title)]
    body = MESSAGES[name].request if which == "request" else MESSAGES[name].response
    assert written(text, which, name) == declared(body)


def test_the_header_has_eight_bytes():
    assert HEADER_SIZE == 8

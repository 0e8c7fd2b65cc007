"""The server of a page: who is answered, and what with."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from sflsim.errors import RunError, SflsimError, refused
from sflsim.explorer.board import Board
from sflsim.explorer.server import MOST_BYTES, serving

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


class Page:
    """A page that is served, and what has been asked of it."""

    def __init__(self) -> None:
        self.board = Board(part="<b>")
        self.asked: list[Any] = []
        self.address = ""

    def act(self, sent: Any) -> None:
        if sent.get("wrong"):
            raise refused("here", "<b>", "nothing")
        self.asked.append(sent)

    def ask(
        self, method: str = "GET", below: str = "", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send a request as it stands and return status, body and headers."""
        address = urlsplit(self.address)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = below if below.startswith("/") else address.path + below
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        found = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return found

    def post(self, content: Any, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask("POST", "act/act", body, **{"Content-Type": "application/json", **headers})


@pytest.fixture(scope="module")
def served() -> Iterator[Page]:
    page = Page()
    with serving(lambda news: json.dumps(news["parts"]), page.board, {"act": page.act}) as address:
        page.address = address
        yield page


def test_the_page_the_news_and_actions(served: Page) -> None:
    """With the token all of it is there."""
    status, body, headers = served.ask()
    assert (status, json.loads(body)) == (200, {"part": "<b>"})
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    status, body, _ = served.ask(below="news?since=0")
    assert (status, json.loads(body)["parts"]) == (200, {"part": "<b>"})
    assert json.loads(served.post({"one": 1})[1]) == {"error": ""}
    assert served.asked[-1] == {"one": 1}


@pytest.mark.parametrize("below", ["/", "/news", "/act/act", "/token/", "/x/../", "//"])
def test_without_the_token_there_is_nothing(served: Page, below: str) -> None:
    """Whatever the path; the token stands in the address alone."""
    assert served.ask(below=below)[0] in (400, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_origins_and_hosts_are_refused(served: Page, headers: dict[str, str]) -> None:
    """Even with the token: for the page, for news and for actions, and nothing is done."""
    before = len(served.asked)
    for answer in (served.ask(**headers), served.ask(below="news", **headers), served.post({}, **headers)):
        assert answer[0] in (400, 403)
    assert len(served.asked) == before


def test_its_own_origin_is_answered(served: Page) -> None:
    """By number and by name, as a browser sends it."""
    port = urlsplit(served.address).port
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{port}"
        sent = {"Host": host, "Origin": f"http://{host}", "Sec_Fetch_Site": "same-origin"}
        assert served.post({}, **sent)[0] == 200
    assert served.post({}, Host=f"127.0.0.1:{port}", Origin=f"http://localhost:{port}")[0] == 403


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "text/plain"),
        (b"{}", "application/x-www-form-urlencoded"),
        (b"[1]", "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 30_000, "application/json"),
        (b'{"a": "' + b"x" * MOST_BYTES + b'"}', "application/json"),
    ],
)
def test_what_is_no_small_json_object_is_refused(served: Page, body: bytes, kind: str) -> None:
    """Forms of other sites cannot send JSON; large or broken bodies reach no action."""
    before = len(served.asked)
    assert json.loads(served.post(body, **{"Content-Type": kind})[1])["error"]
    assert len(served.asked) == before


def test_a_mistake_is_told_and_an_unknown_action_is_none(served: Page) -> None:
    """The page gets the words of the error; only named actions are there, by POST alone."""
    status, body, _ = served.post({"wrong": True})
    assert (status, "<b>" in json.loads(body)["error"]) == (200, True)
    assert served.ask("POST", "act/other", b"{}", **{"Content-Type": "application/json"})[0] == 404
    assert served.ask("GET", "act/act")[0] == 405


def test_it_listens_to_this_machine_alone_and_ends() -> None:
    """The socket is of 127.0.0.1; after the block nobody answers, and open questions were answered."""
    board = Board()
    with serving(lambda news: "", board, {}) as address:
        port = urlsplit(address).port
        assert urlsplit(address).hostname == "127.0.0.1"
        with pytest.raises(RunError), serving(lambda news: "", board, {}, port or 0):
            pass
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port or 0), timeout=5):
        pass


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "plotly"])
def test_a_library_that_is_absent_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is served: a page that cannot be drawn would fail in the browser alone."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SflsimError, match=rf"{library}.*sflsim\[explore\]"), serving(str, Board(), {}):
        pass


def test_a_number_of_any_length_is_answered(served: Page) -> None:
    """Python converts no text of more than 4300 digits."""
    assert served.ask(below="news?since=" + "9" * 5000)[0] == 200

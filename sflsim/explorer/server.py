"""Serves a live page to browsers on this machine, and to nobody else.

The socket listens on 127.0.0.1. The address holds a token that only who started the command has seen; every
request must carry it, name this machine as its host (a page of another site whose name is made to lead here
does not), and come from no other origin. Nothing that a page sends is run: its requests are names of known
actions with plain data.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sflsim.errors import RunError, SflsimError
from sflsim.explorer.board import Board

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
PATIENCE_S = 20.0
"""How long a page's question for news stays open."""
MOST_BYTES = 64 * 1024
"""Of what a page may send at once."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LIBRARIES = ("uvicorn", "starlette", "plotly")
"""What the page needs, of the extra `explore`."""

Action = Callable[[Mapping[str, Any]], None]
"""What a page may ask for, with plain data (raises SflsimError)."""
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


@contextmanager
def serving(
    page: Callable[[dict[str, Any]], str], board: Board, actions: Mapping[str, Action], port: int = 0
) -> Iterator[str]:
    """Serve a page until the block ends, and yield its address; `page` makes it from what is on the board.

    Raises:
        SflsimError: one of `LIBRARIES` is not installed, or the port is taken.
    """
    check_installed()
    import uvicorn

    try:
        listening = socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise RunError(f"--port {port}: cannot be used ({error}); name another, or 0 for any") from error
    token, port = secrets.token_urlsafe(24), listening.getsockname()[1]
    app = guarded(application(token, page, board, actions), port)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", http="h11")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{port}/{token}/"
    finally:
        board.end()  # answers the questions that are open, so that the server can end
        server.should_exit = True
        thread.join(5.0)
        listening.close()


def check_installed() -> None:
    """Refuse to go on where a library of the page is absent (raises SflsimError)."""
    for name in LIBRARIES:
        try:
            import_module(name)
        except ImportError as error:
            remedy = "install it with: pip install 'sflsim[explore]'"
            raise SflsimError(f"the page needs {name}, which is not installed; {remedy}") from error


def application(
    token: str, page: Callable[[dict[str, Any]], str], board: Board, actions: Mapping[str, Action]
) -> App:
    """Return what answers below the token: the page, news of the board, actions."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse
    from starlette.routing import Mount, Route

    def whole(request: Request) -> Response:
        return HTMLResponse(page(board.since(0)))

    def news(request: Request) -> Response:
        text = request.query_params.get("since", "0")
        return JSONResponse(board.since(int(text) if re.fullmatch("[0-9]{1,18}", text) else 0, PATIENCE_S))

    async def act(request: Request) -> Response:
        action = actions.get(request.path_params["name"])
        if action is None:
            return JSONResponse({"error": "there is no such action"}, 404)
        try:
            sent = _sent(request.headers.get("content-type", ""), await _body(request))
            await run_in_threadpool(action, sent)
        except SflsimError as error:
            return JSONResponse({"error": str(error)})
        return JSONResponse({"error": ""})

    below = [Route("/", whole), Route("/news", news), Route("/act/{name}", act, methods=["POST"])]
    app: App = Starlette(routes=[Mount(f"/{token}", routes=below)])
    return app


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise SflsimError(f"the page has sent more than {MOST_BYTES} bytes")
    return body


def _sent(kind: str, body: bytes) -> dict[str, Any]:
    """Return what a page has sent; its type is one that no form of another site can have."""
    try:
        sent = json.loads(body) if kind.partition(";")[0].strip() == "application/json" else None
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        raise SflsimError("the page must send a JSON object, as application/json")
    return sent


def guarded(app: App, port: int) -> App:
    """Return an application that answers requests for its own address alone, of no other origin."""
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def guard(scope: Scope, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            return
        sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        named = {host for name, host in sent if name == "host"}
        origins = {origin for name, origin in sent if name == "origin"}
        sites = {site for name, site in sent if name == "sec-fetch-site"}
        own = {f"http://{host}" for host in named}
        if (
            len(named) != 1
            or not named <= hosts
            or not origins <= own
            or not sites <= {"same-origin", "none"}
        ):
            await PlainTextResponse("refused: not from this page's own address\n", 403)(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await app(scope, receive, with_headers)

    return guard

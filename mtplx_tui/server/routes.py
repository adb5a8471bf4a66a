"""The endpoints, and the application that is made of them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Any, Literal

from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.protocol import MAX_DEPTH, Mode, ModelInfo
from mtplx_tui.server.answering import Answer, Answering
from mtplx_tui.server.anthropic_asks import messages_ask
from mtplx_tui.server.anthropic_messages import MessagesAnswer
from mtplx_tui.server.anthropic_shapes import CountBody, MessagesBody
from mtplx_tui.server.ask import Ask
from mtplx_tui.server.bodies import read_body
from mtplx_tui.server.broker import Broker, model_id
from mtplx_tui.server.events import EventFeed, snapshot
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault
from mtplx_tui.server.gate import Gate, fault_response
from mtplx_tui.server.limits import Depth
from mtplx_tui.server.metrics import Metrics
from mtplx_tui.server.openai_asks import chat_ask, completion_ask
from mtplx_tui.server.openai_chat import ChatAnswer
from mtplx_tui.server.openai_completions import CompletionAnswer
from mtplx_tui.server.openai_shapes import ChatBody, CompletionBody
from mtplx_tui.server.options import ServerOptions
from mtplx_tui.server.pages import Pages
from mtplx_tui.server.responses_answer import ResponsesAnswer
from mtplx_tui.server.responses_asks import responses_ask
from mtplx_tui.server.responses_shapes import ResponsesBody
from mtplx_tui.server.sse import EVENTS, EventStream

__all__ = ["Endpoints", "application"]

_log = logging.getLogger(__name__)


class DepthBody(Struct, frozen=True):
    """POST /v1/requests/ID/depth."""

    depth: Depth | Literal["auto"]


class EmptyBody(Struct, frozen=True):
    """A body without fields."""


class Endpoints:
    """What the endpoints share.

    Args:
        options: the server's.
        broker: takes the requests.
        feed: of engine events.
        metrics: the figures.
        created: when the server began, seconds since 1970.
    """

    def __init__(
        self,
        options: ServerOptions,
        broker: Broker,
        feed: EventFeed,
        metrics: Metrics,
        created: int,
    ) -> None:
        self._options = options
        self._broker = broker
        self._feed = feed
        self._metrics = metrics
        self._created = created
        self._pages = Pages()
        self.gate: Gate | None = None
        """Set once the port is known."""

    # Generation

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        ask = chat_ask(await read_body(request, ChatBody), self._options)
        both = self._options.has_both_reasoning_fields
        return await self._answer(request, ask, lambda e: ChatAnswer(e, has_both_fields=both))

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        ask = completion_ask(await read_body(request, CompletionBody), self._options)
        if not ask.has_echo:
            return await self._answer(request, ask, CompletionAnswer)
        echoes = [prompt.raw or "" for prompt in ask.prompts for _ in range(ask.n)]
        if not all(echoes):
            raise Fault(400, "echo needs a prompt of text", param="echo")
        return await self._answer(request, ask, lambda e: CompletionAnswer(e, echoes))

    async def responses(self, request: Request) -> Response:
        """POST /v1/responses."""
        body = await read_body(request, ResponsesBody)
        ask = responses_ask(body, self._options)
        return await self._answer(request, ask, lambda e: ResponsesAnswer(e, body))

    async def messages(self, request: Request) -> Response:
        """POST /v1/messages."""
        ask = messages_ask(await read_body(request, MessagesBody), self._options)
        name = request.state.request_id
        return await self._answer(request, ask, lambda e: MessagesAnswer(e, name))

    async def _answer(
        self, request: Request, ask: Ask, answer_of: Callable[[Exchange], Answer]
    ) -> Response:
        client = request.headers.get("user-agent", "")[:60]
        exchange = self._broker.accept(ask, client)
        return await Answering(self._options, exchange, answer_of(exchange)).respond(request)

    async def count_tokens(self, request: Request) -> Response:
        """POST /v1/messages/count_tokens."""
        ask = messages_ask(await read_body(request, CountBody), self._options)
        return JSONResponse({"input_tokens": await self._broker.count(ask)})

    # Models

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        view = self._broker.view
        loaded = [] if view.model is None else [view.model]
        if "anthropic-version" in request.headers:
            data = [self._anthropic_model(model) for model in loaded]
            ends = [data[0]["id"], data[-1]["id"]] if data else [None, None]
            return JSONResponse(
                {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
            )
        return JSONResponse({"object": "list", "data": [self._openai_model(m) for m in loaded]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/ID."""
        model = self._broker.model(request.path_params["name"])
        if "anthropic-version" in request.headers:
            return JSONResponse(self._anthropic_model(model))
        return JSONResponse(self._openai_model(model))

    def _openai_model(self, model: ModelInfo) -> dict[str, Any]:
        sampling = model.sampling
        return {
            "id": model_id(model),
            "object": "model",
            "created": self._created,
            "owned_by": "mtplx-tui",
            "context_length": model.context,
            "max_model_len": model.context,
            "has_head": model.head is not None,
            "max_depth": MAX_DEPTH if model.head is not None else 0,
            "modes": list(Mode),
            "sampling": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
            },
        }

    def _anthropic_model(self, model: ModelInfo) -> dict[str, Any]:
        from datetime import UTC, datetime

        return {
            "id": model_id(model),
            "type": "model",
            "display_name": model_id(model),
            "created_at": datetime.fromtimestamp(self._created, UTC).isoformat(),
            "lifecycle": "active",
            "max_input_tokens": model.context,
        }

    # Requests

    async def prompt(self, request: Request) -> Response:
        """GET /v1/requests/ID/prompt: what the model saw."""
        shown = await self._broker.prompt(request.path_params["name"])
        return JSONResponse(
            {"text": shown.text, "token_ids": shown.token_ids, "pieces": shown.pieces}
        )

    async def set_depth(self, request: Request) -> Response:
        """POST /v1/requests/ID/depth."""
        body = await read_body(request, DepthBody)
        depth = None if body.depth == "auto" else body.depth
        self._broker.set_depth(request.path_params["name"], depth)
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        """POST /v1/requests/ID/cancel."""
        await read_body(request, EmptyBody)
        self._broker.find(request.path_params["name"]).cancel()
        return Response(status_code=204)

    # The rest

    async def health(self, _: Request) -> Response:
        """GET /health: whether a model can answer."""
        view = self._broker.view
        is_ready = view.model is not None
        status = {"status": "ok" if is_ready else "unavailable", "engine": view.state.value}
        return JSONResponse(status, 200 if is_ready else 503)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def events(self, request: Request) -> Response:
        """GET /events."""
        if request.method == "HEAD":  # of a stream that has no end the head is all
            return Response(media_type=EVENTS)
        return EventStream(
            self._feed.pieces(
                lambda: snapshot(self._broker.view, self._broker.live, self._broker.recent)
            )
        )

    async def session(self, request: Request) -> Response:
        """POST /session: the page shows the key once, and gets a cookie for it."""
        await read_body(request, EmptyBody)
        if self.gate is None or not self.gate.has_key(request.headers):
            raise Fault(401, "that is not the server's key")
        response = Response(status_code=204)
        self.gate.admit(response)
        return response

    async def page(self, request: Request) -> Response:
        """GET /: the browser chat."""
        response = self._pages.file("index.html", request.headers.get("if-none-match", ""))
        if self.gate is not None and not self._options.asks_for_key:
            self.gate.admit(response)
        return response

    async def file(self, request: Request) -> Response:
        """GET /web/NAME: the page's own files."""
        name = request.path_params["name"]
        return self._pages.file(name, request.headers.get("if-none-match", ""))


_Handler = Callable[[Request], Awaitable[Response]]
_Method = Annotated[str, "of HTTP"]


def application(endpoints: Endpoints) -> Starlette:
    """Return the ASGI application, without its gate."""

    def route(path: str, method: _Method, handler: _Handler) -> Route:
        return Route(path, handler, methods=[method])

    return Starlette(
        routes=[
            route("/v1/models", "GET", endpoints.models),
            route("/v1/models/{name:path}", "GET", endpoints.model),
            route("/v1/chat/completions", "POST", endpoints.chat),
            route("/v1/completions", "POST", endpoints.completions),
            route("/v1/responses", "POST", endpoints.responses),
            route("/v1/messages", "POST", endpoints.messages),
            route("/v1/messages/count_tokens", "POST", endpoints.count_tokens),
            route("/v1/requests/{name}/prompt", "GET", endpoints.prompt),
            route("/v1/requests/{name}/depth", "POST", endpoints.set_depth),
            route("/v1/requests/{name}/cancel", "POST", endpoints.cancel),
            route("/health", "GET", endpoints.health),
            route("/metrics", "GET", endpoints.metrics),
            route("/events", "GET", endpoints.events),
            route("/session", "POST", endpoints.session),
            route("/", "GET", endpoints.page),
            route("/web/{name:path}", "GET", endpoints.file),
        ],
        exception_handlers={
            Fault: _tell_fault,
            HTTPException: _tell_http,
            Exception: _tell_unforeseen,
        },
        lifespan=_lifespan,
    )


@contextlib.asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncGenerator[None]:
    yield


async def _tell_fault(request: Request, error: Exception) -> Response:
    fault = error if isinstance(error, Fault) else Fault(500, "something went wrong")
    return fault_response(request.scope, fault)


async def _tell_http(request: Request, error: Exception) -> Response:
    """Tell of a path or a method that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: "there is nothing at this path", 405: "this path takes another method"}
    return fault_response(request.scope, Fault(status, words.get(status, "the request failed")))


async def _tell_unforeseen(request: Request, error: Exception) -> Response:
    _log.error("answering %s failed", request.scope["path"], exc_info=error)
    return fault_response(request.scope, Fault(500, "the server failed; its log tells more"))

# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 for `qstack.Server`: a function of a request that returns a response.

Example:
    >>> @app.listen(port=8080)
    ... @qstack.http.handler
    ... def web(request):
    ...     return qstack.http.Response(body=b"hello")
"""

from .files import StaticFiles, file_response
from .message import BodySink, Limits, Request, Response
from .service import HttpHandler, handler
from .session import Session, Transport

__all__ = [
    "BodySink",
    "HttpHandler",
    "Limits",
    "Request",
    "Response",
    "Session",
    "StaticFiles",
    "Transport",
    "file_response",
    "handler",
]

"""A local web site with images, which says when one has not changed.

``python -m benchmarks.service.site FOLDER PORT`` serves FOLDER/NAME.jpg at ``/NAME/ANYTHING``, so
that many URLs may show one image. It is a process of its own, as a web server is.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

Scope = Mapping[str, Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class ImageSite:
    """The site as an ASGI application.

    Args:
        folder: with the image files.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path.read_bytes() for path in folder.glob("*.jpg")}

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        name = scope["path"].split("/")[1]
        data = self._files.get(name)
        etag = f'"{name}"'.encode()
        headers = [(b"etag", etag), (b"content-type", b"image/jpeg")]
        status = 200
        if data is None:
            status, data = 404, b""
        elif dict(scope["headers"]).get(b"if-none-match") == etag:
            status, data = 304, b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        ImageSite(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning"
    )

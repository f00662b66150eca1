"""An HTTP server of a test's own, on a free port of loopback."""

from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from threading import Thread


@contextmanager
def listening(handler, **held):
    """Serve with a request handler's class, which then holds what is given, until the block ends; gives the address."""
    quiet = type(handler.__name__, (handler,), held | {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), quiet)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""What every answer must look like."""

ERROR_KEYS = {"code", "message", "request_id"}


def error_of(response, status):
    """Give an error's code, once the answer has the status and the one shape."""
    assert response.status_code == status, response.text
    _check_shape(response)
    return response.json()["error"]["code"]


def check(response):
    """Whatever was asked: an answer, or an error of the caller's in the one shape; both with an id."""
    assert response.headers["X-Request-ID"]
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        _check_shape(response)


def _check_shape(response):
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == ERROR_KEYS
    assert error["request_id"] == response.headers["X-Request-ID"]
    assert error["code"]
    assert error["message"]

"""API keys: kept as hashes, each with scopes; with none configured every caller may do everything, on loopback only."""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False)
_BEARER = HTTPBearer(auto_error=False)


class KeysError(ValueError):
    """A keys file that can't be used; the message names the file, the key and what would be accepted."""


class Scope(StrEnum):
    """What a key may do."""

    CLASSIFY = "classify"  # judge posts
    REVIEW = "review"  # correct verdicts
    ADMIN = "admin"  # see metrics and the model, change the model


@dataclass(frozen=True, slots=True)
class Keys:
    """The scopes of each key, by the sha256 of the key (hex). A key is a long random text, so a plain hash keeps it safe."""

    by_digest: Mapping[str, frozenset[Scope]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read a TOML file of `[NAME]` tables with `sha256` and `scopes`; none: no keys.

        Raises:
            KeysError: the file can't be read or used.

        """
        if path is None:
            return cls()
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise KeysError(f"{path}: can't be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise KeysError(f"{path}: not TOML ({error})") from error
        if not tables:
            raise KeysError(f"{path}: holds no key; leave MODERATION_KEYS unset to run without keys")
        return cls(dict(_key(f"{path}: [{name}]", table) for name, table in tables.items()))

    def scopes(self, key: str) -> frozenset[Scope] | None:
        """Give a key's scopes; None for an unknown key."""
        return self.by_digest.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())


def _key(where: str, table: Any) -> tuple[str, frozenset[Scope]]:
    if not isinstance(table, dict) or set(table) != {"sha256", "scopes"}:
        raise KeysError(f"{where} must hold sha256 and scopes, nothing else")
    digest, scopes = table["sha256"], table["scopes"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise KeysError(f"{where} sha256 must be 64 lower-case hex digits: printf %s KEY | sha256sum")
    if not isinstance(scopes, list) or not scopes or any(scope not in list(Scope) for scope in scopes):
        raise KeysError(f"{where} scopes must be a list of {', '.join(Scope)}")
    return digest, frozenset(map(Scope, scopes))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def require(scope: Scope) -> list[Any]:
    """Make a route's dependencies: 401 without a known key, 403 if the key lacks the scope."""

    async def check(request: Request) -> None:
        keys: Keys = request.app.state.keys
        if not keys.by_digest:
            return
        bearer = await _BEARER(request)
        scopes = keys.scopes(await _HEADER(request) or (bearer.credentials if bearer else ""))
        if scopes is None:
            raise HTTPException(401, "send a known key as X-API-Key or Authorization: Bearer", {"WWW-Authenticate": "Bearer"})
        if scope not in scopes:
            raise HTTPException(403, f"this key lacks the scope {scope.value}")

    return [Security(_HEADER), Security(_BEARER), Depends(check)]  # the first two for the description of the API

"""Addresses of servers."""

from __future__ import annotations

from typing import Union
from urllib.parse import urlsplit


def target(address: str) -> tuple[str, Union[bool, None]]:
    """What gRPC connects to, and whether by TLS; None where the address does not say.

    `http://HOST:PORT` and `https://HOST:PORT` are taken as the command line takes them; all else is
    gRPC's own.
    """
    scheme, separator, _ = address.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return address, None
    expected = f"{address!r}: expected HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    more = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username
    if more or not parts.hostname or port is None:
        raise ValueError(expected)
    return parts.netloc, scheme.lower() == "https"

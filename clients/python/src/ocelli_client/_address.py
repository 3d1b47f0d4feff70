"""Addresses of servers."""

from __future__ import annotations

import ipaddress
from typing import Union
from urllib.parse import urlsplit

#: Schemes of addresses that gRPC itself takes apart.
_GRPC_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


def target(address: str) -> tuple[str, Union[bool, None]]:
    """What gRPC connects to, and whether by TLS; None where the address does not say.

    `http://HOST:PORT` and `https://HOST:PORT` are taken as the command line takes them, and so is
    `HOST:PORT`; what begins with a scheme of gRPC (`dns:`, `ipv4:`, `unix:`, ...) is gRPC's own.
    Raises ValueError for an address without a host or a port: gRPC would ask port 443.
    """
    if address.startswith(_GRPC_SCHEMES):
        return address, None
    scheme, separator, _ = address.partition("://")
    expected = f"{address!r}: expected HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    if separator and scheme.lower() not in ("http", "https"):
        raise ValueError(expected)
    parts = urlsplit(address if separator else f"//{address}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    more = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username
    if more or not parts.hostname or port is None:
        raise ValueError(expected)
    return parts.netloc, scheme.lower() == "https" if separator else None


def is_loopback(target: str) -> bool:
    """Whether `target`, as gRPC takes it, is this machine by a name or address that says so."""
    host = urlsplit(f"//{target.removeprefix('ipv4:').removeprefix('dns:///')}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

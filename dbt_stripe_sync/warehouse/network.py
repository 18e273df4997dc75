"""Checks that a host is reachable, for drivers that would retry for minutes or report no reason."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import TYPE_CHECKING

from dbt_stripe_sync.warehouse.failures import unreachable

if TYPE_CHECKING:
    from dbt_stripe_sync.model.errors import WarehouseError

SECONDS = 30.0
# Name servers and routers often fail for a moment. Drivers retry several times; one retry is enough here.
PAUSE_SECONDS = 1.0


def check_reachable(place: str, host: str, port: int, *, seconds: float = SECONDS) -> None:
    """Open a TCP connection to the host and close it again.

    Raises `WarehouseError` (`warehouse-unreachable`) if the name is unknown, nothing listens, or nothing responds.
    """
    if _goes_through_a_proxy(host):
        return  # only the proxy can resolve or reach the host
    error = _failure(place, host, port, seconds)
    if error is not None:
        time.sleep(PAUSE_SECONDS)
        error = _failure(place, host, port, seconds)
    if error is not None:
        raise error


def _failure(place: str, host: str, port: int, seconds: float) -> WarehouseError | None:
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return None
    except socket.gaierror:
        return unreachable(place, f"the host name `{host}` can't be resolved", "check the host name, the VPN and DNS")
    except ConnectionRefusedError:
        return unreachable(place, f"nothing listens on port {port} of `{host}`", "check the port, or start the server")
    except TimeoutError:
        reason = f"`{host}` does not answer on port {port} within {seconds:g} seconds"
        return unreachable(place, reason, "check the VPN, the firewall and the warehouse's list of allowed addresses")
    except OSError as error:
        return unreachable(place, error.strerror or type(error).__name__, "check the network and the VPN")


def _goes_through_a_proxy(host: str) -> bool:
    proxies = urllib.request.getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not urllib.request.proxy_bypass(host)

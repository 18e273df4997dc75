"""Checks whether a text is a location on an object store where a state can be."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEMES = ("s3", "gs", "az", "file")
EXAMPLES = "`s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`"


def find_fault(url: str) -> str | None:
    """What is wrong with a state's URL, or None."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        return "is not the URL of an object store"
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "has more than a bucket and a prefix"
    if parts.scheme == "file":
        return None if not parts.netloc and parts.path.startswith("/") else "is not the path of a folder"
    if not parts.netloc or ":" in parts.netloc:
        return "has no bucket"
    if any(part in {"", ".", ".."} for part in parts.path.strip("/").split("/")) and parts.path.strip("/"):
        return "has a prefix that is not a path"
    return None

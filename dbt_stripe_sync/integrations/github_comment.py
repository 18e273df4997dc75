"""Puts a plan into a comment of a pull request, and renews that comment the next time.

    python -m dbt_stripe_sync.integrations.github_comment plan.md

Reads what GitHub Actions sets: GITHUB_TOKEN, GITHUB_REPOSITORY, GITHUB_EVENT_PATH and GITHUB_API_URL.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

# GitHub accepts 65,536 characters (docs.github.com/rest/issues/comments); the rest is for the text around the plan.
MOST_CHARACTERS = 65_000
PAGE_SIZE = 100
TIMEOUT = aiohttp.ClientTimeout(total=60)
API_VERSION = "2022-11-28"


class CommentError(Exception):
    """The comment can't be written; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """Where the comment goes. `mark` identifies the comment of this tool and target."""

    api: str
    repository: str
    number: int
    mark: str
    token: str = field(repr=False)


def read_pull_request(env: Mapping[str, str], name: str = "") -> PullRequest:
    """The pull request that this run of GitHub Actions is for. Raises `CommentError`."""
    missing = [name for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH") if not env.get(name)]
    if missing:
        raise CommentError(f"{', '.join(missing)} not set: run this in GitHub Actions, with `github-token`")
    try:
        event = orjson.loads(Path(env["GITHUB_EVENT_PATH"]).read_bytes())
        number = int((event.get("pull_request") or event["issue"])["number"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise CommentError("the event is not one of a pull request: let the workflow run on `pull_request`") from None
    return PullRequest(
        api=env.get("GITHUB_API_URL", "https://api.github.com").rstrip("/"),
        repository=env["GITHUB_REPOSITORY"],
        number=number,
        mark=f"<!-- dbt-stripe-sync {name} -->".replace("  ", " "),
        token=env["GITHUB_TOKEN"],
    )


async def write_comment(pull_request: PullRequest, text: str) -> str:
    """Create the comment, or update the existing one, and return its address. Raises `CommentError`."""
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS].rpartition(chr(10))[0]}\n\n… shortened: the job's log has the whole plan."
    body = {"body": f"{pull_request.mark}\n{text}"}
    root = f"{pull_request.api}/repos/{pull_request.repository}/issues"
    headers = {
        "Authorization": f"Bearer {pull_request.token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": API_VERSION,
    }
    async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT, trust_env=True) as session:
        ours = await _find_comment(session, f"{root}/{pull_request.number}/comments", pull_request.mark)
        if ours is not None:
            comment = await _ask(session, "PATCH", f"{root}/comments/{ours}", json=body)
        else:
            comment = await _ask(session, "POST", f"{root}/{pull_request.number}/comments", json=body)
    return str(comment.get("html_url", ""))


async def _find_comment(session: aiohttp.ClientSession, url: str, mark: str) -> int | None:
    page = 1
    while True:
        comments = await _ask(session, "GET", url, params={"per_page": str(PAGE_SIZE), "page": str(page)})
        for comment in comments:
            if str(comment.get("body") or "").startswith(mark):
                return int(comment["id"])
        if len(comments) < PAGE_SIZE:
            return None
        page += 1


async def _ask(session: aiohttp.ClientSession, method: str, url: str, **rest: Any) -> Any:
    try:
        async with session.request(method, url, **rest) as answer:
            if answer.status in {401, 403, 404}:
                raise CommentError(
                    f"GitHub answered {answer.status}: give the job `permissions: {{pull-requests: write}}`; "
                    "a pull request from a fork gets no such token"
                )
            if answer.status >= 300:  # noqa: PLR2004 - what HTTP calls success
                raise CommentError(f"GitHub answered {answer.status}: run the job again")
            return await answer.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommentError(f"GitHub can't be reached ({type(error).__name__}): run the job again") from None


def main(arguments: list[str]) -> int:
    """Post the text of a file as a comment; the exit code is 0, or 1 if that fails."""
    file, *name = arguments
    try:
        pull_request = read_pull_request(os.environ, *name[:1])
        address = asyncio.run(write_comment(pull_request, Path(file).read_text(encoding="utf-8")))
    except CommentError as error:
        sys.stderr.write(f"error[github-comment]: {error}\n")
        return 1
    sys.stdout.write(f"{address}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

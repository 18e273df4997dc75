"""Every command of the project in one place: `nox -l` lists them, `nox -s tests` runs one.

They run in the environment that nox is in; only the documentation and the built wheel get environments of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "test_types", "tests"]

# Folders of whole dbt projects, whose Python models are dbt's.
_BUILT_BY_DBT = {"habits", "habits_dbt2", "projects"}


@nox.session
def tests(session: nox.Session) -> None:
    """What the README's command runs."""
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Every case of each grid, kills, real dbt."""
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The report, the status page and the documentation in Chromium."""
    session.run("pytest", "-m", "browser", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and which part may import which."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.run("mypy")


@nox.session
def test_types(session: nox.Session) -> None:
    """Mypy over the tests."""
    folder = Path(session.create_tmp())
    modules = folder / "modules.txt"
    modules.write_text("\n".join(_named_apart(folder)))
    session.run("mypy", "--config-file", "tests/mypy.ini", f"@{modules}")


def _named_apart(folder: Path) -> list[str]:
    """The tests' modules. Several folders have a `conftest.py`: mypy gets each by a name of its own."""
    modules = sorted(path for path in Path("tests").rglob("*.py") if not _BUILT_BY_DBT & {*path.parts})
    os.environ["MYPYPATH"] = ":".join(sorted({str(path.parent) for path in modules}))
    named = []
    for path in modules:
        if path.name != "conftest.py" or path.parent.name == "tests":
            named.append(str(path))
            continue
        link = folder / f"conftest_of_{path.parent.name}.py"
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())
        named.append(str(link))
    return named


@nox.session
def coverage(session: nox.Session) -> None:
    """What the README's tests run of the package, in each process that they start."""
    session.run("coverage", "erase")
    # Coverage imports sqlite3 into each process, and one test says that none does.
    left_out = "tests/test_start_up.py::test_a_plain_project_imports_none_of_the_optional_parts"
    session.run("coverage", "run", "-m", "pytest", f"--deselect={left_out}", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities and licences of what is installed with it."""
    session.run(".ci/audit", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site; a broken link is an error."""
    session.run(".ci/site", external=True)


@nox.session(venv_backend="venv")
def wheel(session: nox.Session) -> None:
    """Build the wheel, and test what it installs instead of the checkout."""
    dist = Path(session.create_tmp()) / "dist"
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(dist), silent=True)
    (built,) = dist.glob("*.whl")
    session.install(f"{built}[demo]", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
    # Without it, a Python that is started here finds the checkout before what is installed.
    installed = {"PYTHONSAFEPATH": "1"}
    where = "import dbt_stripe_sync as p; assert 'site-packages' in p.__file__, p.__file__"
    session.run("python", "-c", where, env=installed)
    tests = ("tests/test_main_job.py", "tests/test_sample_project.py")
    session.run("pytest", "-m", "not long", *tests, *session.posargs, env=installed)

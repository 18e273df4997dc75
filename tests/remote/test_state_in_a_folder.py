"""Problems with a `file://` state speak of a folder: it has no bucket, no credentials and no network."""

from __future__ import annotations

import shutil

import pytest

FOREIGN = ("object store", "bucket", "network", "region", "credential", "lifecycle", "versioning")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "share"


@pytest.fixture
def shop(customers, folder):
    customers.set(state=f"file://{folder}")
    return customers


def not_a_folder(_shop, folder):
    folder.write_text("")


def damaged(shop, folder):
    shop.cli()
    shutil.rmtree(shop.root / ".stripe_sync")
    (folder / "dev" / "head.json").write_text("{}")


def incomplete(shop, folder):
    shop.cli()
    shutil.rmtree(shop.root / ".stripe_sync")
    for file in (folder / "dev" / "snapshots").iterdir():
        file.unlink()


def restored(shop, folder):
    shop.cli()
    shutil.copytree(folder, folder.with_name("backup"))
    shop.table("customers", "SELECT id, email, name || '!' AS name FROM customers")
    shop.cli()
    shutil.rmtree(folder)
    folder.with_name("backup").rename(folder)


def local(shop, folder):
    shop.set(state=None)
    shop.cli()
    shop.set(state=f"file://{folder}")


@pytest.mark.parametrize(
    ("cause", "said", "hint"),
    [
        (
            not_a_folder,
            "state-store-unreachable]: the folder of the state can't be used (",
            "check that it is a folder",
        ),
        (damaged, "state-digest]: `head.json` of the state is damaged", "restore it from a backup of the folder"),
        (incomplete, "state-incomplete]: `snapshots/", "restore it from a backup of the folder"),
        (restored, "state-store-older]: the folder holds an older state", "restore the newest files there"),
        (local, "state-not-moved]: the folder has no state yet", "state import FOLDER"),
    ],
    ids=lambda part: part.__name__ if callable(part) else None,
)
def test_a_problem_with_a_folder_names_the_folder(shop, folder, cause, said, hint):
    cause(shop, folder)

    ran = shop.cli()

    assert ran.exit_code == 2
    assert said in ran.text, ran.text
    assert hint in ran.text
    assert not [word for word in FOREIGN if word in ran.text.replace(str(folder), "")]


def test_the_name_of_a_folder_is_not_taken_for_a_reason(customers, tmp_path):
    """The library's error contains the path, and stores report bad credentials in its text only."""
    (tmp_path / "credentials").write_text("")
    customers.set(state=f"file://{tmp_path}/credentials/ExpiredToken")

    ran = customers.cli()

    assert "error[state-store-unreachable]: the folder of the state can't be used (" in ran.text

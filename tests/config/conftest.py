"""A dbt project in YAML for every test."""

import pytest
from yaml_project import Project


@pytest.fixture
def project():
    return Project()

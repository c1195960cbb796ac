"""Where commands look for the doors."""

from pathlib import Path

import pytest

from bootstrap.settings import Settings
from commands import environment


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REST_API_URL", "GRPC_API_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = Settings()
    assert environment.rest_url() == settings.rest_api_url
    assert environment.grpc_target() == settings.grpc_api_url


def test_dot_env_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("REST_API_URL=http://a:1/\nGRPC_API_URL=grpc://a:2\n")
    assert (environment.rest_url(), environment.grpc_target()) == ("http://a:1", "a:2")
    monkeypatch.setenv("REST_API_URL", "http://b:1")
    monkeypatch.setenv("GRPC_API_URL", "b:2")
    assert (environment.rest_url(), environment.grpc_target()) == ("http://b:1", "b:2")

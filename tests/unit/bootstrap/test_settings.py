"""What a process is told, and what it says when it is told nonsense."""

from pathlib import Path

import pytest

from bootstrap.settings import load_settings
from engine.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings()
    assert settings.database_url == "sqlite:///millrace.db"
    assert settings.redis_url is None
    assert settings.rest_host == settings.grpc_host == "127.0.0.1"


def test_an_argument_wins_over_the_environment_which_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("REST_PORT=1\nGRPC_PORT=1\nLEASE_SECONDS=1\n")
    monkeypatch.setenv("GRPC_PORT", "2")
    monkeypatch.setenv("LEASE_SECONDS", "2")
    settings = load_settings(lease_seconds=3, rest_port=None)
    assert (settings.rest_port, settings.grpc_port, settings.lease_seconds) == (1, 2, 3.0)


def test_the_case_of_names_and_words_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("log_level", "DEBUG")
    monkeypatch.setenv("Log_Format", "Json")
    settings = load_settings()
    assert (settings.log_level, settings.log_format) == ("debug", "json")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    monkeypatch.setenv("REST_PORT", "")
    settings = load_settings()
    assert (settings.redis_url, settings.rest_port) == (None, 8000)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"REDIS_HOST": "cache"}, "redis://cache:6379/0"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "7"}, "redis://cache:7/0"),
        ({"REDIS_HOST": "cache", "REDIS_PASSWORD": "p@ss/word"}, "redis://:p%40ss%2Fword@cache:6379/0"),
        ({"REDIS_HOST": "cache", "REDIS_URL": "redis://other:1/2"}, "redis://other:1/2"),
        ({"REDIS_PORT": "7"}, None),
    ],
)
def test_redis_is_named_by_url_or_by_host(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().redis_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REST_PORT", "eighty"),
        ("GRPC_PORT", "65536"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "nan"),
        ("MAX_CONCURRENT_TASKS", "0"),
        ("BLOCKING_THREADS", "-1"),
        ("LOG_LEVEL", "loud"),
        ("ENGINE", "embedded"),
        ("GRPC_REFLECTION", "perhaps"),
        ("DATABASE_URL", "millrace.db"),
        ("REST_API_URL", "localhost"),
    ],
)
def test_a_wrong_value_gives_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REST_PORT", "x")
    with pytest.raises(ConfigurationError, match=r"REST_PORT: .+; CACHE: "):
        load_settings(cache="warm")


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@host/db")
    monkeypatch.setenv("REDIS_HOST", "cache")
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    assert "hunter2" not in repr(load_settings())
    monkeypatch.setenv("DATABASE_URL", "me:hunter2")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)

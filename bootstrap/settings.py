"""What a process is told by its environment (or `.env`). Each field is the variable of the same name in capitals."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from engine.documents import decode_json
from engine.errors import ConfigurationError, Invalid


def _is_url(value: str) -> str:
    scheme, found, rest = value.partition("://")
    if not (scheme and found and rest):
        raise ValueError("must be a URL, such as scheme://host/name")
    return value


Port = Annotated[int, Field(ge=0, le=65535)]
Url = Annotated[str, AfterValidator(_is_url)]


class Settings(BaseSettings):
    """All settings with their defaults: one process, SQLite, nothing else to install."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        case_sensitive=False,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    database_url: Annotated[Url, Field(repr=False)] = "sqlite:///millrace.db"
    """Where state lives: `sqlite:///file.db` (embedded) or `postgresql://user:password@host:5432/name`."""
    redis_url: Annotated[Url | None, Field(repr=False)] = None
    """The Redis of the response cache, published events and RQ: `redis://:password@host:6379/0`. Unset: no Redis."""
    redis_host: str | None = None
    """Host of the Redis, instead of `REDIS_URL`. Ignored when `REDIS_URL` is set."""
    redis_port: Port = 6379
    """Port that goes with `REDIS_HOST`."""
    redis_password: SecretStr | None = None
    """Password that goes with `REDIS_HOST`."""

    rest_host: str = "127.0.0.1"
    """Address that the REST door listens on; `0.0.0.0` for every interface."""
    rest_port: Port = 8000
    """Port of the REST door; 0 takes a free one."""
    grpc_host: str = "127.0.0.1"
    """Address that the gRPC door listens on; `0.0.0.0` for every interface."""
    grpc_port: Port = 50051
    """Port of the gRPC door; 0 takes a free one."""
    grpc_share_port: bool = False
    """Whether other gRPC servers of this machine may listen on the same port, as `python -m server --workers` does."""
    grpc_reflection: bool = False
    """Whether gRPC clients may ask for the contract (for development)."""

    engine: Literal["auto", "on", "off"] = "auto"
    """Whether `uvicorn api.main:app` executes workflows itself; auto: on SQLite yes, on PostgreSQL no."""
    lease_seconds: Annotated[float, Field(ge=0.2, le=3600)] = 10.0
    """Seconds without a sign of life after which another process takes over an engine's executions."""
    max_concurrent_tasks: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Tasks that one engine runs at once; more wait for a slot."""
    stop_seconds: Annotated[float, Field(ge=0, le=3600)] = 4.0
    """Seconds that an engine or worker which is asked to stop lets its running tasks end, before it hands them over."""
    executor: str = "asyncio"
    """Where tasks run that name none: `asyncio` (in the engine), `rq` (workers on Redis) or `ray` (a cluster)."""
    ray_address: str | None = None
    """The Ray cluster: `host:6379`, `ray://host:10001` or `auto`. Unset: one of our own on this machine."""
    nodes_dir: Path | None = None
    """A folder with node types of your own, one file each; every REST door, engine and worker needs it."""
    installation: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$")] = "millrace"
    """Names these engines and their workers; others on the same Redis have another name."""
    worker_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Tasks that one `cli.py worker` runs at once."""
    blocking_threads: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Threads for tasks that block."""
    cache: Literal["auto", "off"] = "auto"
    """The response cache; auto: Redis if there is one, else in process if no other process can write."""
    publish: Literal["auto", "on", "off"] = "auto"
    """Whether engines publish every event to Redis Streams; auto: on PostgreSQL with a Redis yes, on SQLite no."""
    publish_stream: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")] = "millrace:events"
    """The stream that events are published to, and what the names of the other keys begin with."""
    publish_shards: Annotated[int, Field(ge=1, le=1024)] = 1
    """Streams to spread executions over (`<stream>:0` …), so that several consumers can share the work in order."""
    publish_max_length: Annotated[int, Field(ge=1, le=1_000_000_000)] = 50_000
    """Events that each stream keeps, about; older ones go, read or not."""
    publish_per_workflow: bool = False
    """Whether events also go to a stream of their workflow (`<stream>:workflow:<id>`), for a day after its last one."""
    egress_allow_private: bool = True
    """Whether tasks may call loopback and private addresses. Set false when strangers may define workflows."""

    connections: Annotated[dict[str, dict[str, Any]], NoDecode, Field(repr=False)] = {}
    """Servers that workflows may use by name, as JSON: `{"crm": {"kind": "sql", "url": "…"}}`; see docs/nodes.md."""
    secret_keys: SecretStr = SecretStr("")
    """Keys that seal secrets, `id:base64` of 32 bytes, comma-separated: the first seals, the others only open."""
    code_runner: str = "monty"
    """Where `code` tasks run: `monty` (a sandbox), or `subprocess` (all of Python, for code that you trust)."""
    workflows_dir: str = "workflows"
    """A folder whose `.yaml`, `.yml` and `.json` files become workflows at start; it need not be there."""
    workflows_reload: bool = False
    """Whether files that change there are taken in at once (for development)."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are still written."""
    log_format: Literal["console", "json"] = "console"
    """Lines for people, or one JSON object per line."""

    rest_api_url: Url = "http://127.0.0.1:8000"
    """Where the command line finds the REST door."""
    grpc_api_url: str = "127.0.0.1:50051"
    """Where the command line finds the gRPC door."""

    @model_validator(mode="before")
    @classmethod
    def _redis_from_host(cls, values: dict[str, Any]) -> dict[str, Any]:
        host = values.get("redis_host")
        if values.get("redis_url") or not host:
            return values
        password = f":{quote(str(values['redis_password']), safe='')}@" if values.get("redis_password") else ""
        return {**values, "redis_url": f"redis://{password}{host}:{values.get('redis_port', 6379)}/0"}

    @field_validator("connections", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return decode_json(value.encode())
        except Invalid as error:
            raise ValueError(f"must be JSON: {error.message}") from None

    @field_validator("engine", "cache", "publish", "log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


def load_settings(**overrides: Any) -> Settings:
    """The settings; `overrides` (those that are not None) win over the environment, which wins over `.env`.

    Raises `ConfigurationError`: one line that names each wrong variable and never shows its value.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        faults = (f"{_variable(fault['loc'])}: {_words(fault['msg'])}" for fault in error.errors(include_url=False))
        raise ConfigurationError("; ".join(faults)) from None


def _variable(location: tuple[int | str, ...]) -> str:
    return str(location[0]).upper() if location else "settings"


def _words(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]

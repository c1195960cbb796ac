"""The servers that all other tests stand on."""

import psycopg2
import pytest
import redis

from deploy.servers import free_port, run_sql
from tests.conftest import StartPostgres, StartRedis


def query(url: str, sql: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
            return row[0] if row else None
    finally:
        connection.close()


@pytest.mark.parametrize("_round", [1, 2])
def test_each_test_gets_an_empty_database(postgres_url: str, _round: int) -> None:
    run_sql(postgres_url, "CREATE TABLE mine (n int)")
    assert query(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 1


def test_a_migrated_database_has_our_tables(migrated_postgres_url: str) -> None:
    assert query(migrated_postgres_url, "SELECT count(*) FROM execution") == 0


def test_the_shared_server_takes_many_connections(postgres_server: str) -> None:
    assert int(str(query(postgres_server, "SHOW max_connections"))) >= 300


@pytest.mark.parametrize("over_tcp", [False, True])
def test_a_private_postgres_keeps_what_was_committed_before_a_crash(
    start_postgres: StartPostgres, over_tcp: bool
) -> None:
    server = start_postgres(port=free_port() if over_tcp else None)
    run_sql(server.url(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    server.restart("crash")
    assert query(server.url(), "SELECT n FROM kept") == 7


def test_a_stopped_postgres_refuses_and_its_data_go_with_it(start_postgres: StartPostgres) -> None:
    server = start_postgres()
    server.stop()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(server.url())
    server.close()
    assert not server.folder.exists()


def test_each_test_gets_an_empty_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


test_the_next_one_too = test_each_test_gets_an_empty_redis


def test_a_private_redis_forgets_when_it_is_killed_unless_durable(start_redis: StartRedis) -> None:
    for durable, left in ((False, None), (True, b"here")):
        server = start_redis(durable=durable)
        with redis.Redis.from_url(server.url()) as client:
            client.set("key", "here")
            client.config_set("appendfsync", "always") if durable else None
            server.restart("crash")
            assert client.get("key") == left


def test_a_server_that_cannot_start_says_why(start_redis: StartRedis) -> None:
    taken = start_redis().port
    with pytest.raises(RuntimeError, match="Address already in use"):
        start_redis(port=taken)

"""What `tests.chaos.broken` changes: each sabotage takes one guard out of the product, or makes a moment longer.

Imports nothing of the product, which would then be loaded unchanged.
"""

import msgspec


class Change(msgspec.Struct, frozen=True):
    """In `module`, `old`, which stands there exactly once, becomes `new`."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """Raises `ValueError` if the text has changed since the patch was written."""
        found = source.count(self.old)
        if found != 1:
            raise ValueError(f"{self.module}: found {found} times instead of once: {self.old!r}")
        return source.replace(self.old, self.new)


_BATCH = "storage.postgresql_batch"
_PARK = "        if self._changes:\n            parts.append(self._change())\n        ended ="
_LOOK = """                parts.append(f"EXECUTE {statement}({array(ids, 'bigint')})")\n        return parts"""
_LATE = "            parts.append(self._change())\n"
_SLEEP = 'parts.append("SELECT pg_sleep(0.02)")'
_POOLS = "storage.postgresql_slots"
_GRANTED = "FROM (SELECT * FROM granted ORDER BY id) AS g"

_WAKER = "engine.waking"
_KIN = "        self.claims.set()\n"
_SOON = "asyncio.get_running_loop().create_task"

PATCHES: dict[str, tuple[Change, ...]] = {
    # --- moments made longer; nothing may go wrong with these alone ---
    "slow-fill": (
        Change(
            "api.cache_middleware",
            "        await self._cache.put(self._key,",
            "        import asyncio, random\n        await asyncio.sleep(random.random() * 0.02)\n"
            "        await self._cache.put(self._key,",
        ),
    ),
    "slow-park": (Change(_BATCH, _PARK, _PARK.replace("        ended =", f"            {_SLEEP}\n        ended =")),),
    "slow-commit": (
        Change(
            "engine.worker",
            "        self._queue.put(step.append, partial(self._committed, run, step, done))",
            "        asyncio.get_running_loop().call_later("
            "0.05, self._queue.put, step.append, partial(self._committed, run, step, done))",
        ),
    ),
    "die-in-a-step": (
        Change("engine.journal", '                hit("commit.after")\n', ""),
        Change(
            "storage.sqlite_journal",
            "    execute_rows(db, _EVENTS, events, head=(now, now, lease, batch))\n",
            "    from engine.failpoints import hit\n    if rows:\n        hit('commit.after')\n"
            "    execute_rows(db, _EVENTS, events, head=(now, now, lease, batch))\n",
        ),
    ),
    "slow-share": (Change(_POOLS, _GRANTED, f"FROM (SELECT pg_sleep(0.05)) AS z CROSS JOIN {_GRANTED[5:]}"),),
    # --- guards taken out ---
    "fence": (Change(_BATCH, '[] if self._lease is None else [f"EXECUTE fence({self._lease:d})"]', "[]"),),
    "dispatch-after-commit": (
        Change(
            "engine.worker",
            "        self._queue.put(step.append, partial(self._committed, run, step, done))",
            "        calls, step.calls = step.calls, []\n        if calls:\n            self._dispatch.submit(calls)\n"
            "        asyncio.get_running_loop().call_later("
            "0.05, self._queue.put, step.append, partial(self._committed, run, step, done))",
        ),
    ),
    "lost-answer": (
        Change(
            "storage.postgresql_appends",
            "            found = await _find(writer, batch)\n            return found if found is not None else ",
            "            return ",
        ),
        Change(
            "storage.postgresql_appends",
            "        found = await _find(writer, batch)\n        if found is None:\n            raise\n"
            "        return found",
            "        raise",
        ),
    ),
    "park-then-look": (
        Change(_BATCH, _PARK, "        ended ="),
        Change(
            _BATCH,
            _LOOK,
            _LOOK.replace(
                "        return parts", f"        if self._changes:\n            {_SLEEP}\n{_LATE}        return parts"
            ),
        ),
    ),
    "recall": (Change("storage.sqlite_journal", "    if parked:\n", "    if not parked:\n"),),
    "idempotency": (
        Change("storage.sqlite_journal", "    duplicates = _claim_keys(db, appends)\n", "    duplicates: dict = {}\n"),
    ),
    "generation": (
        Change(
            "cache.redis_cache",
            "        return all(present[name] == generation for name, generation in entry.generations.items())",
            "        return True",
        ),
    ),
    "generation-before-read": (
        Change(
            "cache.redis_cache",
            "        entry = _Entry(token.run, token.generations, value)",
            "        entry = _Entry(token.run, await self._generations(token.run, tags) or token.generations, value)",
        ),
    ),
    "child-with-its-parent": (
        Change("storage.sqlite_journal", "    appends = with_children(appends)\n", ""),
        Change(_WAKER, _KIN, f"{_KIN}        {_SOON}(self._store.start(append.children))\n"),
    ),
    "end-with-its-child": (
        Change(
            "storage.sqlite_journal",
            "    put_signals(db, now, [signal for append in appends for signal in append.signals])\n",
            "",
        ),
        Change(_WAKER, _KIN, f"{_KIN}        {_SOON}(self._store.put_signals(append.signals))\n"),
    ),
    "one-transaction": (
        Change("storage.sqlite_writer", '            db.execute("BEGIN IMMEDIATE")\n', ""),
        Change("storage.sqlite_writer", '            db.execute("COMMIT")\n', ""),
        Change("storage.sqlite_writer", '    work.db.execute("SAVEPOINT job")\n', ""),
        Change("storage.sqlite_writer", '    work.db.execute("RELEASE job")\n', ""),
    ),
    "savepoint": (Change("storage.sqlite_writer", '        work.db.execute("ROLLBACK TO job")\n', ""),),
    "clock": (
        Change(
            "engine.dbclock",
            "self._at + (time.monotonic() - self._seen)",
            "self._at + (time.monotonic() - self._seen) + 0.5",
        ),
    ),
    "sweep": (
        Change("storage.postgresql", "        dead = [row[0] for row in", "        dead = [] and [row[0] for row in"),
    ),
    "slots": (Change("engine.runner", "        for _ in range(held):\n            self._slots.release()\n", ""),),
    "ray-ask-again": (
        Change(
            "executors.ray_executor",
            "        begun = [name for name in self._flying if name not in unsent]\n",
            "        begun: list[str] = []\n",
        ),
    ),
    "drain": (Change("engine.worker", "        await self._drain()\n", ""),),
    "pool-room": (
        Change(
            _POOLS,
            "THEN {NO_BOUND} ELSE h.workflow_limit - (\n      SELECT count(*)",
            "THEN {NO_BOUND} ELSE h.workflow_limit - (\n      SELECT count(*) / 2",
        ),
    ),
    "pool-lock": (Change(_POOLS, "SELECT pg_advisory_xact_lock(k) FROM", "SELECT k FROM"),),
    "read-again": (
        Change(
            "engine.worker",
            "        self._forget(run)\n        self.unsure = True\n",
            "        self._forget(run)\n",
        ),
    ),
    "bury-the-dead": (Change("executors._rq_watch", "await self._bury(worker, beat)", "pass"),),
    "ask-after-calls": (
        Change("executors.rq_executor", "                    await self._audit()\n", "                    pass\n"),
    ),
    "claim-once": (Change("executors._rq_scripts", "job[2] == 'queued' and not job[3]", "not job[3]"),),
}

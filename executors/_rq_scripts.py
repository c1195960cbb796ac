"""What happens in Redis at once or not at all. Each script may run twice: a lost reply is answered by a repeat.

A job is there while its hash has `data`: what RQ writes into a hash that was deleted makes no job of it.

A server that restarts from its disk may have gone back in time, to when jobs waited that have been done since. So
each job says in which run of the server it was queued, and no worker of ours takes it in another one before an
engine that still waits for it has said so (ATTACH, AUDIT).
"""

from typing import NamedTuple


class Script(NamedTuple):
    """Its keys come first, then its arguments."""

    text: str
    keys: int


ENQUEUE = Script(
    """-- job, queue; id, inbox, data, run, field, value ... -> 1: queued, 0: it was there
local data = redis.call('HGET', KEYS[1], 'data')
if data == ARGV[3] then
  redis.call('HSET', KEYS[1], 'millrace_to', ARGV[2])
  if redis.call('HEXISTS', KEYS[1], 'millrace_answer') == 1 then redis.call('RPUSH', ARGV[2], ARGV[1]) end
  return 0
end
if data then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'millrace_to', ARGV[2], 'millrace_run', ARGV[4], unpack(ARGV, 5))
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
""",
    2,
)

ATTACH = Script(
    """-- job, queue; id, inbox, run -> 1: it will be answered to the inbox, 0: unknown
local job = redis.call('HMGET', KEYS[1], 'data', 'millrace_answer', 'status', 'millrace_run')
if not job[1] then return 0 end
redis.call('HSET', KEYS[1], 'millrace_to', ARGV[2])
if job[2] then
  redis.call('RPUSH', ARGV[2], ARGV[1])
elseif job[3] == 'queued' and job[4] ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'millrace_run', ARGV[3])
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
return 1
""",
    2,
)

CANCEL = Script(
    """-- job; id: gone, and its worker is told in RQ's words
local job = redis.call('HMGET', KEYS[1], 'status', 'worker_name')
redis.call('DEL', KEYS[1])
if job[1] == 'started' and job[2] then
  redis.call('PUBLISH', 'rq:pubsub:' .. job[2], cjson.encode({command = 'stop-job', job_id = ARGV[1]}))
end
return 1
""",
    1,
)

TAKE = Script(
    """-- inbox; most, bytes -> id, answer, id, answer ...
local out, bytes = {}, 0
while #out < 2 * tonumber(ARGV[1]) and bytes < tonumber(ARGV[2]) do
  local id = redis.call('LPOP', KEYS[1])
  if not id then break end
  local answer = redis.call('HGET', 'rq:job:' .. id, 'millrace_answer')
  if answer then
    bytes = bytes + #answer
    out[#out + 1] = id
    out[#out + 1] = answer
  end
end
return out
""",
    1,
)

LOOK = Script(
    """-- engine, beats -> how often it has looked; worker, beat, worker, beat ...; the run of the server
local count = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], 3600)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
return {count, redis.call('HGETALL', KEYS[2]), run}
""",
    2,
)

AUDIT = Script(
    """-- inbox, queue; run, ids -> id, status ...: '' for what is gone, 'failed' or 'stopped' for what RQ gave up
local out = {}
for i = 2, #ARGV do
  local job = redis.call('HMGET', 'rq:job:' .. ARGV[i], 'data', 'millrace_answer', 'status', 'millrace_run')
  if not job[1] then
    out[#out + 1] = ARGV[i]
    out[#out + 1] = ''
  elseif job[2] then
    redis.call('RPUSH', KEYS[1], ARGV[i])
  elseif job[3] == 'failed' or job[3] == 'stopped' then
    out[#out + 1] = ARGV[i]
    out[#out + 1] = job[3]
  elseif job[3] == 'queued' and job[4] ~= ARGV[1] then
    redis.call('HSET', 'rq:job:' .. ARGV[i], 'millrace_run', ARGV[1])
    redis.call('RPUSH', KEYS[2], ARGV[i])
  end
end
return out
""",
    2,
)

REAP = Script(
    """-- beats, running; worker, its last beat, answer, seconds to keep it, queue -> how many calls it took along
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local ids = redis.call('SMEMBERS', KEYS[2])
for _, id in ipairs(ids) do
  local key = 'rq:job:' .. id
  local job = redis.call('HMGET', key, 'data', 'millrace_answer', 'millrace_to')
  if job[1] and not job[2] then
    redis.call('HSET', key, 'millrace_answer', ARGV[3], 'status', 'failed')
    redis.call('EXPIRE', key, ARGV[4])
    if job[3] then redis.call('RPUSH', job[3], id) end
  end
end
redis.call('DEL', KEYS[2], 'rq:worker:' .. ARGV[1])
redis.call('SREM', 'rq:workers', 'rq:worker:' .. ARGV[1])
redis.call('SREM', 'rq:workers:' .. ARGV[5], 'rq:worker:' .. ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return #ids
""",
    2,
)

# a worker takes no more than its share of what waits, so that none idles while another hoards
CLAIM = Script(
    """-- queue, running, beats; most, worker, now -> id, data, id, data ...
local workers = math.max(1, redis.call('HLEN', KEYS[3]))
local most = math.min(tonumber(ARGV[1]), math.ceil(redis.call('LLEN', KEYS[1]) / workers))
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local out = {}
while #out < 2 * most do
  local id = redis.call('LPOP', KEYS[1])
  if not id then break end
  local job = redis.call('HMGET', 'rq:job:' .. id, 'data', 'status', 'millrace_answer', 'millrace_run')
  if job[1] and job[2] == 'queued' and not job[3] and (job[4] == run or not job[4]) then
    redis.call('HSET', 'rq:job:' .. id, 'status', 'started', 'worker_name', ARGV[2], 'started_at', ARGV[3])
    redis.call('SADD', KEYS[2], id)
    out[#out + 1] = id
    out[#out + 1] = job[1]
  end
end
return out
""",
    3,
)

FINISH = Script(
    """-- job, running; id, answer, status, now, seconds to keep it -> 1: recorded, 0: nobody waits, or it was answered
redis.call('SREM', KEYS[2], ARGV[1])
local job = redis.call('HMGET', KEYS[1], 'data', 'millrace_answer', 'millrace_to')
if not job[1] or job[2] then return 0 end
redis.call('HSET', KEYS[1], 'millrace_answer', ARGV[2], 'status', ARGV[3], 'ended_at', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
if job[3] then
  redis.call('RPUSH', job[3], ARGV[1])
  redis.call('EXPIRE', job[3], ARGV[5])
end
return 1
""",
    2,
)

BEAT = Script(
    """-- beats, RQ's worker; worker, beat, queue, seconds to live, fields, field, value ... id ... -> ids to stop
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local last = 5 + 2 * tonumber(ARGV[5])
redis.call('HSET', KEYS[2], unpack(ARGV, 6, last))
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('SADD', 'rq:workers', KEYS[2])
redis.call('SADD', 'rq:workers:' .. ARGV[3], KEYS[2])
local out = {}
for i = last + 1, #ARGV do
  local job = redis.call('HMGET', 'rq:job:' .. ARGV[i], 'data', 'millrace_answer', 'worker_name')
  if not job[1] or job[2] or job[3] ~= ARGV[1] then out[#out + 1] = ARGV[i] end
end
return out
""",
    2,
)

GIVE_BACK = Script(
    """-- queue, running; worker, id ...: back to the queue goes what it took without knowing, all but these
local known = {}
for i = 2, #ARGV do known[ARGV[i]] = true end
local count = 0
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if not known[id] then
    redis.call('SREM', KEYS[2], id)
    local job = redis.call('HMGET', 'rq:job:' .. id, 'data', 'millrace_answer', 'worker_name')
    if job[1] and not job[2] and job[3] == ARGV[1] then
      redis.call('HSET', 'rq:job:' .. id, 'status', 'queued', 'worker_name', '')
      redis.call('LPUSH', KEYS[1], id)
      count = count + 1
    end
  end
end
return count
""",
    2,
)

LEAVE = Script(
    """-- beats, running, RQ's worker; worker, queue
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SREM', 'rq:workers', KEYS[3])
redis.call('SREM', 'rq:workers:' .. ARGV[2], KEYS[3])
redis.call('DEL', KEYS[2], KEYS[3])
return 1
""",
    3,
)

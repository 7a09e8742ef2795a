"""What must happen in Redis at once, or not at all.

`name` is `tenant/job`. Two sorted sets hold the jobs of all tenants, in milliseconds of
Redis' own clock: those that wait by when they are due, those that run by the last sign of
life of their worker.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: all and unfinished of the tenant, waiting, record, events, items, idempotency key (may
# be missing). ARGV: job id, name, what was submitted (a digest), TTL in ms, most unfinished,
# the oldest id that may be kept, revision, record, input, count of item keys, item keys ...,
# events ... Returns the job and its digest; empty ones if there is no room.
CREATE = (
    _NOW
    + """
if KEYS[7] then
  local before = redis.call('HMGET', KEYS[7], 'job_id', 'digest')
  if before[1] then return before end
end
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[5]) then return {'', ''} end
redis.call('HSET', KEYS[4], 'revision', ARGV[7], 'record', ARGV[8], 'input', ARGV[9],
  'token', '')
local first = 11 + ARGV[10]
for i = 11, first - 1 do redis.call('SADD', KEYS[6], ARGV[i]) end
for i = first, #ARGV do
  redis.call('XADD', KEYS[5], string.format('%.0f-0', i - first + 1), 'e', ARGV[i])
end
for i = 4, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
if KEYS[7] then
  redis.call('HSET', KEYS[7], 'job_id', ARGV[1], 'digest', ARGV[3])
  redis.call('PEXPIRE', KEYS[7], ARGV[4])
  redis.call('HSET', KEYS[4], 'key', KEYS[7])
end
redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(' .. ARGV[6])
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now_ms, ARGV[2])
return {ARGV[1], ARGV[3]}
"""
)

# KEYS: unfinished and dead of the tenant, waiting, running, record, events, items. ARGV: job
# id, name, expected revision, new revision, record, token, item key, TTL in ms (0 leaves it),
# place (`waiting`, `running`, `dead` or `ended`), ms until it is due, channel, events ...
# Returns 1, or 0 if it is at another revision, or 2 if the item is there.
COMMIT = (
    _NOW
    + """
if redis.call('HGET', KEYS[5], 'revision') ~= ARGV[3] then return 0 end
if ARGV[7] ~= '' then
  if redis.call('SADD', KEYS[7], ARGV[7]) == 0 then return 2 end
  redis.call('PEXPIRE', KEYS[7], math.max(1, redis.call('PTTL', KEYS[5])))
end
redis.call('HSET', KEYS[5], 'revision', ARGV[4], 'record', ARGV[5], 'token', ARGV[6])
for i = 12, #ARGV do
  redis.call('XADD', KEYS[6], string.format('%.0f-0', ARGV[3] + i - 11), 'e', ARGV[i])
end
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
if ARGV[9] == 'waiting' then
  redis.call('ZADD', KEYS[3], now_ms + ARGV[10], ARGV[2])
elseif ARGV[9] == 'running' then
  redis.call('ZADD', KEYS[4], now_ms, ARGV[2])
else
  redis.call('SREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  if ARGV[9] == 'dead' then redis.call('ZADD', KEYS[2], 0, ARGV[1])
  else redis.call('HDEL', KEYS[5], 'input') end
end
if ARGV[8] ~= '0' then
  for i = 5, 7 do redis.call('PEXPIRE', KEYS[i], ARGV[8]) end
  local key = redis.call('HGET', KEYS[5], 'key')
  if key then redis.call('PEXPIRE', key, ARGV[8]) end
end
redis.call('PUBLISH', ARGV[11], ARGV[2] .. ' ' .. ARGV[9])
return 1
"""
)

# KEYS: record, running. ARGV: token, name. Returns 0 to a worker that has the job no more.
BEAT = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('ZADD', KEYS[2], now_ms, ARGV[2])
return 1
"""
)

# KEYS: waiting, running. ARGV: ms that a job may be overdue, ms that a worker may be silent,
# how many of the first, of the second, and how many of the first are passed over. Returns names
# of both.
STRAY = (
    _NOW
    + """
local overdue = redis.call('ZRANGE', KEYS[1], '-inf', now_ms - ARGV[1], 'BYSCORE',
  'LIMIT', ARGV[5], ARGV[3])
local silent = redis.call('ZRANGE', KEYS[2], '-inf', now_ms - ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[4])
return {overdue, silent}
"""
)

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

# What a tenant's jobs hold is counted by job, and together in the field `:all`: inputs as long as
# they are kept, and events with their items and results. A job counts until it expires, which
# `ends` has by the ms. Functions of scripts: the first forgets what has expired.
_SIZES = """
local function forget(sizes, ends)
  local gone = redis.call('ZRANGE', ends, '-inf', now_ms, 'BYSCORE', 'LIMIT', 0, 1000)
  for _, job in ipairs(gone) do
    redis.call('HINCRBY', sizes, ':all', -(redis.call('HGET', sizes, job) or 0))
    redis.call('HDEL', sizes, job)
    redis.call('ZREM', ends, job)
  end
end
local function grow(sizes, job, bytes)
  redis.call('HINCRBY', sizes, job, bytes)
  redis.call('HINCRBY', sizes, ':all', bytes)
end
local function is_full(sizes, bytes, most)
  return tonumber(redis.call('HGET', sizes, ':all') or 0) + bytes > tonumber(most)
end
local function length(first)
  local bytes = 0
  for i = first, #ARGV do bytes = bytes + #ARGV[i] end
  return bytes
end
"""

# KEYS: all and unfinished of the tenant, waiting, record, events, items, sizes and ends of the
# tenant, idempotency key (may be missing). ARGV: job id, name, what was submitted (a digest),
# TTL in ms, most unfinished, the oldest id that may be kept, revision, record, most bytes, input,
# count of item keys, item keys ..., events ... Returns the job and its digest; if there is no
# room, in place of the job what of.
CREATE = (
    _NOW
    + _SIZES
    + """
if KEYS[9] then
  local before = redis.call('HMGET', KEYS[9], 'job_id', 'digest')
  if before[1] then return before end
end
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[5]) then return {':jobs', ''} end
forget(KEYS[7], KEYS[8])
if is_full(KEYS[7], length(10), ARGV[9]) then return {':bytes', ''} end
grow(KEYS[7], ARGV[1], length(10))
redis.call('ZADD', KEYS[8], now_ms + ARGV[4], ARGV[1])
redis.call('HSET', KEYS[4], 'revision', ARGV[7], 'record', ARGV[8], 'input', ARGV[10],
  'token', '')
local first = 12 + ARGV[11]
for i = 12, first - 1 do redis.call('SADD', KEYS[6], ARGV[i]) end
for i = first, #ARGV do
  redis.call('XADD', KEYS[5], string.format('%.0f-0', i - first + 1), 'e', ARGV[i])
end
for i = 4, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
if KEYS[9] then
  redis.call('HSET', KEYS[9], 'job_id', ARGV[1], 'digest', ARGV[3])
  redis.call('PEXPIRE', KEYS[9], ARGV[4])
  redis.call('HSET', KEYS[4], 'key', KEYS[9])
end
redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(' .. ARGV[6])
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now_ms, ARGV[2])
return {ARGV[1], ARGV[3]}
"""
)

# KEYS: unfinished and dead of the tenant, waiting, running, record, events, items, sizes and ends
# of the tenant. ARGV: job id, name, expected revision, new revision, record, token, item key, TTL
# in ms (0 leaves it), place (`waiting`, `running`, `dead` or `ended`), ms until it is due,
# channel, most bytes (0 asks for none), events ... Returns 1, or 0 if it is at another revision,
# or 2 if the item is there, or 3 if there is no room for it.
COMMIT = (
    _NOW
    + _SIZES
    + """
if redis.call('HGET', KEYS[5], 'revision') ~= ARGV[3] then return 0 end
local is_there = ARGV[7] ~= '' and redis.call('SISMEMBER', KEYS[7], ARGV[7]) == 1
if ARGV[12] ~= '0' and not is_there then
  forget(KEYS[8], KEYS[9])
  if is_full(KEYS[8], length(13), ARGV[12]) then return 3 end
end
if ARGV[7] ~= '' then
  if redis.call('SADD', KEYS[7], ARGV[7]) == 0 then return 2 end
  redis.call('PEXPIRE', KEYS[7], math.max(1, redis.call('PTTL', KEYS[5])))
end
redis.call('HSET', KEYS[5], 'revision', ARGV[4], 'record', ARGV[5], 'token', ARGV[6])
for i = 13, #ARGV do
  redis.call('XADD', KEYS[6], string.format('%.0f-0', ARGV[3] + i - 12), 'e', ARGV[i])
end
-- A job that was taken on before sizes were counted stays uncounted.
local is_counted = redis.call('HEXISTS', KEYS[8], ARGV[1]) == 1
if is_counted then grow(KEYS[8], ARGV[1], length(13)) end
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
  else
    if is_counted then grow(KEYS[8], ARGV[1], -redis.call('HSTRLEN', KEYS[5], 'input')) end
    redis.call('HDEL', KEYS[5], 'input')
  end
end
if ARGV[8] ~= '0' then
  if is_counted then redis.call('ZADD', KEYS[9], now_ms + ARGV[8], ARGV[1]) end
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

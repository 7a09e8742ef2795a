"""What Redis does in one step, in Lua; `entry.py` says how a record begins.

Every script keeps three things together: the answer under its exact key, the name that
leads to it, and the line in the change log that tells other replicas.
"""

from __future__ import annotations

from services.cache.entry import MAGIC

# Names outside of any tenant. Within one: `hasten:cache:<tenant>:<kind>:<name>`.
ROOT = "hasten:cache:"
TENANTS = f"{ROOT}tenants"
CHANGES = f"{ROOT}changes"
CHANGE_COUNT = f"{ROOT}change-count"
# A replica that falls further behind than this reads everything anew.
CHANGES_KEPT_COUNT = 10_000

_BEGIN_COUNT = f"""
-- Numbers begin at the time in microseconds, so that those of a log that was lost and
-- begun anew never continue the old ones.
local function begin_count()
  local now = redis.call('TIME')
  redis.call('SET', '{CHANGE_COUNT}', string.format('%.0f', now[1] * 1000000 + now[2]), 'NX')
end
"""

# Returns the number of the last change; of none yet, the one before the first.
COUNT = (
    _BEGIN_COUNT
    + f"""
begin_count()
return redis.call('GET', '{CHANGE_COUNT}')
"""
)

_COMMON = (
    _BEGIN_COUNT
    + f"""
local tenant, prefix = ARGV[1], '{ROOT}' .. ARGV[1] .. ':'

local function rank_and_name(head)
  if string.sub(head, 1, 4) ~= '{MAGIC.decode()}' then return -1, nil end
  local rank, high, low = string.byte(head, 5, 7)
  return rank, string.sub(head, 8, 7 + high * 256 + low)
end

local function head_of(key)
  return rank_and_name(redis.call('GETRANGE', prefix .. 'answer:' .. key, 0, 1030))
end

local function tell(change, key, name)
  begin_count()
  local number = redis.call('INCR', '{CHANGE_COUNT}')
  redis.call('XADD', '{CHANGES}', 'MAXLEN', '~', {CHANGES_KEPT_COUNT}, '*',
    'number', string.format('%.0f', number), 'change', change,
    'tenant', tenant, 'key', key, 'name', name)
end

local function drop(key, name)
  if redis.call('DEL', prefix .. 'answer:' .. key) == 0 then return 0 end
  if name and redis.call('GET', prefix .. 'entry:' .. name) == key then
    redis.call('DEL', prefix .. 'entry:' .. name)
  end
  redis.call('ZREM', prefix .. 'keys', key)
  tell('removed', key, name or '')
  return 1
end
"""
)

# ARGV: tenant, key, name, rank, TTL in ms, prompt or '', record.
# Returns the record of a better answer that is in its place, or nil once stored.
PUT = (
    _COMMON
    + """
local key, name, rank, ttl, prompt = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local old_rank, old_name = head_of(key)
if old_rank > rank then return redis.call('GET', prefix .. 'answer:' .. key) end
if old_name and old_name ~= name then redis.call('DEL', prefix .. 'entry:' .. old_name) end
local elsewhere = redis.call('GET', prefix .. 'entry:' .. name)
if elsewhere and elsewhere ~= key then
  local _, its_name = head_of(elsewhere)
  if its_name == name then drop(elsewhere, name) end
end
redis.call('SET', prefix .. 'answer:' .. key, ARGV[7], 'PX', ttl)
redis.call('SET', prefix .. 'entry:' .. name, key, 'PX', ttl)
if prompt ~= '' then redis.call('SET', prefix .. 'prompt:' .. prompt, key, 'PX', ttl) end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', prefix .. 'keys', '-inf', now_ms)
redis.call('ZADD', prefix .. 'keys', now_ms + ttl, key)
redis.call('SADD', '"""
    + TENANTS
    + """', tenant)
tell('put', key, name)
return nil
"""
)

# ARGV: tenant, then pairs of key and name. An empty name takes whichever is there.
# Returns how many were removed.
REMOVE = (
    _COMMON
    + """
local removed = 0
for i = 2, #ARGV, 2 do
  local key, name = ARGV[i], ARGV[i + 1]
  local _, its_name = head_of(key)
  if name == '' or name == its_name then removed = removed + drop(key, its_name) end
end
return removed
"""
)

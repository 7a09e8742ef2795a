"""What Redis does in one step, in Lua; `entry.py` says how a record begins.

Every script keeps four things together: the answer under its exact key, the name that
leads to it, what it takes and what it is worth, and the line in the change log that tells
other replicas. All names share one hash tag, so that they are on one node of a cluster.
"""

from __future__ import annotations

from services.cache.entry import MAGIC

# Names outside of any tenant. Within one: `hasten:{cache}:<tenant>:<kind>:<name>`.
ROOT = "hasten:{cache}:"
TENANTS = f"{ROOT}tenants"
CHANGES = f"{ROOT}changes"
CHANGE_COUNT = f"{ROOT}change-count"
# The stream id of the last change.
CHANGE_LAST = f"{ROOT}change-last"
# What each tenant's answers take in bytes, and what all of them are and take.
TENANT_BYTES = f"{ROOT}tenant-bytes"
TOTALS = f"{ROOT}totals"
# A replica that falls further behind than this reads everything anew.
CHANGES_KEPT_COUNT = 10_000
# What an answer takes beside its record: its names and its places in lists, about.
OVERHEAD_BYTES = 512
# How long what cannot be read stays to be looked at.
SET_ASIDE_S = 3_600
# Removals in one step, so that none keeps Redis from the others for long.
_MOST_AT_ONCE = 128

_BEGIN_COUNT = f"""
-- Numbers begin at the time in microseconds, so that those of a log that was lost and
-- begun anew never continue the old ones.
local function begin_count()
  local now = redis.call('TIME')
  redis.call('SET', '{CHANGE_COUNT}', string.format('%.0f', now[1] * 1000000 + now[2]), 'NX')
end

local function last_change()
  return redis.call('GET', '{CHANGE_LAST}') or '0-0'
end
"""

# Returns the number and the stream id of the last change; of none yet, what is before it.
END = (
    _BEGIN_COUNT
    + f"""
begin_count()
return {{redis.call('GET', '{CHANGE_COUNT}'), last_change()}}
"""
)

_COMMON = (
    _BEGIN_COUNT
    + f"""
local function prefix_of(tenant) return '{ROOT}' .. tenant .. ':' end

local tenant = ARGV[1]
local prefix = prefix_of(tenant)

local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function rank_and_name(head)
  if string.sub(head, 1, 4) ~= '{MAGIC.decode()}' then return -1, nil end
  local rank, high, low = string.byte(head, 5, 7)
  return rank, string.sub(head, 8, 7 + high * 256 + low)
end

local function head_at(prefix, key)
  return redis.call('GETRANGE', prefix .. 'answer:' .. key, 0, 1046)
end

local function head_of(key) return rank_and_name(head_at(prefix, key)) end

-- Each change names the one before it: after a failover that lost some, numbers may go on
-- where they were, and only this shows that they are others.
local function tell(tenant, change, key, name)
  begin_count()
  local number = redis.call('INCR', '{CHANGE_COUNT}')
  local id = redis.call('XADD', '{CHANGES}', 'MAXLEN', '~', {CHANGES_KEPT_COUNT}, '*',
    'number', string.format('%.0f', number), 'after', last_change(), 'change', change,
    'tenant', tenant, 'key', key, 'name', name)
  redis.call('SET', '{CHANGE_LAST}', id)
end

local function tally(tenant, bytes, count)
  redis.call('ZINCRBY', '{TENANT_BYTES}', bytes, tenant)
  redis.call('HINCRBY', '{TOTALS}', 'bytes', bytes)
  redis.call('HINCRBY', '{TOTALS}', 'count', count)
end

local function facts_of(prefix, key)
  local facts = redis.call('HGET', prefix .. 'facts', key)
  if not facts then return nil, 0, 0 end
  local bytes, hits, cost = string.match(facts, '^(%d+) (%d+) (%S+)$')
  return tonumber(bytes), tonumber(hits), tonumber(cost)
end

-- What an answer is worth keeping for: GreedyDual-Size-Frequency (Cherkasova, HP Labs
-- report 98-69R1). The clock is the worth of the last one that had to go, so that what is
-- not used grows old against what comes new.
local function value(prefix, key, bytes, hits, cost)
  local clock = tonumber(redis.call('GET', prefix .. 'clock') or 0)
  local worth = clock + (1 + hits) * cost * 1024 / bytes
  redis.call('HSET', prefix .. 'facts', key, string.format('%d %d %.6g', bytes, hits, cost))
  redis.call('ZADD', prefix .. 'worth', string.format('%.17g', worth), key)
end

local function forget(tenant, prefix, key)
  local bytes = facts_of(prefix, key)
  if bytes then tally(tenant, -bytes, -1) end
  redis.call('HDEL', prefix .. 'facts', key)
  redis.call('ZREM', prefix .. 'worth', key)
  redis.call('ZREM', prefix .. 'keys', key)
  if redis.call('ZCARD', prefix .. 'keys') == 0 then
    redis.call('ZREM', '{TENANT_BYTES}', tenant)
    redis.call('SREM', '{TENANTS}', tenant)
    redis.call('DEL', prefix .. 'clock')
  end
end

local function drop(tenant, prefix, key)
  local _, name = rank_and_name(head_at(prefix, key))
  local was_there = redis.call('DEL', prefix .. 'answer:' .. key)
  if name and redis.call('GET', prefix .. 'entry:' .. name) == key then
    redis.call('DEL', prefix .. 'entry:' .. name)
  end
  forget(tenant, prefix, key)
  if was_there == 1 then tell(tenant, 'removed', key, name or '') end
  return was_there
end

local function forget_expired(tenant, prefix)
  local past = redis.call('ZRANGEBYSCORE', prefix .. 'keys', '-inf', now_ms(),
    'LIMIT', 0, {_MOST_AT_ONCE})
  for _, key in ipairs(past) do forget(tenant, prefix, key) end
  return #past
end

-- Lets go of what a tenant holds of least worth; false if it is only what is spared.
local function evict(tenant, spared)
  local prefix = prefix_of(tenant)
  local least = redis.call('ZRANGE', prefix .. 'worth', 0, 1, 'WITHSCORES')
  local at = least[1] == spared and 3 or 1
  if not least[at] then return false end
  redis.call('SET', prefix .. 'clock', least[at + 1])
  drop(tenant, prefix, least[at])
  return true
end
"""
)

# ARGV: tenant, key, name, rank, TTL in ms, prompt or '', seconds it took to make; then the
# most answers and bytes of a tenant, and of all; the record.
# Returns the record of a better answer that is in its place, or nil once stored; and how
# many others had to go.
PUT = (
    _COMMON
    + f"""
local key, name, rank, ttl, prompt = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local cost, record = tonumber(ARGV[7]), ARGV[12]
local old_rank, old_name = head_of(key)
if old_rank > rank then return {{redis.call('GET', prefix .. 'answer:' .. key), 0}} end
if old_name and old_name ~= name then redis.call('DEL', prefix .. 'entry:' .. old_name) end
local elsewhere = redis.call('GET', prefix .. 'entry:' .. name)
if elsewhere and elsewhere ~= key then
  local _, its_name = head_of(elsewhere)
  if its_name == name then drop(tenant, prefix, elsewhere) end
end
forget_expired(tenant, prefix)
-- Who asked before will ask again, whoever wrote the answer.
local old_bytes, hits = facts_of(prefix, key)
if old_bytes then tally(tenant, -old_bytes, -1) end
local bytes = #record + {OVERHEAD_BYTES}
redis.call('SET', prefix .. 'answer:' .. key, record, 'PX', ttl)
redis.call('SET', prefix .. 'entry:' .. name, key, 'PX', ttl)
if prompt ~= '' then redis.call('SET', prefix .. 'prompt:' .. prompt, key, 'PX', ttl) end
redis.call('ZADD', prefix .. 'keys', now_ms() + ttl, key)
redis.call('SADD', '{TENANTS}', tenant)
tally(tenant, bytes, 1)
value(prefix, key, bytes, hits, cost)
tell(tenant, 'put', key, name)

local evicted = 0
local function tenant_is_over()
  return redis.call('ZCARD', prefix .. 'keys') > tonumber(ARGV[8])
    or tonumber(redis.call('ZSCORE', '{TENANT_BYTES}', tenant) or 0) > tonumber(ARGV[9])
end
while evicted < {_MOST_AT_ONCE} and tenant_is_over() and evict(tenant, key) do
  evicted = evicted + 1
end
local function all_are_over()
  return tonumber(redis.call('HGET', '{TOTALS}', 'count')) > tonumber(ARGV[10])
    or tonumber(redis.call('HGET', '{TOTALS}', 'bytes')) > tonumber(ARGV[11])
end
while evicted < {_MOST_AT_ONCE} and all_are_over() do
  -- Whoever takes the most gives way.
  local largest = redis.call('ZREVRANGE', '{TENANT_BYTES}', 0, 0)[1]
  if not (largest and evict(largest, largest == tenant and key or '')) then break end
  evicted = evicted + 1
end
return {{false, evicted}}
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
  if name == '' or name == its_name then removed = removed + drop(tenant, prefix, key) end
end
return removed
"""
)

# ARGV: tenant, key, SHA-1 of a record that cannot be read, so that no other one goes with it.
# Returns whether it was there.
SET_ASIDE = (
    _COMMON
    + f"""
local answer, aside = prefix .. 'answer:' .. ARGV[2], prefix .. 'damaged:' .. ARGV[2]
local record = redis.call('GET', answer)
if not record or redis.sha1hex(record) ~= ARGV[3] then return 0 end
redis.call('SET', aside, record, 'EX', {SET_ASIDE_S})
return drop(tenant, prefix, ARGV[2])
"""
)

# ARGV: tenant, then pairs of key and number of hits. What is not there any more is left out.
HITS = (
    _COMMON
    + """
for i = 2, #ARGV, 2 do
  local bytes, hits, cost = facts_of(prefix, ARGV[i])
  if bytes then value(prefix, ARGV[i], bytes, hits + tonumber(ARGV[i + 1]), cost) end
end
"""
)

# ARGV: tenant, then keys. Forgets those whose answer is gone, however it went.
# Returns for each key the name of an answer that has a vector, '' of one without, or nil.
NAMES = (
    _COMMON
    + """
local found = {}
for i = 2, #ARGV do
  local head = head_at(prefix, ARGV[i])
  local _, name = rank_and_name(head)
  if head == '' then
    if redis.call('EXISTS', prefix .. 'answer:' .. ARGV[i]) == 0 then
      forget(tenant, prefix, ARGV[i])
    end
    found[i - 1] = false
  elseif name then
    -- After the name: a checksum, the length of the JSON part, the length of the vector.
    local has_vector = string.sub(head, 16 + #name, 19 + #name) ~= '\\0\\0\\0\\0'
    found[i - 1] = has_vector and name or ''
  else
    found[i - 1] = false
  end
end
return found
"""
)

# ARGV: tenant. Forgets what has expired. Returns how many were there, at most 128 at once.
SWEEP = (
    _COMMON
    + """
return forget_expired(tenant, prefix)
"""
)

# ARGV: tenant, key, name, record. Puts a record in place of the same answer's, for as long
# as that one had. Returns whether it was there.
RENEW = (
    _COMMON
    + f"""
local key, name, record = ARGV[2], ARGV[3], ARGV[4]
local _, its_name = head_of(key)
if its_name ~= name then return 0 end
local old_bytes, hits, cost = facts_of(prefix, key)
if not old_bytes then return 0 end
redis.call('SET', prefix .. 'answer:' .. key, record, 'KEEPTTL')
tally(tenant, -old_bytes, -1)
tally(tenant, #record + {OVERHEAD_BYTES}, 1)
value(prefix, key, #record + {OVERHEAD_BYTES}, hits, cost)
tell(tenant, 'renewed', key, name)
return 1
"""
)

# KEYS: a lease. ARGV: who wants it, milliseconds. Returns whether they have it.
CLAIM = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

#!lua
-- Appends messages of another store with their own times and states. What was appended before is
-- skipped, so that an import can be repeated and goes on where it was.
-- KEYS: 1 partition
-- ARGV: 1 partition number, then for each message: tracker, meta (tracker 8 B, id in the other
-- store 7 B), record without its slot
-- Returns 8 B each: 0 stored, 1 stored before, 2 the tracker has messages of its own, 3 it has
-- newer ones; id 7 B.
local K, P = KEYS[1], tonumber(ARGV[1])
local now = 0 -- times come with the messages
local seals = { [K] = tonumber(redis.call('GET', K .. ':seal') or 0) }
local queued = 0 -- pending messages among those appended
--#include state record append wake end

-- count adds a message that was just appended to the tracker's numbers.
local function count(status, id, till)
  if status == 'U' then
    uc = uc + 1
  elseif status ~= 'R' then
    no, lo = no + 1, id
    if status == 'P' then
      if pc == 0 then
        pf = b
      end
      pc, queued = pc + 1, queued + 1
      if till then
        redis.call('ZADD', K .. ':e', string.format('%d', till), struct.pack('>I7', id))
      end
    end
    if status ~= 'D' and status ~= 'V' then
      oc = oc + 1
    end
  end
end

-- take appends a record to the tracker in hand and returns its id.
local function take(t8, record)
  local changed, opened = struct.unpack('>I6I6', record, 3)
  local submitted = struct.unpack('>I6', record, 24)
  local clock, head = l, ''
  if k == 0 or n >= 64 or z > 16384 or b <= seals[K] then
    l = submitted -- what the directory of blocks is ordered by
    roll()
    head = t8 .. '\0'
  end
  record = string.sub(record, 1, 18) .. string.char(n) .. string.sub(record, 20)
  redis.call('APPEND', K .. ':c:' .. string.format('%d', b), head .. record)
  local id = (b * 64 + n) * 256 + P
  n, z, sub = n + 1, z + #record, submitted
  l = math.max(clock, submitted, changed, opened)
  count(string.sub(record, 1, 1), id, expires(record, 30))
  save_log()
  return id
end

local results = {}
for i = 2, #ARGV, 3 do
  local T, meta, record = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local mark_key = K .. ':h:' .. T
  local mark = redis.call('GET', mark_key)
  load(K .. ':t:' .. T)
  local code, id = 0, 0
  if mark and struct.unpack('>I7', mark) >= struct.unpack('>I7', meta, 9) then
    code = 1
  elseif not mark and k > 0 then
    code = 2
  elseif struct.unpack('>I6', record, 24) < sub then
    code = 3
  else
    id = take(string.sub(meta, 1, 8), record)
    redis.call('SET', mark_key, string.sub(meta, 9, 15) .. string.sub(record, 24, 29))
  end
  results[#results + 1] = struct.pack('>BI7', code, id)
end
if queued > 0 then
  redis.call('INCRBY', K .. ':p', queued)
end
return table.concat(results)

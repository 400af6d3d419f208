#!lua
-- Stores outgoing messages and wakes their trackers' owners.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, 5 undelivered
-- messages allowed, 6 longest tail that a wake carries, 7 node of the caller or '',
--       then for each message: tracker, meta (tracker 8 B, check 4 B),
--       tail of the record, idempotency key or ''
-- Returns 8 B each: 0 stored, 1 stored before, 2 full; id 7 B. Then for each message whose tracker
-- the caller's node owns: item, from 0, 2 B, epoch 6 B, previous id 7 B, offset 3 B, submitted 6 B.
--#include once clock seals state record append wake change end
local pubcmd, limit, carry, caller = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

each(8, 4, function(i)
  local T, meta, tail, key = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local t8, check = string.sub(meta, 1, 8), string.sub(meta, 9, 12)
  load(T)
  local code, id = 0, nil
  if key ~= '' then
    key = K .. ':i:' .. key
    local known = redis.call('GET', key)
    if known then
      local first, till = struct.unpack('>I7I6', known)
      local dropped = redis.call('GET', K .. ':z:' .. T)
      if till > now and not (dropped and math.floor(first / 16384) <= struct.unpack('>I5', dropped, 8)) then
        id = first
      end
    end
  end
  if not id and pc >= limit then
    expire(P, 100)
    load(T)
  end
  if id then
    code = 1
  elseif pc >= limit then
    code, id = 2, 0
  else
    local slot, off, fresh = put(T, t8, 'P', check, tail)
    id = (b * 64 + slot) * 256 + P
    if pc == 0 then
      pf = b
    end
    pc, oc, no = pc + 1, oc + 1, no + 1
    count_pending(1)
    local prev = lo
    lo = id
    change(pubcmd, 'N', t8, id)
    if fresh then
      save_log()
    else
      save_tail()
    end
    local till = expires(tail, 1)
    if till then
      redis.call('ZADD', K .. ':e', string.format('%d', till), struct.pack('>I7', id))
    end
    if key ~= '' then
      redis.call('SET', key, struct.pack('>I7I6', id, now + 86400000), 'EX', 86400)
    end
    if owner ~= '' and owner == caller then
      told[#told + 1] = struct.pack('>I2I6I7I3I6', (i - 8) / 4, e, prev, off, l)
    elseif owner ~= '' then
      local kind, body = 'M', tail
      if #tail > carry then
        kind, body = 'H', ''
      end
      wake(kind .. t8 .. struct.pack('>I6I7I7I3I6', e, id, prev, off, l) .. check .. body)
    end
  end
  return struct.pack('>BI7', code, id)
end)
publish(pubcmd)
tell(pubcmd)
return finish()

#!lua
-- Stores outgoing messages and wakes their trackers' owners.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, 5 undelivered
-- messages allowed, 6 longest tail that a wake carries,
--       then for each message: key of the tracker, meta (tracker 8 B, check 4 B, idempotency key if
--       there is one), tail of the record
-- Returns 8 B each: 0 stored, 1 stored before, 2 full; id 7 B.
--#include once clock seals state record append wake change end
local pubcmd, limit, carry = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

-- known returns the id that was given for an idempotency key.
local function known(key)
  local value = call('GET', key)
  if value then
    local first, till = parse('>I7I6', value)
    local dropped = call('GET', of_tracker(':z:'))
    if till > now and not (dropped and math.floor(first / 16384) <= parse('>I5', dropped, 8)) then
      return first
    end
  end
end

read_ahead(7, 3)
each(7, 3, function(i)
  local meta, tail = ARGV[i + 1], ARGV[i + 2]
  load(ARGV[i])
  local key
  if #meta > 12 then
    key = K .. ':i:' .. cut(meta, 13)
    local id = known(key)
    if id then
      return pack('>BI7', 1, id)
    end
  end
  if pc >= limit then
    expire(P, 100)
    load(ARGV[i])
    if pc >= limit then
      return '\2\0\0\0\0\0\0\0'
    end
  end
  local slot, off, fresh = put(meta, 'P\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0', tail)
  local id, prev = (b * 64 + slot) * 256 + P, lo
  if pc == 0 then
    pf = b
  end
  pc, oc, no, lo = pc + 1, oc + 1, no + 1, id
  count_pending(1)
  if fresh then
    save_log()
  else
    save_tail()
  end
  local till = expires(tail, 1)
  if till then
    call('ZADD', K .. ':e', text('%d', till), pack('>I7', id))
  end
  if key then
    call('SET', key, pack('>I7I6', id, now + 86400000), 'EX', 86400)
  end
  if owner ~= '' then
    local kind, body = 'M', tail
    if #tail > carry then
      kind, body = 'H', nil
    end
    wake(pack('>c1c8I6I7I7I3I6c4', kind, meta, e, id, prev, off, l, cut(meta, 9, 12)), body)
  end
  if listening(pubcmd) then
    change(pubcmd, 'N', cut(meta, 1, 8), id)
  end
  return pack('>BI7', 0, id)
end)
publish(pubcmd)
tell(pubcmd)
return finish()

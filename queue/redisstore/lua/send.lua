#!lua
-- Stores outgoing messages and wakes their trackers' owners.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, 5 undelivered
-- messages allowed, 6 longest tail that a wake carries,
--       then for each message: tracker, meta (tracker 8 B, nonce 4 B, 1 B: 1 = look for the nonce), tail of the record, idempotency key or ''
-- Returns 8 B each: 0 stored, 1 stored before, 2 full; id 7 B.
--#include once clock seals state record append wake change end
local pubcmd, limit, carry = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

-- known_nonce looks a caller's nonce up in the tracker's list of at least the last 64 of them:
-- mostly it is not there, and no block has to be read.
local function known_nonce(T, nonce)
  local key = K .. ':f:' .. T
  local list = redis.call('GET', key) or ''
  local at = string.find(list, nonce, 1, true)
  while at and at % 4 ~= 1 do
    at = string.find(list, nonce, at + 1, true)
  end
  return at, key, list
end

local function note_nonce(key, list, nonce)
  if #list >= 512 then
    redis.call('SET', key, string.sub(list, -252) .. nonce)
  else
    redis.call('APPEND', key, nonce)
  end
end

-- sent_before looks for a caller's nonce (flag 16) among the newest 64 outgoing messages.
local function sent_before(T, t8, nonce)
  local count, block = 0, b
  for i = 0, k - 1 do
    if i > 0 then
      local m = redis.call('ZREVRANGE', K .. ':x:' .. T, i, i)
      block = struct.unpack('>I5', m[1])
    end
    local chunk = redis.call('GET', K .. ':c:' .. string.format('%d', block))
    local outgoing = no
    if i > 0 then
      outgoing = string.byte(chunk, 9)
    end
    if string.find(chunk, nonce, 10, true) then
      local at, later, found = 9, 0, nil
      while at + 33 <= #chunk do
        local status = string.byte(chunk, at + 1)
        if status ~= 85 and status ~= 82 then
          later = later + 1
          if string.sub(chunk, at + 20, at + 23) == nonce and math.floor(string.byte(chunk, at + 30) / 16) % 2 == 1 then
            found, later = string.byte(chunk, at + 19), 0
          end
        end
        local x, y, v = string.byte(chunk, at + 31, at + 33)
        at = at + 33 + x * 65536 + y * 256 + v
      end
      if found and count + later < 64 then
        return (block * 64 + found) * 256 + P
      end
    end
    count = count + outgoing
    if count >= 64 then
      return nil
    end
  end
  return nil
end

each(7, 4, function(i)
  local T, meta, tail, key = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local t8, nonce = string.sub(meta, 1, 8), string.sub(meta, 9, 12)
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
  local look, nonces_key, nonces = string.byte(meta, 13) == 1, nil, nil
  if not id and look then
    local again
    again, nonces_key, nonces = known_nonce(T, nonce)
    if again and k > 0 then
      id = sent_before(T, t8, nonce)
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
    local slot, off, fresh = put(T, t8, 'P', nonce, tail)
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
    if look then
      note_nonce(nonces_key, nonces, nonce)
    end
    if key ~= '' then
      redis.call('SET', key, struct.pack('>I7I6', id, now + 86400000), 'EX', 86400)
    end
    if owner ~= '' then
      local kind, body = 'M', tail
      if #tail > carry then
        kind, body = 'H', ''
      end
      wake(kind .. t8 .. struct.pack('>I6I7I7I3I6', e, id, prev, off, l) .. nonce .. body)
    end
  end
  return struct.pack('>BI7', code, id)
end)
publish(pubcmd)
tell(pubcmd)
return finish()

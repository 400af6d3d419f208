-- roll closes the tail block and opens a new one. The copy drops the room that APPEND reserves for
-- growth.
local function roll(T)
  local block = redis.call('INCR', K .. ':blk')
  redis.call('RPUSH', K .. ':q', block)
  local dir = K .. ':x:' .. T
  if k > 0 then
    local tail, tmp = K .. ':c:' .. string.format('%d', b), K .. ':tmp'
    redis.call('SETRANGE', tail, 8, string.char(no))
    redis.call('COPY', tail, tmp, 'REPLACE')
    redis.call('RENAME', tmp, tail)
    if k == 1 then
      redis.call('ZADD', dir, 0, struct.pack('>I5', b))
    end
    redis.call('ZADD', dir, string.format('%d', l), struct.pack('>I5', block))
  end
  k, b, n, z, no = k + 1, block, 0, 9, 0
  if k > 32 then
    -- The block that leaves the window of Changes takes the time of its last change with it.
    local edge = redis.call('ZREVRANGE', dir, 31, 32)
    w = struct.unpack('>I5', edge[1])
    local chunk = redis.call('GET', K .. ':c:' .. string.format('%d', (struct.unpack('>I5', edge[2]))))
    local at = 9
    while chunk and at + 33 <= #chunk do
      local a, r = struct.unpack('>I6I6', chunk, at + 3)
      rst = math.max(rst, a, r, (struct.unpack('>I6', chunk, at + 24)))
      local x, y, v = string.byte(chunk, at + 31, at + 33)
      at = at + 33 + x * 65536 + y * 256 + v
    end
  end
end

-- put appends a record in the given state and returns its slot, its offset and whether it opened a
-- block.
local function put(T, t8, status, check, tail)
  tick()
  local fresh = k == 0 or n >= 64 or z > 16384 or b <= seals[K]
  local head = ''
  if fresh then
    roll(T)
    head = t8 .. '\0'
  end
  local slot, off = n, z
  local record = status .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' .. string.char(slot) .. check .. struct.pack('>I6', l) .. tail
  redis.call('APPEND', K .. ':c:' .. string.format('%d', b), head .. record)
  n, z, sub = n + 1, z + #record, l
  return slot, off, fresh
end

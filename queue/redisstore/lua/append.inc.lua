-- roll closes the tail block and opens a new one. The copy drops the room that APPEND reserves for
-- growth.
local function roll()
  local block = call('INCR', K .. ':blk')
  call('RPUSH', K .. ':q', block)
  local dir = of_tracker(':x:')
  if k > 0 then
    local tail, tmp = K .. ':c:' .. text('%d', b), K .. ':tmp'
    call('SETRANGE', tail, 8, char(no))
    call('COPY', tail, tmp, 'REPLACE')
    call('RENAME', tmp, tail)
    if k == 1 then
      call('ZADD', dir, 0, pack('>I5', b))
    end
    call('ZADD', dir, text('%d', l), pack('>I5', block))
  end
  k, b, n, z, no = k + 1, block, 0, 9, 0
  if k > 32 then
    -- The block that leaves the window of Changes takes the time of its last change with it.
    local edge = call('ZREVRANGE', dir, 31, 32)
    w = parse('>I5', edge[1])
    local chunk = call('GET', K .. ':c:' .. text('%d', (parse('>I5', edge[2]))))
    local at = 9
    while chunk and at + 33 <= #chunk do
      local a, r = parse('>I6I6', chunk, at + 3)
      rst = math.max(rst, a, r, (parse('>I6', chunk, at + 24)))
      local x, y, v = byte(chunk, at + 31, at + 33)
      at = at + 33 + x * 65536 + y * 256 + v
    end
  end
end

-- put appends a record and returns its slot, its offset and whether it opened a block. meta:
-- tracker 8 B, check 4 B; status: what the record has before its slot.
local function put(meta, status, tail)
  tick()
  local fresh = k == 0 or n >= 64 or z > 16384 or b <= seals[K]
  if fresh then
    roll()
  end
  local slot, off = n, z
  local record = status .. char(slot) .. cut(meta, 9, 12) .. stamp() .. tail
  n, z, sub = n + 1, z + #record, l
  if fresh then
    record = cut(meta, 1, 8) .. '\0' .. record
  end
  call('APPEND', text('%s:c:%d', K, b), record)
  return slot, off, fresh
end

-- K:e is the partition's list of pending messages with a limited time: member id (7 B), score the
-- end of it in ms.

-- limited reports whether the time of a record is; at is the place of its flags in text.
local function limited(record, at) return byte(record, at) % 4 >= 2 end

-- expires returns when the time of a record ends, nil if it never does.
local function expires(record, at)
  if limited(record, at) then
    return (parse('>I6', record, at + 4 + byte(record, at) % 2 * 8))
  end
end

local function member(blk, slot, P) return pack('>I7', (blk * 64 + slot) * 256 + P) end

-- stop ends the pending record at an offset of a chunk of the tracker in hand, tells of it, and has
-- the owner told of what it must not send any more (expired, cancelled). mark: state 1 B, reason 1
-- B.
local function stop(chunk, blk, off, mark, P)
  local slot = byte(chunk, off + 19)
  tick()
  touched(blk)
  pc = pc - 1
  call('SETRANGE', K .. ':c:' .. text('%d', blk), off, mark .. pack('>I6', l))
  save_counts()
  if limited(chunk, off + 30) then
    call('ZREM', K .. ':e', member(blk, slot, P))
  end
  local to, t8 = cut(mark, 1, 1), cut(chunk, 1, 8)
  change(ARGV[4], to, t8, (blk * 64 + slot) * 256 + P)
  if owner ~= '' and (to == 'X' or to == 'E') then
    wake('E' .. t8 .. pack('>I6', e) .. member(blk, slot, P) .. to)
  end
end

-- end_due ends the message of a member of the list whose time has run out, and reports whether it
-- was pending still; another tracker is in hand then.
local function end_due(m, P)
  local at = math.floor(parse('>I7', m) / 256)
  local blk, slot = math.floor(at / 64), at % 64
  local chunk = call('GET', K .. ':c:' .. text('%d', blk))
  local off = chunk and find(chunk, cut(chunk, 1, 8), slot)
  local T = chunk and text('%.0f', (parse('>i8', chunk)))
  if T then
    load(K .. ':t:' .. T)
  end
  if off and byte(chunk, off + 1) == 80 and live(blk) then
    stop(chunk, blk, off, 'E\0', P)
    count_pending(-1)
    return true
  end
  call('ZREM', K .. ':e', m) -- the tracker was removed with all it had
  return false
end

-- expire ends up to most messages of the partition whose time has run out. It returns how many it
-- ended, how many it looked at, and the error of the first that cannot be read: the others do not
-- wait for it.
local function expire(P, most)
  local due, ended, failed = call('ZRANGEBYSCORE', K .. ':e', '-inf', text('%d', now), 'LIMIT', 0, most), 0, nil
  for _, m in ipairs(due) do
    local fine, result = pcall(end_due, m, P)
    if not fine then
      failed = failed or result
    elseif result then
      ended = ended + 1
    end
  end
  return ended, #due, failed
end

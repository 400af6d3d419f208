#!lua
-- Stores texts from devices; one that is known by its key is stored once.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH,
--       then for each text: tracker, meta (tracker 8 B, check 4 B), tail of the record, key 8 B or '', window ms, epoch
-- Returns 8 B each: 0 stored, 1 stored before; id 7 B.
--#include once clock seals state record append change
local ENTRY, ENTRIES = 29, 32 -- key 8 B, id 7 B, ms 6 B, epoch 8 B as it is given

-- repeated returns the offset of the ring's entry that the text repeats: without an epoch the
-- newest within the window, else the oldest of another epoch.
local function repeated(ring, key, window, epoch)
  local found, from = nil, 1
  while true do
    local at = string.find(ring, key, from, true)
    if not at then
      return found
    end
    if (at - 1) % ENTRY == 0 then
      local ms = parse('>I6', ring, at + 15)
      if math.max(l, now) - ms < window then
        if epoch == '\0\0\0\0\0\0\0\0' then
          found = at
        elseif cut(ring, at + 21, at + 28) ~= epoch then
          return at
        end
      end
    end
    from = at + 1
  end
end

each(5, 6, function(i)
  local T, meta, tail, key, epoch = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 5]
  load(K .. ':t:' .. T)
  local ring, at
  if key ~= '' then
    ring = call('GET', K .. ':d:' .. T) or ''
    at = repeated(ring, key, tonumber(ARGV[i + 4]), epoch)
  end
  if at then
    if epoch ~= '\0\0\0\0\0\0\0\0' then
      call('SETRANGE', K .. ':d:' .. T, at + 20, epoch)
    end
    return '\1' .. cut(ring, at + 8, at + 14)
  end
  local slot = put(meta, 'U\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0', tail)
  local number = (b * 64 + slot) * 256 + P
  local id = pack('>I7', number)
  change(ARGV[4], 'N', cut(meta, 1, 8), number)
  uc = uc + 1
  save_log()
  if key ~= '' then
    local entry = key .. id .. pack('>I6', l) .. epoch
    if #ring >= ENTRY * ENTRIES then
      call('SET', K .. ':d:' .. T, cut(ring, ENTRY + 1) .. entry)
    else
      call('APPEND', K .. ':d:' .. T, entry)
    end
  end
  return '\0' .. id
end)
tell(ARGV[4])
return finish()

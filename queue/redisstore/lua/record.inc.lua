-- A chunk is a 9-byte header (tracker, outgoing records, the latter once the block is closed) and
-- records as record.go lays them out: 33 bytes, the last 3 the length of the rest.

-- find returns the offset of a slot's record in a chunk of the tracker, nil if there is none.
local function find(chunk, t8, slot)
  if not chunk or cut(chunk, 1, 8) ~= t8 then
    return nil
  end
  local at, size = 9, #chunk
  while at + 33 <= size do
    if byte(chunk, at + 19) == slot then
      return at
    end
    local x, y, v = byte(chunk, at + 31, at + 33)
    at = at + 33 + x * 65536 + y * 256 + v
  end
  return nil
end

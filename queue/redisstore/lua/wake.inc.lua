-- Wakes are collected per owner and published once, at the end; wake.go reads them.
local outbox = {}

-- wake collects an entry for the owner of the tracker in hand; body is the end of it, if any.
local function wake(entry, body)
  local box = outbox[owner]
  if not box then
    box = {}
    outbox[owner] = box
  end
  local at = #box
  box[at + 1], box[at + 2] = entry, body
end

-- publish sends what was collected with PUBLISH or SPUBLISH, of all partitions over the channel of
-- the one in hand: where one Redis holds everything a node has one connection that listens to all
-- channels, and one message costs both sides less than many.
local function publish(cmd)
  for node, box in pairs(outbox) do
    call(cmd, K .. ':n:' .. node, table.concat(box))
  end
end

-- Wakes are collected per owner and published once, at the end; wake.go reads them.
local outbox = {}

local function wake(entry)
  local box = outbox[owner]
  if not box then
    box = {}
    outbox[owner] = box
  end
  box[#box + 1] = entry
end

-- publish sends what was collected with PUBLISH or SPUBLISH.
local function publish(cmd)
  for node, box in pairs(outbox) do
    redis.call(cmd, K .. ':n:' .. node, table.concat(box))
  end
end

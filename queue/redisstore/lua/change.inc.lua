-- Changes are collected and published once, at the end, to the partition's own channel; watch.go reads them. With nobody there that costs one call of a script.
local changes = {}

-- change notes what happened (kind 1 B) to a message (tracker 8 B, id 7 B), at ms or with the tracker's clock.
local function change(kind, t8, id, ms)
  changes[#changes + 1] = kind .. t8 .. struct.pack('>I7I6', id, ms or l)
end

-- tell publishes what was collected with PUBLISH or SPUBLISH.
local function tell(cmd)
  if #changes > 0 then
    redis.call(cmd, K .. ':w', table.concat(changes))
  end
end

-- Changes are collected and published once, at the end; changes.go reads them. Where nobody listens
-- a script pays for asking that, once, and nothing else. Of a call for several partitions the first
-- is asked for and the last has it all: where one Redis holds everything a reader subscribes to the
-- channels of all partitions with one command.
local changes, listened = {}, nil

-- listening reports whether anybody hears of changes. cmd is PUBLISH or SPUBLISH.
local function listening(cmd)
  if listened == nil then
    listened = call('PUBSUB', cmd == 'PUBLISH' and 'NUMSUB' or 'SHARDNUMSUB', K .. ':w')[2] > 0
  end
  return listened
end

-- change notes what happened (kind 1 B) to a message (tracker 8 B, id 7 B), at ms or with the
-- tracker's clock.
local function change(cmd, kind, t8, id, ms)
  if listening(cmd) then
    changes[#changes + 1] = kind .. t8 .. pack('>I7I6', id, ms or l)
  end
end

-- tell publishes what was collected.
local function tell(cmd)
  if #changes > 0 then
    call(cmd, K .. ':w', table.concat(changes))
  end
end

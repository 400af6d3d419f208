-- What a change of the directory does (directory.go says what lies where): commands of a name and
-- arguments. Each is done once, in any order.
local dir = KEYS[1]
local commands = {}

-- put KIND BUCKET (id row)*
function commands.put(c)
  redis.call('HSET', c[2] .. ':' .. c[3], unpack(c, 4))
  redis.call('ZADD', c[2], c[3], c[3])
end

-- cut KIND BUCKET id*
function commands.cut(c)
  local key = c[2] .. ':' .. c[3]
  redis.call('HDEL', key, unpack(c, 4))
  if redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', c[2], c[3])
  end
end

-- hset KEY (field value)*
function commands.hset(c)
  redis.call('HSET', unpack(c, 2))
end

-- changed (version row)*
function commands.changed(c)
  local rows = {}
  for i = 3, #c, 2 do
    rows[#rows + 1] = c[i]
  end
  redis.call('ZADD', dir .. ':log', unpack(c, 2))
  redis.call('ZREM', dir .. ':gone', unpack(rows))
end

-- gone LEAST (version row)*: LEAST are remembered at least.
function commands.gone(c)
  local rows, key, least = {}, dir .. ':gone', tonumber(c[2])
  for i = 4, #c, 2 do
    rows[#rows + 1] = c[i]
  end
  redis.call('ZREM', dir .. ':log', unpack(rows))
  redis.call('ZADD', key, unpack(c, 3))
  local count = redis.call('ZCARD', key)
  if count > least + least / 2 then
    local last = redis.call('ZRANGE', key, count - least - 1, count - least - 1, 'WITHSCORES')
    redis.call('ZREMRANGEBYRANK', key, 0, count - least - 1)
    if tonumber(redis.call('HGET', dir, 'floor') or 0) < tonumber(last[2]) then
      redis.call('HSET', dir, 'floor', last[2])
    end
  end
end

-- endsessions LIST
function commands.endsessions(c)
  local list = dir .. ':l:' .. c[2]
  local keys = redis.call('ZRANGE', list, 0, -1)
  for i, h in ipairs(keys) do
    keys[i] = dir .. ':s:' .. h
  end
  keys[#keys + 1] = list
  redis.call('DEL', unpack(keys))
end

-- endbroadcasts KEY
function commands.endbroadcasts(c)
  for _, id in ipairs(redis.call('ZRANGE', c[2], 0, -1)) do
    redis.call('DEL', c[2] .. ':' .. id)
  end
  redis.call('DEL', c[2])
end

local function run(packed)
  for _, c in ipairs(cmsgpack.unpack(packed)) do
    if commands[c[1]] then -- what earlier versions staged may do more than is needed
      commands[c[1]](c)
    end
  end
end

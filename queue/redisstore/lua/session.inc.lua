-- Sessions, as session.go lays them out.
local dir = KEYS[1]

-- list_of is the list of somebody's sessions.
local function list_of(who)
  return dir .. ':l:' .. (string.match(who, '^u(%d+:%d+):') or who)
end

-- session returns whose it is, creation and end of a session that has not expired, nil where there
-- is none.
local function session(hash)
  local text = redis.call('GET', dir .. ':s:' .. hash)
  if text then
    local who, created, expires = string.match(text, '^(%S+) (%-?%d+) (%-?%d+)$')
    if tonumber(expires) > now then
      return who, created, expires
    end
  end
end

-- keep stores a session until it expires, and the list that it is in at least as long.
local function keep(hash, who, created, expires)
  local list, life = list_of(who), tonumber(expires) - now
  if life <= 0 then
    redis.call('DEL', dir .. ':s:' .. hash)
    return
  end
  life = string.format('%d', life)
  redis.call('SET', dir .. ':s:' .. hash, who .. ' ' .. created .. ' ' .. expires, 'PX', life)
  redis.call('ZADD', list, created, hash)
  if redis.call('PTTL', list) < tonumber(life) then
    redis.call('PEXPIRE', list, life)
  end
end

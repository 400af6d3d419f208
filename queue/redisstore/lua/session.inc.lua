-- Sessions, as session.go lays them out.
local dir = KEYS[1]

-- session returns account and creation of a session that has not expired, and what follows its end,
-- nil where there is none.
local function session(hash)
  local text = redis.call('GET', dir .. ':s:' .. hash)
  if text then
    local account, created, expires, more = string.match(text, '^(%-?%d+) (%-?%d+) (%-?%d+)(.*)$')
    if tonumber(expires) > now then
      return account, created, more
    end
  end
end

-- keep stores a session until it expires, and its account's list at least as long.
local function keep(hash, account, created, expires, more)
  local list, life = dir .. ':l:' .. account, tonumber(expires) - now
  if life <= 0 then
    redis.call('DEL', dir .. ':s:' .. hash)
    return
  end
  life = string.format('%d', life)
  redis.call('SET', dir .. ':s:' .. hash, account .. ' ' .. created .. ' ' .. expires .. more, 'PX', life)
  redis.call('ZADD', list, created, hash)
  if redis.call('PTTL', list) < tonumber(life) then
    redis.call('PEXPIRE', list, life)
  end
end

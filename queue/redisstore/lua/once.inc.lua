-- A batch is executed once, however often it arrives: KEYS[2] holds the number of the lane's last batch and its results, ARGV[1] is this one's number.
-- A batch that comes after a later one was given up by its sender and must not be executed any more.
local K = KEYS[1]
local memo = redis.call('MGET', KEYS[2], K .. ':seal')
local seal = tonumber(memo[2] or 0)
if memo[1] then
  local last, this = struct.unpack('>I7', memo[1]), tonumber(ARGV[1])
  if last == this then
    return string.sub(memo[1], 8)
  elseif last > this then
    return redis.error_reply('STALE batch ' .. ARGV[1])
  end
end

-- finish remembers the results for an hour, longer than any repetition takes, and returns them.
local function finish(results)
  local r = table.concat(results)
  redis.call('SET', KEYS[2], struct.pack('>I7', tonumber(ARGV[1])) .. r, 'EX', 3600)
  return r
end

-- count_pending keeps the partition's number of pending messages, which operators watch.
local function count_pending(change)
  if change ~= 0 then
    redis.call('INCRBY', K .. ':p', change)
  end
end

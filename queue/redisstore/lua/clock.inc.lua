-- now: UTC milliseconds; ARGV[2] is that of a test's clock, 0 asks Redis.
local now = tonumber(ARGV[2])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

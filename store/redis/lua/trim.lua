-- trim forgets messages that are much older than the newest, never the newest.
-- KEYS: stream. ARGV: age in ms.
local newest = last(KEYS[1])
if newest then
  local ms = tonumber(string.match(newest, '^%d+')) - tonumber(ARGV[1])
  if ms > 0 then
    redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', ms))
  end
end
return 0

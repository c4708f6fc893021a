-- prune removes what has ended from a page of a hash and returns the next
-- cursor. What it cannot read it leaves alone: that may be a later version's.
-- KEYS: hash. ARGV: cursor, count, moment, max.
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local moment, max = tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 1, #page[2], 2 do
  local field, value = page[2][i], page[2][i + 1]
  local known = parse(value, max)
  local expires = known and known['until'] or (#value < 20 and tonumber(value))
  if field ~= 'epoch' and expires and expires < moment then
    redis.call('HDEL', KEYS[1], field)
  end
end
return page[1]

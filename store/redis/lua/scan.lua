-- scan returns the next cursor and a page of a hash: field, value, field, ...
-- What is larger than ours can be is returned empty.
-- KEYS: hash. ARGV: cursor, count, max.
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local max = tonumber(ARGV[3])
for i, text in ipairs(page[2]) do
  if #text > max then
    page[2][i] = ''
  end
end
return page

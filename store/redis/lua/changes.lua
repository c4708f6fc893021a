-- changes returns the messages after a position, and whether data is still
-- settling. The message at the position must still be there: else some may
-- have been lost, and the answer is "lost". Of a message that is larger than
-- ours can be only the position is returned.
-- KEYS: revocations, stream, settling. ARGV: epoch, position, count, max.
if get(KEYS[1], 'epoch', 64) ~= ARGV[1] then
  return {'lost'}
end
local entries = redis.call('XRANGE', KEYS[2], ARGV[2], '+', 'COUNT', ARGV[3] + 1)
if not entries[1] or entries[1][1] ~= ARGV[2] then
  return {'lost'}
end
local answer = {}
for i = 2, #entries do
  local fields, size = entries[i][2], 0
  for _, text in ipairs(fields) do
    size = size + #text
  end
  if #fields > 16 or size > tonumber(ARGV[4]) then
    fields = {}
  end
  answer[#answer + 1] = {entries[i][1], fields}
end
return {'ok', redis.call('EXISTS', KEYS[3]), answer}

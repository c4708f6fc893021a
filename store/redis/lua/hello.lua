-- hello gives data without an epoch a new one, and returns the epoch and the
-- position of the newest message. There is always a message from then on.
-- KEYS: revocations, stream, settling. ARGV: a new epoch, settling in ms.
local epoch = get(KEYS[1], 'epoch', 64)
local position = last(KEYS[2])
if not epoch or not position then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[1], 'epoch', epoch)
  position = redis.call('XADD', KEYS[2], '*', 'kind', 'epoch', 'epoch', epoch)
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
return {epoch, position}

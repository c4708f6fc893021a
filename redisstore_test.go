package websocketauth_test

import (
	"testing"

	_ "github.com/caddy-websocket-auth/caddy-websocket-auth/redisstore" // for the configurations with it
)

// TestRedisIsOptional: a Redis client is linked only by who imports the package
// that has the store redis, and that one has it.
func TestRedisIsOptional(t *testing.T) {
	t.Parallel()
	redis := []string{"github.com/redis/", modulePath + "/store/redis", modulePath + "/redisstore"}
	if found := reached(dependencies(t, "."), redis); found != "" {
		t.Errorf("the top package reaches %s", found)
	}
	deps := dependencies(t, "./redisstore")
	for _, prefix := range redis {
		if reached(deps, []string{prefix}) == "" {
			t.Errorf("redisstore does not reach %s", prefix)
		}
	}
}

package websocketauth

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// instanceID returns the id of this Caddy. At its very first start Caddy's
// storage cleaning writes it at the same time, and what is read in between is
// no id: it is tried again then, for as long as ctx and patience allow.
func instanceID(ctx context.Context) (string, error) {
	const tries, pause = 20, 25 * time.Millisecond
	for n := 1; ; n++ {
		id, err := caddy.InstanceID()
		if err == nil || n == tries {
			return id.String(), err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", err
		}
	}
}

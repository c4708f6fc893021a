package logs

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestCanaryOfTheStore: the password of Redis is in no log, whether Redis is
// away, takes it or refuses it, and not in what the admin API shows.
func TestCanaryOfTheStore(t *testing.T) {
	t.Parallel()
	const secret = "canary-p4ss/w@rd:0123456789"
	userinfo := url.UserPassword("", secret).String()
	for name, redis := range map[string]func() string{
		"away":    func() string { return "127.0.0.1:" + rig.NextFreePort(t) },
		"taken":   func() string { return rig.StartRedis(t, "--requirepass", secret).Addr() },
		"refused": func() string { return rig.StartRedis(t, "--requirepass", "another").Addr() },
		"no password needed": func() string {
			return rig.StartRedis(t).Addr()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := rig.SiteOptions{
				Globals: "debug\ngrace_period 5s\nwebsocket_auth {\nstore redis {env.REDIS}\n}",
				Env: []rig.StartOption{
					rig.WithEnv("REDIS", "redis://"+userinfo+"@"+redis()), rig.WithEnv("WRONG", "redis://"+userinfo+"@127.0.0.1:port/x"),
				},
			}
			s := rig.StartSite(t, o)
			if name == "taken" {
				rig.Eventually(t, rig.Patience, func() string {
					if status := s.Admits(t, s.Of("alice")); status != http.StatusSwitchingProtocols {
						return fmt.Sprintf("status %d", status)
					}
					return ""
				})
			} else if name != "no password needed" {
				s.WaitLog(t, "the store cannot be reached")
				s.Expects(t, "a client", s.Of("alice"), http.StatusServiceUnavailable)
			}
			s.MustReload(t, o)
			rejected := s.Reload(t, strings.Replace(o.Caddyfile(), "{env.REDIS}", "{env.WRONG}", 1))
			if rejected == nil {
				t.Fatal("a URL without a port that is one was taken")
			}
			told := s.Admin(t, "/config/") + s.Admin(t, "/metrics") + rejected.Error()
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			rig.Search(t, "the log, the configuration, the metrics or an error", s.Logs.String()+told,
				map[string]string{"the password": secret, "the password in the URL": userinfo})
		})
	}
}

package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestCanaryOfTheStore: the password of Redis is in no log, whether Redis is
// away, takes it or refuses it, and not in what the admin API shows.
func TestCanaryOfTheStore(t *testing.T) {
	t.Parallel()
	const secret = "canary-p4ss/w@rd:0123456789"
	userinfo := url.UserPassword("", secret).String()
	for name, redis := range map[string]func() string{
		"away":    func() string { return "127.0.0.1:" + nextFreePort(t) },
		"taken":   func() string { return startRedis(t, "--requirepass", secret).addr() },
		"refused": func() string { return startRedis(t, "--requirepass", "another").addr() },
		"no password needed": func() string {
			return startRedis(t).addr()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := siteOptions{
				globals: "debug\ngrace_period 5s\nwebsocket_auth {\nstore redis {env.REDIS}\n}",
				env: []startOption{
					withEnv("REDIS", "redis://"+userinfo+"@"+redis()), withEnv("WRONG", "redis://"+userinfo+"@127.0.0.1:port/x"),
				},
			}
			s := startSite(t, o)
			if name == "taken" {
				eventually(t, patience, func() string {
					if status := s.admits(t, s.of("alice")); status != http.StatusSwitchingProtocols {
						return fmt.Sprintf("status %d", status)
					}
					return ""
				})
			} else if name != "no password needed" {
				s.waitLog(t, "the store cannot be reached")
				s.expects(t, "a client", s.of("alice"), http.StatusServiceUnavailable)
			}
			s.mustReload(t, o)
			rejected := s.reload(t, strings.Replace(o.caddyfile(), "{env.REDIS}", "{env.WRONG}", 1))
			if rejected == nil {
				t.Fatal("a URL without a port that is one was taken")
			}
			told := s.admin(t, "/config/") + s.admin(t, "/metrics") + rejected.Error()
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			search(t, "the log, the configuration, the metrics or an error", s.logs.String()+told,
				map[string]string{"the password": secret, "the password in the URL": userinfo})
		})
	}
}

package handshake

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackHosts: a client that takes another host for each socket, or writes
// it in another way, is at the same site: it gets no sockets beyond
// sessions_per_user, and is found and ended with the others.
func TestAttackHosts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		address string // of the site, with the port
		hosts   []string
		site    string
	}{
		"spelling":  {"http://chat.example.com:PORT", []string{"chat.example.com", "chat.example.com:1", "CHAT.example.com"}, "srv0/chat.example.com"},
		"wildcard":  {"http://*.example.com:PORT", []string{"a.example.com", "b.example.com", "c.example.com"}, "srv0/*.example.com"},
		"any host":  {"http://:PORT", []string{"a.example.com", "b.example.com", "c.example.org"}, "srv0"},
		"two hosts": {"http://a.example.com:PORT, http://b.example.com:PORT", []string{"b.example.com", "a.example.com", "b.example.com"}, "srv0/a.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const first = "http://{$SITE} {\nGUARD\n}\n"
			s := rig.StartPeerSiteOf(t, rig.Guarded(first, ""))
			_, port, err := net.SplitHostPort(s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			config := strings.ReplaceAll(tt.address, "PORT", port) + " {\nGUARD\n}\n"
			if err := s.Reload(t, rig.Guarded(config, "sessions_per_user 2")); err != nil {
				t.Fatal(err)
			}
			for i, host := range tt.hosts {
				_, answer := s.Send(t, rig.H1, "/", s.Of("alice"), func(r *http.Request) { r.Host = host })
				want := http.StatusSwitchingProtocols
				if i == len(tt.hosts)-1 {
					want = http.StatusTooManyRequests
				}
				if answer.StatusCode != want {
					t.Errorf("%s: %s, want %d", host, answer.Status, want)
				}
			}
			for _, one := range s.Sessions(t, "subject=alice") {
				if one.Site != tt.site {
					t.Errorf("the site is %q, want %q", one.Site, tt.site)
				}
			}
			s.Asks(t, http.MethodDelete, "sessions?code=4000&site="+tt.site, "", fmt.Sprintf(`{"sockets":%d}`, 2))
		})
	}
}

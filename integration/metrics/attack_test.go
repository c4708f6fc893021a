package metrics

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackMetricCardinality: whatever clients send, there are no more series
// than before.
func TestAttackMetricCardinality(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Directives: "from header\nfrom query\nfrom first_message", Globals: "grace_period 5s"})
	canary := "canary" + strconv.Itoa(int(time.Now().UnixNano()))
	attackLabels(t, s, canary, 0, 20)
	few := s.Scrape(t)
	attackLabels(t, s, canary, 20, 120)
	many := s.Admin(t, "/metrics")
	if strings.Contains(many, canary) {
		t.Errorf("what clients have sent is in the metrics")
	}
	for series := range rig.ParseMetrics(t, many) {
		if _, known := few[series]; !known {
			t.Errorf("new after many clients: %s", series)
		}
	}
	if few.Sum("handshakes_total") == rig.ParseMetrics(t, many).Sum("handshakes_total") {
		t.Error("the attack was not counted, so the test shows nothing")
	}
}

// attackLabels sends from, to handshakes with words of their own in all places.
func attackLabels(t testing.TB, s *rig.Site, canary string, from, to int) {
	t.Helper()
	for i := range to - from {
		word := fmt.Sprintf("%s-%d", canary, from+i)
		claims := s.Issuer.Claims(map[string]any{"sub": word, "jti": word, "sid": word})
		good := rig.Sign(rig.JWT{Claims: claims, Header: map[string]any{}})
		for _, token := range []string{
			s.Issuer.Token(map[string]any{"sub": word, "jti": word}), good,
			rig.Sign(rig.JWT{Claims: claims, Header: map[string]any{"kid": word}}),
			s.Issuer.Token(map[string]any{"iss": word, "aud": word}), word,
		} {
			c, _ := s.Send(t, rig.H1, "/"+word+"?access_token="+token, http.Header{"Origin": {"https://" + word}}, func(r *http.Request) {
				r.Host = word + ".example.com"
			})
			if c != nil {
				c.Vanish()
			}
		}
		c := s.Open(t, rig.H1, "/"+word, nil)
		c.Says(t, rig.Login(word))
		c.Last(t, rig.Patience)
	}
}

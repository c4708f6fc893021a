package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAttackMetricCardinality: whatever clients send, there are no more series
// than before.
func TestAttackMetricCardinality(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{directives: "from header\nfrom query\nfrom first_message", globals: "grace_period 5s"})
	canary := "canary" + strconv.Itoa(int(time.Now().UnixNano()))
	s.attackLabels(t, canary, 0, 20)
	few := s.scrape(t)
	s.attackLabels(t, canary, 20, 120)
	many := s.admin(t, "/metrics")
	if strings.Contains(many, canary) {
		t.Errorf("what clients have sent is in the metrics")
	}
	for series := range parseMetrics(t, many) {
		if _, known := few[series]; !known {
			t.Errorf("new after many clients: %s", series)
		}
	}
	if few.sum("handshakes_total") == parseMetrics(t, many).sum("handshakes_total") {
		t.Error("the attack was not counted, so the test shows nothing")
	}
}

// attackLabels sends from, to handshakes with words of their own in all places.
func (s *site) attackLabels(t testing.TB, canary string, from, to int) {
	t.Helper()
	for i := range to - from {
		word := fmt.Sprintf("%s-%d", canary, from+i)
		claims := s.issuer.claims(map[string]any{"sub": word, "jti": word, "sid": word})
		good := sign(jwt{claims: claims, header: map[string]any{}})
		for _, token := range []string{
			s.issuer.token(map[string]any{"sub": word, "jti": word}), good,
			sign(jwt{claims: claims, header: map[string]any{"kid": word}}),
			s.issuer.token(map[string]any{"iss": word, "aud": word}), word,
		} {
			c, _ := s.send(t, h1, "/"+word+"?access_token="+token, http.Header{"Origin": {"https://" + word}}, func(r *http.Request) {
				r.Host = word + ".example.com"
			})
			if c != nil {
				c.vanish()
			}
		}
		c := s.open(t, h1, "/"+word, nil)
		c.says(t, login(word))
		c.last(t, patience)
	}
}

package websocketauth

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// TestEveryLogoutReasonHasAnAnswer: each reason that a logout token may be
// refused for is in the table, and none of its texts holds more than words. The
// table in docs/logout.md is the one in the code.
func TestEveryLogoutReasonHasAnAnswer(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"auth/logout.go", "auth/compact.go", "auth/times.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`Refuse\(Reason(\w+),`).FindAllStringSubmatch(string(source), -1)
		if len(found) == 0 {
			t.Errorf("no reasons found in %s", file)
		}
		for _, match := range found {
			reason := map[string]auth.Reason{
				"Malformed": auth.ReasonMalformed, "Type": auth.ReasonType, "Claims": auth.ReasonClaims,
				"Expired": auth.ReasonExpired, "NotYetValid": auth.ReasonNotYetValid, "Replayed": auth.ReasonReplayed,
				"LogoutRequest": auth.ReasonLogoutRequest,
				"Lifetime":      auth.ReasonExpired, // cannot be: there is no max_lifetime
			}[match[1]]
			if _, ok := logoutAnswers[reason]; !ok {
				t.Errorf("%s refuses for %s, which has no answer", file, match[1])
			}
		}
	}
	page, err := os.ReadFile("docs/logout.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.SplitSeq(string(page), "\n") {
		if match := regexp.MustCompile("^\\| `([a-z_]+)` \\| (\\d+)").FindStringSubmatch(line); match != nil {
			rows++
			if got := fmt.Sprint(logoutAnswers[auth.Reason(match[1])].status); got != match[2] {
				t.Errorf("docs/logout.md has %s with status %s, the code %s", match[1], match[2], got)
			}
		}
	}
	if rows != len(logoutAnswers) {
		t.Errorf("docs/logout.md has %d reasons, the code %d", rows, len(logoutAnswers))
	}
	for reason, answer := range logoutAnswers {
		if answer.status < 400 || answer.Error == "" || !regexp.MustCompile(`^[A-Za-z_, 0-9]+$`).MatchString(answer.Description) {
			t.Errorf("%s: %+v", reason, answer)
		}
	}
}

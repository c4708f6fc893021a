package session

import "testing"

// Who has opened a socket first and logs in last comes last, and a renewal
// changes nothing in the order.
func TestRegistryBefore(t *testing.T) {
	t.Parallel()
	var r Registry
	alice := Identity{Issuer: "i", Subject: "alice"}
	sessions := make(map[string]*Session)
	for _, id := range []string{"a", "b", "c", "elsewhere", "bob"} {
		s := &Session{ID: id, Site: "site"}
		if id == "elsewhere" {
			s.Site = id
		}
		r.Add(s)
		sessions[id] = s
	}
	before := func(id, want string) {
		t.Helper()
		if got := ids(r.Before(sessions[id])); got != want {
			t.Errorf("before %s came %q, want %q", id, got, want)
		}
	}
	for _, id := range []string{"elsewhere", "c", "a", "b"} {
		r.Identify(sessions[id], alice)
	}
	r.Identify(sessions["bob"], Identity{Issuer: "i", Subject: "bob"})
	before("c", "")
	before("a", "c")
	before("b", "c a")
	before("elsewhere", "")
	before("bob", "")
	renewed := alice
	renewed.TokenID = "next"
	r.Identify(sessions["c"], renewed)
	before("c", "")
	before("b", "c a")
	r.Remove(sessions["c"])
	before("b", "a")
}

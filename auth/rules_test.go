package auth

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestScopeRule(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		need   []string
		scopes []string
		ok     bool
	}{
		{"one", []string{"chat:read"}, []string{"chat:read"}, true},
		{"one of several", []string{"chat:read"}, []string{"a", "chat:read", "b"}, true},
		{"all", []string{"a", "b"}, []string{"b", "c", "a"}, true},
		{"only some", []string{"a", "b"}, []string{"a"}, false},
		{"none", []string{"a"}, nil, false},
		{"prefix", []string{"chat"}, []string{"chat:read"}, false},
		{"longer", []string{"chat:read"}, []string{"chat"}, false},
		{"another case", []string{"chat"}, []string{"Chat"}, false},
		{"two in one", []string{"a"}, []string{"a b"}, false},
		{"wildcard", []string{"a"}, []string{"*"}, false},
	}
	for _, tt := range tests {
		rule, err := NewScopeRule(tt.need)
		if err != nil {
			t.Fatal(err)
		}
		err = rule.Check(&Identity{Scopes: tt.scopes})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.name, err, tt.ok)
		}
		if err != nil {
			checkReason(t, err, ReasonScope)
		}
	}
}

func TestClaimRule(t *testing.T) {
	t.Parallel()
	const claims = `{
		"role": "admin", "roles": ["user", "admin"], "numbers": [1, 2.50], "level": 3,
		"verified": true, "nothing": null, "nulls": [null], "empty": "", "none": [],
		"nested": {"groups": ["ops"]}, "object": {"a": 1}, "deep": [["admin"]],
		"https://example.com/roles": ["admin"], "big": 9007199254740993
	}`
	tests := []struct {
		name, path, values string // values split at commas
		ok                 bool
	}{
		{"text", "role", "admin", true},
		{"any of them", "role", "user,admin", true},
		{"another", "role", "user", false},
		{"another case", "role", "Admin", false},
		{"prefix", "role", "adm", false},
		{"membership", "roles", "admin", true},
		{"no membership", "roles", "root", false},
		{"array is not its text", "roles", `["user","admin"]`, false},
		{"element by index", "roles.1", "admin", true},
		{"number", "level", "3", true},
		{"number in another form", "level", "3.0", false},
		{"number in an array", "numbers", "2.50", true},
		{"big number", "big", "9007199254740993", true},
		{"big number, rounded", "big", "9007199254740992", false},
		{"boolean", "verified", "true", true},
		{"boolean is not a number", "verified", "1", false},
		{"null is nothing", "nothing", ",null", false},
		{"null in an array is nothing", "nulls", ",null", false},
		{"empty text", "empty", "", true},
		{"empty array", "none", "", false},
		{"nested", "nested.groups", "ops", true},
		{"pointer", "/nested/groups", "ops", true},
		{"URL as a name", "https://example.com/roles", "admin", true},
		{"object", "object", `{"a":1}`, false},
		{"array in an array", "deep", "admin", false},
		{"array in an array is not its text", "deep", `["admin"]`, false},
		{"missing", "missing", "", false},
	}
	decoder := json.NewDecoder(strings.NewReader(claims))
	decoder.UseNumber()
	var id Identity
	if err := decoder.Decode(&id.Claims); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		values := []string{tt.values}
		if strings.Contains(tt.values, ",") && tt.values[0] != '[' {
			values = strings.Split(tt.values, ",")
		}
		rule, err := NewClaimRule(tt.path, values)
		if err != nil {
			t.Fatal(err)
		}
		err = rule.Check(&id)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.name, err, tt.ok)
		}
		if err != nil {
			checkReason(t, err, ReasonClaimRule)
		}
	}
}

// TestRulesFailClosed: what can only be a mistake refuses.
func TestRulesFailClosed(t *testing.T) {
	t.Parallel()
	scope, err := NewScopeRule([]string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	claim, err := NewClaimRule("a", []string{"b"})
	if err != nil {
		t.Fatal(err)
	}
	full := &Identity{Scopes: []string{"a"}, Claims: Claims{"": "", "a": "b"}}
	checkReason(t, scope.Check(nil), ReasonScope)
	checkReason(t, claim.Check(nil), ReasonClaimRule)
	checkReason(t, ScopeRule{}.Check(full), ReasonScope)
	checkReason(t, ClaimRule{}.Check(full), ReasonClaimRule)
	checkReason(t, ClaimRule{Values: []string{""}}.Check(full), ReasonClaimRule)
	checkReason(t, ClaimRule{Path: claim.Path}.Check(full), ReasonClaimRule)
	checkReason(t, claim.Check(&Identity{}), ReasonClaimRule)
	checkReason(t, claim.Check(full), "")
}

// TestRuleErrorsHoldNoClaim: the operator's text names the rule, never what
// the token says, and is short whatever the rule is.
func TestRuleErrorsHoldNoClaim(t *testing.T) {
	t.Parallel()
	path := strings.Repeat("\u200b\u00e9", 30)
	claim, err := NewClaimRule(path, []string{"wanted"})
	if err != nil {
		t.Fatal(err)
	}
	err = claim.Check(&Identity{Claims: Claims{path: "private"}})
	checkReason(t, err, ReasonClaimRule)
	if text := errors.Unwrap(err).Error(); strings.Contains(text, "private") {
		t.Errorf("the claim is in %q", text)
	}
	scope, err := NewScopeRule([]string{strings.Repeat("s", 1000)})
	if err != nil {
		t.Fatal(err)
	}
	err = scope.Check(&Identity{Scopes: []string{"private"}})
	checkReason(t, err, ReasonScope)
	if text := errors.Unwrap(err).Error(); strings.Contains(text, "private") {
		t.Errorf("the scope is in %q", text)
	}
}

func TestNewRuleErrors(t *testing.T) {
	t.Parallel()
	for _, scopes := range [][]string{nil, {""}, {"a b"}, {`a"b`}, {`a\b`}, {"a\n"}, {"\u00e4"}, {"a", "a"}} {
		if _, err := NewScopeRule(scopes); err == nil || !strings.Contains(err.Error(), "require scope") {
			t.Errorf("NewScopeRule(%q): %v", scopes, err)
		}
	}
	for path, values := range map[string][]string{"": {"a"}, "a..b": {"a"}, "/~": {"a"}, "role": nil, "level": {"1", "1"}, "name": {"a", "b\x00"}} {
		if _, err := NewClaimRule(path, values); err == nil || !strings.Contains(err.Error(), "require claim") {
			t.Errorf("NewClaimRule(%q, %q): %v", path, values, err)
		}
	}
}

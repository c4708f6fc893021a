package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule is a condition that an identity must meet. Rules are immutable and
// safe for concurrent use.
type Rule interface {
	// Check returns nil or a *RefusedError. No identity meets no rule.
	Check(id *Identity) error
}

// ScopeRule demands all of Scopes. Its zero value refuses everybody, because
// it can only be a mistake.
type ScopeRule struct{ Scopes []string }

// NewScopeRule returns the rule that demands all of scopes, compared exactly.
// The error is for the operator: there must be a scope, and none can hold
// anything but what RFC 6749 section 3.3 allows.
func NewScopeRule(scopes []string) (ScopeRule, error) {
	if len(scopes) == 0 {
		return ScopeRule{}, errors.New("require scope needs at least one scope")
	}
	for i, scope := range scopes {
		if !isScopeToken(scope) {
			return ScopeRule{}, fmt.Errorf("require scope: %q is no scope: "+
				"no spaces, quotes or backslashes, and one argument for each scope", scope)
		}
		if slices.Contains(scopes[:i], scope) {
			return ScopeRule{}, fmt.Errorf("require scope: %q is given twice", scope)
		}
	}
	return ScopeRule{Scopes: slices.Clone(scopes)}, nil
}

// isScopeToken reports whether s is a scope-token, RFC 6749 section 3.3.
func isScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// Check refuses with ReasonScope an identity that lacks one of the scopes.
func (r ScopeRule) Check(id *Identity) error {
	if id == nil || len(r.Scopes) == 0 {
		return Refuse(ReasonScope, "no identity or no scope to compare")
	}
	for _, scope := range r.Scopes {
		if !slices.Contains(id.Scopes, scope) {
			return Refuse(ReasonScope, fmt.Sprintf("scope %.128q is missing", scope))
		}
	}
	return nil
}

// ClaimRule demands that the claim at Path is one of Values, or an array that
// has one of them. Its zero value refuses everybody.
type ClaimRule struct {
	Path   ClaimPath
	Values []string
}

// NewClaimRule returns the rule that the claim at path, see [ParseClaimPath],
// is or has one of values. The error is for the operator.
func NewClaimRule(path string, values []string) (ClaimRule, error) {
	parsed, err := ParseClaimPath(path)
	if err != nil {
		return ClaimRule{}, fmt.Errorf("require claim: %w", err)
	}
	if len(values) == 0 {
		return ClaimRule{}, fmt.Errorf("require claim: %q needs at least one value that it may have", path)
	}
	for i, value := range values {
		if HeaderSafe(value) != value {
			return ClaimRule{}, fmt.Errorf("require claim: %q has the value %q, "+
				"but no app gets control characters: remove it", path, value)
		}
		if slices.Contains(values[:i], value) {
			return ClaimRule{}, fmt.Errorf("require claim: %q has the value %q twice", path, value)
		}
	}
	return ClaimRule{Path: parsed, Values: slices.Clone(values)}, nil
}

// Check refuses with ReasonClaimRule an identity whose claim is absent or has
// none of the values. Values are compared exactly, in the form of
// [ClaimText], and one that the app would get in another form, see [HeaderSafe],
// is none of them. Null, and objects, are like nothing.
func (r ClaimRule) Check(id *Identity) error {
	if id == nil {
		return Refuse(ReasonClaimRule, "no identity to compare")
	}
	claim, ok := id.Claims.Lookup(r.Path)
	if ok && r.matches(claim) {
		return nil
	}
	path := r.Path.String()
	path = strings.ToValidUTF8(path[:min(len(path), 120)], "")
	if !ok {
		return Refuse(ReasonClaimRule, "claim "+path+" is missing")
	}
	return Refuse(ReasonClaimRule, "claim "+path+" has none of the required values")
}

func (r ClaimRule) matches(claim any) bool {
	array, ok := claim.([]any)
	if !ok {
		return r.matchesScalar(claim)
	}
	return slices.ContainsFunc(array, r.matchesScalar)
}

func (r ClaimRule) matchesScalar(claim any) bool {
	switch claim.(type) {
	case nil, []any, map[string]any:
		return false
	}
	text := ClaimText(claim)
	return slices.Contains(r.Values, text) && HeaderSafe(text) == text
}

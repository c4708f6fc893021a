//go:build race

package integration

// buildFlags are what the Caddy of the tests is built with: as they are.
var buildFlags = []string{"-race"}

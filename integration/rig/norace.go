//go:build !race

package rig

// buildFlags are what the Caddy of the tests is built with: as they are.
var buildFlags []string

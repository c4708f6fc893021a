package redis

import (
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// What has to happen at once happens in scripts, so that two nodes never undo
// each other's changes and no change is without its message.
//
//go:embed lua/*.lua
var lua embed.FS

var (
	helloScript    = script("hello")
	changesScript  = script("changes")
	scanScript     = script("scan")
	applyScript    = script("apply")
	lockoutsScript = script("lockouts")
	pruneScript    = script("prune")
	trimScript     = script("trim")
)

// script returns an embedded script, which exists: a test looks.
func script(name string) *redis.Script {
	common, _ := lua.ReadFile("lua/common.lua")
	body, _ := lua.ReadFile("lua/" + name + ".lua")
	return redis.NewScript(string(common) + string(body))
}

// key returns the name of one of our keys.
func (s *Store) key(name string) string { return s.prefix + ":" + name }

// list reads an answer that is a list.
func list(answer any) ([]any, error) {
	if l, ok := answer.([]any); ok {
		return l, nil
	}
	return nil, fmt.Errorf("an answer of Redis is a %T, want a list", answer)
}

// texts reads an answer that is a list of texts.
func texts(answer any) ([]string, error) {
	l, err := list(answer)
	if err != nil {
		return nil, err
	}
	all := make([]string, len(l))
	for i, item := range l {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("an item of an answer of Redis is a %T, want a text", item)
		}
		all[i] = text
	}
	return all, nil
}

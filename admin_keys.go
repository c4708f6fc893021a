package websocketauth

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// keySetInfo is a key set that is fetched, as the admin API shows it.
type keySetInfo struct {
	Source     string     `json:"source"` // the issuer, or the URL of the set
	State      string     `json:"state"`
	FetchedAt  *time.Time `json:"fetched_at"` // nil if there are no keys
	AgeSeconds *int64     `json:"age_seconds"`
	Keys       int        `json:"keys"`
	KeyIDs     []string   `json:"key_ids"`
	TriedAt    *time.Time `json:"tried_at"`   // when the last fetch ended
	LastError  string     `json:"last_error"` // of that fetch; empty if it worked
}

func listKeys(r *http.Request) (any, error) {
	if _, err := adminQuery(r); err != nil {
		return nil, err
	}
	all := []keySetInfo{}
	keyPool.Range(func(_, value any) bool {
		if p, ok := value.(*pooledKeys); ok {
			all = append(all, p.info(time.Now()))
		}
		return true
	})
	slices.SortFunc(all, func(a, b keySetInfo) int { return strings.Compare(a.Source, b.Source) })
	return struct {
		KeySets []keySetInfo `json:"key_sets"`
	}{all}, nil
}

// maxKeyError is how much of an error is shown, in bytes.
const maxKeyError = 256

// info returns how the set stands at now.
func (p *pooledKeys) info(now time.Time) keySetInfo {
	state := p.State()
	i := keySetInfo{
		Source: p.source.name(), State: string(state.State),
		Keys: state.Keys, KeyIDs: append([]string{}, state.KeyIDs...),
	}
	if at := state.FetchedAt; !at.IsZero() {
		at, age := at.UTC(), int64(now.Sub(at)/time.Second)
		i.FetchedAt, i.AgeSeconds = &at, &age
	}
	if at := state.TriedAt.UTC(); !at.IsZero() {
		i.TriedAt = &at
	}
	if state.Err != nil {
		text := state.Err.Error()
		i.LastError = strings.ToValidUTF8(text[:min(len(text), maxKeyError)], "")
	}
	return i
}

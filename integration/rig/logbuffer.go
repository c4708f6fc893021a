package rig

import (
	"encoding/json"
	"strings"
	"sync"
)

// LogBuffer keeps what a process writes. It is safe for concurrent use.
type LogBuffer struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{} // closed, and replaced, at each write
}

func newLogBuffer() *LogBuffer { return &LogBuffer{changed: make(chan struct{})} }

// Write implements io.Writer.
func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(p)
}

// String returns all that was written.
func (b *LogBuffer) String() string {
	text, _ := b.state()
	return text
}

// state returns all that was written, and what is closed when there is more.
func (b *LogBuffer) state() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String(), b.changed
}

// Entries returns the lines of the log whose message is msg.
func (b *LogBuffer) Entries(msg string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(b.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == msg {
			found = append(found, entry)
		}
	}
	return found
}
